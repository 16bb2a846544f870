//! Simulated agents for the demo, tests and fire drills: seeded OTLP traffic with its ground truth, and a judge.
//!
//! Three agents ([`Agent`]) live through a [`Scenario`]: an even first half, then a half in which a release has
//! changed and faults ([`Fault`]) are planted. Each run is told by a story (`support`, `invoice`, `research`) to a
//! recorder that writes the spans. Texts, amounts, names, times and ids all come from the plan's seed, so the same
//! plan gives the same bytes. Rare recovered tool errors and rare empty searches belong to health: they occur at the
//! same rate in both halves, and are drift in neither.
//!
//! Healthy answers say nothing that the run's tool results, documents or user do not, so an honest check of numbers
//! and quoted names passes them ([`judge`] is such a check, behind the wire format of a real judge).

mod agent;
mod attributes;
mod chance;
mod fault;
mod invoice;
pub mod judge;
mod recorder;
mod research;
mod scenario;
mod support;
mod traffic;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde::{Deserialize, Serialize};

pub use self::agent::Agent;
pub use self::fault::{ExpectedEvidence, Fault};
pub use self::scenario::{Phase, SCENARIOS, Scenario};
pub use self::support::policy_document;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;

/// What to simulate.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The course of events.
    pub scenario: &'static Scenario,
    /// Traces to produce, exactly.
    pub traces: usize,
    /// Everything random comes from this.
    pub seed: u64,
    /// When the first conversation begins.
    pub start: Timestamp,
    /// Span of time over which conversations begin; the last ones end a little after it.
    pub duration: Duration,
}

/// One whole trace and what is known to be wrong with it.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedTrace {
    /// The trace's spans, all of one service, root first.
    pub request: ExportTraceServiceRequest,
    /// Ground truth; nothing in `request` repeats it.
    pub truth: Truth,
}

/// Ground truth of one trace: a line of the file that goes beside simulated traces.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truth {
    /// The trace.
    pub trace_id: TraceId,
    /// Name of the scenario.
    pub scenario: String,
    /// The agent that ran.
    pub agent: Agent,
    /// `service.version` of the run.
    pub release: String,
    /// Half of the scenario.
    pub phase: Phase,
    /// Faults that this trace shows; empty for a healthy one.
    pub faults: Vec<Fault>,
}

/// Tells the plan's traces one by one, in order of their end. Memory holds only the runs under way at one time.
pub fn simulate(plan: &Plan) -> impl Iterator<Item = SimulatedTrace> + use<> {
    traffic::Traffic::new(plan)
}
