//! What things are: plain data and its invariants. No async, no IO, no clock, no other module of ours.

pub mod access;
pub mod alert;
pub mod evaluation;
pub mod explanation;
pub mod external_score;
pub mod feedback;
pub mod ids;
pub mod judge;
pub mod label;
pub mod measurement;
pub mod money;
pub mod release;
pub mod report;
pub mod silence;
pub mod text;
pub mod time;
pub mod trace;
pub mod usage;
