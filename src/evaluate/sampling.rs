//! Which traces are judged and kept whole, and with what probability.
//!
//! Deterministic by trace id, so that a redelivery decides alike. The draw hashes the id with a salt of our own:
//! upstream samplers decide by the id's last bytes, and a draw from the same bytes would not be independent of theirs.

use std::collections::BTreeMap;
use std::time::Duration;

use ring::digest::{SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::domain::ids::TraceId;

/// How traces are chosen for judging and for keeping their body; the `[sampling]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SamplingPolicy {
    /// Probability for traces with nothing remarkable.
    #[serde(deserialize_with = "probability")]
    pub healthy_rate: f64,
    /// Runs at least this long are always chosen.
    #[serde(with = "human_duration")]
    pub slow_threshold: Duration,
    /// What differs for single services, by `service.name`.
    pub services: BTreeMap<String, ServiceSampling>,
}

impl Default for SamplingPolicy {
    fn default() -> Self {
        Self { healthy_rate: 0.1, slow_threshold: Duration::from_secs(30), services: BTreeMap::new() }
    }
}

/// What differs for one service; an absent key means the policy's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceSampling {
    /// As in [`SamplingPolicy`].
    #[serde(deserialize_with = "optional_probability", skip_serializing_if = "Option::is_none")]
    pub healthy_rate: Option<f64>,
    /// As in [`SamplingPolicy`].
    #[serde(with = "optional_human_duration", skip_serializing_if = "Option::is_none")]
    pub slow_threshold: Option<Duration>,
}

impl SamplingPolicy {
    /// The threshold from which a run of this service is slow.
    #[must_use]
    pub fn slow_threshold(&self, service: &str) -> Duration {
        self.services.get(service).and_then(|service| service.slow_threshold).unwrap_or(self.slow_threshold)
    }

    fn healthy_rate(&self, service: &str) -> f64 {
        self.services.get(service).and_then(|service| service.healthy_rate).unwrap_or(self.healthy_rate)
    }
}

/// What the decision is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplingFacts<'a> {
    /// `service.name`.
    pub service: &'a str,
    /// Whether the run ended in an error.
    pub error: bool,
    /// Whether the run took at least the slow threshold.
    pub slow: bool,
    /// Whether a flagging rule failed.
    pub failed_rule: bool,
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
    /// Nothing remarkable: chosen at the healthy rate.
    Healthy,
}

/// Whether a trace is judged and kept whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SamplingDecision {
    /// Whether it is.
    pub sampled: bool,
    /// The probability with which it would be, over all trace ids.
    pub probability: f64,
    /// Why that probability.
    pub reason: SamplingReason,
}

/// Decides for one trace.
#[must_use]
pub fn decide(trace_id: TraceId, facts: SamplingFacts<'_>, policy: &SamplingPolicy) -> SamplingDecision {
    let reason = match facts {
        SamplingFacts { error: true, .. } => SamplingReason::Error,
        SamplingFacts { failed_rule: true, .. } => SamplingReason::FailedRule,
        SamplingFacts { slow: true, .. } => SamplingReason::Slow,
        _ => SamplingReason::Healthy,
    };
    let probability = match reason {
        SamplingReason::Healthy => policy.healthy_rate(facts.service),
        SamplingReason::Error | SamplingReason::Slow | SamplingReason::FailedRule => 1.0,
    };
    SamplingDecision { sampled: uniform(trace_id) < probability, probability, reason }
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

mod human_duration {
    use super::{Deserialize, Deserializer, Duration, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text)
            .map_err(|error| serde::de::Error::custom(format!("{text:?} is no duration such as \"30s\": {error}")))
    }
}

mod optional_human_duration {
    use super::{Deserializer, Duration, Serializer, human_duration};

    pub(super) fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => human_duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        human_duration::deserialize(deserializer).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: SamplingFacts<'static> =
        SamplingFacts { service: "support", error: false, slow: false, failed_rule: false };

    fn ids(count: u64) -> impl Iterator<Item = TraceId> {
        // Ids that differ in their last bytes only, as a poor generator's would.
        (1..=count).map(|number| {
            let mut bytes = [0; 16];
            bytes[8..].copy_from_slice(&number.to_be_bytes());
            TraceId::from_bytes(&bytes).unwrap()
        })
    }

    fn share(facts: SamplingFacts<'_>, policy: &SamplingPolicy) -> f64 {
        let sampled = ids(20_000).filter(|id| decide(*id, facts, policy).sampled).count();
        sampled as f64 / 20_000.0
    }

    #[test]
    fn healthy_traces_are_sampled_at_the_healthy_rate() {
        // Four standard deviations of a binomial share at this size.
        assert!((share(HEALTHY, &SamplingPolicy::default()) - 0.1).abs() < 4.0 * (0.1 * 0.9 / 20_000.0_f64).sqrt());
    }

    #[test]
    fn the_draw_of_a_trace_stays_what_it_was() {
        // A changed draw would resample every trace that is delivered again after an upgrade.
        let id: TraceId = "65888dddb25592422df09b0e4b474df2".parse().unwrap();
        assert_eq!((uniform(id) * 1e6).floor(), 309_675.0);
    }

    #[test]
    fn errors_slow_runs_and_failed_rules_are_always_sampled() {
        let policy = SamplingPolicy { healthy_rate: 0.0, ..SamplingPolicy::default() };
        for facts in [
            SamplingFacts { error: true, ..HEALTHY },
            SamplingFacts { slow: true, ..HEALTHY },
            SamplingFacts { failed_rule: true, ..HEALTHY },
        ] {
            assert_eq!(share(facts, &policy), 1.0);
        }
        assert_eq!(share(HEALTHY, &policy), 0.0);
    }

    #[test]
    fn the_same_trace_is_decided_alike_and_a_higher_rate_keeps_what_a_lower_one_kept() {
        let low = SamplingPolicy { healthy_rate: 0.2, ..SamplingPolicy::default() };
        let high = SamplingPolicy { healthy_rate: 0.5, ..SamplingPolicy::default() };
        for id in ids(2_000) {
            let decision = decide(id, HEALTHY, &low);
            assert_eq!(decision, decide(id, HEALTHY, &low));
            assert!(!decision.sampled || decide(id, HEALTHY, &high).sampled);
        }
    }

    #[test]
    fn a_service_can_differ_in_one_key_and_keep_the_other() {
        let policy: SamplingPolicy =
            toml::from_str("healthy_rate = 0.0\nslow_threshold = \"5s\"\n[services.support]\nhealthy_rate = 1.0")
                .unwrap();
        assert_eq!(share(HEALTHY, &policy), 1.0);
        assert_eq!(share(SamplingFacts { service: "other", ..HEALTHY }, &policy), 0.0);
        assert_eq!(policy.slow_threshold("support"), Duration::from_secs(5));
    }

    #[test]
    fn wrong_settings_are_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("healthy_rate = 1.5", "1.5 is not between 0 and 1"),
            ("healthy_rate = nan", "NaN is not between 0 and 1"),
            ("slow_threshold = \"soon\"", "\"soon\" is no duration"),
            ("rate = 0.5", "unknown field `rate`"),
            ("[services.a]\nhealthy_rate = -1.0", "-1 is not between 0 and 1"),
        ] {
            let error = toml::from_str::<SamplingPolicy>(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn the_policy_survives_being_written_and_read() {
        let policy: SamplingPolicy =
            toml::from_str("slow_threshold = \"1m 30s\"\n[services.a]\nslow_threshold = \"2s\"").unwrap();
        let written = toml::to_string(&policy).unwrap();
        assert_eq!(toml::from_str::<SamplingPolicy>(&written).unwrap(), policy);
    }
}
