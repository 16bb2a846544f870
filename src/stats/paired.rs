//! Did something change, when the same task was run on both sides? Pairing removes the variance between tasks.

use std::ops::ControlFlow;

use fastrand::Rng;
use statrs::function::factorial::ln_binomial;

use super::distribution::normal_quantile;
use super::interval::Interval;

/// Most sign patterns drawn for one p-value.
const DRAWS: u32 = 9_999;
/// A simulated p-value is settled when this many draws reached the statistic (Besag and Clifford 1991).
const ENOUGH_EXCEEDANCES: u32 = 50;

/// Bonett-Price interval of a paired difference of shares `(difference, interval)`: `gained` pairs went from false to
/// true, `lost` from true to false, of `pairs` (Bonett and Price 2012).
#[must_use]
pub fn bonett_price(gained: f64, lost: f64, pairs: f64, confidence: f64) -> (f64, Interval) {
    let z = normal_quantile(f64::midpoint(1.0, confidence));
    let (up, down) = ((gained + 1.0) / (pairs + 2.0), (lost + 1.0) / (pairs + 2.0));
    let difference = up - down;
    let standard_error = ((up + down - difference * difference) / (pairs + 2.0)).sqrt();
    (difference, Interval::around(difference, z * standard_error))
}

/// Exact McNemar test, two-sided: discordant pairs fall either way with probability one half.
#[must_use]
pub fn mcnemar_exact(gained: u64, lost: u64) -> f64 {
    let discordant = gained + lost;
    let tail: f64 = (0..=gained.min(lost))
        .map(|k| (ln_binomial(discordant, k) - discordant as f64 * std::f64::consts::LN_2).exp())
        .sum();
    (2.0 * tail).min(1.0)
}

/// Result of a sign-flip test over several coordinates.
#[derive(Debug, Clone, PartialEq)]
pub struct SignFlip {
    /// Σd/√Σd² of each coordinate.
    pub z: Vec<f64>,
    /// p-value of each coordinate, family-wise over all coordinates (max-T, Westfall and Young 1993).
    pub adjusted: Vec<f64>,
    /// p-value of "nothing changed anywhere": the smallest of `adjusted`, 1 without coordinates.
    pub p_value: f64,
}

/// Sign-flip permutation test of paired differences, one row per pair and one column per coordinate. Under no change
/// a pair's difference is as likely as its negative, whatever its distribution and however the coordinates of one pair
/// depend on each other, so the p-values are exact up to the draws.
pub fn sign_flip(differences: &[Vec<f64>], rng: &mut Rng) -> SignFlip {
    let columns = differences.first().map_or(0, Vec::len);
    let norms: Vec<f64> = (0..columns)
        .map(|column| differences.iter().map(|row| row[column] * row[column]).sum::<f64>().sqrt())
        .collect();
    let z = standardised(differences, &norms, |_| 1.0);
    let largest = z.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
    let mut exceedances = vec![0_u32; columns];
    let mut draws = 0;
    let outcome = (0..DRAWS).try_for_each(|_| {
        draws += 1;
        let signs: Vec<f64> = differences.iter().map(|_| if rng.bool() { 1.0 } else { -1.0 }).collect();
        let flipped = standardised(differences, &norms, |row| signs[row]);
        let most = flipped.iter().fold(0.0_f64, |most, value| most.max(value.abs())) + 1e-9;
        for (count, value) in exceedances.iter_mut().zip(&z) {
            *count += u32::from(most >= value.abs());
        }
        let reached = z.iter().zip(&exceedances).filter(|(value, _)| value.abs() == largest).map(|(_, count)| *count);
        if reached.min().unwrap_or(0) >= ENOUGH_EXCEEDANCES {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    let extra = u32::from(outcome.is_continue());
    let adjusted: Vec<f64> =
        exceedances.iter().map(|count| f64::from(count + extra) / f64::from(draws + extra)).collect();
    let p_value = adjusted.iter().fold(1.0_f64, |least, p| least.min(*p));
    SignFlip { z, adjusted, p_value }
}

fn standardised(differences: &[Vec<f64>], norms: &[f64], sign: impl Fn(usize) -> f64) -> Vec<f64> {
    let mut sums = vec![0.0; norms.len()];
    for (index, row) in differences.iter().enumerate() {
        let sign = sign(index);
        for (sum, difference) in sums.iter_mut().zip(row) {
            *sum += sign * difference;
        }
    }
    sums.iter().zip(norms).map(|(sum, norm)| if *norm > 0.0 { sum / norm } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(shift: f64, pairs: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
        (0..pairs)
            .map(|_| {
                let common = rng.f64() - 0.5;
                (0..6).map(|column| common + rng.f64() - 0.5 + if column == 4 { shift } else { 0.0 }).collect()
            })
            .collect()
    }

    #[test]
    fn max_t_keeps_the_family_wise_rate_and_names_the_column_that_moved() {
        let mut rng = Rng::with_seed(6);
        let false_alarms = (0..300).filter(|_| sign_flip(&rows(0.0, 30, &mut rng), &mut rng).p_value < 0.05).count();
        assert!((4..=27).contains(&false_alarms), "{false_alarms} of 300 at 5 %");
        for _ in 0..5 {
            let result = sign_flip(&rows(0.4, 60, &mut rng), &mut rng);
            let named: Vec<usize> = (0..6).filter(|column| result.adjusted[*column] < 0.05).collect();
            assert_eq!(named, [4]);
        }
    }

    #[test]
    fn no_difference_at_all_is_p_one() {
        let result = sign_flip(&vec![vec![0.0; 3]; 40], &mut Rng::with_seed(7));
        assert_eq!(result.p_value, 1.0);
        assert_eq!(sign_flip(&[], &mut Rng::with_seed(7)).p_value, 1.0);
        assert_eq!(mcnemar_exact(0, 0), 1.0);
    }
}
