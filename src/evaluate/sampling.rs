//! Which traces are judged and kept whole, and with what probability.
//!
//! **The rule.** A run that ended in an error, failed a flagging rule or was slow is always chosen. Any other falls under
//! the first of the policies whose condition holds, and where none does, under the healthy rate. What a trace falls under
//! is its *stratum*: within a service, traces of one stratum were chosen with one probability at one time.
//!
//! **The draw.** Deterministic by trace id, so that a redelivery decides alike. It hashes the id with a salt of our own:
//! upstream samplers decide by the id's last bytes, and a draw from the same bytes would not be independent of theirs.
//!
//! **Rate limits.** A policy with a limit chooses with probability limit / traces of its stratum in the window before,
//! and at most with its rate. The probability is known before the draw and does not depend on the trace, so its inverse
//! is an unbiased weight, which counting "the first so many" would not have. The price: the limit is met on average
//! and not to the trace, a rise is answered one window later, and without a window before the rate alone holds. What
//! may never be exceeded is the judges' budget.
//!
//! **What it is worth.** The probability stays with everything a judge scores, and each score counts by its inverse
//! (Hajek's mean, with errors clustered by conversation). The strata's exact totals are counted as well. Post-stratifying
//! by them would take 5 to 30 % off the error, but the interval that belongs to it held the truth in 69 to 93 % of
//! simulations with few failures in a thinly sampled stratum, and Hajek's in 94 to 98 %; so estimates are Hajek's, and the
//! totals stand beside them.
//!
//! **Upstream.** What the trace says of sampling before us comes first, then the first stratum of the settings that it
//! belongs to. Otherwise it is unknown, which is not one.

mod condition;
mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize};

pub use self::condition::TraceCondition;
pub use self::rules::{RateLimit, TracePolicy, UpstreamStratum, Window};
use crate::domain::ids::TraceId;
use crate::domain::trace::{Trace, UpstreamProbability};

/// How traces are chosen for judging and for keeping their body; the `[sampling]` table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingPolicy {
    /// Probability for traces with nothing remarkable.
    #[serde(deserialize_with = "probability")]
    pub healthy_rate: f64,
    /// Runs at least this long are always chosen.
    #[serde(deserialize_with = "duration")]
    pub slow_threshold: Duration,
    /// What differs for single services, by `service.name`.
    pub services: BTreeMap<String, ServiceSampling>,
    /// What differs for single kinds of traces; the first that fits decides.
    pub policies: Vec<TracePolicy>,
    /// How traces were sampled before they came here, where they do not say so themselves; the first that fits.
    pub upstream: Vec<UpstreamStratum>,
    /// Traces of each limited policy in the window before, by name and service.
    #[serde(skip)]
    pub before: BTreeMap<(String, String), u64>,
}

impl Default for SamplingPolicy {
    fn default() -> Self {
        Self {
            healthy_rate: 0.1,
            slow_threshold: Duration::from_secs(30),
            services: BTreeMap::new(),
            policies: Vec::new(),
            upstream: Vec::new(),
            before: BTreeMap::new(),
        }
    }
}

/// What differs for one service; an absent key means the policy's own.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSampling {
    /// As in [`SamplingPolicy`].
    #[serde(deserialize_with = "optional_probability")]
    pub healthy_rate: Option<f64>,
    /// As in [`SamplingPolicy`].
    #[serde(deserialize_with = "optional_duration")]
    pub slow_threshold: Option<Duration>,
}

impl SamplingPolicy {
    /// The threshold from which a run of this service is slow.
    #[must_use]
    pub fn slow_threshold(&self, service: &str) -> Duration {
        self.services.get(service).and_then(|service| service.slow_threshold).unwrap_or(self.slow_threshold)
    }

    /// With what probability a trace was kept before it came here, and who says so; `None` when no one does.
    #[must_use]
    pub fn upstream_probability(&self, trace: &Trace) -> Option<UpstreamProbability> {
        let configured = || {
            let (place, stratum) = self.upstream.iter().enumerate().find(|(_, it)| it.condition.holds(trace))?;
            let source = format!("sampling.upstream[{place}]");
            Some(UpstreamProbability { probability: stratum.probability, source })
        };
        trace.upstream_probability.clone().or_else(configured)
    }

    /// Attributes that conditions ask for: whoever reads traces has to look for them.
    pub fn attributes(&self) -> impl Iterator<Item = &str> {
        let own = self.policies.iter().map(|policy| &policy.condition);
        own.chain(self.upstream.iter().map(|stratum| &stratum.condition)).flat_map(TraceCondition::attributes)
    }

    /// The policies that have a limit.
    pub fn limits(&self) -> impl Iterator<Item = (&TracePolicy, RateLimit)> {
        self.policies.iter().filter_map(|policy| Some((policy, policy.limit?)))
    }

    fn healthy_rate(&self, service: &str) -> f64 {
        self.services.get(service).and_then(|service| service.healthy_rate).unwrap_or(self.healthy_rate)
    }

    /// The probability that a policy gives the traces of a service at this time.
    fn rate(&self, policy: &TracePolicy, service: &str) -> f64 {
        let before = self.before.get(&(policy.name.clone(), service.to_owned())).copied().unwrap_or(0);
        match policy.limit {
            Some(limit) if before > 0 => policy.rate.min(f64::from(limit.traces) / before as f64),
            _ => policy.rate,
        }
    }

    fn is_slow(&self, trace: &Trace) -> bool {
        let threshold = self.slow_threshold(&trace.service).as_secs_f64();
        trace.latency_seconds().is_some_and(|seconds| seconds >= threshold)
    }
}

/// Why a trace was drawn with its probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SamplingReason {
    /// The run ended in an error: always chosen.
    Error,
    /// The run was slow: always chosen.
    Slow,
    /// A flagging rule failed: always chosen.
    FailedRule,
    /// A policy of the settings is about it.
    Policy,
    /// Nothing remarkable: chosen at the healthy rate.
    Healthy,
}

impl SamplingReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::Error, Self::Slow, Self::FailedRule, Self::Policy, Self::Healthy];

    /// The reason as it is written in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Slow => "slow",
            Self::FailedRule => "failed_rule",
            Self::Policy => "policy",
            Self::Healthy => "healthy",
        }
    }
}

/// Whether a trace is judged and kept whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SamplingDecision {
    /// Whether it is.
    pub sampled: bool,
    /// The probability with which it would be, over all trace ids.
    pub probability: f64,
    /// Why that probability.
    pub reason: SamplingReason,
    /// The policy that gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// With what probability the trace was kept before it came here; `None` is unknown.
    #[serde(default)]
    pub upstream: Option<UpstreamProbability>,
}

impl SamplingDecision {
    /// What the trace fell under: its policy's name, else the reason.
    #[must_use]
    pub fn stratum(&self) -> &str {
        self.policy.as_deref().unwrap_or(self.reason.as_str())
    }
}

/// Decides for one trace; `failed_rule` tells whether a flagging rule failed.
#[must_use]
pub fn decide(trace: &Trace, failed_rule: bool, policy: &SamplingPolicy) -> SamplingDecision {
    let fitting = policy.policies.iter().find(|it| it.condition.holds(trace));
    let (reason, probability) = if trace.error.is_some() {
        (SamplingReason::Error, 1.0)
    } else if failed_rule {
        (SamplingReason::FailedRule, 1.0)
    } else if policy.is_slow(trace) {
        (SamplingReason::Slow, 1.0)
    } else if let Some(fitting) = fitting {
        (SamplingReason::Policy, policy.rate(fitting, &trace.service))
    } else {
        (SamplingReason::Healthy, policy.healthy_rate(&trace.service))
    };
    SamplingDecision {
        sampled: uniform(trace.trace_id) < probability,
        probability,
        reason,
        policy: fitting.filter(|_| reason == SamplingReason::Policy).map(|fitting| fitting.name.clone()),
        upstream: policy.upstream_probability(trace),
    }
}

/// A number in [0, 1) that is uniform over trace ids.
fn uniform(trace_id: TraceId) -> f64 {
    let salted = [b"driftline.sampling.".as_slice(), trace_id.as_bytes()].concat();
    let hash = digest(&SHA256, &salted);
    let bits = hash.as_ref().iter().take(8).fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    // 53 bits are what a double holds exactly.
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if (0.0..=1.0).contains(&rate) {
        Ok(rate)
    } else {
        Err(serde::de::Error::custom(format!("{rate} is not between 0 and 1")))
    }
}

fn optional_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    probability(deserializer).map(Some)
}

/// What is never chosen has no weight, and estimates would not know that it is missing.
fn positive_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let rate = f64::deserialize(deserializer)?;
    if rate > 0.0 && rate <= 1.0 {
        Ok(rate)
    } else {
        Err(serde::de::Error::custom(format!("{rate} is not more than 0 and at most 1")))
    }
}

fn optional_positive_probability<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    positive_probability(deserializer).map(Some)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("{text:?} is no duration such as \"30s\": {error}")))
}

fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
