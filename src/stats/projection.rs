//! Will the money last?
//!
//! **Question.** So much is spent of a period under way. At this pace, what will it come to, and how likely is it that it
//! reaches the limit?
//!
//! **Statistic.** Spending so far times period over elapsed time. The error is taken as normal, with the variance of what
//! is left and of the pace measured so far: σ²·(left + left²/elapsed). Time may be weighted: with `elapsed` and
//! `period` as sums of a profile of past spending, a weekend ahead counts for what weekends cost.
//!
//! **When it fires.** This file says a projection and a probability. The rule `daily_cost` warns when 80 % of the limit is
//! as likely to be reached as not, and pages when the limit itself has a chance of 90 % ([`crate::watch::rules`]).
//!
//! **Cold start.** With one unit of time the variance is unknown, taken as 0, and the projection as certain; the rule
//! waits for three hours of the day, unless 80 % of the limit is spent already.
//!
//! **Recovery.** When the pace falls so far that the projection does; at the latest with the next period.
//!
//! **Where it ends.** Hours are taken as independent and their costs as near normal in sum: one run that costs a day's
//! money is seen when it has been spent.
//!
//! Source: prediction of a sum from a sample mean, for example Cochran 1977, section 2.

use super::distribution::normal_upper_tail;

/// Spending of a period under way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spending {
    /// Spent so far.
    pub spent: f64,
    /// Time passed, above zero.
    pub elapsed: f64,
    /// Length of the period, in the unit of `elapsed`, and at least that.
    pub period: f64,
    /// Variance of the spending of one unit of time; 0 when it is not known.
    pub variance: f64,
}

impl Spending {
    /// Spending at the end of the period, at the pace so far.
    #[must_use]
    pub fn projected(&self) -> f64 {
        self.spent / self.elapsed * self.period
    }

    /// Probability that the period ends at `limit` or above. What is left varies, and so does the pace measured so far.
    #[must_use]
    pub fn chance_of_reaching(&self, limit: f64) -> f64 {
        let left = (self.period - self.elapsed).max(0.0);
        let deviation = (self.variance * (left + left * left / self.elapsed)).sqrt();
        if deviation > 0.0 {
            normal_upper_tail((limit - self.projected()) / deviation)
        } else {
            f64::from(self.projected() >= limit)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chance_is_even_at_the_projection_and_certain_at_the_end() {
        let spending = Spending { spent: 52.0, elapsed: 18.0, period: 30.0, variance: 4.0 };
        assert!((spending.chance_of_reaching(spending.projected()) - 0.5).abs() < 1e-12);
        assert!(spending.chance_of_reaching(80.0) > 0.7 && spending.chance_of_reaching(120.0) < 0.01);
        let over = Spending { elapsed: 30.0, ..spending };
        assert_eq!((over.chance_of_reaching(51.9), over.chance_of_reaching(52.1)), (1.0, 0.0));
    }

    #[test]
    fn a_weighted_week_expects_little_of_its_weekend() {
        let workdays_done = Spending { spent: 50.0, elapsed: 5.0, period: 5.0 + 2.0 * 0.1, variance: 0.0 };
        assert!((workdays_done.projected() - 52.0).abs() < 1e-9);
    }
}
