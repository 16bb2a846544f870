//! From measured traces to baselines, drift reports, gates, detectors and alerts: pure.

pub mod alerts;
pub mod audit;
pub mod baseline;
pub mod bridge;
pub mod calibration;
pub mod detect;
pub mod drift;
pub mod gate;
pub mod gate_policy;
pub mod judge_drift;
pub mod key;
pub mod paired;
pub mod summary;

mod comparison;
mod deviation;
mod score;
mod unpaired;

pub(crate) use unpaired::estimate;

#[cfg(test)]
mod calibration_real_tests;
#[cfg(test)]
mod calibration_tests;
#[cfg(test)]
mod detect_tests;
#[cfg(test)]
mod drift_tests;
#[cfg(test)]
mod gate_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod sampling_tests;
