//! From measured traces to baselines, drift reports, gates, detectors and alerts: pure.

pub mod baseline;
pub mod drift;
pub mod gate;
pub mod gate_policy;
pub mod key;
pub mod paired;
pub mod summary;

mod comparison;
mod unpaired;

#[cfg(test)]
mod drift_tests;
#[cfg(test)]
mod samples;
