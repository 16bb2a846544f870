//! What numbers mean: estimators, tests and detectors as pure functions of counts, moments and histograms.
//!
//! Nothing here knows of traces. Every input is a summary whose size does not depend on traffic, so a check costs the
//! same for a thousand traces and for ten million. One file answers one question; reference values from scipy,
//! statsmodels and hand-checked recursions (`tests/fixtures/vectors.json`) hold each to its textbook.

pub mod confidence_sequence;
pub mod contingency;
pub mod distribution;
pub mod e_process;
pub mod exceedance;
pub mod histogram;
pub mod interval;
pub mod mann_whitney;
pub mod mix;
pub mod moments;
pub mod multiplicity;
pub mod non_inferiority;
pub mod onset;
pub mod paired;
pub mod poisson;
pub mod power;
pub mod projection;
pub mod proportion;
pub mod sequence;
pub mod sequential;
pub mod service_level;
pub mod session;
pub mod survey;
pub mod wasserstein;
pub mod welch;
pub mod windows;

#[cfg(test)]
mod vectors;
