//! Row 11: a judge that is wrong, corrected by people's labels.

use driftline::stats::interval::{Interval, wilson};
use driftline::stats::moments::Moments;
use driftline::stats::prediction_powered::{Labelled, cross_fitted_mean};
use fastrand::Rng;

use super::{Effort, Measured, Target};

/// Share of good runs, and how often the judge is right about a good and about a bad one.
const GOOD: f64 = 0.9;
const SENSITIVITY: f64 = 0.95;
const SPECIFICITY: f64 = 0.7;
/// Runs that only the judge has seen.
const JUDGED: usize = 2000;

/// What a person and the judge say of one run.
fn run(rng: &mut Rng) -> (f64, f64) {
    let is_good = rng.f64() < GOOD;
    let passes = rng.f64() < if is_good { SENSITIVITY } else { 1.0 - SPECIFICITY };
    (f64::from(u8::from(is_good)), f64::from(u8::from(passes)))
}

/// Row 11.
pub(crate) fn correction(effort: Effort) -> Vec<Measured> {
    let mut rng = Rng::with_seed(11);
    let runs = effort.times(400);
    let mut covered = |labels: usize| {
        let mut holds = [0.0; 2];
        for _ in 0..runs {
            let labelled: Vec<(f64, f64)> = (0..labels).map(|_| run(&mut rng)).collect();
            let verdicts: Vec<f64> = (0..JUDGED).map(|_| run(&mut rng).1).collect();
            let raw = wilson(verdicts.iter().sum::<f64>() / JUDGED as f64, JUDGED as f64, 0.95);
            let labelled: Vec<Labelled> =
                labelled.into_iter().map(|(label, verdict)| Labelled { label, verdict, weight: 1.0 }).collect();
            let judged: Vec<(f64, f64)> = verdicts.into_iter().map(|verdict| (verdict, 1.0)).collect();
            let unseen = Moments::of_clusters(judged.iter().map(std::slice::from_ref));
            let corrected = cross_fitted_mean(&labelled, &unseen).interval(0.95);
            for (holds, Interval { low, high }) in holds.iter_mut().zip([corrected, raw]) {
                *holds += f64::from(u8::from(low <= GOOD && GOOD <= high)) / runs as f64;
            }
        }
        [
            Measured::new(format!("{labels} labels: corrected interval"), holds[0], Target::AtLeast(0.93)),
            Measured::new(format!("{labels} labels: the judge alone"), holds[1], Target::Peer),
        ]
    };
    [100, 200, 400].into_iter().flat_map(&mut covered).collect()
}
