//! How often does something happen per unit of exposure, and more often than before?

use super::distribution::{binomial_at_least, gamma_quantile};
use super::interval::Interval;

/// Exact interval of a rate, from `count` events in `exposure` (Garwood 1936).
#[must_use]
pub fn rate_interval(count: u64, exposure: f64, confidence: f64) -> Interval {
    let tail = (1.0 - confidence) / 2.0;
    let low = if count == 0 { 0.0 } else { gamma_quantile(tail, count as f64) };
    Interval { low: low / exposure, high: gamma_quantile(1.0 - tail, count as f64 + 1.0) / exposure }
}

/// Probability of `count` or more events in `exposure`, when the rate is that at which `other_count` came in
/// `other_exposure`: given all events, those of one side are binomial (Przyborowski and Wilenski 1940). One-sided.
#[must_use]
pub fn rate_rise_p_value(count: u64, exposure: f64, other_count: u64, other_exposure: f64) -> f64 {
    binomial_at_least(count, count + other_count, exposure / (exposure + other_exposure))
}

/// Probability of no event at all in `exposure`, at a rate of which it is only known that `count` events came in
/// `seen_exposure`: the negative binomial (1 + exposure/seen)^-(count). How surprising a silence is.
#[must_use]
pub fn silence_probability(exposure: f64, count: u64, seen_exposure: f64) -> f64 {
    (-(count as f64) * (exposure / seen_exposure).ln_1p()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_surprises_where_traffic_is_steady_and_not_where_it_is_rare() {
        assert!(silence_probability(1.0, 7200, 720.0) < 1e-4);
        assert!(silence_probability(1.0, 72, 720.0) > 0.9);
        assert_eq!(silence_probability(1.0, 0, 720.0), 1.0);
    }

    #[test]
    fn equal_rates_are_no_rise() {
        assert!(rate_rise_p_value(20, 10.0, 20, 10.0) > 0.4);
        assert!(rate_rise_p_value(40, 10.0, 20, 10.0) < 0.01);
        assert_eq!(rate_rise_p_value(0, 10.0, 20, 10.0), 1.0);
    }

    #[test]
    fn no_event_bounds_the_rate_from_above() {
        let interval = rate_interval(0, 10.0, 0.9);
        assert!(interval.low == 0.0 && (interval.high - 0.299_573).abs() < 1e-5, "{interval:?}");
    }
}
