//! Recorded runs for the tests of this module.

use std::collections::{BTreeMap, BTreeSet};

use crate::backends::store::{RecordedTrace, StoredTrace};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;
use crate::domain::usage::Usage;

/// A version of a run of `shop`.
pub(super) fn run(number: u16, version: i64, ended_at: Timestamp) -> RecordedTrace {
    let trace_id = TraceId::from_bytes(&(u128::from(number) + 1).to_be_bytes()).unwrap();
    let record = TraceRecord {
        trace_id,
        conversation: String::new(),
        service: "shop".to_owned(),
        segments: BTreeMap::new(),
        ended_at,
        upstream_probability: None,
        notes: Vec::new(),
        measurements: Vec::new(),
    };
    let trace = StoredTrace {
        trace_id,
        version,
        root_span_id: SpanId::from_bytes(&[7; 8]).unwrap(),
        service: "shop".to_owned(),
        release: None,
        model: None,
        environment: None,
        conversation_id: None,
        user_id: None,
        attributes: BTreeMap::new(),
        started_at: ended_at,
        ended_at,
        failing: false,
        failure_class: None,
        error: false,
        sampled: false,
        reports_decision: false,
        keep_body_until: ended_at,
        stratum: None,
        decision: "{}".to_owned(),
        record,
    };
    RecordedTrace {
        trace,
        generation: 1,
        evaluations: Vec::new(),
        judge_jobs: Vec::new(),
        outbox: Vec::new(),
        usage: Usage::default(),
        budgets: BTreeSet::new(),
    }
}
