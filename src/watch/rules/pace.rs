//! How fast are tokens used up? Those of an hour's runs, by tier and five minutes.
//!
//! A run counts where it ended: tokens of a run that took longer than five minutes count as if they had come at once,
//! which is why a single run never makes a pace.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::baseline::VALUES_PER_DIMENSION;
use super::super::key::ALL;
use super::super::summary::number;
use crate::domain::ids::TraceId;
use crate::domain::measurement::TraceRecord;
use crate::domain::time::Timestamp;

/// The time over which a pace is measured.
const WIDTH: Duration = Duration::from_mins(5);
/// Fewest runs that make a pace.
const LEAST_RUNS: u64 = 5;
/// Runs kept to show.
const SHOWN: usize = 10;
/// Series whose sum is the tokens of a run.
const TOKENS: [&str; 2] = ["input_tokens", "output_tokens"];

/// Tokens of an hour.
#[derive(Debug, Default)]
pub struct Pace {
    slots: BTreeMap<String, BTreeMap<Timestamp, Slot>>,
}

/// Five minutes of one tier.
#[derive(Debug, Default)]
struct Slot {
    tokens: f64,
    runs: u64,
    trace_ids: Vec<TraceId>,
}

/// The fastest five minutes of one tier.
#[derive(Debug)]
pub(super) struct Fastest {
    /// `tier=value`, or all runs where they carry no tier.
    pub(super) segment: String,
    pub(super) tokens_per_second: f64,
    pub(super) runs: u64,
    pub(super) trace_ids: Vec<TraceId>,
}

impl Pace {
    /// Takes in one run; of tiers beyond the first twenty the runs are counted with those that carry none.
    pub fn add(&mut self, record: &TraceRecord) {
        let tokens = TOKENS.iter().filter_map(|series| number(&record.measurement(series)?.value));
        let tokens = tokens.filter(|tokens| tokens.is_finite() && *tokens > 0.0).sum::<f64>();
        if tokens == 0.0 {
            return;
        }
        let tier = record.segments.get("tier").map(|tier| format!("tier={tier}"));
        let is_followed = |tier: &String| self.slots.len() < VALUES_PER_DIMENSION || self.slots.contains_key(tier);
        let tier = tier.filter(is_followed).unwrap_or_else(|| ALL.to_owned());
        let slot = self.slots.entry(tier).or_default().entry(record.ended_at.floor(WIDTH)).or_default();
        slot.tokens += tokens * record.upstream_weight();
        slot.runs += 1;
        if slot.trace_ids.len() < SHOWN {
            slot.trace_ids.push(record.trace_id);
        }
    }

    /// Of each tier the fastest five minutes in which enough runs ended.
    pub(super) fn fastest(&self) -> impl Iterator<Item = Fastest> {
        self.slots.iter().map(|(segment, slots)| {
            let busy = slots.values().filter(|slot| slot.runs >= LEAST_RUNS);
            let fastest = busy.max_by(|a, b| a.tokens.total_cmp(&b.tokens));
            Fastest {
                segment: segment.clone(),
                tokens_per_second: fastest.map_or(0.0, |slot| slot.tokens / WIDTH.as_secs_f64()),
                runs: fastest.map_or(0, |slot| slot.runs),
                trace_ids: fastest.map(|slot| slot.trace_ids.clone()).unwrap_or_default(),
            }
        })
    }
}
