//! Reference values: every vector whose method is built here must be reproduced within its tolerance.

use std::collections::BTreeMap;

use serde_json::Value;

use super::confidence_sequence::ConfidenceSequence;
use super::contingency::{ChiSquared, jensen_shannon_distance, likelihood_ratio, pearson};
use super::distribution::chi_squared_upper_tail;
use super::e_process::{Bets, Detector, log_mixture_evidence};
use super::exceedance::{Exceedance, quantile_ranks};
use super::interval::{Interval, clopper_pearson, clopper_pearson_lower, newcombe, wilson};
use super::mann_whitney::mann_whitney;
use super::mix::{SegmentMeans, SegmentShift, cochran_mantel_haenszel, kitagawa, standardised_difference};
use super::moments::Moments;
use super::multiplicity::{benjamini_hochberg, e_benjamini_hochberg, holm};
use super::non_inferiority::{Shown, needed_size, one_sided_p_values, shown};
use super::onset::onset_of_share;
use super::paired::{bonett_price, mcnemar_exact};
use super::power::{minimum_detectable_change, power_of_shares, size_for_shares};
use super::projection::Spending;
use super::proportion::{cohen_h, fisher_exact, score_test};
use super::review_vectors::review;
use super::sequence::compare_sessions;
use super::service_level::{Outcomes, budget_spent, burn_rate};
use super::session::SessionCounts;
use super::survey::{Stratum, post_stratified_share};
use super::wasserstein::Distance;
use super::welch::welch;
use super::windows::{WindowSum, over_dispersion_of_shares};

/// Vectors without a counterpart here, by the start of `area name`, and why.
const NOT_USED: &[(&str, &str)] = &[
    ("a.ks ks_2samp", "p-values assume continuous values; scores have ties, so the bridge law is used"),
    ("a.ks Kolmogorov limiting", "the same"),
    ("a.mwu Mann-Whitney U", "raw-sample variants; counts are what summaries hold, see the vector from counts"),
    ("a.energy", "Wasserstein-1 is the shape test"),
    ("a.ad", "Wasserstein-1 is the shape test"),
    ("a.cvm", "Wasserstein-1 is the shape test"),
    ("a.effect Cohen d", "the same scale as difference over baseline deviation, without pooling"),
    ("a.permutation", "unpaired comparisons use Fisher and Welch"),
    ("a.chi2 chi2 2x2 yates=True", "no continuity correction is applied"),
    ("a.gtest G goodness", "both sides of a comparison are samples"),
    ("a.exact Boschloo", "Fisher is the exact test"),
    ("a.prop difference of proportions CI score", "Newcombe is the interval"),
    ("a.prop difference of proportions CI wald", "Newcombe is the interval"),
    ("a.prop difference of proportions CI agresti", "Newcombe is the interval"),
    ("a.prop_ci Agresti", "Wilson and Clopper-Pearson are the intervals"),
    ("a.prop_ci Jeffreys", "Wilson and Clopper-Pearson are the intervals"),
    ("a.psi", "a fixed threshold on an index has no error rate"),
    ("a.hellinger", "Jensen-Shannon is the distance"),
    ("b.betting hedged-capital betting CS, Bernoulli", "of one instant; the sequence keeps what was once ruled out"),
    ("b.betting predictable plug-in", "the stakes inside the betting confidence sequence, without its caps"),
    ("b.betting betting martingale", "the capital inside the betting confidence sequence, for one candidate"),
    ("b.empbern", "the betting confidence sequence is never wider"),
    ("b.boundary", "the betting confidence sequence is never wider for scores in [0, 1]"),
    ("b.quantile", "quantiles are watched as shares beyond a fixed edge"),
    ("b.edetector mixture e-CUSUM", "the Shiryaev-Roberts form has the tight guarantee"),
    ("b.cusum", "peers' detectors"),
    ("b.adwin", "peers' detectors"),
    ("c.mt multiple testing fdr_by", "Benjamini-Hochberg holds under the positive dependence of shared traces"),
    ("c.mt multiple testing bonferroni", "Holm is uniformly better"),
    ("c.mt LORD", "across time the alert budget holds"),
    ("c.mt SAFFRON", "the same"),
    ("c.mt e-LOND", "the same"),
    ("d.markov", "calls of a session depend on each other; Rao-Scott is the test"),
    ("d.explain", "z with the clustered variance names transitions"),
    ("d.mmd", "almost no power on sequences"),
    ("d.lev", "not a test"),
    ("d.loop", "measured by evaluators"),
    ("e.wecdf", "quantiles and shares are read off fixed bins"),
    ("e.wks", "Wasserstein-1 is the shape test"),
    ("f.agreement Krippendorff", "an item is settled by its last label; more raters are no part of a judge's error"),
    ("f.agreement Fleiss", "the same"),
    ("f.rg Rogan-Gladen degenerate", "reproduced by a test of its own in review_vectors"),
    ("g.ni non-inferiority z score", "Newcombe's interval decides; it agrees to three digits here"),
    ("g.verdict", "reproduced by a test of its own below"),
    ("h.", "fixed-edge histograms serve quantiles and tests alike"),
    ("ops.poisson", "rates are shares of runs, whose intervals are binomial"),
];

/// What our code says for a vector; `None` when no method here matches.
fn compute(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let methods = [
        compare_distributions,
        compare_shares,
        compare_counts,
        estimate,
        compare_segments,
        decide,
        detect,
        look_back,
        hold_service_levels,
        review,
    ];
    methods.into_iter().find_map(|method| method(key, inputs))
}

/// Section (a): distances and tests on values and levels.
fn compare_distributions(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let two_samples = || (numbers(&inputs["x"]), numbers(&inputs["y"]));
    Some(match key {
        "a.ks KS on 16 fixed bins (histograms only)" => {
            let (x, y) = (numbers(&inputs["hist_x"]), numbers(&inputs["hist_y"]));
            vec![("statistic", Distance::KolmogorovSmirnov.between(&x, &y, &levels(x.len())))]
        }
        "a.mwu Mann-Whitney from ordinal counts" => {
            let test = mann_whitney(&numbers(&inputs["counts_x"]), &numbers(&inputs["counts_y"]));
            vec![("U1", test.u), ("p_value", test.p_value), ("cliffs_delta", test.cliffs_delta)]
        }
        "a.wasserstein Wasserstein-1 raw" | "a.wasserstein Wasserstein-1 weighted" => {
            let (x, y) = two_samples();
            vec![("w1", sample_distance(&x, &weights(inputs, "wx", x.len()), &y, &weights(inputs, "wy", y.len())))]
        }
        "a.wasserstein Wasserstein-1 ordinal counts" => {
            let (x, y) = (numbers(&inputs["counts_x"]), numbers(&inputs["counts_y"]));
            vec![("w1", Distance::Wasserstein1.between(&x, &y, &numbers(&inputs["levels"])))]
        }
        "a.mean Welch t" => {
            let (x, y) = two_samples();
            let test = welch(&independent(&x), &independent(&y))?;
            let Interval { low, high } = test.interval(0.95);
            let t = test.difference / test.standard_error;
            vec![("t", t), ("df", test.degrees), ("p_value", test.p_value), ("ci95.0", low), ("ci95.1", high)]
        }
        "a.effect Cohen h .9 vs .85" => {
            vec![("h", cohen_h(number(&inputs["p1"]), number(&inputs["p2"])))]
        }
        "a.chi2 chi2 2x2 yates=False" | "a.chi2 chi2 2x5" => table_test("chi2", pearson, inputs),
        "a.gtest G-test 2x5" | "a.gtest G-test with zero cells" => table_test("G", likelihood_ratio, inputs),
        _ => return None,
    })
}

/// Section (a): shares.
fn compare_shares(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    Some(match key {
        "a.exact Fisher exact 2x2" => {
            let (row, other) = (numbers(&inputs["table"][0]), numbers(&inputs["table"][1]));
            let count = |value: f64| value as u64;
            let p = fisher_exact(count(row[0]), count(row[0] + row[1]), count(other[0]), count(other[0] + other[1]));
            vec![("p_two_sided", p)]
        }
        "a.prop two-proportion z (pooled)" => {
            let (success, n) = (numbers(&inputs["success"]), numbers(&inputs["n"]));
            let (z, p_value) = score_test(success[0] / n[0], n[0], success[1] / n[1], n[1]);
            vec![("z", z), ("p_value", p_value)]
        }
        "a.prop difference of proportions CI newcomb" | "a.prop Newcombe CI at the edge 9/10 vs 10/10" => {
            let get = |name: &str| number(&inputs[name]);
            let (n1, n2) = (get("n1"), get("n2"));
            ends(newcombe(get("count1") / n1, n1, get("count2") / n2, n2, 1.0 - get("alpha")))
        }
        "a.prop_ci rule of three upper bound 0/30" => {
            vec![("upper_one_sided", 1.0 - clopper_pearson_lower(30.0, 30.0, 0.95))]
        }
        key if key.starts_with("a.prop_ci Wilson") || key.starts_with("a.prop_ci Clopper") => {
            let (count, n) = (number(&inputs["count"]), number(&inputs["n"]));
            let is_wilson = key.starts_with("a.prop_ci Wilson");
            ends(if is_wilson { wilson(count / n, n, 0.95) } else { clopper_pearson(count, n, 0.95) })
        }
        _ => return None,
    })
}

/// Sections (a), (c), (d): counts over cells, and many results at once.
fn compare_counts(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    Some(match key {
        "a.js Jensen-Shannon natural log" => {
            let distance = jensen_shannon_distance(&numbers(&inputs["p"]), &numbers(&inputs["q"]));
            vec![("js_distance_nats", distance)]
        }
        "a.js Jensen-Shannon disjoint supports" => {
            let distance = jensen_shannon_distance(&numbers(&inputs["p"]), &numbers(&inputs["q"]));
            vec![("js_divergence_nats", distance * distance)]
        }
        "d.js Jensen-Shannon of bigram distributions" => {
            let flat = |side: &Value| side.as_array().unwrap().iter().flat_map(numbers).collect::<Vec<f64>>();
            let distance = jensen_shannon_distance(&flat(&inputs["baseline"]), &flat(&inputs["current"]));
            vec![("js_distance", distance), ("js_divergence_nats", distance * distance)]
        }
        "d.raoscott Rao-Scott corrected two-sample chi2 on session counts (pooled variance)" => {
            let result = compare_sessions(
                &session_counts(&inputs["baseline_session_counts"]),
                &session_counts(&inputs["current_session_counts"]),
            )?;
            let ChiSquared { statistic, degrees, p_value } = result.omnibus;
            let p_first_order = result.p_first_order;
            vec![
                ("stat_second", statistic),
                ("df_second", degrees),
                ("p_second_order", p_value),
                ("p_first_order", p_first_order),
            ]
        }
        "c.mt multiple testing fdr_bh" => listed("adjusted", &benjamini_hochberg(&numbers(&inputs["p"]))),
        "c.mt multiple testing holm" => listed("adjusted", &holm(&numbers(&inputs["p"]))),
        "c.mt e-BH" => {
            let reject = e_benjamini_hochberg(&numbers(&inputs["e"]), number(&inputs["alpha"]));
            listed("reject", &reject.into_iter().map(f64::from).collect::<Vec<f64>>())
        }
        _ => return None,
    })
}

/// Section (e): estimates from weighted and clustered data.
fn estimate(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    Some(match key {
        "e.hajek Hajek weighted mean, linearised SE (HC0)" => {
            let moments = clustered(inputs, None);
            let g = moments.clusters as f64;
            let uncorrected = moments.standard_error() * ((g - 1.0) / g).sqrt();
            let deff = moments.count as f64 / moments.kish_size();
            vec![("mean", moments.mean), ("se", uncorrected), ("ess", moments.kish_size()), ("deff_kish", deff)]
        }
        "e.cluster Hajek mean, cluster-robust SE" => {
            vec![("se_corrected", clustered(inputs, Some(&inputs["cluster"])).standard_error())]
        }
        "e.cluster clustered SE of a mean (Miller 2024 eq. 4)" => {
            let moments = clustered(inputs, Some(&inputs["cluster"]));
            let g = moments.clusters as f64;
            vec![("mean", moments.mean), ("se_cluster", moments.standard_error() * ((g - 1.0) / g).sqrt())]
        }
        "e.strat post-stratified pass rate (5% rest + 100% errors)" => {
            let column = |name: &str| numbers(&inputs[name]);
            let (total, sampled, passed) = (column("total_by_stratum"), column("sampled"), column("passed"));
            let strata: Vec<Stratum> =
                (0..total.len()).map(|i| Stratum { total: total[i], sampled: sampled[i], passed: passed[i] }).collect();
            let (estimate, se) = post_stratified_share(&strata);
            vec![("estimate", estimate), ("se", se)]
        }
        _ => return None,
    })
}

/// Section (g): gates and how much data they need.
fn decide(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let get = |name: &str| number(&inputs[name]);
    Some(match key {
        "g.paired McNemar" => {
            let (row, other) = (numbers(&inputs["table"][0]), numbers(&inputs["table"][1]));
            vec![("exact_p", mcnemar_exact(row[1] as u64, other[0] as u64))]
        }
        "g.paired paired difference (eval items) mean and SE" => {
            let value = |name: &str, x: f64| vec![x; number(&inputs[name]) as usize];
            let moments = independent(&[value("n_zero", 0.0), value("n_plus", 1.0), value("n_minus", -1.0)].concat());
            vec![("mean", moments.mean), ("se", moments.standard_error())]
        }
        "g.paired Bonett-Price paired proportion CI (90%)" => {
            let (difference, interval) = bonett_price(get("n10"), get("n01"), get("n"), get("conf"));
            [vec![("diff", difference)], ends(interval)].concat()
        }
        "g.power non-inferiority sample sizes" => {
            let size = |variance| needed_size(variance, get("margin"), get("alpha_one_sided"), get("power"));
            let p = get("p");
            vec![("unpaired_per_arm", size(2.0 * p * (1.0 - p))), ("paired_pairs", size(get("discordance")))]
        }
        "g.power power two proportions .85 vs .90 n=1000/arm" => {
            vec![("power", power_of_shares(get("p1"), get("p2"), get("n_per_arm"), get("alpha")))]
        }
        "g.power sample size .85 vs .90 power .8" => {
            vec![("n_per_arm", size_for_shares(get("p1"), get("p2"), get("alpha"), get("power")))]
        }
        "g.power minimum detectable drop, one-sided" => {
            let variance = get("p0") * (1.0 - get("p0"));
            let change = minimum_detectable_change(variance, get("n0"), get("n1"), get("alpha"), get("power"));
            vec![("mde_normal_at_p0", change)]
        }
        key if key.starts_with("g.ni non-inferiority z wald") => {
            let (difference, error) = difference_of_shares(inputs, ["count_new", "n_new", "count_old", "n_old"]);
            vec![("p_value", one_sided_p_values(difference, error, get("margin")).0)]
        }
        "g.ni TOST equivalence 5pt" => {
            let (difference, error) = difference_of_shares(inputs, ["count1", "n1", "count2", "n2"]);
            let (lower, upper) = one_sided_p_values(difference, error, get("upp"));
            vec![("p_value", lower.max(upper))]
        }
        _ => return None,
    })
}

/// Section (i): segments.
fn compare_segments(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let column = |name: &str| numbers(&inputs[name]);
    Some(match key {
        "i.mix Kitagawa mix/within decomposition" => {
            let (w0, w1, mu0, mu1) = (column("w0"), column("w1"), column("mu0"), column("mu1"));
            let segments: Vec<SegmentShift> = (0..w0.len())
                .map(|i| SegmentShift {
                    baseline_share: w0[i],
                    current_share: w1[i],
                    baseline_mean: mu0[i],
                    current_mean: mu1[i],
                })
                .collect();
            let split = kitagawa(&segments);
            let by_segment = listed("within_by_segment", &split.within_by_segment);
            [vec![("mix", split.mix), ("within", split.within)], by_segment].concat()
        }
        "i.mix mix-adjusted (directly standardised) z vs marginal z" => {
            let (n0, s0, n1, s1) = (column("n0"), column("s0"), column("n1"), column("s1"));
            let total: f64 = n1.iter().sum();
            let mean = |successes: f64, size: f64| {
                let share = successes / size;
                (share, share * (1.0 - share) / size)
            };
            let segment = |i: usize| SegmentMeans {
                current_share: n1[i] / total,
                baseline: mean(s0[i], n0[i]),
                current: mean(s1[i], n1[i]),
            };
            let result = standardised_difference(&(0..n0.len()).map(segment).collect::<Vec<_>>());
            vec![("adjusted_diff", result.difference), ("adjusted_se", result.standard_error)]
        }
        "i.cmh Cochran-Mantel-Haenszel 3 strata" => {
            let side = |row: &Value| {
                let row = numbers(row);
                (row[0], row[0] + row[1])
            };
            let tables = inputs["tables"].as_array()?;
            let segments: Vec<_> = tables.iter().map(|table| (side(&table[0]), side(&table[1]))).collect();
            let test = cochran_mantel_haenszel(&segments);
            vec![("statistic", test.statistic), ("p_value", test.p_value)]
        }
        _ => return None,
    })
}

/// Sections (e) and (j): how windows vary, and since when.
fn look_back(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let size = number(&inputs["n_per_window"]);
    let windows: Vec<WindowSum> =
        numbers(&inputs["successes"]).into_iter().map(|sum| WindowSum { sum, size }).collect();
    Some(match key {
        "e.phi over-dispersion factor phi of window pass rates" => {
            vec![("phi", over_dispersion_of_shares(&windows))]
        }
        "j.cp change-point profile likelihood on window counts" => {
            let set = onset_of_share(&windows, 1.0)?;
            let positions: Vec<f64> = set.positions.iter().map(|position| *position as f64).collect();
            let likelihood = ("lr_vs_no_change", set.likelihood_ratio);
            [vec![("tau_hat", set.most_likely as f64), likelihood], listed("set_cut7", &positions)].concat()
        }
        _ => return None,
    })
}

/// Service levels: error budgets, tails, rates and spending.
fn hold_service_levels(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    let get = |name: &str| number(&inputs[name]);
    let outcomes = |bad: &str| Outcomes { bad: get(bad) as u64, total: get("total") as u64 };
    Some(match key {
        "ops.burn burn rate" => vec![("burn_rate", burn_rate(outcomes("bad"), get("slo")))],
        "ops.burn burn-rate thresholds -> budget spent" => {
            let pairs = inputs["pairs"].as_array()?.iter().map(numbers);
            let spent = pairs.map(|pair| budget_spent(pair[0], pair[1], get("slo_period_h")));
            listed("budget_fraction", &spent.collect::<Vec<_>>())
        }
        "ops.burn low-traffic burn rate: binomial tail" => {
            let p = outcomes("bad").p_value(1.0 - get("slo"));
            vec![("burn_rate", burn_rate(outcomes("bad"), get("slo"))), ("p_at_least_bad_if_on_slo", p)]
        }
        "ops.error error rate 5% exact one-sided test" => {
            let interval = clopper_pearson(get("errors"), get("total"), 0.95);
            let p = outcomes("errors").p_value(get("p0"));
            vec![("p_value", p), ("ci95.0", interval.low), ("ci95.1", interval.high)]
        }
        "ops.cost cost projection 80%" => {
            let spending = Spending {
                spent: get("spent"),
                elapsed: get("elapsed_days"),
                period: get("period_days"),
                variance: 0.0,
            };
            vec![("projected", spending.projected())]
        }
        "ops.latency quantile test and order-statistic CI, p95" => {
            let mut x = numbers(&inputs["x"]);
            x.sort_by(f64::total_cmp);
            let (low, high) = quantile_ranks(x.len() as u64, 0.95, 0.9);
            vec![("ci90.0", x[low? as usize - 1]), ("ci90.1", x[high? as usize - 1])]
        }
        "ops.latency p99 >= 3x baseline: exceedance test" => {
            let exceedance = Exceedance { above: get("exceed") as u64, total: get("n") as u64, allowed: get("p0") };
            vec![("p_value", exceedance.p_value())]
        }
        _ => return None,
    })
}

/// Section (b): detectors.
fn detect(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    Some(match key {
        "b.edetector mixture e-SR detector, 12 Bernoulli scores" => {
            let windows = numbers(&inputs["x"]).into_iter().map(|x| vec![(x, 1.0)]).collect::<Vec<_>>();
            listed("M", &shiryaev_roberts(inputs, &windows, 1.0))
        }
        "b.eprocess beta-binomial mixture e-value for a point null (Robbins)" => {
            let (successes, failures) = (numbers(&inputs["successes"]), numbers(&inputs["failures"]));
            let evidence = |i: usize| log_mixture_evidence(successes[i], failures[i], number(&inputs["p0"]));
            listed("log_e", &(0..successes.len()).map(evidence).collect::<Vec<_>>())
        }
        "b.betting hedged-capital betting CS, continuous n=60, running intersection" => {
            let mut sequence = ConfidenceSequence::new(number(&inputs["alpha"]));
            let after = |score| {
                sequence.observe(&[(score, 1.0)]);
                sequence.interval()
            };
            let intervals = numbers(&inputs["x"]).into_iter().map(after).collect::<Option<Vec<_>>>()?;
            let (early, late) = (intervals[19], intervals[59]);
            vec![
                ("lower_at.0.1", early.low),
                ("upper_at.0.1", early.high),
                ("lower_at.1.1", late.low),
                ("upper_at.1.1", late.high),
            ]
        }
        key if key.starts_with("b.edetector window e-SR") => {
            let counts = |window: &Value| {
                let window = numbers(window);
                vec![(1.0, window[0]), (0.0, window[1] - window[0])]
            };
            let windows: Vec<_> = inputs["windows"].as_array().unwrap().iter().map(counts).collect();
            listed("M", &shiryaev_roberts(inputs, &windows, number(&inputs["temper"])))
        }
        _ => return None,
    })
}

/// Difference of two shares and its standard error, from the names of (count, size) of both.
fn difference_of_shares(inputs: &Value, names: [&str; 4]) -> (f64, f64) {
    let [count, size, other_count, other_size] = names.map(|name| number(&inputs[name]));
    let (share, other) = (count / size, other_count / other_size);
    let variance = share * (1.0 - share) / size + other * (1.0 - other) / other_size;
    (share - other, variance.sqrt())
}

pub(super) fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_bool().map(f64::from)).unwrap_or(f64::NAN)
}

pub(super) fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().map(|values| values.iter().map(number).collect()).unwrap_or_default()
}

fn levels(count: usize) -> Vec<f64> {
    (0..count).map(|level| level as f64).collect()
}

fn weights(inputs: &Value, name: &str, count: usize) -> Vec<f64> {
    let weights = numbers(&inputs[name]);
    if weights.is_empty() { vec![1.0; count] } else { weights }
}

pub(super) fn ends(interval: Interval) -> Vec<(&'static str, f64)> {
    vec![("low", interval.low), ("high", interval.high)]
}

/// A list of results, keyed by position.
fn listed(name: &str, values: &[f64]) -> Vec<(&'static str, f64)> {
    values.iter().enumerate().map(|(at, value)| (&*format!("{name}.{at}").leak(), *value)).collect()
}

fn table_test(name: &'static str, test: fn(&[f64], &[f64]) -> ChiSquared, inputs: &Value) -> Vec<(&'static str, f64)> {
    let result = test(&numbers(&inputs["table"][0]), &numbers(&inputs["table"][1]));
    vec![(name, result.statistic), ("df", result.degrees), ("p_value", result.p_value)]
}

fn sample_distance(x: &[f64], wx: &[f64], y: &[f64], wy: &[f64]) -> f64 {
    let mut positions: Vec<f64> = x.iter().chain(y).copied().collect();
    positions.sort_by(f64::total_cmp);
    positions.dedup();
    let at = |values: &[f64], weights: &[f64]| {
        let mut counts = vec![0.0; positions.len()];
        for (value, weight) in values.iter().zip(weights) {
            counts[positions.iter().position(|position| position == value).unwrap()] += weight;
        }
        counts
    };
    Distance::Wasserstein1.between(&at(x, wx), &at(y, wy), &positions)
}

fn independent(values: &[f64]) -> Moments {
    values.iter().map(|x| Moments::of_cluster(&[(*x, 1.0)])).fold(Moments::default(), |all, one| all.merge(&one))
}

fn clustered(inputs: &Value, cluster: Option<&Value>) -> Moments {
    let y = numbers(&inputs["y"]);
    let w = weights(inputs, "w", y.len());
    let cluster = cluster.map_or_else(|| levels(y.len()), numbers);
    let mut groups: BTreeMap<u64, Vec<(f64, f64)>> = BTreeMap::new();
    for i in 0..y.len() {
        groups.entry(cluster[i] as u64).or_default().push((y[i], w[i]));
    }
    Moments::of_clusters(groups.values().map(Vec::as_slice))
}

fn session_counts(rows: &Value) -> SessionCounts {
    let session = |row: &Value| {
        let counts = numbers(row);
        let cells = counts.iter().enumerate().map(|(at, count)| ((String::new(), at.to_string()), *count));
        (cells.collect::<BTreeMap<_, _>>(), counts.iter().sum())
    };
    SessionCounts::of_sessions(&rows.as_array().unwrap().iter().map(session).collect::<Vec<_>>())
}

/// The evidence after each window, with the stakes that the vector gives.
fn shiryaev_roberts(inputs: &Value, windows: &[Vec<(f64, f64)>], temper: f64) -> Vec<f64> {
    let bets = Bets::with_stakes(number(&inputs["m0"]), numbers(&inputs["lambdas"]));
    let mut detector = Detector::default();
    let after = |(at, window): (usize, &Vec<(f64, f64)>)| {
        detector.step(&bets.log_factors(window, 1.0 / temper), at as i64);
        detector.log_evidence().exp()
    };
    windows.iter().enumerate().map(after).collect()
}

/// The expected value under `path`, where `name.3` is the fourth element of a list.
fn expected_at(expected: &Value, path: &str) -> f64 {
    number(path.split('.').fold(expected, |value, key| match key.parse::<usize>() {
        Ok(at) => &value[at],
        Err(_) => &value[key],
    }))
}

#[test]
fn every_reference_vector_is_reproduced_or_listed_with_a_reason() {
    let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/vectors.json")).unwrap();
    let mut problems = Vec::new();
    let mut reproduced = 0;
    for vector in file["vectors"].as_array().unwrap() {
        let key = format!("{} {}", vector["area"].as_str().unwrap(), vector["name"].as_str().unwrap());
        let Some(results) = compute(&key, &vector["inputs"]) else {
            if !NOT_USED.iter().any(|(start, _)| key.starts_with(start)) {
                problems.push(format!("{key}: neither computed nor listed"));
            }
            continue;
        };
        for (path, found) in results {
            let expected = expected_at(&vector["expected"], path);
            let tolerance = &vector["tolerance"];
            let allowed = number(&tolerance["abs"]) + number(&tolerance["rel"]) * expected.abs();
            if found.is_nan() || (found - expected).abs() > allowed {
                problems.push(format!("{key}: {path} is {found}, expected {expected} within {allowed:e}"));
            }
            reproduced += 1;
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    assert!(reproduced > 100, "only {reproduced} values were compared");
}

#[test]
fn gate_verdicts_read_the_interval_against_the_margin() {
    let verdict = |low, high| shown(Interval { low, high }, 0.02);
    assert_eq!(verdict(-0.015, 0.02), Shown::GoodEnough);
    assert_eq!(verdict(-0.09, -0.03), Shown::NotGoodEnough);
    assert_eq!(verdict(-0.04, 0.01), Shown::Neither);
}

#[test]
fn an_empty_table_of_chi_squared_has_no_tail() {
    assert_eq!(chi_squared_upper_tail(0.0, 3.0), 1.0);
}
