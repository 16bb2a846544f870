//! The probability with which sampling before us kept a trace, as the trace itself tells it.
//!
//! The threshold in a `tracestate` comes first (OpenTelemetry specification, tracestate handling), then what samplers
//! of vendors write on the spans they keep. Only names whose meaning the vendor states are read; `sampling.probability`
//! and the like are in no specification. They are read where the run begins and nowhere below: a step's own attributes
//! may have the same names, as the `SampleRate` of speech has. What is not said is unknown, and so is what cannot be: a
//! rate of nothing, more than everything, or so little that one trace could outweigh all others.

use crate::domain::ids::TraceId;
use crate::domain::trace::UpstreamProbability;

use super::attributes::Attributes;
use super::tree::Tree;

/// Thresholds are fractions of 2^56, written in at most this many hexadecimal digits.
const DIGITS: usize = 14;

const WHOLE: u64 = 1 << (4 * DIGITS);

/// Smaller probabilities of a threshold are taken for a mistake.
const LEAST: f64 = 1e-6;

/// Smaller probabilities of a vendor's attribute are taken for a mistake, or for another quantity of that name.
const LEAST_OF_VENDOR: f64 = 1e-4;

/// The attributes by which a vendor's sampler says what it did, and how to read them.
struct Vendor {
    source: &'static str,
    probability: fn(Attributes<'_>) -> Option<f64>,
}

/// Which samplers say with what probability they keep, each with where that is written down.
const VENDORS: &[Vendor] = &[
    // Datadog tracers (constants of dd-trace): the rate of the rule, and the share that its rate limiter let pass.
    Vendor { source: "_dd.rule_psr", probability: |span| by_rule(span) },
    // The rate that the Datadog agent asked for.
    Vendor { source: "_dd.agent_psr", probability: |span| unless_kept_by_hand(span, "_dd.agent_psr") },
    // Honeycomb's SDKs and Refinery (docs.honeycomb.io, sampling): one of so many was kept.
    Vendor { source: "SampleRate", probability: |span| one_of_so_many(span) },
    // Jaeger's clients and remote sampler (jaegertracing.io, sampling): `param` is a probability for these two alone.
    Vendor { source: "sampler.param", probability: |span| jaeger(span) },
    // Azure Monitor's samplers: a percentage.
    Vendor { source: "microsoft.sample_rate", probability: |span| percentage(span, "microsoft.sample_rate") },
    Vendor { source: "_MS.sampleRate", probability: |span| percentage(span, "_MS.sampleRate") },
    // Sentry's SDKs, on root spans alone (semantic attributes of @sentry/core).
    Vendor { source: "sentry.sample_rate", probability: |span| span.number(&["sentry.sample_rate"]) },
];

/// What the trace says: its threshold on any span, else a vendor's attribute on the root or the run's own span.
pub(super) fn probability(tree: &Tree<'_>, trace_id: TraceId) -> Option<UpstreamProbability> {
    let threshold = || tree.root_first().find_map(|view| of_trace_state(&view.span.trace_state, trace_id));
    let vendor = || [tree.root(), tree.subject()].into_iter().find_map(|view| of_vendor(view.attributes()));
    // A threshold that contradicts the trace's randomness decided nothing, and leaves the vendors to speak.
    threshold().map(|probability| UpstreamProbability { probability, source: "ot=th".to_owned() }).or_else(vendor)
}

fn of_vendor(span: Attributes<'_>) -> Option<UpstreamProbability> {
    VENDORS.iter().find_map(|vendor| {
        let probability = (vendor.probability)(span).filter(|it| (LEAST_OF_VENDOR..=1.0).contains(it))?;
        Some(UpstreamProbability { probability, source: vendor.source.to_owned() })
    })
}

fn one_of_so_many(span: Attributes<'_>) -> Option<f64> {
    span.number(&["SampleRate"]).filter(|rate| rate.fract() == 0.0).map(f64::recip)
}

fn by_rule(span: Attributes<'_>) -> Option<f64> {
    let limit = span.number(&["_dd.limit_psr"]).unwrap_or(1.0);
    Some(unless_kept_by_hand(span, "_dd.rule_psr")? * limit)
}

/// A trace that a person's code decided to keep (decision maker 4) was not kept at any rate.
fn unless_kept_by_hand(span: Attributes<'_>, rate: &str) -> Option<f64> {
    let is_by_hand = span.text(&["_dd.p.dm"]).is_some_and(|decision_maker| decision_maker == "-4");
    span.number(&[rate]).filter(|_| !is_by_hand)
}

fn jaeger(span: Attributes<'_>) -> Option<f64> {
    let is_probability = matches!(span.text(&["sampler.type"])?.as_ref(), "probabilistic" | "const");
    // A constant sampler's parameter may be written as a boolean.
    let is_always = || span.text(&["sampler.param"]).filter(|text| text == "true").map(|_| 1.0);
    span.number(&["sampler.param"]).or_else(is_always).filter(|_| is_probability)
}

fn percentage(span: Attributes<'_>, name: &str) -> Option<f64> {
    Some(span.number(&[name])? / 100.0)
}

/// The probability in a `tracestate`, (2^56 - th) / 2^56; `None` when it says none, or when the trace's randomness
/// contradicts the threshold, which then was not what decided.
fn of_trace_state(trace_state: &str, trace_id: TraceId) -> Option<f64> {
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let value = |key: &str| member.split(';').find_map(|pair| pair.strip_prefix(key)?.strip_prefix(':'));
    let threshold = fraction(value("th")?)?;
    let randomness = match value("rv") {
        Some(explicit) if explicit.len() == DIGITS => fraction(explicit)?,
        Some(_) => return None,
        None => low_56_bits(trace_id),
    };
    let probability = (WHOLE - threshold) as f64 / WHOLE as f64;
    (randomness >= threshold && probability >= LEAST).then_some(probability)
}

/// One to fourteen lower-case hexadecimal digits, padded with zeros on the right.
fn fraction(digits: &str) -> Option<u64> {
    let valid = digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    if !valid || digits.is_empty() || digits.len() > DIGITS {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(|value| value << (4 * (DIGITS - digits.len())))
}

fn low_56_bits(trace_id: TraceId) -> u64 {
    trace_id.as_bytes()[9..].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::any_value::Value;
    use crate::otlp::{AnyValue, KeyValue};

    fn trace_id(low: &str) -> TraceId {
        format!("1111111111111111{low}").parse().unwrap()
    }

    fn vendor(attributes: &[(&str, Value)]) -> Option<(f64, String)> {
        let attribute = |(key, value): &(&str, Value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(value.clone()) }),
            key_strindex: 0,
        };
        let attributes: Vec<KeyValue> = attributes.iter().map(attribute).collect();
        of_vendor(Attributes(&attributes)).map(|upstream| (upstream.probability, upstream.source))
    }

    fn text(text: &str) -> Value {
        Value::StringValue(text.to_owned())
    }

    #[test]
    fn the_threshold_gives_the_probability() {
        let random = trace_id("00ffffffffffffff");
        for (threshold, expected) in [("0", 1.0), ("8", 0.5), ("c", 0.25), ("fd70a4", 0.01)] {
            let found = of_trace_state(&format!("vendor=x, ot=rv:ffffffffffffff;th:{threshold}"), random).unwrap();
            assert!((found - expected).abs() < 1e-6, "{threshold}: {found}");
        }
        assert_eq!(of_trace_state("ot=th:8", random), Some(0.5));
    }

    #[test]
    fn what_is_not_said_or_contradicts_itself_is_unknown() {
        let random = trace_id("0000000000000001");
        for state in ["", "ot=p:8;r:62", "ot=th:", "ot=th:G", "ot=th:123456789012345", "other=th:8", "ot=th:8"] {
            assert_eq!(of_trace_state(state, random), None, "{state}");
        }
        assert_eq!(of_trace_state("ot=rv:ffffffffffffff;th:ffffffffffffff", random), None, "one in 2^56");
    }

    #[test]
    fn samplers_of_vendors_are_read_in_their_own_units() {
        let double = Value::DoubleValue;
        for (attributes, expected) in [
            (vec![("_dd.rule_psr", double(0.5)), ("_dd.limit_psr", double(0.2))], 0.1),
            (vec![("_dd.agent_psr", double(0.25)), ("_sampling_priority_v1", double(1.0))], 0.25),
            (vec![("SampleRate", Value::IntValue(20))], 0.05),
            (vec![("sampler.type", text("probabilistic")), ("sampler.param", double(0.01))], 0.01),
            (vec![("sampler.type", text("const")), ("sampler.param", Value::BoolValue(true))], 1.0),
            (vec![("microsoft.sample_rate", double(12.5))], 0.125),
            (vec![("_MS.sampleRate", text("50"))], 0.5),
            (vec![("sentry.sample_rate", double(0.3))], 0.3),
        ] {
            let (found, source) = vendor(&attributes).unwrap();
            assert!((found - expected).abs() < 1e-12, "{attributes:?}: {found}");
            assert!(attributes.iter().any(|(name, _)| *name == source), "{source}");
        }
    }

    #[test]
    fn a_rate_that_is_none_or_was_not_what_decided_is_unknown() {
        let double = Value::DoubleValue;
        for attributes in [
            vec![("_dd.rule_psr", double(0.5)), ("_dd.p.dm", text("-4"))],
            vec![("SampleRate", Value::IntValue(0))],
            vec![("SampleRate", double(1e300))],
            vec![("SampleRate", double(0.5))],
            vec![("SampleRate", double(2.5))],
            vec![("SampleRate", Value::IntValue(44_100))],
            vec![("sampler.type", text("ratelimiting")), ("sampler.param", double(1.0))],
            vec![("sampler.param", double(1.0))],
            vec![("microsoft.sample_rate", double(400.0))],
            vec![("_MS.sampleRate", double(f64::NAN))],
            vec![("sentry.sample_rate", double(-0.5))],
            vec![("sampling.probability", double(0.5))],
        ] {
            assert_eq!(vendor(&attributes), None, "{attributes:?}");
        }
    }
}
