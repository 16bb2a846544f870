//! From measured traces to baselines, drift reports, gates, detectors and alerts: pure.

pub mod affects;
pub mod alerts;
pub mod audit;
pub mod baseline;
pub mod bridge;
pub mod budgets;
pub mod calibration;
pub mod day;
pub mod detect;
pub mod dispersion;
pub mod distribution;
pub mod drift;
pub mod expectation;
pub mod explanation;
pub mod gate;
pub mod gate_policy;
pub mod grouping;
pub mod history;
pub mod judge_drift;
pub mod key;
pub mod overlap;
pub mod paired;
pub mod plan;
pub mod releases;
pub mod reviewers;
pub mod rules;
pub mod segments;
pub mod standings;
pub mod summarize;
pub mod summary;
pub mod watched;

mod accumulate;
mod accumulate_cells;
mod comparison;
mod deviation;
mod gate_sequential;
mod gate_units;
mod packed;
mod score;
mod shape;
mod unpaired;

pub(crate) use unpaired::estimate;

#[cfg(test)]
mod budget_tests;
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
mod month_tests;
#[cfg(test)]
mod real_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod sampling_tests;
#[cfg(test)]
mod simulated_streams;
