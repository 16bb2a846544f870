//! The commands that need no service, as a user runs them: the real program, its output and its exit code.

mod bad_comparisons;
mod bad_input;
mod baselines;
mod bridges;
mod calibrated;
mod comparisons;
mod evaluators;
mod gates;
mod inspected;
mod judges;
mod program;
mod real_data;
mod services;
mod simulated;
