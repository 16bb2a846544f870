//! Money in whole nanodollars, so that a ledger adds up to the last digit.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// Billionths of a US dollar. A token of a cheap model costs some hundreds of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NanoUsd(pub i64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many dollars, rounded up; what is no number is nothing, what is too much is the most there is.
    #[must_use]
    pub fn from_usd(usd: f64) -> Self {
        // A float cast saturates, and turns NaN into 0. The fraction is what binary prices leave over, not money.
        Self((usd * 1e9 - 1e-6).ceil() as i64)
    }

    /// As dollars.
    #[must_use]
    pub fn usd(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for NanoUsd {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for NanoUsd {
    /// Dollars and cents; below ten dollars to the hundredth of a cent.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = if self.0.abs() < 10_000_000_000 { 4 } else { 2 };
        write!(formatter, "${:.decimals$}", self.usd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_a_nanodollar_are_rounded_up_and_prices_in_binary_are_not() {
        assert_eq!(NanoUsd::from_usd(0.1), NanoUsd(100_000_000));
        assert_eq!(NanoUsd::from_usd(1.000_000_000_1), NanoUsd(1_000_000_001));
        assert_eq!(NanoUsd::from_usd(f64::NAN), NanoUsd(0));
        assert_eq!(NanoUsd::from_usd(f64::INFINITY), NanoUsd(i64::MAX));
    }

    #[test]
    fn small_amounts_keep_more_digits() {
        assert_eq!(NanoUsd::from_usd(0.0123).to_string(), "$0.0123");
        assert_eq!(NanoUsd::from_usd(20.0).to_string(), "$20.00");
    }
}
