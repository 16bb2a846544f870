//! `driftline evaluators report`: how well every rule finds what it claims to find, on its own cases and on simulated
//! agents with known faults. Judges and services are not asked.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::table::Table;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::accuracy::{Confusion, Share, fails, on_cases};
use crate::evaluate::definition::{EvaluatorDefinition, EvaluatorFolder, JudgeModels};
use crate::evaluate::kinds::argument_outlier::Learner;
use crate::evaluate::kinds::learned::LEARNED;
use crate::evaluate::kinds::{Behaviour, Rule};
use crate::evaluate::run::Evaluators;
use crate::evaluate::shipped::shipped;
use crate::normalize::{AttributeMapping, normalize};
use crate::otlp::assemble;
use crate::simulate::{ExpectedEvidence, Fault, Plan, Scenario, simulate};

/// Begin of the simulated traffic; nothing depends on it.
const START: Timestamp = Timestamp(1_780_000_000_000_000_000);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Simulated traces of a model upgrade, and half as many of structural faults; of each the first half is healthy.
    #[arg(long, default_value_t = 3_000, value_name = "N")]
    traces: usize,
    /// Everything random comes from this.
    #[arg(long, default_value_t = 7, value_name = "N")]
    seed: u64,
    /// Folder of evaluators that adds to the shipped ones or overrides them by name.
    #[arg(long, value_name = "DIR")]
    pub(super) evaluators: Option<std::path::PathBuf>,
}

/// One rule's row.
#[derive(Serialize)]
struct RuleRow<'a> {
    evaluator: &'a str,
    cases: Measured,
    /// Absent where no simulated fault should be found by this rule.
    simulated: Option<Measured>,
    /// Simulated runs without any fault that fail.
    healthy_failing: Option<Share>,
}

#[derive(Serialize)]
struct Measured {
    n: u64,
    #[serde(flatten)]
    confusion: Confusion,
    precision: Option<Share>,
    recall: Option<Share>,
}

impl From<Confusion> for Measured {
    fn from(confusion: Confusion) -> Self {
        Self { n: confusion.runs(), precision: confusion.precision(), recall: confusion.recall(), confusion }
    }
}

/// One planted fault's row.
#[derive(Serialize)]
struct FaultRow {
    fault: &'static str,
    runs: u64,
    /// Runs in which at least one rule that claims the fault fails.
    found: u64,
    recall: Option<Share>,
    /// Rules that claim it, each with the runs in which it fails.
    rules: BTreeMap<&'static str, u64>,
    /// What finds it where no rule claims it.
    otherwise: Option<String>,
}

/// A rule with what it has been seen to do on simulated runs.
struct Tried<'a> {
    definition: &'a EvaluatorDefinition,
    rule: &'a dyn Rule,
    confusion: Confusion,
    healthy: (u64, u64),
}

/// A simulated run and its faults.
struct Run {
    trace: Trace,
    faults: Vec<Fault>,
}

pub(super) fn run(
    arguments: &Arguments,
    evaluators: &Evaluators,
    context: &Context,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let outlier = learned_outlier(arguments)?;
    let definitions = evaluators.definitions().iter().map(|definition| match &outlier {
        Some(outlier) if outlier.unlearned_revision == definition.revision => &outlier.learned,
        _ => definition,
    });
    let mut tried: Vec<Tried<'_>> = definitions.filter_map(Tried::new).collect();
    let mut faults: Vec<FaultRow> = Fault::ALL.into_iter().map(|fault| FaultRow::new(fault, &tried)).collect();
    let upgrade = runs("model_upgrade", arguments.traces, arguments.seed)?;
    for run in upgrade.chain(runs("structural_faults", arguments.traces / 2, arguments.seed)?) {
        let failing: Vec<&str> = tried.iter_mut().filter_map(|tried| tried.try_on(&run)).collect();
        run.faults.iter().for_each(|fault| faults[*fault as usize].count(&failing));
    }
    faults.iter_mut().for_each(|row| row.recall = Share::of(row.found, row.runs));
    let rules: Vec<RuleRow<'_>> = tried.iter().map(Tried::row).collect();
    if context.json {
        output
            .json(&json!({ "rules": rules, "faults": faults, "traces": arguments.traces, "seed": arguments.seed }))?;
    } else {
        show(&rules, &faults, arguments, output)?;
    }
    Ok(Exit::Done)
}

fn runs(scenario: &str, traces: usize, seed: u64) -> Result<impl Iterator<Item = Run>, Failure> {
    let scenario = Scenario::find(scenario).ok_or_else(|| Failure::CouldNot(format!("no scenario {scenario}")))?;
    let duration = Duration::from_secs(3600).saturating_mul(u32::try_from(traces / 500 + 1).unwrap_or(u32::MAX));
    let plan = Plan { scenario, traces, seed, start: START, duration };
    let mapping = AttributeMapping::default();
    Ok(simulate(&plan).filter_map(move |simulated| {
        let raw = assemble(simulated.truth.trace_id, vec![simulated.request.resource_spans]);
        Some(Run { trace: normalize(&raw, &mapping)?, faults: simulated.truth.faults })
    }))
}

/// The shipped `argument_outlier`, which is of no use before it has learned.
struct Outlier {
    unlearned_revision: String,
    learned: EvaluatorDefinition,
}

/// Lets it learn from other, healthy simulated runs.
fn learned_outlier(arguments: &Arguments) -> Result<Option<Outlier>, Failure> {
    let mut learner = Learner::default();
    runs("healthy", arguments.traces, arguments.seed.wrapping_add(1))?.for_each(|run| learner.add(&run.trace, 1.0));
    let learned =
        serde_json::to_string(&learner.learned()).map_err(|error| Failure::could_not("write JSON", &error))?;
    let parse = |folder: &EvaluatorFolder| EvaluatorDefinition::parse(folder, &JudgeModels::new()).ok();
    let Some(mut folder) = shipped().into_iter().find(|folder| folder.name == "argument_outlier") else {
        return Ok(None);
    };
    let unlearned = parse(&folder);
    folder.files.insert(LEARNED.to_owned(), learned);
    let both = unlearned.zip(parse(&folder));
    Ok(both.map(|(unlearned, learned)| Outlier { unlearned_revision: unlearned.revision, learned }))
}

/// Whether an evaluator is among those that should find a fault.
fn claims(fault: Fault, evaluator: &str) -> bool {
    match fault.expected_evidence() {
        ExpectedEvidence::FailingEvaluation { any_of } => any_of.contains(&evaluator),
        ExpectedEvidence::DriftingSeries { .. } => false,
    }
}

impl<'a> Tried<'a> {
    fn new(definition: &'a EvaluatorDefinition) -> Option<Self> {
        match &definition.behaviour {
            Behaviour::Rule(rule) => {
                Some(Self { definition, rule: rule.as_ref(), confusion: Confusion::default(), healthy: (0, 0) })
            }
            _ => None,
        }
    }

    /// The rule's name where it fails the run.
    fn try_on(&mut self, run: &Run) -> Option<&'a str> {
        let fails = fails(self.definition, self.rule, &run.trace);
        self.confusion.count(run.faults.iter().any(|fault| claims(*fault, &self.definition.name)), fails);
        if run.faults.is_empty() {
            self.healthy.0 += u64::from(fails);
            self.healthy.1 += 1;
        }
        fails.then_some(&self.definition.name)
    }

    fn row(&self) -> RuleRow<'a> {
        let is_claimed = Fault::ALL.into_iter().any(|fault| claims(fault, &self.definition.name));
        RuleRow {
            evaluator: &self.definition.name,
            cases: on_cases(self.definition, self.rule).into(),
            simulated: is_claimed.then(|| self.confusion.into()),
            healthy_failing: Share::of(self.healthy.0, self.healthy.1),
        }
    }
}

impl FaultRow {
    fn new(fault: Fault, tried: &[Tried<'_>]) -> Self {
        let names = fault.expected_evidence().names().iter().copied();
        let is_rule = |name: &&str| claims(fault, name) && tried.iter().any(|tried| tried.definition.name == **name);
        let rules: BTreeMap<&'static str, u64> = names.clone().filter(is_rule).map(|name| (name, 0)).collect();
        let what = match fault.expected_evidence() {
            ExpectedEvidence::FailingEvaluation { .. } => "judges",
            ExpectedEvidence::DriftingSeries { .. } => "drift of",
        };
        let otherwise = rules.is_empty().then(|| format!("{what} {}", names.collect::<Vec<_>>().join(", ")));
        Self { fault: fault.name(), runs: 0, found: 0, recall: None, rules, otherwise }
    }

    fn count(&mut self, failing: &[&str]) {
        self.runs += 1;
        for (name, count) in &mut self.rules {
            *count += u64::from(failing.contains(name));
        }
        self.found += u64::from(self.rules.keys().any(|name| failing.contains(name)));
    }
}

fn show(rules: &[RuleRow<'_>], faults: &[FaultRow], arguments: &Arguments, output: &mut Output) -> Result<(), Failure> {
    let headings = ["rule", "on", "n", "TP", "FP", "FN", "precision", "recall", "healthy runs failing"];
    let mut table = Table::new(&headings);
    for row in rules {
        table.row(cells(row.evaluator, "cases", Some(&row.cases), String::new()));
        table.row(cells("", "simulated", row.simulated.as_ref(), share(row.healthy_failing)));
    }
    output.line(&table.to_string())?;
    output.line("")?;
    let mut table = Table::new(&["planted fault", "runs", "found", "recall", "by rules (runs each)"]);
    for row in faults {
        let rules: Vec<String> = row.rules.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let by = row.otherwise.as_ref().map_or(rules.join(", "), |other| format!("no rule claims it: {other}"));
        let recall = if row.rules.is_empty() { "-".to_owned() } else { share(row.recall) };
        table.row([row.fault.to_owned(), row.runs.to_string(), row.found.to_string(), recall, by]);
    }
    output.line(&table.to_string())?;
    output.line("")?;
    output.line(&format!(
        "Shares with their 95 % Wilson intervals. {} simulated runs of a model upgrade, {} of structural faults, seed {}. \
         A positive is a run with a fault that the rule \
         should find alone or among others; \"-\" where no planted fault is of its kind. Tools of healthy simulated runs \
         fail or find nothing now and then: tool_outcome and empty_result see that rightly, and it counts as false here; \
         so it does where swallowed_error sees a source fail before an answer is invented. \
         argument_outlier has learned from other, healthy runs. Judges and services are not asked. The simulated \
         agents were written beside the rules, so these shares say that a rule finds what it claims to find, and not how \
         often real traffic deceives it.",
        arguments.traces,
        arguments.traces / 2,
        arguments.seed
    ))
}

fn cells(rule: &str, on: &str, measured: Option<&Measured>, healthy: String) -> Vec<String> {
    let mut cells = vec![rule.to_owned(), on.to_owned()];
    match measured {
        Some(measured) => {
            let Confusion { true_positives, false_positives, false_negatives, .. } = measured.confusion;
            let counts = [measured.n, true_positives, false_positives, false_negatives];
            cells.extend(counts.iter().map(u64::to_string));
            cells.extend([share(measured.precision), share(measured.recall)]);
        }
        None => cells.extend(["-"; 6].map(str::to_owned)),
    }
    cells.push(healthy);
    cells
}

fn share(share: Option<Share>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.3} [{:.3}, {:.3}]", share.value, share.low, share.high))
}
