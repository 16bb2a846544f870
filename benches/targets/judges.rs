//! Row 11: a judge that is wrong, corrected by people's labels, as `calibrate` does it.

use driftline::domain::ids::TraceId;
use driftline::domain::label::{Answer, Draw, Judgement, Label, Origin};
use driftline::domain::time::Timestamp;
use driftline::watch::calibration::{Calibration, calibrations};
use fastrand::Rng;

use super::{Effort, Measured, Target};

/// Share of good runs, and how often the judge is right about a good and about a bad one.
const GOOD: f64 = 0.9;
const SENSITIVITY: f64 = 0.95;
const SPECIFICITY: f64 = 0.7;
/// Runs that the judge has seen.
const JUDGED: usize = 2_000;

/// A run that the judge has seen, drawn or not, and what a person would say of it.
fn judged(number: usize, draw: Draw, rng: &mut Rng) -> (Judgement, bool) {
    let is_good = rng.f64() < GOOD;
    let passed = rng.f64() < if is_good { SENSITIVITY } else { 1.0 - SPECIFICITY };
    let judgement = Judgement {
        trace_id: TraceId::from_bytes(&(number as u128 + 1).to_be_bytes()).expect("it is not zero"),
        evaluator: "judge".to_owned(),
        revision: "r1".to_owned(),
        passed,
        reason: None,
        judged_at: Timestamp(0),
        weight: 1.0,
        is_upstream_known: true,
        draw: Some(draw),
    };
    (judgement, is_good)
}

fn labelled((judgement, is_good): &(Judgement, bool)) -> Label {
    Label {
        trace_id: judgement.trace_id,
        evaluator: judgement.evaluator.clone(),
        revision: Some(judgement.revision.clone()),
        label: Answer::of(*is_good),
        reviewer: "reviewer".to_owned(),
        note: None,
        labelled_at: Timestamp(1),
        origin: Origin::Review,
        probability: None,
    }
}

/// What is made of a judge of whose runs so many were drawn, and all of those labelled.
fn calibrated(labels: usize, rng: &mut Rng) -> Calibration {
    let probability = labels as f64 / JUDGED as f64;
    let seen: Vec<(Judgement, bool)> =
        (0..JUDGED).map(|number| judged(number, Draw { probability, is_drawn: number < labels }, rng)).collect();
    let labels: Vec<Label> = seen[..labels].iter().map(labelled).collect();
    let judgements: Vec<Judgement> = seen.into_iter().map(|(judgement, _)| judgement).collect();
    calibrations(&judgements, &[], &labels).pop().expect("there is one judge")
}

/// Row 11.
pub(crate) fn correction(effort: Effort) -> Vec<Measured> {
    let mut rng = Rng::with_seed(11);
    let runs = effort.times(400);
    let mut covered = |labels: usize| {
        let (mut corrected, mut raw) = (0.0, 0.0);
        for _ in 0..runs {
            let found = calibrated(labels, &mut rng);
            let holds = |low: f64, high: f64| f64::from(u8::from(low <= GOOD && GOOD <= high)) / runs as f64;
            corrected += found.corrected.map_or(0.0, |of| holds(of.low, of.high));
            raw += found.raw.low.zip(found.raw.high).map_or(0.0, |(low, high)| holds(low, high));
        }
        [
            Measured::new(format!("{labels} labels: corrected interval"), corrected, Target::AtLeast(0.93)),
            Measured::new(format!("{labels} labels: the judge alone"), raw, Target::Peer),
        ]
    };
    [100, 200, 400].into_iter().flat_map(&mut covered).collect()
}
