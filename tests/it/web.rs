//! The web listener and the commands that ask it, over a store that holds simulated traffic.

mod api;
mod command_line;
mod costs;
mod fixtures;
mod guard;
mod pages;
mod releases;
