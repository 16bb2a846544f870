//! The web listener and the commands that ask it, over a store that holds simulated traffic.

mod access;
mod alerts;
mod api;
mod audit;
mod browser;
mod command_line;
pub(crate) mod contract;
mod costs;
mod feedback;
pub(crate) mod fixtures;
mod guard;
mod pages;
mod readiness;
mod releases;
mod review;
mod system;
