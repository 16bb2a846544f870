//! What would watching find, and what would a gate show? Asked before anything is switched on.
//!
//! **Question.** Given what is known of each series and how many traces come in a day: how many false alarms are to be
//! expected, how long does a drop go unseen, and what can a gate of a given size certify?
//!
//! **Answer.** With the bounds, thresholds and over-dispersion that the service itself would use. The delay is
//! ln(c·J)/J hours for an hour that is worth J nats against the bound, which simulations confirm within about 15 %.

use serde::Serialize;

use super::baseline::Baseline;
use super::detect::Direction;
use super::dispersion::OverDispersion;
use super::key::{ALL, SeriesKey};
use super::score::Score;
use super::segments::SegmentPattern;
use super::summary::{Distribution, Extremes, SeriesSummary};
use super::watched::Epoch;
use crate::domain::measurement::SeriesKind;
use crate::domain::time::Timestamp;
use crate::stats::e_process::AlertBudget;
use crate::stats::moments::Moments;
use crate::stats::non_inferiority::needed_size;
use crate::stats::power::{expected_delay, information, minimum_detectable_change, size_for_half_width};

const HOURS_PER_DAY: f64 = 24.0;
/// Hours that the false-alarm budget is stated for.
const HOURS_PER_BUDGET: f64 = 720.0;
/// Longest wait at which a drop still counts as detectable, in days.
const PATIENCE_DAYS: f64 = 7.0;
/// Error rate and power of a planned gate.
const ALPHA: f64 = 0.05;
const POWER: f64 = 0.8;
/// Labels of each verdict before a judge may gate anything.
const LABELS_PER_VERDICT: f64 = 100.0;

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Wishes {
    /// Only this series.
    pub series: Option<String>,
    /// Segments that are watched beside each service.
    pub segments: Vec<SegmentPattern>,
    /// Drops of the mean score, each above 0.
    pub drops: Vec<f64>,
    /// Traces a day; when absent, as in the baseline.
    pub per_day: Option<f64>,
    /// False alarms tolerated in 30 days.
    pub false_alarms: f64,
    /// Largest loss that a gate accepts.
    pub margin: f64,
    /// Traces a side that a gate would have.
    pub gate_traces: u64,
    /// Share of good and of bad runs that a judge calls what they are.
    pub judge: Option<Judge>,
}

/// How often a judge is right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judge {
    /// Share of good runs that it passes.
    pub sensitivity: f64,
    /// Share of bad runs that it fails; above 1 - `sensitivity`.
    pub specificity: f64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// False alarms to be expected in 30 days at most, over everything.
    pub false_alarms_per_30_days: f64,
    /// Detectors that the budget is shared by, with room for more.
    pub detectors: u64,
    /// Evidence at which each of them alarms.
    pub threshold: f64,
    /// Traces a day that the rest assumes.
    pub traces_per_day: f64,
    /// Every series that can be watched.
    pub series: Vec<SeriesPlan>,
    /// What limits all of this, in plain words.
    pub notes: Vec<String>,
}

/// What is to be expected of one series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeriesPlan {
    /// Service and name.
    pub service: String,
    /// The series.
    pub series: String,
    /// `all`, or the segment that is watched.
    pub segment: String,
    /// What the estimate is of: `share true`, `mean`, `share above 812`.
    pub measure: String,
    /// The baseline's estimate.
    pub estimate: f64,
    /// Traces behind it.
    pub traces: u64,
    /// By how much hours vary more than chance allows.
    pub over_dispersion: f64,
    /// How far below the baseline's mean the watched bound lies: what the baseline's uncertainty and the tolerance cost.
    pub allowance: f64,
    /// When each drop would be found.
    pub delays: Vec<Delay>,
    /// The smallest drop found within a week; absent when none is.
    pub detectable_within_a_week: Option<f64>,
    /// What a gate can show.
    pub gate: GatePlan,
    /// Labels by people that this series asks for; absent where a score is no verdict.
    pub labels: Option<LabelPlan>,
}

/// How long a drop goes unseen, on average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delay {
    /// The drop.
    pub drop: f64,
    /// Traces until it is found; absent when it lies within the allowance.
    pub traces: Option<f64>,
    /// The same in days.
    pub days: Option<f64>,
    /// How many times longer than with a baseline known exactly, and no tolerance.
    pub against_known_baseline: Option<f64>,
}

/// What a gate needs, at an error rate of 5 % and a power of 80 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GatePlan {
    /// Largest loss accepted.
    pub margin: f64,
    /// Traces a side that it takes to show an equal candidate good enough.
    pub traces_a_side: f64,
    /// Pairs of the same task that it takes, when a third of the variance is left within tasks.
    pub pairs: f64,
    /// The smallest margin that the traces at hand can certify.
    pub certifiable_margin: f64,
    /// Traces a side at hand.
    pub traces: u64,
}

/// Labels by people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LabelPlan {
    /// To know the share itself within five points, from people alone.
    pub for_share: f64,
    /// Drawn at random until both verdicts have enough to trust a judge with gating.
    pub for_judge_at_random: f64,
    /// Drawn by the judge's verdict instead.
    pub for_judge_by_verdict: f64,
}

/// Plans for every stream that the service would watch.
#[must_use]
pub fn plan(baseline: &Baseline, wishes: &Wishes) -> Plan {
    let epoch = Epoch::of(baseline, &wishes.segments, wishes.false_alarms, HOURS_PER_BUDGET);
    let budget = *epoch.budget();
    let per_day = wishes.per_day.unwrap_or_else(|| traces_per_day(baseline));
    let asked = epoch.streams().filter(|(key, ..)| wishes.series.as_ref().is_none_or(|series| *series == key.series));
    let traffic = Traffic { per_day, traces: baseline.traces as f64 };
    let series: Vec<SeriesPlan> = asked
        .filter_map(|(key, summary, dispersion)| of_series(key, summary, dispersion, &budget, traffic, wishes))
        .collect();
    let notes = notes(&series, wishes);
    Plan {
        false_alarms_per_30_days: wishes.false_alarms,
        detectors: budget.detectors,
        threshold: budget.threshold(),
        traces_per_day: per_day,
        series,
        notes,
    }
}

/// A baseline that does not exist yet: a series of yes and no, true in that share of so many traces, among `streams` alike.
#[must_use]
pub fn supposed(series: &str, share: f64, traces: u64, over_dispersion: f64, streams: u32) -> Baseline {
    let right = (share * traces as f64).round();
    let value = |index: u64| [(f64::from(u8::from((index as f64) < right)), 1.0)];
    let values: Vec<[(f64, f64); 1]> = (0..traces).map(value).collect();
    let moments = Moments::of_clusters(values.iter().map(<[(f64, f64); 1]>::as_slice));
    let dispersion = OverDispersion { factor: over_dispersion, clusters: 0, cluster_size: 0.0 };
    let distribution = Distribution::Boolean { moments, extremes: Extremes::default() };
    let summary = SeriesSummary::new(traces, dispersion, distribution);
    let mut baseline = Baseline::from_records("supposed", Timestamp(0), "", &[]);
    baseline.traces = traces;
    let key = |number| SeriesKey {
        service: "supposed".to_owned(),
        series: if number == 1 { series.to_owned() } else { format!("{series} {number}") },
        segment: ALL.to_owned(),
    };
    baseline.series = (1..=streams).map(|number| (key(number), summary.clone())).collect();
    baseline
}

fn traces_per_day(baseline: &Baseline) -> f64 {
    let (first, last) = baseline.ended_between;
    let hours = ((last.0 - first.0) as f64 / Timestamp::NANOS_PER_HOUR as f64).max(1.0);
    baseline.traces as f64 / hours * HOURS_PER_DAY
}

/// Traces that come in a day, and those of the baseline.
#[derive(Clone, Copy)]
struct Traffic {
    per_day: f64,
    traces: f64,
}

impl Traffic {
    /// How many come in an hour of what the baseline has so many of.
    fn per_hour(self, in_baseline: f64) -> f64 {
        in_baseline / self.traces.max(1.0) * self.per_day / HOURS_PER_DAY
    }
}

fn of_series(
    key: &SeriesKey,
    whole: &SeriesSummary,
    dispersion: OverDispersion,
    budget: &AlertBudget,
    traffic: Traffic,
    wishes: &Wishes,
) -> Option<SeriesPlan> {
    let summary = whole.bet_on();
    let is_numeric = summary.kind() == SeriesKind::Numeric;
    let direction = if is_numeric { Direction::Up } else { Direction::Down };
    let score = Score::of(direction, summary, dispersion)?;
    let estimate = score.baseline();
    let mean = if is_numeric { 1.0 - estimate } else { estimate };
    let bound = score.bound(budget.baseline_confidence())?;
    let stream = Stream {
        mean,
        bound,
        variance: (summary.kind() == SeriesKind::Ordinal).then(|| score.variance(bound)),
        threshold: budget.threshold(),
        traces_per_hour: traffic.per_hour(whole.traces as f64),
        bets_per_hour: traffic.per_hour(summary.traces as f64),
        worth_per_hour: traffic.per_hour(summary.moments()?.kish_size()),
        dispersion,
        judge: wishes.judge,
    };
    let moments = whole.moments()?;
    let share = possible(mean, whole.traces);
    let is_boolean = whole.kind() == SeriesKind::Boolean;
    let variance = moments.variance().max(if is_boolean { share * (1.0 - share) } else { 0.0 });
    Some(SeriesPlan {
        service: key.service.clone(),
        series: key.series.clone(),
        segment: key.segment.clone(),
        measure: score.measure(),
        estimate,
        traces: whole.traces,
        over_dispersion: dispersion.at_least_one(),
        allowance: mean - bound,
        delays: wishes.drops.iter().map(|drop| stream.delay(*drop)).collect(),
        detectable_within_a_week: stream.detectable(PATIENCE_DAYS),
        gate: gate(variance, wishes),
        labels: is_boolean.then(|| labels(share)),
    })
}

/// A share to plan with: what was so in each of n traces is otherwise in one of n + 2 (Laplace's rule), or a plan would
/// ask for no traces at all.
fn possible(share: f64, traces: u64) -> f64 {
    let rarest = 1.0 / (traces as f64 + 2.0);
    share.clamp(rarest, 1.0 - rarest)
}

/// One direction of one series.
struct Stream {
    mean: f64,
    bound: f64,
    /// Variance of one score; absent for a yes or no, whose own follows from its share.
    variance: Option<f64>,
    threshold: f64,
    /// Traces of an hour, what bets are on (traces or conversations), and the independent ones of equal weight that
    /// these are worth.
    traces_per_hour: f64,
    bets_per_hour: f64,
    worth_per_hour: f64,
    dispersion: OverDispersion,
    judge: Option<Judge>,
}

impl Stream {
    fn delay(&self, drop: f64) -> Delay {
        let hours = self.hours_to_find(drop, self.bound);
        let known = self.hours_to_find(drop, self.mean);
        Delay {
            drop,
            traces: hours.map(|hours| hours * self.traces_per_hour),
            days: hours.map(|hours| hours / HOURS_PER_DAY),
            against_known_baseline: hours.zip(known).map(|(hours, known)| hours / known),
        }
    }

    /// At least one hour: evidence is looked at once an hour.
    fn hours_to_find(&self, drop: f64, bound: f64) -> Option<f64> {
        let drop = drop * self.judge.map_or(1.0, |judge| judge.sensitivity + judge.specificity - 1.0);
        let dropped = (self.mean - drop).max(0.0);
        let of_score = match self.variance {
            Some(variance) => (bound - dropped).max(0.0).powi(2) / (2.0 * variance),
            None => information(dropped, bound),
        };
        let of_hour = of_score * self.worth_per_hour / self.dispersion.of_window(self.bets_per_hour as u64);
        expected_delay(self.threshold, of_hour).map(|hours| hours.max(1.0))
    }

    /// The smallest drop found within so many days, to a tenth of a point.
    fn detectable(&self, days: f64) -> Option<f64> {
        let drops = (1..=1000).map(|step| f64::from(step) / 1000.0).take_while(|drop| *drop <= self.mean);
        let is_found =
            |drop: &f64| self.hours_to_find(*drop, self.bound).is_some_and(|hours| hours <= days * HOURS_PER_DAY);
        drops.into_iter().find(is_found)
    }
}

fn gate(variance: f64, wishes: &Wishes) -> GatePlan {
    let traces = wishes.gate_traces as f64;
    GatePlan {
        margin: wishes.margin,
        traces_a_side: needed_size(2.0 * variance, wishes.margin, ALPHA, POWER).ceil(),
        pairs: needed_size(2.0 * variance / 3.0, wishes.margin, ALPHA, POWER).ceil(),
        certifiable_margin: minimum_detectable_change(variance, traces, traces, ALPHA, POWER),
        traces: wishes.gate_traces,
    }
}

fn labels(share: f64) -> LabelPlan {
    let rarer = share.min(1.0 - share).max(0.001);
    LabelPlan {
        for_share: size_for_half_width(share, 0.05, 0.95).ceil(),
        for_judge_at_random: (LABELS_PER_VERDICT / rarer).ceil(),
        for_judge_by_verdict: 2.0 * LABELS_PER_VERDICT,
    }
}

/// The limits that apply to this plan.
fn notes(series: &[SeriesPlan], wishes: &Wishes) -> Vec<String> {
    let mut notes = Vec::new();
    let mut note = |applies: bool, text: &str| {
        if applies {
            notes.push(text.to_owned());
        }
    };
    note(series.is_empty(), "nothing can be watched: a series needs a baseline worth 50 independent traces");
    note(
        series.iter().any(|one| one.delays.iter().any(|delay| delay.traces.is_none())),
        "a drop no larger than a series' allowance is never found; a longer baseline makes the allowance smaller, and \
         one point of it is tolerance",
    );
    note(
        wishes.drops.iter().any(|drop| *drop <= 0.02),
        "a drop of two points takes thousands of scores by any method that keeps its false-alarm rate",
    );
    note(
        series.iter().any(|one| one.over_dispersion > 1.2),
        "hours vary more than chance allows, and evidence is divided by how much: look for a day cycle first",
    );
    note(
        wishes.judge.is_none(),
        "scores are taken for the truth; judges that are right nine times in ten take twice to three times as long \
         (--sensitivity and --specificity)",
    );
    note(
        series.iter().any(|one| one.gate.certifiable_margin > wishes.margin),
        "a gate with the traces at hand will mostly answer that there is not enough evidence",
    );
    note(
        series.iter().any(|one| one.labels.is_some()),
        "below 100 labels use intervals from people's labels alone; a judge adds nothing that can be trusted",
    );
    note(
        true,
        "tool sequences are tested from 20 conversations and 100 traces on; two tools swapped in 8 % of traces are not \
         seen with 120 conversations",
    );
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::detect::{Signal, StreamState};
    use crate::watch::expectation::Mix;
    use crate::watch::watched::WatchedStream;

    fn wishes(drops: &[f64]) -> Wishes {
        Wishes {
            series: None,
            segments: Vec::new(),
            drops: drops.to_vec(),
            per_day: Some(24.0 * 200.0),
            false_alarms: 1.0,
            margin: 0.02,
            gate_traces: 200,
            judge: None,
        }
    }

    /// Mean hours until the service itself finds the drop.
    fn measured(baseline: &Baseline, budget: &AlertBudget, drop: f64) -> f64 {
        let summary = baseline.series.values().next().unwrap();
        let stream = WatchedStream::new(summary, summary.over_dispersion, budget);
        let mut rng = fastrand::Rng::with_seed(91);
        let mut hours_to_find = || {
            let mut state = StreamState::default();
            let found = (1..2000_i64).find(|hour| {
                let right = (0..200).filter(|_| rng.f64() < 0.9 - drop).count() as f64;
                let window = supposed("a", right / 200.0, 200, 1.0, 1);
                let at = Timestamp(hour * Timestamp::NANOS_PER_HOUR);
                let signals = state.observe(at, window.series.values().next().unwrap(), &Mix::new(), &stream);
                signals.iter().any(|signal| matches!(signal, Signal::Found(_)))
            });
            found.unwrap() as f64
        };
        (0..40).map(|_| hours_to_find()).sum::<f64>() / 40.0
    }

    #[test]
    fn the_planned_delay_is_what_the_service_takes() {
        let baseline = supposed("a", 0.9, 10_000, 1.0, 10);
        let found = plan(&baseline, &wishes(&[0.05, 0.1]));
        let budget = AlertBudget { false_alarms: 1.0, windows: HOURS_PER_BUDGET, detectors: found.detectors };
        assert!((found.threshold - budget.threshold()).abs() < 1e-6);
        for delay in &found.series[0].delays {
            let (planned, measured) = (delay.days.unwrap() * 24.0, measured(&baseline, &budget, delay.drop));
            assert!((planned / measured - 1.0).abs() < 0.35, "{}: planned {planned}, took {measured}", delay.drop);
        }
    }

    #[test]
    fn a_short_baseline_a_noisy_judge_and_uneven_hours_make_it_slower() {
        let days = |traces, phi, judge| {
            let wishes = Wishes { judge, ..wishes(&[0.1]) };
            plan(&supposed("a", 0.9, traces, phi, 10), &wishes).series[0].delays[0].days.unwrap()
        };
        let usual = days(10_000, 1.0, None);
        assert!(days(1_000, 1.0, None) > usual);
        assert!(days(10_000, 4.0, None) > 3.0 * usual);
        assert!(days(10_000, 1.0, Some(Judge { sensitivity: 0.9, specificity: 0.8 })) > 1.5 * usual);
    }

    #[test]
    fn a_series_in_which_all_went_well_is_planned_as_one_that_may_yet_fail() {
        let found = plan(&supposed("a", 1.0, 98, 1.0, 5), &wishes(&[0.05]));
        let GatePlan { traces_a_side, certifiable_margin, .. } = found.series[0].gate;
        assert!((300.0..320.0).contains(&traces_a_side), "{traces_a_side} at a share of 0.99");
        assert!((0.024..0.026).contains(&certifiable_margin), "{certifiable_margin}");
        assert!(found.series[0].labels.as_ref().is_some_and(|labels| labels.for_share > 10.0));
    }

    #[test]
    fn two_hundred_traces_certify_no_two_points_and_the_plan_says_so() {
        let found = plan(&supposed("a", 0.9, 5_000, 1.0, 1), &wishes(&[0.005, 0.05]));
        let series = &found.series[0];
        assert_eq!(series.delays[0].traces, None, "half a point lies within the tolerance");
        assert!((series.gate.traces_a_side - 2783.0).abs() <= 1.0 && (series.gate.pairs - 928.0).abs() <= 1.0);
        assert!(series.gate.certifiable_margin > 0.07);
        assert!(found.notes.iter().any(|note| note.contains("not enough evidence")));
        assert!((series.labels.unwrap().for_judge_at_random - 1000.0).abs() <= 1.0);
    }

    #[test]
    fn a_baseline_too_small_to_watch_is_told() {
        let found = plan(&supposed("a", 0.9, 30, 1.0, 3), &wishes(&[0.05]));
        assert!(found.series.is_empty() && found.notes[0].contains("50 independent traces"));
    }
}
