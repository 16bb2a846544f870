"""Cohen's kappa of two real judges against people, by statsmodels and scikit-learn.

    python3 -m venv v && v/bin/pip install statsmodels scikit-learn
    v/bin/python tests/calibration/reference.py PATH/TO/shared/data

The tests in src/watch/calibration_real_tests.rs hold driftline to what this prints.
"""

import gzip
import json
import pathlib
import sys

import sklearn
import statsmodels
from sklearn.metrics import cohen_kappa_score, confusion_matrix, matthews_corrcoef
from statsmodels.stats.inter_rater import cohens_kappa
from statsmodels.stats.proportion import proportion_confint


def rows(folder, name):
    with gzip.open(pathlib.Path(folder) / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def report(name, people, judge, words):
    table = confusion_matrix(people, judge, labels=words)
    kappa = cohens_kappa(table)
    assert abs(kappa.kappa - cohen_kappa_score(people, judge)) < 1e-12
    print(f"{name}: n {len(people)}, table (people by judge, {'/'.join(words)}) {table.tolist()}")
    print(f"  kappa {kappa.kappa:.10f}, 95 % [{kappa.kappa_low:.10f}, {kappa.kappa_upp:.10f}]")
    print(f"  Matthews {matthews_corrcoef(people, judge):.10f}")
    if len(words) == 2:
        for what, row in (("sensitivity", 0), ("specificity", 1)):
            right, all_ = table[row][row], table[row].sum()
            low, high = proportion_confint(right, all_, method="wilson")
            print(f"  {what} {right / all_:.10f}, Wilson 95 % [{low:.10f}, {high:.10f}]")


def main(folder):
    print(f"statsmodels {statsmodels.__version__}, scikit-learn {sklearn.__version__}")
    airline = rows(folder, "judges_tau2_policy_airline.jsonl.gz")
    # The judge wrote pass, satisfied, satisfactory, compliant and correct for one thing, and fail for the other.
    judge = ["fail" if row["verdict"] == "fail" else "pass" for row in airline]
    people = ["pass" if row["outcome_success"] else "fail" for row in airline]
    report("tau2 airline, policy judge", people, judge, ["pass", "fail"])
    pandalm = rows(folder, "judges_pandalm.jsonl.gz")
    for name in ("gpt-3.5-turbo", "pandalm-7b"):
        answered = [row for row in pandalm if row["judges"].get(name) is not None]
        people = [row["label"] for row in answered]
        report(f"pandalm, {name}", people, [row["judges"][name] for row in answered], ["a", "tie", "b"])


if __name__ == "__main__":
    main(sys.argv[1])
