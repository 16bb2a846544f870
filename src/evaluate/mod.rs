//! From a normalized trace to its evaluations, its measurements and its sampling decision. Pure: the only IO is
//! [`definition::load_directory`], and randomness and time are arguments.
//!
//! [`run::evaluate`] is the one code path of `driftline evaluate` and of the service.

pub mod accuracy;
pub mod cases;
pub mod control;
pub mod definition;
mod expression;
pub mod failure_class;
pub mod flagging;
pub mod judge;
pub mod kinds;
pub mod learning;
pub mod measure;
pub mod mistake;
pub mod preview;
pub mod redaction;
pub mod regression;
pub mod revision;
pub mod run;
pub mod sampling;
pub mod service;
pub mod shipped;

#[cfg(test)]
mod readme;
#[cfg(test)]
mod real_data;
#[cfg(test)]
mod simulated;
