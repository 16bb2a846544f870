//! Is the service failing its users: does it burn its error budget, does it fail more than it may?
//!
//! **Question.** An objective says which share of runs must be good over a period. How fast is what may fail being
//! used up, and is that certain enough to wake someone?
//!
//! **Statistic.** Burn rate: share of bad runs over the share that may be bad. At 1 the budget lasts exactly the
//! period. Counts are judged by the exact binomial tail.
//!
//! **When it fires.** Warns above 2, pages above 10, each over a long window and over a short one at its end, so that
//! an alert stops soon after its cause does. A page moreover needs five bad runs or a count whose chance on target is
//! below 0.001: two bad of twenty at 99 % are a burn rate of 10 and happen once in sixty hours to a healthy service.
//!
//! Source: Google SRE workbook, chapter 5 (multi-window, multi-burn-rate alerts).

use super::distribution::binomial_at_least;

/// Burn rate above which to warn.
pub const WARN: f64 = 2.0;
/// Burn rate above which to page.
pub const PAGE: f64 = 10.0;
/// The short window is this part of the long one.
pub const SHORT_WINDOW_PART: f64 = 1.0 / 12.0;
const LEAST_BAD: u64 = 5;
const PAGE_ALPHA: f64 = 1e-3;
const ERROR_ALPHA: f64 = 0.01;

/// Runs of a window, and how many of them were bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Bad ones.
    pub bad: u64,
    /// All.
    pub total: u64,
}

impl Outcomes {
    /// Share of bad runs; 0 without runs.
    #[must_use]
    pub fn bad_share(&self) -> f64 {
        if self.total > 0 { self.bad as f64 / self.total as f64 } else { 0.0 }
    }

    /// Probability of as many bad runs or more when each is bad with probability `share`.
    #[must_use]
    pub fn p_value(&self, share: f64) -> f64 {
        binomial_at_least(self.bad, self.total, share)
    }

    /// Whether more than `limit` of all runs fail: the share seen is at least the limit, and an exact test at 1 % says
    /// that it is no accident.
    #[must_use]
    pub fn fails_more_than(&self, limit: f64) -> bool {
        self.bad_share() >= limit && self.p_value(limit) < ERROR_ALPHA
    }
}

/// What a burn rate asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Nothing.
    None,
    /// Someone should look today.
    Warn,
    /// Someone should look now.
    Page,
}

/// How fast the budget of an objective burns: share of bad runs over the share that may be bad. `objective` is the
/// share that must be good, below 1.
#[must_use]
pub fn burn_rate(outcomes: Outcomes, objective: f64) -> f64 {
    outcomes.bad_share() / (1.0 - objective)
}

/// Part of a period's budget that burning at `rate` for `hours` spends.
#[must_use]
pub fn budget_spent(rate: f64, hours: f64, period_hours: f64) -> f64 {
    rate * hours / period_hours
}

/// What a long window, and the short one at its end, ask for.
#[must_use]
pub fn urgency(long: Outcomes, short: Outcomes, objective: f64) -> Urgency {
    let rate = burn_rate(long, objective).min(burn_rate(short, objective));
    let is_certain = long.bad >= LEAST_BAD || long.p_value(1.0 - objective) < PAGE_ALPHA;
    if rate > PAGE && is_certain {
        Urgency::Page
    } else if rate > WARN {
        Urgency::Warn
    } else {
        Urgency::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_traffic_warns_and_does_not_page() {
        let (long, short) = (Outcomes { bad: 3, total: 20 }, Outcomes { bad: 1, total: 2 });
        assert_eq!(urgency(Outcomes { bad: 2, total: 18 }, short, 0.99), Urgency::Warn);
        assert!(long.p_value(0.01) > 1e-3 && urgency(long, short, 0.99) == Urgency::Warn);
        assert_eq!(urgency(Outcomes { bad: 40, total: 200 }, short, 0.99), Urgency::Page);
    }

    #[test]
    fn an_incident_that_is_over_pages_no_more() {
        let long = Outcomes { bad: 40, total: 200 };
        assert_eq!(urgency(long, Outcomes { bad: 0, total: 17 }, 0.99), Urgency::None);
        assert_eq!(urgency(Outcomes::default(), Outcomes::default(), 0.99), Urgency::None);
    }

    #[test]
    fn an_error_rate_must_be_high_and_certain() {
        assert!(!Outcomes { bad: 12, total: 120 }.fails_more_than(0.05), "p = 0.017");
        assert!(Outcomes { bad: 15, total: 120 }.fails_more_than(0.05));
        assert!(!Outcomes { bad: 480, total: 10_000 }.fails_more_than(0.05));
        assert!(!Outcomes { bad: 1, total: 1 }.fails_more_than(0.05));
    }
}
