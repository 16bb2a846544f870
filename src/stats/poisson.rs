//! How surprising is a silence?
//!
//! **Question.** A service that always has traffic at this time had none. Is that its traffic, or has something stopped?
//!
//! **Statistic.** The probability of no event in some exposure, at a rate of which it is only known that so many events
//! came in another one. A rate learnt from `count` events is itself uncertain, with a gamma law, so events to come are
//! negative binomial and none of them has probability (1 + exposure/seen)^-count.
//!
//! **When it fires.** It does not: the rule `service_quiet` fires at a number of traces, and tells this probability.
//!
//! **Cold start.** Without events nothing is known, and no silence surprises: 1.
//!
//! **Recovery.** The next hour with traces.
//!
//! **Where it ends.** Events that come in bursts are silent more often: the rule therefore gives it the traces of the
//! quietest comparable hour, not of all of them.
//!
//! Source: the posterior predictive law of a Poisson count, for example Gelman et al., Bayesian Data Analysis, section
//! 2.6.

/// Probability of no event at all in `exposure`, at a rate of which it is only known that `count` events came in
/// `seen_exposure`.
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
}
