//! How far do a judge and people agree, beyond what chance alone would give?
//!
//! **Statistic.** Cohen's kappa (po - pe)/(1 - pe) of a square table, with weights for ordered categories. Its standard
//! error is that of Fleiss, Cohen and Everitt (1969), as statsmodels `cohens_kappa` computes it.
//!
//! **Where it ends.** The interval is normal and wants some fifty items in each verdict; at a high pass rate kappa is
//! small even for a good judge, so it is never shown without both error rates. It is that of a simple sample: for items
//! that were drawn with unequal probabilities see [`super::by_verdict`].

use serde::{Deserialize, Serialize};

use super::distribution::normal_quantile;
use super::interval::Interval;

/// What a judge said of items that people have judged as well: counts, or weights scaled to an effective number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Confusion {
    /// Both say pass.
    pub true_pass: f64,
    /// The judge passes what a person fails.
    pub false_pass: f64,
    /// Both say fail.
    pub true_fail: f64,
    /// The judge fails what a person passes.
    pub false_fail: f64,
}

impl Confusion {
    /// Counts one item.
    pub fn add(&mut self, judge_passes: bool, person_passes: bool, weight: f64) {
        *match (judge_passes, person_passes) {
            (true, true) => &mut self.true_pass,
            (true, false) => &mut self.false_pass,
            (false, false) => &mut self.true_fail,
            (false, true) => &mut self.false_fail,
        } += weight;
    }

    /// All items.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.person_passes() + self.person_fails()
    }

    /// Items that people pass.
    #[must_use]
    pub fn person_passes(&self) -> f64 {
        self.true_pass + self.false_fail
    }

    /// Items that people fail.
    #[must_use]
    pub fn person_fails(&self) -> f64 {
        self.true_fail + self.false_pass
    }

    /// The same shares over another number of items.
    #[must_use]
    pub fn scaled_to(&self, total: f64) -> Self {
        let factor = if self.total() > 0.0 { total / self.total() } else { 0.0 };
        let Self { true_pass, false_pass, true_fail, false_fail } = *self;
        let scale = |count: f64| count * factor;
        Self {
            true_pass: scale(true_pass),
            false_pass: scale(false_pass),
            true_fail: scale(true_fail),
            false_fail: scale(false_fail),
        }
    }

    /// Share of what people pass that the judge passes; `None` where people pass nothing.
    #[must_use]
    pub fn sensitivity(&self) -> Option<f64> {
        (self.person_passes() > 0.0).then(|| self.true_pass / self.person_passes())
    }

    /// Share of what people fail that the judge fails; `None` where people fail nothing.
    #[must_use]
    pub fn specificity(&self) -> Option<f64> {
        (self.person_fails() > 0.0).then(|| self.true_fail / self.person_fails())
    }

    /// Cohen's kappa; see [`cohen_kappa`].
    #[must_use]
    pub fn kappa(&self) -> Option<Kappa> {
        let table = [[self.true_pass, self.false_pass], [self.false_fail, self.true_fail]];
        cohen_kappa(&[&table[0], &table[1]], CategoryWeights::None)
    }

    /// Matthews correlation, which a high pass rate flatters less than accuracy; `None` where either never varies.
    #[must_use]
    pub fn matthews(&self) -> Option<f64> {
        let judge_passes = self.true_pass + self.false_pass;
        let judge_fails = self.true_fail + self.false_fail;
        let margins = judge_passes * judge_fails * self.person_passes() * self.person_fails();
        let product = self.true_pass * self.true_fail - self.false_pass * self.false_fail;
        (margins > 0.0).then(|| product / margins.sqrt())
    }
}

/// How much two different categories count as agreement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CategoryWeights {
    /// Not at all.
    None,
    /// By their distance.
    Linear,
    /// By the square of their distance.
    Quadratic,
}

impl CategoryWeights {
    fn agreement(self, row: usize, column: usize, categories: usize) -> f64 {
        let distance = row.abs_diff(column) as f64 / (categories - 1).max(1) as f64;
        match self {
            Self::None => f64::from(row == column),
            Self::Linear => 1.0 - distance,
            Self::Quadratic => 1.0 - distance * distance,
        }
    }
}

/// Agreement beyond chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kappa {
    /// 1 for full agreement, 0 for what chance gives.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Kappa {
    /// Its normal interval.
    #[must_use]
    pub fn interval(&self, confidence: f64) -> Interval {
        Interval::around(self.value, normal_quantile(f64::midpoint(1.0, confidence)) * self.standard_error)
    }

    /// A plain word for it, after Altman (1991), Practical Statistics for Medical Research, table 14.3.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.value {
            value if value <= 0.20 => "poor",
            value if value <= 0.40 => "fair",
            value if value <= 0.60 => "moderate",
            value if value <= 0.80 => "good",
            _ => "very good",
        }
    }
}

/// Cohen's kappa of a square table of counts; `None` where chance alone gives full agreement, or nothing was counted.
#[must_use]
pub fn cohen_kappa(table: &[&[f64]], weights: CategoryWeights) -> Option<Kappa> {
    let size = table.len();
    let total: f64 = table.iter().flat_map(|row| row.iter()).sum();
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum::<f64>() / total).collect();
    let columns: Vec<f64> = (0..size).map(|at| table.iter().map(|row| row[at]).sum::<f64>() / total).collect();
    let weight = |row, column| weights.agreement(row, column, size);
    let cells = || (0..size).flat_map(|row| (0..size).map(move |column| (row, column)));
    let observed: f64 = cells().map(|(row, column)| weight(row, column) * table[row][column] / total).sum();
    let by_chance: f64 = cells().map(|(row, column)| weight(row, column) * rows[row] * columns[column]).sum();
    // Also where nothing was counted, and all of this is NaN.
    if by_chance.is_nan() || 1.0 - by_chance <= 1e-12 {
        return None;
    }
    let value = (observed - by_chance) / (1.0 - by_chance);
    let of_row: Vec<f64> = (0..size).map(|row| (0..size).map(|at| weight(row, at) * columns[at]).sum()).collect();
    let of_column: Vec<f64> = (0..size).map(|column| (0..size).map(|at| weight(at, column) * rows[at]).sum()).collect();
    let spread: f64 = cells()
        .map(|(row, column)| {
            let deviation = weight(row, column) - (of_row[row] + of_column[column]) * (1.0 - value);
            table[row][column] / total * deviation * deviation
        })
        .sum();
    let centre = value - by_chance * (1.0 - value);
    let variance = (spread - centre * centre).max(0.0) / (total * (1.0 - by_chance) * (1.0 - by_chance));
    Some(Kappa { value, standard_error: variance.sqrt() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_judge_that_always_says_the_same_agrees_by_chance_alone() {
        let always = Confusion { true_pass: 90.0, false_pass: 10.0, ..Confusion::default() };
        assert!(always.kappa().unwrap().value.abs() < 1e-12);
        assert_eq!(always.matthews(), None);
    }

    #[test]
    fn where_nothing_varies_there_is_no_kappa() {
        assert_eq!(Confusion { true_pass: 20.0, ..Confusion::default() }.kappa(), None);
        assert_eq!(Confusion::default().kappa(), None);
    }

    #[test]
    fn words_follow_the_value() {
        let word = |value| Kappa { value, standard_error: 0.1 }.word();
        assert_eq!(
            [-0.3, 0.2, 0.21, 0.5, 0.7, 0.9].map(word),
            ["poor", "poor", "fair", "moderate", "good", "very good"]
        );
    }

    #[test]
    fn scaling_keeps_the_shares_and_widens_the_interval() {
        let confusion = Confusion { true_pass: 40.0, false_pass: 6.0, true_fail: 45.0, false_fail: 9.0 };
        let (few, many) = (confusion.scaled_to(50.0).kappa().unwrap(), confusion.kappa().unwrap());
        assert!((few.value - many.value).abs() < 1e-12);
        assert!((few.standard_error / many.standard_error - 2.0_f64.sqrt()).abs() < 1e-12);
    }
}
