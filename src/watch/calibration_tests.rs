//! Judges that err at known rates, and what calibration makes of them.

#![expect(clippy::print_stdout, reason = "measured coverage is there to be read")]

use super::audit::AuditPolicy;
use super::calibration::{Basis, Calibration, Method, calibrations};
use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, Judgement, Label, Origin, RevisionSum};
use crate::domain::time::Timestamp;

/// A judge and the traffic that it sees.
#[derive(Clone, Copy)]
struct World {
    pass_rate: f64,
    sensitivity: f64,
    specificity: f64,
    traces: usize,
}

const USUAL: World = World { pass_rate: 0.9, sensitivity: 0.95, specificity: 0.7, traces: 2_000 };

/// Judgements, each with what a person would say.
fn judgements(world: World, policy: &AuditPolicy, rng: &mut fastrand::Rng) -> Vec<(Judgement, bool)> {
    let one = |_| {
        let person = rng.f64() < world.pass_rate;
        let passed = rng.f64() < if person { world.sensitivity } else { 1.0 - world.specificity };
        let trace_id = TraceId::from_bytes(&rng.u128(1..).to_be_bytes()).unwrap();
        let judgement = Judgement {
            trace_id,
            evaluator: "grounded".to_owned(),
            revision: "r1".to_owned(),
            passed,
            reason: Some("so it seems".to_owned()),
            judged_at: Timestamp(0),
            weight: 1.0,
            is_upstream_known: true,
            draw: Some(policy.draw(trace_id, passed)),
        };
        (judgement, person)
    };
    (0..world.traces).map(one).collect()
}

fn label(trace_id: TraceId, answer: Answer) -> Label {
    Label {
        trace_id,
        evaluator: "grounded".to_owned(),
        revision: Some("r1".to_owned()),
        label: answer,
        reviewer: "anna".to_owned(),
        note: None,
        labelled_at: Timestamp(1),
        origin: Origin::Review,
        probability: None,
    }
}

/// The calibration when everything that is drawn is labelled.
fn calibrated(seen: &[(Judgement, bool)]) -> Calibration {
    let is_drawn = |judgement: &Judgement| judgement.draw.unwrap().is_drawn;
    let drawn = seen.iter().filter(|(judgement, _)| is_drawn(judgement));
    let labels: Vec<Label> = drawn.map(|(judgement, person)| label(judgement.trace_id, Answer::of(*person))).collect();
    calibrate(seen, &labels)
}

fn calibrate(seen: &[(Judgement, bool)], labels: &[Label]) -> Calibration {
    let judgements: Vec<Judgement> = seen.iter().map(|(judgement, _)| judgement.clone()).collect();
    calibrations(&judgements, &[], labels).pop().unwrap()
}

/// Shares of runs in which the intervals hold the true rates, and the mean width of the corrected one.
#[derive(Default)]
struct Coverage {
    corrected: f64,
    width: f64,
    raw: f64,
    specificity: f64,
}

fn coverage(world: World, policy: AuditPolicy, runs: u64) -> Coverage {
    let mut all = Coverage::default();
    for seed in 0..runs {
        let mut rng = fastrand::Rng::with_seed(seed);
        let found = calibrated(&judgements(world, &AuditPolicy { seed, ..policy }, &mut rng));
        let correction = found.corrected.unwrap();
        let holds = |rate: f64, low: f64, high: f64| f64::from(low <= rate && rate <= high) / runs as f64;
        let specificity = found.specificity.unwrap();
        all.corrected += holds(world.pass_rate, correction.low, correction.high);
        all.width += (correction.high - correction.low) / runs as f64;
        all.raw += holds(world.pass_rate, found.raw.low.unwrap(), found.raw.high.unwrap());
        all.specificity += holds(world.specificity, specificity.low.unwrap(), specificity.high.unwrap());
    }
    all
}

fn compare(runs: u64, least: f64) {
    let uniform = AuditPolicy { rate: 0.05, failing_rate: 0.05, seed: 0 };
    let more_fails = AuditPolicy { rate: 0.03, failing_rate: 0.13, seed: 0 };
    let even = World { pass_rate: 0.6, sensitivity: 0.9, specificity: 0.75, ..USUAL };
    for (world, policy, name) in [
        (USUAL, uniform, "90 % pass, equal probabilities"),
        (USUAL, more_fails, "90 % pass, fails drawn more often"),
        (even, uniform, "60 % pass, equal probabilities"),
        (even, more_fails, "60 % pass, fails drawn more often"),
    ] {
        let Coverage { corrected, width, raw, specificity } = coverage(world, policy, runs);
        println!(
            "{name}: about 100 labels of 2000, {runs} runs: corrected {corrected:.3} (width {width:.3}), raw {raw:.3}; \
             specificity {specificity:.3}"
        );
        assert!(corrected >= least, "{name}: {corrected}");
        assert!(raw < 0.5, "{name}: {raw}");
        assert!(specificity >= least - 0.05, "{name}: {specificity}");
    }
}

#[test]
fn corrected_intervals_hold_the_true_rate_where_the_raw_ones_do_not() {
    // Three standard deviations of a share at this size below the 93 % that the long run asks for.
    compare(100, 0.93 - 3.0 * (0.93 * 0.07 / 100.0_f64).sqrt());
}

#[test]
#[ignore = "takes minutes: cargo test --release --lib over_a_long_run -- --ignored --nocapture"]
fn corrected_intervals_hold_the_true_rate_over_a_long_run() {
    compare(4_000, 0.93);
}

#[test]
fn labels_of_flagged_traces_never_count() {
    let none = AuditPolicy { rate: 0.0, failing_rate: 0.0, seed: 0 };
    let seen = judgements(USUAL, &none, &mut fastrand::Rng::with_seed(1));
    let failing = seen.iter().filter(|(judgement, _)| !judgement.passed);
    let labels: Vec<Label> =
        failing.map(|(judgement, person)| label(judgement.trace_id, Answer::of(*person))).collect();
    let found = calibrate(&seen, &labels);
    assert_eq!((found.labels.flagged, found.n), (labels.len() as u64, 0));
    assert_eq!((found.kappa, found.corrected, found.calibrated), (None, None, false));
    assert_eq!(found.not_corrected.as_deref(), Some("there are no labels"));
}

#[test]
fn a_flagged_trace_that_was_also_drawn_counts_with_its_probability() {
    let policy = AuditPolicy { rate: 0.05, failing_rate: 0.5, seed: 3 };
    let found = calibrated(&judgements(USUAL, &policy, &mut fastrand::Rng::with_seed(3)));
    assert_eq!((found.labels.flagged, found.labels.audit), (0, found.labels.drawn));
    assert_eq!(found.corrected.unwrap().method, Method::ByVerdict);
    assert!(found.calibrated, "{}", found.standing);
    // Among the labels fails are many; by weight they are as rare as in the traffic.
    let counted = found.confusion.person_fails() / found.confusion.total();
    assert!(counted > 0.25, "{counted}");
    let specificity = found.specificity.unwrap();
    assert!(specificity.low.unwrap() < 0.7 && 0.7 < specificity.high.unwrap(), "{specificity:?}");
}

#[test]
fn too_few_answers_leave_the_estimate_uncorrected() {
    let policy = AuditPolicy { rate: 0.1, failing_rate: 0.1, seed: 0 };
    let seen = judgements(USUAL, &policy, &mut fastrand::Rng::with_seed(4));
    let drawn: Vec<_> = seen.iter().filter(|(judgement, _)| judgement.draw.unwrap().is_drawn).collect();
    let answered = |share: f64| -> Calibration {
        let count = (drawn.len() as f64 * share).ceil() as usize;
        let answer = |(at, (judgement, person)): (usize, &&(Judgement, bool))| {
            label(judgement.trace_id, if at < count { Answer::of(*person) } else { Answer::Skip })
        };
        calibrate(&seen, &drawn.iter().enumerate().map(answer).collect::<Vec<_>>())
    };
    let few = answered(0.7);
    assert_eq!(few.corrected, None);
    assert!(few.not_corrected.unwrap().starts_with("only 7"), "the reason says how many answered");
    assert!(few.labels.skipped > 0 && few.response_rate.unwrap() < 0.8);
    assert_eq!(answered(0.85).corrected.unwrap().method, Method::PpiCrossFitted);
}

#[test]
fn imported_labels_correct_by_error_rates_and_a_coin_is_refused() {
    let none = AuditPolicy { rate: 0.0, failing_rate: 0.0, seed: 0 };
    let imported = |world: World| {
        let seen = judgements(world, &none, &mut fastrand::Rng::with_seed(5));
        let import = |(judgement, person): &(Judgement, bool)| Label {
            origin: Origin::Import,
            ..label(judgement.trace_id, Answer::of(*person))
        };
        let labels: Vec<Label> = seen.iter().take(600).map(import).collect();
        calibrate(&seen, &labels)
    };
    let found = imported(USUAL);
    let correction = found.corrected.unwrap();
    assert_eq!((found.basis, correction.method), (Basis::Imported, Method::RoganGladen));
    assert!(correction.low < 0.9 && 0.9 < correction.high, "{correction:?}");
    let coin = imported(World { sensitivity: 0.5, specificity: 0.5, ..USUAL });
    assert_eq!(coin.corrected, None);
    assert!(coin.not_corrected.unwrap().contains("carries no information"));
    assert_eq!(coin.kappa.unwrap().word, "poor");
}

#[test]
fn the_last_label_holds_and_disagreements_carry_the_judges_reason() {
    let all = AuditPolicy { rate: 1.0, failing_rate: 1.0, seed: 0 };
    let perfect = World { pass_rate: 0.5, sensitivity: 1.0, specificity: 1.0, traces: 40 };
    let seen = judgements(perfect, &all, &mut fastrand::Rng::with_seed(6));
    let mut labels: Vec<Label> =
        seen.iter().map(|(judgement, person)| label(judgement.trace_id, Answer::of(*person))).collect();
    assert_eq!(calibrate(&seen, &labels).disagreements, []);
    let changed = Label { labelled_at: Timestamp(2), label: Answer::of(!seen[0].1), ..labels[0].clone() };
    labels.insert(0, changed);
    let found = calibrate(&seen, &labels);
    assert_eq!((found.disagreements.len(), found.n), (1, 40));
    assert_eq!(found.disagreements[0].trace_id, seen[0].0.trace_id);
    assert_eq!(found.disagreements[0].reason.as_deref(), Some("so it seems"));
}

#[test]
fn few_labels_of_a_class_are_read_alone() {
    let policy = AuditPolicy { rate: 0.03, failing_rate: 0.03, seed: 0 };
    let mostly = World { pass_rate: 0.98, ..USUAL };
    let found = calibrated(&judgements(mostly, &policy, &mut fastrand::Rng::with_seed(7)));
    assert_eq!(found.corrected.unwrap().method, Method::LabelsAlone);
    assert!(!found.calibrated && found.standing.contains("50 of each are needed"), "{}", found.standing);
}

#[test]
fn labels_that_bring_probabilities_of_their_own_are_weighted_by_them() {
    let none = AuditPolicy { rate: 0.0, failing_rate: 0.0, seed: 0 };
    let (mut held, runs) = (0, 100);
    for seed in 0..runs {
        let mut rng = fastrand::Rng::with_seed(seed);
        let even = World { pass_rate: 0.6, sensitivity: 0.8, specificity: 0.7, traces: 1_500 };
        let mut seen = judgements(even, &none, &mut rng);
        seen.iter_mut().for_each(|(judgement, _)| judgement.draw = None);
        let mut labels = Vec::new();
        for (judgement, person) in &seen {
            // Someone drew what people pass more often, which no judge's verdict tells.
            let probability = if *person { 0.4 } else { 0.15 };
            if rng.f64() < probability {
                let label = label(judgement.trace_id, Answer::of(*person));
                labels.push(Label { origin: Origin::Import, probability: Some(probability), ..label });
            }
        }
        let correction = calibrate(&seen, &labels).corrected.unwrap();
        assert_eq!(correction.method, Method::AugmentedInverseProbability);
        held += u64::from(correction.low <= 0.6 && 0.6 <= correction.high);
    }
    assert!(held >= 89, "{held} of {runs}");
}

/// An import of labels with these probabilities, by what the judge and people say.
fn imported(
    seen: &[(Judgement, bool)],
    probability: impl Fn(bool, bool) -> f64,
    rng: &mut fastrand::Rng,
) -> Vec<Label> {
    let one = |(judgement, person): &(Judgement, bool)| {
        let probability = probability(judgement.passed, *person);
        let label = Label { origin: Origin::Import, ..label(judgement.trace_id, Answer::of(*person)) };
        (rng.f64() < probability).then_some(Label { probability: Some(probability), ..label })
    };
    seen.iter().filter_map(one).collect()
}

fn of_drawn(seen: &[(Judgement, bool)], answer: impl Fn(usize, bool) -> Answer) -> Vec<Label> {
    let drawn = seen.iter().filter(|(judgement, _)| judgement.draw.unwrap().is_drawn).enumerate();
    drawn.map(|(at, (judgement, person))| label(judgement.trace_id, answer(at, *person))).collect()
}

#[test]
fn an_audit_that_is_enough_corrects_alone_whatever_else_was_imported() {
    let policy = AuditPolicy { rate: 0.1, failing_rate: 0.1, seed: 0 };
    let mut rng = fastrand::Rng::with_seed(8);
    let seen = judgements(USUAL, &policy, &mut rng);
    let audit = of_drawn(&seen, |_, person| Answer::of(person));
    let alone = calibrate(&seen, &audit);
    let undrawn: Vec<_> = seen.iter().filter(|(judgement, _)| !judgement.draw.unwrap().is_drawn).cloned().collect();
    let more = imported(&undrawn, |_, person| if person { 0.05 } else { 0.8 }, &mut rng);
    let both = calibrate(&seen, &[&audit[..], &more].concat());
    assert_eq!((both.basis, both.labels.imported_sample), (Basis::Audit, more.len() as u64));
    assert_eq!((both.labels.drawn, both.labels.audit, both.n), (alone.labels.drawn, alone.labels.audit, alone.n));
    assert_eq!((both.response_rate, both.confusion), (alone.response_rate, alone.confusion));
    let difference = both.corrected.unwrap().estimate - alone.corrected.unwrap().estimate;
    assert!(difference.abs() < 1e-9, "{difference}");
}

#[test]
fn imported_labels_with_probabilities_correct_where_too_few_of_the_audit_are_answered() {
    let policy = AuditPolicy { rate: 0.1, failing_rate: 0.1, seed: 0 };
    let mut rng = fastrand::Rng::with_seed(9);
    let seen = judgements(USUAL, &policy, &mut rng);
    // People answer where there is something wrong to see.
    let audit = of_drawn(&seen, |at, person| if person && at % 2 == 0 { Answer::Skip } else { Answer::of(person) });
    assert_eq!(calibrate(&seen, &audit).corrected, None);
    let undrawn: Vec<_> = seen.iter().filter(|(judgement, _)| !judgement.draw.unwrap().is_drawn).cloned().collect();
    let sample = imported(&undrawn, |_, _| 0.2, &mut rng);
    let found = calibrate(&seen, &[&audit[..], &sample].concat());
    assert_eq!((found.basis, found.n), (Basis::ImportedSample, sample.len() as u64));
    assert!(found.response_rate.unwrap() < 0.8, "imports are no answers to draws");
    let correction = found.corrected.unwrap();
    assert_eq!(correction.method, Method::PpiCrossFitted);
    assert!(correction.low < 0.9 && 0.9 < correction.high, "{correction:?}");
}

#[test]
fn labels_of_few_draws_give_way_to_error_rates_and_without_those_are_read_alone() {
    let policy = AuditPolicy { rate: 0.005, failing_rate: 0.005, seed: 0 };
    let seen = judgements(USUAL, &policy, &mut fastrand::Rng::with_seed(10));
    let audit = of_drawn(&seen, |_, person| Answer::of(person));
    assert!(audit.len() < 20, "{}", audit.len());
    let alone = calibrate(&seen, &audit);
    assert_eq!((alone.basis, alone.corrected.unwrap().method), (Basis::Audit, Method::LabelsAlone));
    let import = |(judgement, person): &(Judgement, bool)| Label {
        origin: Origin::Import,
        ..label(judgement.trace_id, Answer::of(*person))
    };
    let others: Vec<Label> = seen.iter().filter(|(it, _)| !it.draw.unwrap().is_drawn).take(500).map(import).collect();
    let found = calibrate(&seen, &[&audit[..], &others].concat());
    assert_eq!((found.basis, found.corrected.unwrap().method), (Basis::Imported, Method::RoganGladen));
}

/// How often the specificity's interval holds the true one, where labels are drawn with unequal probabilities.
fn specificity_held(runs: u64, of: impl Fn(&mut fastrand::Rng) -> (Calibration, f64)) -> f64 {
    let held = (0..runs).filter(|seed| {
        let (found, specificity) = of(&mut fastrand::Rng::with_seed(*seed));
        let interval = found.specificity.unwrap();
        interval.low.unwrap() <= specificity && specificity <= interval.high.unwrap()
    });
    held.count() as f64 / runs as f64
}

#[test]
fn error_rates_hold_where_the_audits_rate_was_changed_when_the_judge_got_worse() {
    let held = specificity_held(100, |rng| {
        let half = |specificity| World { pass_rate: 0.6, sensitivity: 0.9, specificity, traces: 3_000 };
        let seldom = AuditPolicy { rate: 0.04, failing_rate: 0.04, seed: rng.u64(..) };
        let often = AuditPolicy { rate: 0.3, failing_rate: 0.3, seed: rng.u64(..) };
        let seen = [judgements(half(0.9), &seldom, rng), judgements(half(0.5), &often, rng)].concat();
        let found = calibrated(&seen);
        assert_eq!(found.corrected.unwrap().method, Method::ByVerdict);
        (found, 0.7)
    });
    assert!(held >= 0.9, "{held}");
}

#[test]
fn error_rates_hold_where_an_import_was_drawn_by_what_people_said() {
    let held = specificity_held(100, |rng| {
        let never = AuditPolicy { rate: 0.0, failing_rate: 0.0, seed: 0 };
        let even = World { pass_rate: 0.6, sensitivity: 0.8, specificity: 0.7, traces: 1_500 };
        let seen = judgements(even, &never, rng);
        let labels = imported(&seen, |_, person| if person { 0.4 } else { 0.15 }, rng);
        (calibrate(&seen, &labels), 0.7)
    });
    assert!(held >= 0.9, "{held}");
}

#[test]
fn sums_of_unlabelled_judgements_say_the_same_as_the_judgements() {
    for (rate, failing_rate) in [(0.05, 0.05), (0.04, 0.3)] {
        let policy = AuditPolicy { rate, failing_rate, seed: 3 };
        let mut seen = judgements(USUAL, &policy, &mut fastrand::Rng::with_seed(11));
        for (at, (judgement, _)) in seen.iter_mut().enumerate() {
            judgement.weight = if at % 3 == 0 { 1.0 } else { 4.0 };
            judgement.is_upstream_known = at % 5 != 0;
        }
        let whole = calibrated(&seen);
        let is_drawn = |judgement: &Judgement| judgement.draw.unwrap().is_drawn;
        let (drawn, others): (Vec<_>, Vec<_>) = seen.iter().partition(|(judgement, _)| is_drawn(judgement));
        let labels: Vec<Label> =
            drawn.iter().map(|(judgement, person)| label(judgement.trace_id, Answer::of(*person))).collect();
        let drawn: Vec<Judgement> = drawn.into_iter().map(|(judgement, _)| judgement.clone()).collect();
        let sums = summed(others.into_iter().map(|(judgement, _)| RevisionSum::from(judgement)));
        assert!(sums.len() <= 8, "{}", sums.len());
        let found = calibrations(&drawn, &sums, &labels).pop().unwrap();
        assert_eq!((found.judged, found.raw.upstream_unknown), (2_000, 400));
        assert_eq!((found.judged, found.labels, found.n), (whole.judged, whole.labels, whole.n));
        let numbers = |of: &Calibration| {
            let correction = of.corrected.unwrap();
            let specificity = of.specificity.unwrap();
            [of.raw.low, of.raw.high, specificity.low, Some(correction.low), Some(correction.high)].map(Option::unwrap)
        };
        for (one, other) in numbers(&found).into_iter().zip(numbers(&whole)) {
            assert!((one - other).abs() < 1e-9, "{one} and {other}");
        }
    }
}

/// Sums of what is alike, as the store makes them.
fn summed(all: impl Iterator<Item = RevisionSum>) -> Vec<RevisionSum> {
    let mut sums: Vec<RevisionSum> = Vec::new();
    for one in all {
        let of = one.judged;
        let is_alike = |sum: &&mut RevisionSum| (sum.judged.passed, sum.judged.draw) == (of.passed, of.draw);
        match sums.iter_mut().find(is_alike) {
            Some(RevisionSum { judged: sum, .. }) => {
                sum.count += of.count;
                sum.weight += of.weight;
                sum.weight_squared += of.weight_squared;
                sum.upstream_unknown += of.upstream_unknown;
            }
            None => sums.push(one),
        }
    }
    sums
}

#[test]
fn a_label_counts_for_the_revision_that_was_drawn() {
    let never = AuditPolicy { rate: 0.0, failing_rate: 0.0, seed: 0 };
    let seen = judgements(USUAL, &never, &mut fastrand::Rng::with_seed(12));
    let of_other = |(judgement, person): &(Judgement, bool)| Label {
        probability: Some(0.5),
        ..label(judgement.trace_id, Answer::of(*person))
    };
    let labels: Vec<Label> = seen.iter().take(300).map(of_other).collect();
    let found = calibrate(&seen, &labels);
    assert_eq!((found.labels.flagged, found.n, found.corrected), (300, 0, None));
}
