//! What happens to a trace, from its first piece to its last alert.
//!
//! ```text
//! receive ─► publish ─► (broker)                    ┌► judging ─► (record)
//!      └───────────┐        ▼                       │
//! consume ◄────────│────────┘                       │
//!      └───────────┴► intake ─► [chunks] ─► scoring ─► [traces, scores, jobs, outbox] ─► deliver
//!                                                   └► watching ─► [detectors, alerts] ─► notify ─► [outbox]
//! ```
//!
//! Without a broker receivers hand straight to intake. Brackets are tables of the store. No stage knows another: each takes its work from the store, and its result and the
//! end of that work are one transaction there. So any of them can be killed at any line and run again: a claim that was
//! not finished comes due when its lease ends, and what was finished is not there to be claimed.

pub mod agent_budgets;
pub mod agent_versions;
pub mod asking;
pub mod backlog;
pub mod bookkeeping;
pub mod checkpoint;
pub mod consume;
pub mod deliver;
pub mod intake;
pub mod invariant;
pub mod judge_spans;
pub mod judging;
pub mod judgment;
mod known_verdicts;
pub mod ledgered;
pub mod notify;
pub mod publish;
pub mod receive;
pub mod redaction;
pub mod releases;
pub mod retention;
pub mod reviewing;
pub mod room;
pub mod score_api;
pub mod scoring;
pub mod summing;
pub mod watching;
pub mod write_back;
pub mod writing;

mod agent_metrics;
mod budget_alert;
mod control;
mod forward;
mod gate;
mod grouped;
mod hour_alerts;
mod leadership;
mod metered;
mod resolved_model;
mod retry;
#[cfg(test)]
mod samples;
mod sampling;
mod stage;
mod standings;
mod work;

use crate::backends::crash_point;
pub use gate::fleet_name;
pub use stage::Shared;
