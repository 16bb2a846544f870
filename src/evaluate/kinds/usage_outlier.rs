//! One run that costs, takes or uses up many times what is usual for its service: a loop that no rule knows, a whole
//! archive in a prompt, a model that costs hundred times as much.
//!
//! What is usual is learned from good traffic by [`Learner`], which `driftline evaluators learn` calls, and kept as a file
//! of the evaluator's folder, as `argument_outlier` does it; until then every run is `not_evaluable`, and the row names the
//! command. For each service and each of cost, latency and tokens the file holds the number of runs and their median, which
//! a few runaways among the runs that were learned from do not move. A run fails when one of them is more than `times`
//! times its median. What fewer than `least_runs` runs said is not judged.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::learned::{LEARNED, mistake_of_times, quantiles, read};
use super::{Behaviour, Built, Finding, Rule, Source, changed_from_default, clip};
use crate::domain::trace::Trace;
use crate::evaluate::mistake::Mistake;

pub(super) const DOC: &str = "cost, latency or tokens of one run many times what is usual for its service";

/// Services that are learned: whoever sends traces names them.
const MOST_SERVICES: usize = 1_000;

/// What is measured of a run, and how it is read.
type Measure = (&'static str, fn(&Trace) -> Option<f64>);

const MEASURES: [Measure; 3] =
    [("cost_usd", Trace::cost_usd), ("latency_seconds", Trace::latency_seconds), ("tokens", tokens)];

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    learned_file: String,
    times: f64,
    least_runs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { learned_file: LEARNED.to_owned(), times: 20.0, least_runs: 30 }
    }
}

/// What is usual: service, then measure, then its values in short.
pub type Learned = BTreeMap<String, BTreeMap<String, Usual>>;

/// What runs of one service usually come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usual {
    /// Number of runs.
    pub runs: usize,
    /// Their median, weighted by how many runs each stands for.
    pub median: f64,
}

/// Learns what is usual, run by run: of each service and measure the values with the weights of their runs.
#[derive(Debug, Default)]
pub struct Learner(BTreeMap<String, Measured>);

type Measured = BTreeMap<&'static str, Vec<(f64, f64)>>;

impl Learner {
    /// Takes in one run, which stands for `weight` runs.
    pub fn add(&mut self, trace: &Trace, weight: f64) {
        if self.0.len() >= MOST_SERVICES && !self.0.contains_key(&trace.service) {
            return;
        }
        let of_service = self.0.entry(trace.service.clone()).or_default();
        for (measure, value) in measured(trace) {
            of_service.entry(measure).or_default().push((value, weight));
        }
    }

    /// What runs usually come to; as JSON, the file that the evaluator reads.
    #[must_use]
    pub fn learned(self) -> Learned {
        let usual = |(measure, values): (&str, _)| (measure.to_owned(), Usual::of(values));
        self.0.into_iter().map(|(service, of)| (service, of.into_iter().map(usual).collect())).collect()
    }
}

impl Usual {
    fn of(values: Vec<(f64, f64)>) -> Self {
        let runs = values.len();
        let [median] = quantiles(values, [0.5]);
        Self { runs, median }
    }
}

/// What a run says of itself.
fn measured(trace: &Trace) -> impl Iterator<Item = (&'static str, f64)> {
    let values = MEASURES.into_iter().filter_map(|(measure, of)| Some((measure, of(trace)?)));
    values.filter(|(_, value)| value.is_finite())
}

fn tokens(trace: &Trace) -> Option<f64> {
    Some(trace.input_tokens()? as f64 + trace.output_tokens()? as f64)
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes: Vec<Mistake> = mistake_of_times(source, settings.times).into_iter().collect();
    let remedy = "correct it: {\"SERVICE\": {\"cost_usd\": {\"runs\": N, \"median\": X}}}";
    let learned = read::<Learned>(source, &settings.learned_file, remedy).map_err(|mistake| mistakes.push(mistake));
    let (Ok(learned), true) = (learned, mistakes.is_empty()) else { return Err(mistakes) };
    let canonical = json!({ "settings": changed_from_default(&settings), "learned": learned });
    let rule = UsageOutlierRule { evaluator: source.folder.name.clone(), settings, learned };
    Ok(Built { behaviour: Behaviour::Rule(Box::new(rule)), canonical })
}

#[derive(Debug)]
struct UsageOutlierRule {
    evaluator: String,
    settings: Settings,
    learned: Option<Learned>,
}

impl Rule for UsageOutlierRule {
    fn check(&self, trace: &Trace) -> Finding {
        let Some(usual) = self.learned.as_ref().and_then(|learned| learned.get(&trace.service)) else {
            let (file, command) = (&self.settings.learned_file, self.command());
            let missing = if self.learned.is_some() { format!(" of {}", clip(&trace.service)) } else { String::new() };
            return Finding::NotEvaluable(format!("{file}{missing}; write it with {command}"));
        };
        let (mut as_usual, mut far) = (Vec::new(), Vec::new());
        for (measure, value) in measured(trace) {
            let Some(median) = usual.get(measure).and_then(|usual| self.median(usual)) else { continue };
            let times = value / median;
            if times > self.settings.times {
                far.push(format!("{measure} {} is {times:.0} times the usual {}", short(value), short(median)));
            } else {
                as_usual.push(measure);
            }
        }
        match (far.is_empty(), as_usual.is_empty()) {
            (false, _) => Finding::fail(far.join("; "), None),
            (true, false) => Finding::pass(format!("not far from usual: {}", as_usual.join(", "))),
            (true, true) => Finding::NotEvaluable(self.lacking(trace, usual)),
        }
    }
}

impl UsageOutlierRule {
    /// What would let a run be judged: that it says something of itself, else more runs to have learned from, or others.
    fn lacking(&self, trace: &Trace, usual: &BTreeMap<String, Usual>) -> String {
        let Settings { learned_file, least_runs, .. } = &self.settings;
        let said: Vec<&str> = measured(trace).map(|(measure, _)| measure).collect();
        if said.is_empty() {
            return "gen_ai.usage.input_tokens".to_owned();
        }
        let (service, command) = (clip(&trace.service), self.command());
        let runs = measured(trace).filter_map(|(measure, _)| usual.get(measure)).map(|usual| usual.runs).max();
        match runs.filter(|runs| runs < least_runs) {
            Some(runs) => {
                format!("{least_runs} runs of {service} in {learned_file}, which has {runs}; write it with {command}")
            }
            None => format!("a usual {} of {service} in {learned_file}; write it with {command}", said.join(" or ")),
        }
    }

    fn command(&self) -> String {
        format!("driftline evaluators learn {} --from SOURCE", self.evaluator)
    }

    /// What is usual, where enough runs said so.
    fn median(&self, usual: &Usual) -> Option<f64> {
        (usual.runs >= self.settings.least_runs && usual.median > 0.0).then_some(usual.median)
    }
}

/// As many digits as a person reads.
fn short(value: f64) -> f64 {
    let digits = 10_f64.powf(2.0 - value.abs().log10().floor());
    if digits.is_finite() { (value * digits).round() / digits } else { value }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{failure, mistakes_with, passes, rule, run};
    use super::*;

    fn costing(cost_usd: f64) -> Trace {
        run(
            json!({"seconds": 4, "steps": [{"model": "m", "input_tokens": 900, "output_tokens": 100, "cost_usd": cost_usd}]}),
        )
    }

    fn learned_from(runs: impl IntoIterator<Item = Trace>) -> Box<dyn Rule> {
        let mut learner = Learner::default();
        runs.into_iter().for_each(|run| learner.add(&run, 1.0));
        let text = serde_json::to_string(&learner.learned()).unwrap();
        rule("usage_outlier", "", &[("learned.json", &text)])
    }

    #[test]
    fn a_run_that_costs_two_hundred_times_the_usual_is_found_and_ten_times_is_not() {
        let rule = learned_from((0..100).map(|number| costing(0.008 + f64::from(number % 5) * 0.001)));
        for usual in [0.0, 0.01, 0.1] {
            assert!(passes(&rule.check(&costing(usual))), "{usual}");
        }
        assert_eq!(failure(&rule.check(&costing(2.0))), Some("cost_usd 2 is 200 times the usual 0.01"));
        let long = run(json!({"seconds": 400, "steps": [{"model": "m", "input_tokens": 900, "output_tokens": 100}]}));
        assert_eq!(failure(&rule.check(&long)), Some("latency_seconds 400 is 100 times the usual 4"));
        let wordy = run(json!({"seconds": 4, "steps": [{"model": "m", "input_tokens": 90_000, "output_tokens": 100}]}));
        assert_eq!(failure(&rule.check(&wordy)), Some("tokens 90100 is 90 times the usual 1000"));
    }

    #[test]
    fn runaways_among_what_was_learned_do_not_become_usual() {
        let rule = learned_from((0..100).map(|number| costing(if number % 10 == 0 { 5.0 } else { 0.01 })));
        assert!(failure(&rule.check(&costing(5.0))).is_some());
    }

    #[test]
    fn a_run_stands_for_those_that_sampling_passed_over() {
        let mut learner = Learner::default();
        (0..3).for_each(|_| learner.add(&costing(5.0), 1.0));
        (0..2).for_each(|_| learner.add(&costing(0.01), 20.0));
        let learned = learner.learned();
        assert_eq!(learned.values().next().unwrap()["cost_usd"], Usual { runs: 5, median: 0.01 });
    }

    #[test]
    fn before_its_service_was_learned_a_run_is_not_judged_and_the_command_is_named() {
        let expected = "learned.json; write it with driftline evaluators learn mine --from SOURCE";
        assert_eq!(rule("usage_outlier", "", &[]).check(&costing(9.0)), Finding::NotEvaluable(expected.to_owned()));
        let other = rule("usage_outlier", "", &[("learned.json", "{\"other\": {}}")]);
        let Finding::NotEvaluable(why) = other.check(&costing(9.0)) else { panic!("it is judged") };
        assert!(why.starts_with("learned.json of "), "{why}");
    }

    #[test]
    fn what_few_runs_said_or_what_was_free_is_not_judged() {
        let few = learned_from((0..29).map(|_| costing(0.01)));
        let Finding::NotEvaluable(why) = few.check(&costing(9.0)) else { panic!("it is judged") };
        assert!(
            why.starts_with("30 runs of ") && why.contains(" in learned.json, which has 29; write it with "),
            "{why}"
        );
        let free = learned_from((0..100).map(|_| costing(0.0)));
        assert!(passes(&free.check(&costing(9.0))), "latency and tokens are as usual");
        let nothing = json!({ costing(9.0).service: {} }).to_string();
        let Finding::NotEvaluable(why) = rule("usage_outlier", "", &[("learned.json", &nothing)]).check(&costing(9.0))
        else {
            panic!("it is judged")
        };
        assert!(
            why.starts_with("a usual cost_usd or latency_seconds or tokens of ")
                && why.ends_with(" in learned.json; write it with driftline evaluators learn mine --from SOURCE"),
            "{why}"
        );
    }

    #[test]
    fn a_file_that_cannot_be_what_is_usual_is_refused() {
        let mistakes = |table: &str, text: &str| mistakes_with("usage_outlier", table, &[("learned.json", text)]);
        assert!(mistakes("", "{\n\"t\": 1}").contains("learned.json:2: invalid type"));
        assert!(mistakes("times = 1.0", "{}").contains("set it above 1"));
    }
}
