//! The web listener and the commands that ask it, over a store that holds simulated traffic.

mod alerts;
mod api;
mod browser;
mod command_line;
mod contract;
mod costs;
mod feedback;
mod fixtures;
mod guard;
mod pages;
mod releases;
mod review;
