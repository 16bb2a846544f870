//! The probability with which upstream sampling kept a trace (OpenTelemetry specification, tracestate handling).

use crate::domain::ids::TraceId;

/// Thresholds are fractions of 2^56, written in at most this many hexadecimal digits.
const DIGITS: usize = 14;

const WHOLE: u64 = 1 << (4 * DIGITS);

/// The probability in a `tracestate`, (2^56 - th) / 2^56; `None` when it says none, or when the trace's randomness
/// contradicts the threshold, which then was not what decided.
pub(super) fn probability(trace_state: &str, trace_id: TraceId) -> Option<f64> {
    let member = trace_state.split(',').find_map(|member| member.trim().strip_prefix("ot="))?;
    let value = |key: &str| member.split(';').find_map(|pair| pair.strip_prefix(key)?.strip_prefix(':'));
    let threshold = fraction(value("th")?)?;
    let randomness = match value("rv") {
        Some(explicit) if explicit.len() == DIGITS => fraction(explicit)?,
        Some(_) => return None,
        None => low_56_bits(trace_id),
    };
    (randomness >= threshold).then(|| (WHOLE - threshold) as f64 / WHOLE as f64)
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

    fn trace_id(low: &str) -> TraceId {
        format!("1111111111111111{low}").parse().unwrap()
    }

    #[test]
    fn the_threshold_gives_the_probability() {
        let random = trace_id("00ffffffffffffff");
        for (threshold, expected) in [("0", 1.0), ("8", 0.5), ("c", 0.25), ("fd70a4", 0.01)] {
            let found = probability(&format!("vendor=x, ot=rv:ffffffffffffff;th:{threshold}"), random).unwrap();
            assert!((found - expected).abs() < 1e-6, "{threshold}: {found}");
        }
        assert_eq!(probability("ot=th:8", random), Some(0.5));
    }

    #[test]
    fn what_is_not_said_or_contradicts_itself_is_unknown() {
        let random = trace_id("0000000000000001");
        for state in ["", "ot=p:8;r:62", "ot=th:", "ot=th:G", "ot=th:123456789012345", "other=th:8", "ot=th:8"] {
            assert_eq!(probability(state, random), None, "{state}");
        }
    }
}
