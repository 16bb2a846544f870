//! Reference values of section (f): agreement of judges with people, and what follows from it.

use serde_json::Value;

use super::agreement::{CategoryWeights, Confusion, cohen_kappa};
use super::distribution::normal_quantile;
use super::interval::Interval;
use super::moments::Moments;
use super::prediction_powered::{Drawn, Labelled, PoweredMean, augmented_mean, powered_mean, tuned_lambda};
use super::rogan_gladen::rogan_gladen;
use super::vectors::{number, numbers};

/// Section (f).
pub(super) fn review(key: &str, inputs: &Value) -> Option<Vec<(&'static str, f64)>> {
    Some(match key {
        key if key.starts_with("f.agreement Cohen's kappa") => {
            let rows: Vec<Vec<f64>> = inputs["table"].as_array()?.iter().map(numbers).collect();
            let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
            let kappa = cohen_kappa(&rows, weights(&inputs["weights"]))?;
            let Interval { low, high } = kappa.interval(0.95);
            vec![("kappa", kappa.value), ("std_kappa", kappa.standard_error), ("ci95.0", low), ("ci95.1", high)]
        }
        "f.agreement MCC" => {
            let (row, other) = (numbers(&inputs["table"][0]), numbers(&inputs["table"][1]));
            let confusion =
                Confusion { true_pass: row[0], false_pass: row[1], false_fail: other[0], true_fail: other[1] };
            vec![("mcc", confusion.matthews()?)]
        }
        "f.rg Rogan-Gladen point and delta SE" => {
            let corrected = corrected(inputs)?;
            vec![("theta", corrected.estimate), ("se", corrected.standard_error)]
        }
        "f.rg Rogan-Gladen, Lang-Reiczigel adjusted CI" => {
            let Interval { low, high } = corrected(inputs)?.interval;
            vec![("ci95.0", low), ("ci95.1", high)]
        }
        key if key.starts_with("f.ppi") => powered(inputs),
        "f.active active-sampling AIPW mean" => {
            let column = |name: &str| numbers(&inputs[name]);
            let (verdicts, labels) = (column("judge"), column("label_or_0"));
            let (labelled, probabilities) = (column("labelled"), column("inclusion_prob"));
            let item = |at: usize| Drawn {
                labelled: Labelled { label: labels[at], verdict: verdicts[at], weight: 1.0 },
                probability: probabilities[at],
            };
            let (seen, unseen): (Vec<usize>, Vec<usize>) = (0..verdicts.len()).partition(|at| labelled[*at] > 0.0);
            let drawn: Vec<Drawn> = seen.into_iter().map(item).collect();
            let mean = augmented_mean(&drawn, &of_verdicts(unseen.into_iter().map(|at| verdicts[at])));
            vec![("estimate", mean.estimate), ("se", mean.standard_error)]
        }
        _ => return None,
    })
}

fn weights(name: &Value) -> CategoryWeights {
    match name.as_str() {
        Some("linear") => CategoryWeights::Linear,
        Some("quadratic") => CategoryWeights::Quadratic,
        _ => CategoryWeights::None,
    }
}

fn corrected(inputs: &Value) -> Option<super::rogan_gladen::Corrected> {
    let get = |name: &str| number(&inputs[name]);
    rogan_gladen(get("judge_pass") / get("n"), get("n"), &labelled(inputs), 0.95).ok()
}

fn labelled(inputs: &Value) -> Confusion {
    let get = |name: &str| number(&inputs[name]);
    Confusion {
        true_pass: get("tp"),
        false_fail: get("n_pos") - get("tp"),
        true_fail: get("tn"),
        false_pass: get("n_neg") - get("tn"),
    }
}

/// PPI with the λ of the vector, or a tuned one; its interval is normal.
fn powered(inputs: &Value) -> Vec<(&'static str, f64)> {
    let (labels, verdicts) = (numbers(&inputs["Y"]), numbers(&inputs["Yhat"]));
    let items = labels.iter().zip(&verdicts);
    let labelled: Vec<Labelled> =
        items.map(|(label, verdict)| Labelled { label: *label, verdict: *verdict, weight: 1.0 }).collect();
    let unseen = of_verdicts(unlabelled(inputs).into_iter());
    let lambda = inputs["lam"].as_f64().unwrap_or_else(|| tuned_lambda(&labelled, &unseen));
    let PoweredMean { estimate, standard_error, .. } = powered_mean(&labelled, &unseen, lambda);
    let z = normal_quantile(1.0 - number(&inputs["alpha"]) / 2.0);
    vec![("estimate", estimate), ("ci.0", estimate - z * standard_error), ("ci.1", estimate + z * standard_error)]
}

fn of_verdicts(verdicts: impl Iterator<Item = f64>) -> Moments {
    verdicts.map(|verdict| Moments::of_same(verdict, 1, 1.0, 1.0)).fold(Moments::default(), |all, one| all.merge(&one))
}

fn unlabelled(inputs: &Value) -> Vec<f64> {
    let given = numbers(&inputs["Yhat_unlabeled"]);
    if !given.is_empty() {
        return given;
    }
    let (passes, all) = (number(&inputs["unlabeled_pass"]) as usize, number(&inputs["unlabeled_n"]) as usize);
    [vec![1.0; passes], vec![0.0; all - passes]].concat()
}

#[test]
fn a_judge_that_tells_nothing_apart_is_refused_as_the_reference_asks() {
    let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/vectors.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap().iter();
    let degenerate = |vector: &&Value| vector["name"].as_str().unwrap().starts_with("Rogan-Gladen degenerate");
    let vector = vectors.into_iter().find(degenerate).unwrap();
    let refused = rogan_gladen(0.5, 100.0, &labelled(&vector["inputs"]), 0.95).unwrap_err();
    assert_eq!(vector["expected"]["error"], format!("youden J = {}", refused.youden));
}
