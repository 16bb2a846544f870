use super::*;
use crate::evaluate::cases::{TraceDescription, trace_of};

fn healthy() -> Trace {
    Trace { service: "support".to_owned(), ..trace_of(&TraceDescription::default()) }
}

fn policy(text: &str) -> SamplingPolicy {
    toml::from_str(text).unwrap()
}

/// Traces like this one with ids that differ in their last bytes only, as a poor generator's would.
fn alike(trace: &Trace, count: u64) -> impl Iterator<Item = Trace> {
    (1..=count).map(|number| {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Trace { trace_id: TraceId::from_bytes(&bytes).unwrap(), ..trace.clone() }
    })
}

fn share(trace: &Trace, failed_rule: bool, policy: &SamplingPolicy) -> f64 {
    let sampled = alike(trace, 10_000).filter(|trace| decide(trace, failed_rule, policy).sampled).count();
    sampled as f64 / 10_000.0
}

/// Four standard deviations of a binomial share of 10,000.
fn is_near(share: f64, expected: f64) -> bool {
    (share - expected).abs() <= 4.0 * (expected * (1.0 - expected) / 10_000.0).sqrt()
}

#[test]
fn healthy_traces_are_sampled_at_the_healthy_rate() {
    let share = share(&healthy(), false, &SamplingPolicy::default());
    assert!(is_near(share, 0.1), "{share}");
}

#[test]
fn the_draw_of_a_trace_stays_what_it_was() {
    // A changed draw would resample every trace that is delivered again after an upgrade.
    let id: TraceId = "65888dddb25592422df09b0e4b474df2".parse().unwrap();
    assert_eq!((uniform(id) * 1e6).floor(), 309_675.0);
}

#[test]
fn errors_slow_runs_and_failed_rules_are_always_sampled_whatever_the_policies_say() {
    let policy = policy("healthy_rate = 0.0\nslow_threshold = \"1s\"\n[[policies]]\nname = \"few\"\nrate = 0.001");
    let quick = Trace { ended_at: healthy().started_at, ..healthy() };
    assert!(share(&quick, false, &policy) < 0.01);
    assert_eq!(share(&quick, true, &policy), 1.0);
    assert_eq!(share(&healthy(), false, &policy), 1.0, "it takes a second");
    assert_eq!(share(&Trace { error: Some("timeout".to_owned()), ..quick }, false, &policy), 1.0);
}

#[test]
fn the_same_trace_is_decided_alike_and_a_higher_rate_keeps_what_a_lower_one_kept() {
    let low = SamplingPolicy { healthy_rate: 0.2, ..SamplingPolicy::default() };
    let high = SamplingPolicy { healthy_rate: 0.5, ..SamplingPolicy::default() };
    for trace in alike(&healthy(), 2_000) {
        let decision = decide(&trace, false, &low);
        assert_eq!(decision, decide(&trace, false, &low));
        assert!(!decision.sampled || decide(&trace, false, &high).sampled);
    }
}

#[test]
fn a_service_can_differ_in_one_key_and_keep_the_other() {
    let policy = policy("healthy_rate = 0.0\nslow_threshold = \"5s\"\n[services.support]\nhealthy_rate = 1.0");
    assert_eq!(share(&healthy(), false, &policy), 1.0);
    assert_eq!(share(&Trace { service: "other".to_owned(), ..healthy() }, false, &policy), 0.0);
    assert_eq!(policy.slow_threshold("support"), Duration::from_secs(5));
}

#[test]
fn the_first_policy_that_fits_decides_and_names_the_stratum() {
    let policy = policy(
        "[[policies]]\nname = \"vip\"\nwhere = { tier = \"enterprise\" }\nrate = 1.0\n\
         [[policies]]\nname = \"half\"\nwhere = { service = \"support\", \"retry.count\" = 2 }\nrate = 0.5\n\
         [[policies]]\nname = \"long\"\nwhere = { min_duration = \"1s\", span_error = true }\nrate = 0.25",
    );
    let with = |attributes: &[(&str, &str)], failed_spans| Trace {
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        failed_spans,
        ..healthy()
    };
    for (trace, stratum, probability) in [
        (with(&[("tier", "enterprise"), ("retry.count", "2")], 1), "vip", 1.0),
        (with(&[("retry.count", "2")], 1), "half", 0.5),
        (with(&[("retry.count", "3")], 1), "long", 0.25),
        (with(&[("tier", "free")], 0), "healthy", 0.1),
    ] {
        let decision = decide(&trace, false, &policy);
        assert_eq!((decision.stratum(), decision.probability), (stratum, probability));
        assert!(is_near(share(&trace, false, &policy), probability), "{stratum}");
    }
    assert_eq!(policy.attributes().collect::<Vec<_>>(), ["tier", "retry.count"]);
}

#[test]
fn a_limit_chooses_by_the_window_before_and_never_above_its_rate() {
    let mut policy = policy("[[policies]]\nname = \"cap\"\nper_hour = 50\nrate = 0.8");
    for (before, probability) in [(0, 0.8), (40, 0.8), (1_000, 0.05)] {
        policy.before = [(("cap".to_owned(), "support".to_owned()), before)].into();
        assert_eq!(decide(&healthy(), false, &policy).probability, probability);
        assert!(is_near(share(&healthy(), false, &policy), probability), "{before}");
    }
    let other = Trace { service: "other".to_owned(), ..healthy() };
    assert_eq!(decide(&other, false, &policy).probability, 0.8, "every service has the limit for itself");
}

#[test]
fn upstream_sampling_is_what_the_trace_says_else_its_stratum_else_unknown() {
    let policy = policy(
        "[[upstream]]\nwhere = { span_error = true }\nprobability = 1.0\n\
         [[upstream]]\nwhere = { service = \"support\" }\nprobability = 0.05",
    );
    let upstream = |trace: &Trace| policy.upstream_probability(trace).map(|it| (it.probability, it.source));
    let said = UpstreamProbability { probability: 0.25, source: "ot=th".to_owned() };
    let says = Trace { upstream_probability: Some(said), failed_spans: 1, ..healthy() };
    assert_eq!(upstream(&says), Some((0.25, "ot=th".to_owned())));
    assert_eq!(upstream(&Trace { failed_spans: 1, ..healthy() }), Some((1.0, "sampling.upstream[0]".to_owned())));
    assert_eq!(upstream(&healthy()), Some((0.05, "sampling.upstream[1]".to_owned())));
    assert_eq!(upstream(&Trace { service: "other".to_owned(), ..healthy() }), None);
    assert_eq!(decide(&healthy(), false, &policy).upstream.unwrap().probability, 0.05);
}

#[test]
fn wrong_settings_are_refused_with_what_is_wrong() {
    for (text, problem) in [
        ("healthy_rate = 1.5", "1.5 is not between 0 and 1"),
        ("healthy_rate = nan", "NaN is not between 0 and 1"),
        ("slow_threshold = \"soon\"", "\"soon\" is no duration"),
        ("rate = 0.5", "unknown field `rate`"),
        ("[services.a]\nhealthy_rate = -1.0", "-1 is not between 0 and 1"),
        ("[[policies]]\nrate = 0.5", "missing field `name`"),
        ("[[policies]]\nname = \"a\"", "policy \"a\" says neither rate nor per_minute nor per_hour"),
        ("[[policies]]\nname = \"slow\"\nrate = 1.0", "policy \"slow\" needs a name of its own"),
        ("[[policies]]\nname = \"a\"\nrate = 0.0", "0 is not more than 0 and at most 1"),
        ("[[policies]]\nname = \"a\"\nper_hour = 1\nper_minute = 1", "both per_minute and per_hour"),
        ("[[policies]]\nname = \"a\"\nper_minute = 0", "allows no trace at all"),
        ("[[policies]]\nname = \"a\"\nrate = 1.0\nwhere = { error = true }", "ask for span_error"),
        ("[[policies]]\nname = \"a\"\nrate = 1.0\nwhere = { span_error = 1 }", "where.span_error is either"),
        ("[[policies]]\nname = \"a\"\nrate = 1.0\nwhere = { min_duration = 5 }", "where.min_duration is a duration"),
        ("[[upstream]]\nprobability = 2.0", "2 is not more than 0 and at most 1"),
        ("[[upstream]]\nwhere = {}", "missing field `probability`"),
    ] {
        let error = toml::from_str::<SamplingPolicy>(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}
