//! Rows 6 to 8: sampling, users, and traffic that moves.

use driftline::stats::contingency::ChiSquared;
use driftline::stats::distribution::student_quantile;
use driftline::stats::e_process::AlertBudget;
use driftline::stats::interval::wilson;
use driftline::stats::mix::{
    SegmentMeans, SegmentShift, Successes, cochran_mantel_haenszel, kitagawa, standardised_difference,
};
use driftline::stats::moments::Moments;
use driftline::stats::proportion::score_test;
use driftline::stats::survey::{Stratum, post_stratified_share};
use driftline::watch::dispersion::OverDispersion;
use fastrand::Rng;

use super::watched::{Shipped, weighted_summary};
use super::{Effort, Measured, Target};

/// Share of requests that are errors or slow, and so kept.
const CONSPICUOUS: f64 = 0.03;
/// How often those pass, and the rest.
const PASS: [f64; 2] = [0.3, 0.92];

/// What sampling leaves of so many requests: `(score, weight)` of the kept, and the strata.
fn sampled(requests: usize, healthy_rate: f64, rng: &mut Rng) -> (Vec<(f64, f64)>, [Stratum; 2]) {
    let mut kept = Vec::new();
    let mut strata = [Stratum { total: 0.0, sampled: 0.0, passed: 0.0 }; 2];
    for _ in 0..requests {
        let healthy = usize::from(rng.f64() >= CONSPICUOUS);
        let probability = [1.0, healthy_rate][healthy];
        strata[healthy].total += 1.0;
        if rng.f64() < probability {
            let score = f64::from(u8::from(rng.f64() < PASS[healthy]));
            strata[healthy].sampled += 1.0;
            strata[healthy].passed += score;
            kept.push((score, 1.0 / probability));
        }
    }
    (kept, strata)
}

/// Row 6.
pub(crate) fn tail_sampling(effort: Effort) -> Vec<Measured> {
    let truth = CONSPICUOUS * PASS[0] + (1.0 - CONSPICUOUS) * PASS[1];
    let (runs, mut rng) = (effort.times(100), Rng::with_seed(6));
    let (mut bias, mut covered) = ([0.0; 3], [0.0; 3]);
    for _ in 0..runs {
        let (kept, strata) = sampled(20_000, 0.05, &mut rng);
        let moments = Moments::of_clusters(kept.iter().map(std::slice::from_ref));
        let plain = kept.iter().map(|(score, _)| score).sum::<f64>() / kept.len() as f64;
        let (stratified, error) = post_stratified_share(&strata);
        let intervals = [
            wilson(moments.mean, moments.share_size(), 0.95),
            driftline::stats::interval::Interval::around(stratified, 1.96 * error),
            wilson(plain, kept.len() as f64, 0.95),
        ];
        for (at, estimate) in [moments.mean, stratified, plain].into_iter().enumerate() {
            bias[at] += (estimate - truth) * 100.0 / runs as f64;
            let inside = intervals[at].low <= truth && truth <= intervals[at].high;
            covered[at] += f64::from(u8::from(inside)) * 100.0 / runs as f64;
        }
    }
    let names = ["weighted", "by exact totals of strata", "unweighted"];
    let mut all = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let pick = |target| if at < 2 { target } else { Target::Peer };
        all.push(Measured::new(format!("{name}: points off"), bias[at], pick(Target::Between(-0.2, 0.2))));
        // Counting a rare stratum whole makes the interval of a share a little wide, never narrow.
        all.push(Measured::new(format!("{name}: coverage, %"), covered[at], pick(Target::Between(93.0, 97.0))));
    }
    all.extend(halved_rate(effort, &mut rng));
    all
}

/// Streams that alarm within 100 hours when the sampling rate is halved after 50, nothing else.
fn halved_rate(effort: Effort, rng: &mut Rng) -> [Measured; 2] {
    const REQUESTS: usize = 2_000;
    let budget = AlertBudget { false_alarms: 0.05, windows: 100.0, detectors: 2 };
    let runs = effort.times(10);
    let mut alarmed = [0.0; 2];
    for _ in 0..runs {
        let before: Vec<Vec<(f64, f64)>> = (0..40).map(|_| sampled(REQUESTS, 0.05, rng).0).collect();
        let hours: Vec<Vec<(f64, f64)>> =
            (0..100).map(|hour| sampled(REQUESTS, if hour < 50 { 0.05 } else { 0.025 }, rng).0).collect();
        for (at, keeps_weights) in [true, false].into_iter().enumerate() {
            let values = |hour: &Vec<(f64, f64)>| {
                hour.iter()
                    .map(|(score, weight)| (*score, if keeps_weights { *weight } else { 1.0 }))
                    .collect::<Vec<_>>()
            };
            let by_hour: Vec<Vec<(f64, f64)>> = before.iter().map(values).collect();
            let moments = Moments::of_clusters(by_hour.iter().map(Vec::as_slice));
            let (clusters, size) = (moments.clusters, moments.count as f64 / moments.clusters as f64);
            let dispersion = OverDispersion { factor: moments.design_effect(), clusters, cluster_size: size };
            let baseline = weighted_summary(&by_hour.concat(), dispersion);
            let mut stream = Shipped::new(&baseline, &budget);
            let none = OverDispersion { factor: 1.0, clusters: 0, cluster_size: 0.0 };
            let alarm = hours.iter().any(|hour| stream.alarms_at(&weighted_summary(&values(hour), none)));
            alarmed[at] += f64::from(u8::from(alarm)) * 100.0 / runs as f64;
        }
    }
    [
        Measured::new("sampling rate halved, weighted: streams that alarm, %", alarmed[0], Target::AtMost(5.0)),
        Measured::new("sampling rate halved, unweighted: streams that alarm, %", alarmed[1], Target::Peer),
    ]
}

/// Row 7: 60 users of one to nine traces; 30 % of the variance lies between users.
pub(crate) fn users(effort: Effort) -> Vec<Measured> {
    let (runs, mut rng) = (effort.times(250), Rng::with_seed(7));
    let (share, correlation) = (0.85, 0.3);
    let mut covered = [0.0; 2];
    for _ in 0..runs {
        let mut clusters: Vec<Vec<(f64, f64)>> = Vec::new();
        for _ in 0..60 {
            let traces = rng.usize(1..10);
            let of_user = f64::from(u8::from(rng.f64() < share));
            let same: f64 = f64::sqrt(correlation);
            let score = |rng: &mut Rng| {
                if rng.f64() < same { of_user } else { f64::from(u8::from(rng.f64() < share)) }
            };
            clusters.push((0..traces).map(|_| (score(&mut rng), 1.0)).collect());
        }
        let moments = Moments::of_clusters(clusters.iter().map(Vec::as_slice));
        let plain = (moments.variance() / moments.count as f64).sqrt();
        let reach = [student_quantile(0.975, moments.clusters as f64 - 1.0) * moments.standard_error(), 1.96 * plain];
        for (covered, reach) in covered.iter_mut().zip(reach) {
            *covered += f64::from(u8::from((moments.mean - share).abs() <= reach)) * 100.0 / runs as f64;
        }
    }
    vec![
        Measured::new("traces of one user belong together: coverage, %", covered[0], Target::AtLeast(91.0)),
        Measured::new("traces as if independent: coverage, %", covered[1], Target::Peer),
    ]
}

/// Passes of `size` scores over three segments.
fn by_segment(size: usize, shares: [f64; 3], rates: [f64; 3], rng: &mut Rng) -> [Successes; 3] {
    let mut counts = [(0.0, 0.0); 3];
    for _ in 0..size {
        let at = rng.f64();
        let segment = usize::from(at >= shares[0]) + usize::from(at >= shares[0] + shares[1]);
        counts[segment].1 += 1.0;
        counts[segment].0 += f64::from(u8::from(rng.f64() < rates[segment]));
    }
    counts
}

/// Whether the standardised, the stratified and the marginal test reject, and the segment with the largest share in it.
fn compare(before: &[Successes; 3], after: &[Successes; 3]) -> ([bool; 3], usize) {
    let total = |side: &[Successes; 3]| side.iter().fold((0.0, 0.0), |sum, (s, n)| (sum.0 + s, sum.1 + n));
    let ((passed, size), (passed_now, size_now)) = (total(before), total(after));
    let mean = |(s, n): Successes| (s / n, s / n * (1.0 - s / n) / n);
    let means = |i: usize| SegmentMeans {
        current_share: after[i].1 / size_now,
        baseline: mean(before[i]),
        current: mean(after[i]),
    };
    let shift = |i: usize| SegmentShift {
        baseline_share: before[i].1 / size,
        current_share: after[i].1 / size_now,
        baseline_mean: mean(before[i]).0,
        current_mean: mean(after[i]).0,
    };
    let ChiSquared { p_value, .. } =
        cochran_mantel_haenszel(&before.iter().copied().zip(after.iter().copied()).collect::<Vec<_>>());
    let rejects = [
        standardised_difference(&[0, 1, 2].map(means)).p_value < 0.05,
        p_value < 0.05,
        score_test(passed_now / size_now, size_now, passed / size, size).1 < 0.05,
    ];
    let within = kitagawa(&[0, 1, 2].map(shift)).within_by_segment;
    let named = (0..3).max_by(|a, b| within[*a].abs().total_cmp(&within[*b].abs())).unwrap_or(0);
    (rejects, named)
}

/// Row 8.
pub(crate) fn mix_shift(effort: Effort) -> Vec<Measured> {
    let (runs, mut rng) = (effort.times(250), Rng::with_seed(8));
    let (rates, usual, moved) = ([0.95, 0.85, 0.65], [0.6, 0.28, 0.12], [0.49, 0.29, 0.22]);
    let (mut false_alarms, mut found, mut named) = ([0.0; 3], [0.0; 3], 0.0);
    for _ in 0..runs {
        let before = by_segment(5000, usual, rates, &mut rng);
        let (rejects, _) = compare(&before, &by_segment(1000, moved, rates, &mut rng));
        let (finds, segment) = compare(&before, &by_segment(1000, usual, [0.95, 0.70, 0.65], &mut rng));
        for at in 0..3 {
            false_alarms[at] += f64::from(u8::from(rejects[at])) * 100.0 / runs as f64;
            found[at] += f64::from(u8::from(finds[at])) * 100.0 / runs as f64;
        }
        named += f64::from(u8::from(segment == 1)) * 100.0 / runs as f64;
    }
    let names = ["at today's mix", "Cochran-Mantel-Haenszel", "regardless of segments"];
    let mut all = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let target = if at < 2 { Target::AtMost(6.0) } else { Target::Peer };
        all.push(Measured::new(format!("only the mix moved, {name}: false alarms, %"), false_alarms[at], target));
    }
    for (at, name) in names.into_iter().enumerate() {
        let target = if at < 2 { Target::Told } else { Target::Peer };
        all.push(Measured::new(format!("15 points worse in one segment, {name}: found, %"), found[at], target));
    }
    all.push(Measured::new("the right segment named, %", named, Target::AtLeast(99.0)));
    all
}
