//! Real judges against people. Expected values are what statsmodels 0.15.0 and scikit-learn 1.9.1 print, see
//! `tests/calibration/reference.py`.

use std::io::{BufRead, BufReader};

use serde_json::Value as Json;

use super::calibration::{Basis, Calibration, calibrations};
use crate::domain::label::{Answer, Judgement, Label, Origin};
use crate::domain::time::Timestamp;
use crate::stats::agreement::{CategoryWeights, cohen_kappa};

/// The rows of a file, where the shared data are.
#[expect(clippy::print_stderr, reason = "a skipped test must be visible")]
fn rows(file: &str) -> Option<Vec<Json>> {
    let beside = || std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let folder = std::env::var_os("DRIFTLINE_SHARED_DATA").map_or_else(beside, std::path::PathBuf::from);
    if !folder.is_dir() {
        eprintln!("skipped: no shared data");
        return None;
    }
    let file = flate2::read::GzDecoder::new(std::fs::File::open(folder.join(file)).unwrap());
    Some(BufReader::new(file).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect())
}

fn judgement(row: &Json) -> Judgement {
    Judgement {
        trace_id: row["trace_id"].as_str().unwrap().parse().unwrap(),
        evaluator: "policy".to_owned(),
        revision: "gpt-4o".to_owned(),
        passed: row["verdict"] != "fail",
        reason: row["justification"].as_str().map(str::to_owned),
        judged_at: Timestamp(0),
        weight: 1.0,
        is_upstream_known: false,
        draw: None,
    }
}

fn label(row: &Json) -> Label {
    Label {
        trace_id: row["trace_id"].as_str().unwrap().parse().unwrap(),
        evaluator: "policy".to_owned(),
        revision: None,
        label: Answer::of(row["outcome_success"].as_bool().unwrap()),
        reviewer: "outcome".to_owned(),
        note: None,
        labelled_at: Timestamp(0),
        origin: Origin::Import,
        probability: None,
    }
}

fn close(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
}

#[test]
fn poor_agreement_of_a_real_policy_judge_is_reported_as_such_as_statsmodels_and_scikit_learn_have_it() {
    let Some(rows) = rows("judges_tau2_policy_airline.jsonl.gz") else { return };
    let judgements: Vec<Judgement> = rows.iter().map(judgement).collect();
    let labels: Vec<Label> = rows.iter().map(label).collect();
    let found: Calibration = calibrations(&judgements, &[], &labels).pop().unwrap();
    assert_eq!((found.n, found.basis), (200, Basis::Imported));
    let kappa = found.kappa.unwrap();
    close(kappa.value, 0.045_875_096_4);
    close(kappa.low, -0.071_011_264_9);
    close(kappa.high, 0.162_761_457_6);
    assert_eq!(kappa.word, "poor");
    close(found.matthews.unwrap(), 0.054_100_908_6);
    let (sensitivity, specificity) = (found.sensitivity.unwrap(), found.specificity.unwrap());
    close(sensitivity.estimate.unwrap(), 0.760_869_565_2);
    close(sensitivity.low.unwrap(), 0.664_378_560_2);
    close(specificity.estimate.unwrap(), 0.287_037_037_0);
    close(specificity.high.unwrap(), 0.378_509_827_1);
    // Enough labels to know that it tells next to nothing.
    assert!(found.calibrated);
    assert!(found.corrected.is_none() && found.not_corrected.unwrap().contains("carries no information"));
    assert_eq!(found.disagreements.len(), 99);
    assert!(found.disagreements.iter().all(|one| one.reason.is_some()), "each with the judge's reason");

    // It is four prompts in truth: as revisions of their own, none has labels enough.
    let revision = |row: &Json| row["judge_prompt"].as_str().unwrap().to_owned();
    let apart: Vec<Judgement> =
        rows.iter().map(|row| Judgement { revision: revision(row), ..judgement(row) }).collect();
    let apart = calibrations(&apart, &[], &labels);
    assert_eq!(apart.iter().map(|one| (one.n, one.calibrated)).collect::<Vec<_>>(), [(50, false); 4]);
}

#[test]
fn kappa_of_two_real_judges_over_three_answers_is_that_of_statsmodels_and_scikit_learn() {
    let Some(rows) = rows("judges_pandalm.jsonl.gz") else { return };
    let place = |answer: &Json| ["a", "tie", "b"].iter().position(|word| answer == word);
    let expected = [
        ("gpt-3.5-turbo", 936.0, [0.522_628_652_6, 0.475_037_749_6, 0.570_219_555_7]),
        ("pandalm-7b", 999.0, [0.435_354_924_8, 0.388_207_162_1, 0.482_502_687_6]),
    ];
    for (judge, answers, [value, low, high]) in expected {
        let mut table = [[0.0; 3]; 3];
        for row in &rows {
            if let Some(verdict) = place(&row["judges"][judge]) {
                table[place(&row["label"]).unwrap()][verdict] += 1.0;
            }
        }
        close(table.as_flattened().iter().sum(), answers);
        let kappa = cohen_kappa(&[&table[0], &table[1], &table[2]], CategoryWeights::None).unwrap();
        close(kappa.value, value);
        close(kappa.interval(0.95).low, low);
        close(kappa.interval(0.95).high, high);
        assert_eq!(kappa.word(), "moderate");
    }
}
