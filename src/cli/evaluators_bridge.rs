//! `driftline evaluators bridge`: the same traces scored by two revisions. No score is stored; what judges are asked
//! for them is in the store's ledger.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::judging::{Judges, ledger};
use super::output::{Output, counted, warn};
use super::progress;
use super::runs::each_run;
use crate::app;
use crate::app::service::{budget_policy, judge_clients};
use crate::app::settings::Settings;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::judge::{JudgeClient, JudgeModelSettings};
use crate::backends::store::Store;
use crate::domain::evaluation::Outcome;
use crate::domain::money::NanoUsd;
use crate::domain::trace::Trace;
use crate::evaluate::definition::{EvaluatorDefinition, load_folder};
use crate::evaluate::judge::Judge;
use crate::evaluate::kinds::Behaviour;
use crate::evaluate::mistake::InvalidEvaluators;
use crate::evaluate::run::{Evaluators, evaluate};
use crate::limits::budget::{ALL_SERVICES, BudgetPolicy};
use crate::pipeline::ledgered::Ledger;
use crate::queries::costs::budget_of;
use crate::queries::judge_revisions::judge_revisions;
use crate::watch::bridge::{Bridge, LEAST_PAIRS, bridge};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The revision before: one that `driftline evaluators list` shows, or the folder of an evaluator as it was.
    old: String,
    /// The revision after, likewise.
    new: String,
    /// Traces to score: file:PATH-OR-GLOB, or where:key=value[,...] for the newest in the store.
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// At most so many traces, drawn by their ids.
    #[arg(long, value_name = "N", default_value_t = 200)]
    sample: usize,
    /// Spend without asking, also where no store is whose ledger could hold the requests.
    #[arg(long)]
    yes: bool,
}

/// The most that asking about the traces of each service can cost; empty where no judge is asked.
type Most = BTreeMap<String, NanoUsd>;

/// One of the two revisions, ready to score.
struct Side {
    revision: String,
    /// The evaluator alone.
    evaluators: Evaluators,
    /// With the model that makes the revision, and every trace chosen.
    settings: Settings,
}

pub(super) async fn run(
    arguments: &Arguments,
    evaluators: &Evaluators,
    context: &Context,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let store = Store::open(&settings.store.url, true).await.ok();
    let old = Side::find(&arguments.old, evaluators, store.as_ref(), &settings).await?;
    let new = Side::find(&arguments.new, evaluators, store.as_ref(), &settings).await?;
    let traces = sample(arguments, &settings).await?;
    let mut most = Most::new();
    for side in [&old, &new] {
        side.add_most(&traces, &mut most)?;
    }
    let ledger = if most.is_empty() { Ledger::new(None, budget_policy(&settings)) } else { ledger(&settings).await? };
    let in_ledger = (!most.is_empty()).then_some(ledger.store().is_some());
    if let Some(store) = ledger.store() {
        within_budget(&most, store, ledger.policy()).await?;
    }
    agreed(most.values().copied().sum(), in_ledger, arguments.yes)?;
    let (before, after) = (old.scores(&traces, &ledger).await?, new.scores(&traces, &ledger).await?);
    let pairs: Vec<(f64, f64)> = before.into_iter().zip(after).filter_map(|(old, new)| Some((old?, new?))).collect();
    let found = bridge(&pairs);
    if context.json {
        let (old, new, beyond) = (&old.revision, &new.revision, found.as_ref().map(Bridge::comparable_beyond));
        output.json(&json!({
            "old": old,
            "new": new,
            "traces": traces.len(),
            "bridge": found,
            "comparable_beyond": beyond,
            "in_ledger": in_ledger,
        }))?;
    } else {
        show(found.as_ref(), pairs.len(), &old, &new, traces.len(), output)?;
    }
    Ok(if found.is_some() { Exit::Done } else { Exit::NotEnough })
}

impl Side {
    /// What a revision or a folder means.
    async fn find(
        text: &str,
        evaluators: &Evaluators,
        store: Option<&Store>,
        settings: &Settings,
    ) -> Result<Self, Failure> {
        if Path::new(text).is_dir() {
            return Self::of_folder(Path::new(text), settings);
        }
        let mut settings = settings.clone();
        let scored = match store {
            Some(store) => {
                judge_revisions(store, evaluators).await.map_err(|error| Failure::CouldNot(chain(&error)))?
            }
            None => Vec::new(),
        };
        let name = if let Some(scored) = scored.into_iter().find(|scored| scored.revision == text) {
            let lane = evaluators.get(&scored.evaluator).and_then(judge_of).map(|judge| judge.model.clone());
            if let Some(model) = lane.and_then(|lane| settings.judge.models.get_mut(&lane)) {
                model.model = scored.model;
            }
            scored.evaluator
        } else {
            let definition = evaluators.definitions().iter().find(|definition| definition.revision == text);
            definition.map(|definition| definition.name.clone()).ok_or_else(|| {
                let remedy = "list them: driftline evaluators list, or name the folder of the evaluator as it was";
                Failure::Usage(format!("{text}: no loaded evaluator has this revision; {remedy}"))
            })?
        };
        let loaded = app::every_evaluator(&settings, None).map_err(|error| Failure::Usage(error.to_string()))?;
        let evaluators = loaded.only(&[name]).map_err(|names| Failure::Usage(names.join(", ")))?;
        Ok(Self::new(text.to_owned(), evaluators, settings))
    }

    fn of_folder(folder: &Path, settings: &Settings) -> Result<Self, Failure> {
        let identity = |(name, model): (&String, &JudgeModelSettings)| (name.clone(), model.identity());
        let models = settings.judge.models.iter().map(identity).collect();
        let folder = load_folder(folder).map_err(InvalidEvaluators);
        let loaded = folder.and_then(|folder| Evaluators::from_folders([folder], models));
        let evaluators = loaded.map_err(|error| Failure::Usage(error.to_string()))?;
        let revision = evaluators.definitions().iter().map(|definition| definition.revision.as_str()).collect();
        Ok(Self::new(revision, evaluators, settings.clone()))
    }

    fn new(revision: String, evaluators: Evaluators, mut settings: Settings) -> Self {
        settings.sampling.healthy_rate = 1.0;
        settings.sampling.services.clear();
        settings.sampling.policies.clear();
        Self { revision, evaluators, settings }
    }

    fn definition(&self) -> Option<&EvaluatorDefinition> {
        self.evaluators.definitions().first()
    }

    /// Adds what asking the judge about all traces can cost; nothing for a rule.
    fn add_most(&self, traces: &[Trace], most: &mut Most) -> Result<(), Failure> {
        let Some(judge) = self.definition().and_then(judge_of) else { return Ok(()) };
        let clients = judge_clients(&self.settings).map_err(|error| Failure::Usage(chain(&error)))?;
        let unconfigured =
            || Failure::Usage(format!("no judge model is configured; set [judge.models.{}]", judge.model));
        let client = clients.get(&judge.model).ok_or_else(unconfigured)?;
        for trace in traces {
            let of_service = most.entry(trace.service.clone()).or_default();
            *of_service = *of_service + most_for(judge, trace, client);
        }
        Ok(())
    }

    /// The score of each trace, where there is one.
    async fn scores(&self, traces: &[Trace], ledger: &Ledger) -> Result<Vec<Option<f64>>, Failure> {
        let judges = Judges::new(&self.settings, &self.evaluators, ledger)?;
        let bar = progress::bar(traces.len() as u64, &format!("traces by {}", self.revision));
        let score = async |trace: &Trace| {
            let evaluated = evaluate(trace, &self.evaluators, &self.settings.sampling);
            let rows = judges.rows(trace.clone(), evaluated).await;
            bar.inc(1);
            rows.into_iter().find(|row| row.outcome == Outcome::Scored).and_then(|row| row.value)
        };
        let scores = stream::iter(traces).map(score).buffered(judges.concurrency()).collect().await;
        bar.finish_and_clear();
        Ok(scores)
    }
}

const fn judge_of(definition: &EvaluatorDefinition) -> Option<&Judge> {
    match &definition.behaviour {
        Behaviour::Judge(judge) => Some(judge),
        Behaviour::Rule(_) | Behaviour::Service(_) => None,
    }
}

/// Every sample, each with its repair.
fn most_for(judge: &Judge, trace: &Trace, client: &JudgeClient) -> NanoUsd {
    let Ok(prepared) = judge.prepare(trace) else { return NanoUsd::ZERO };
    let request = prepared.render("0000000000000000");
    let once = client.most_it_can_cost(&request).unwrap_or_default();
    std::iter::repeat_n(once, 2 * judge.samples as usize).sum()
}

/// The traces of the source with the smallest ids, which are as good as random.
async fn sample(arguments: &Arguments, settings: &Settings) -> Result<Vec<Trace>, Failure> {
    let mut drawn = std::collections::BTreeMap::new();
    let keep = |trace: &Trace, _| {
        drawn.insert(trace.trace_id, trace.clone());
        if drawn.len() > arguments.sample {
            drawn.pop_last();
        }
    };
    each_run(&arguments.from, settings, keep).await?.report();
    Ok(drawn.into_values().collect())
}

/// Refuses what is more than is left of one of the day's budgets.
async fn within_budget(most: &Most, store: &Store, policy: &BudgetPolicy) -> Result<(), Failure> {
    for scope in policy.daily.keys() {
        let of_scope =
            |(service, most): (&String, &NanoUsd)| (scope == ALL_SERVICES || scope == service).then_some(*most);
        let most: NanoUsd = most.iter().filter_map(of_scope).sum();
        let budget = budget_of(store, scope, policy, SystemClock.now()).await;
        let budget = budget.map_err(|error| Failure::CouldNot(chain(&error)))?;
        let left = budget.limit_usd.map_or(f64::INFINITY, |limit| limit - budget.committed_usd);
        if most.usd() > left {
            let remedy = "take a smaller --sample, or raise [judge.budget]";
            let what = format!("it may cost {most}, and ${left:.2} are left of the day's budget of {}", budget.scope);
            return Err(Failure::Usage(format!("{what}; {remedy}")));
        }
    }
    Ok(())
}

/// Asks a person before money is spent. What would be in no ledger has to be agreed to beforehand.
fn agreed(most: NanoUsd, in_ledger: Option<bool>, yes: bool) -> Result<(), Failure> {
    if in_ledger == Some(false) {
        let told = format!(
            "there is no store: the requests, {most} at most, are in no ledger and count for this run's budget alone"
        );
        warn(&told);
        return if yes { Ok(()) } else { Err(Failure::Usage("nothing was asked; agree with --yes".to_owned())) };
    }
    if yes || most == NanoUsd::ZERO {
        return Ok(());
    }
    let question = format!("asking the judges costs {most} at most, beside what the service spends");
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("{question}; agree with --yes")));
    }
    warn(&format!("{question}; go on? [y/N]"));
    let mut said = String::new();
    let heard = std::io::stderr().flush().and_then(|()| std::io::stdin().read_line(&mut said));
    heard.map_err(|error| Failure::could_not("the answer cannot be read", &error))?;
    if said.trim().eq_ignore_ascii_case("y") { Ok(()) } else { Err(Failure::Usage("nothing was asked".to_owned())) }
}

fn show(
    found: Option<&Bridge>,
    pairs: usize,
    old: &Side,
    new: &Side,
    traces: usize,
    output: &mut Output,
) -> Result<(), Failure> {
    let scored = format!("both revisions scored {pairs} of {}", counted(traces as u64, "trace"));
    let Some(found) = found else {
        return output.line(&format!("{scored}; a comparison needs {LEAST_PAIRS}"));
    };
    let Bridge { old: before, new: after, agreement, difference, low, high, .. } = found;
    output.line(&scored)?;
    output.line(&format!("{}  mean {before:.4}", old.revision))?;
    output.line(&format!("{}  mean {after:.4}", new.revision))?;
    output.line(&format!("difference {difference:+.4}, 95 % interval {low:+.4} to {high:+.4}"))?;
    output.line(&format!("the same score on {:.1} % of the traces", 100.0 * agreement))?;
    output.line(&format!(
        "Between the old series and the new, a difference of up to {:.4} may come from the revision alone.",
        found.comparable_beyond()
    ))
}
