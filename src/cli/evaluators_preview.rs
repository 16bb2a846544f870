//! `driftline evaluators preview`: what the evaluators would do to some traces. Nothing is stored, no model is asked; of
//! stored runs it is noted whose explanations are shown.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::runs::each_run;
use super::service;
use super::sources::{Source, open};
use super::table::{Table, number};
use crate::app::settings::Settings;
use crate::domain::ids::TraceId;
use crate::domain::time::Timestamp;
use crate::domain::trace::Trace;
use crate::evaluate::preview::{Count, Preview, Questions};
use crate::evaluate::run::{Evaluators, evaluate};

/// Below this the traces say nothing about how many come in a day.
const SHORTEST_DAYS: f64 = 1.0 / 24.0;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Traces to look at: file:PATH-OR-GLOB, or where:key=value[,...] for the newest thousand in the store.
    #[arg(long, value_name = "SOURCE")]
    from: String,
    /// This evaluator only; repeat it for more.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Folder of evaluators that adds to the shipped ones or overrides them by name.
    #[arg(long, value_name = "DIR")]
    pub(super) evaluators: Option<PathBuf>,
}

/// How many traces there are, over how long.
#[derive(Default)]
struct Volume {
    traces: Count,
    ended: Option<(Timestamp, Timestamp)>,
    clock_is_real: bool,
}

/// What a judge would cost.
#[derive(Serialize)]
struct Cost {
    evaluator: String,
    model: String,
    /// Share of traces that would be asked about.
    share: f64,
    /// Tokens of a prompt, estimated from bytes.
    tokens_per_call: f64,
    /// Absent where the traces do not say how many come in a day.
    calls_per_day: Option<f64>,
    /// Absent without volume or price.
    usd_per_day: Option<f64>,
}

pub(super) async fn run(
    arguments: &Arguments,
    evaluators: &Evaluators,
    context: &Context,
    output: &mut Output,
) -> Result<Exit, Failure> {
    let settings = context.settings()?;
    let is_chosen = |name: &String| arguments.only.is_empty() || arguments.only.contains(name);
    let chosen = evaluators.definitions().iter().filter(|definition| is_chosen(&definition.name));
    let mut previews: Vec<_> = chosen.map(|definition| (definition, Preview::new(definition))).collect();
    if previews.len() < arguments.only.len() {
        return Err(Failure::Usage(
            "--only: there is no such evaluator; list them: driftline evaluators list".to_owned(),
        ));
    }
    let mut volume = Volume::default();
    let problems = each_run(&arguments.from, &settings, |trace, weight| {
        volume.add(trace, weight);
        let probability = evaluate(trace, evaluators, &settings.sampling).decision.probability;
        previews.iter_mut().for_each(|(definition, preview)| preview.add(definition, trace, probability, weight));
    });
    problems.await?.report();
    let previews: Vec<Preview> = previews.into_iter().map(|(_, preview)| preview).collect();
    if let Source::Stored(_) = Source::parse(&arguments.from)? {
        service::shown(&open(&settings, true).await?, &quoted(&previews)).await?;
    }
    let costs: Vec<Cost> = previews.iter().filter_map(|preview| cost(preview, &volume, &settings)).collect();
    if context.json {
        let days = volume.days();
        output.json(&json!({ "traces": volume.traces, "days": days, "evaluators": previews, "judges": costs }))?;
    } else {
        show(&previews, &costs, &volume, output)?;
    }
    Ok(Exit::Done)
}

/// The traces whose explanations are shown.
fn quoted(previews: &[Preview]) -> Vec<TraceId> {
    let samples = previews.iter().flat_map(|preview| &preview.samples);
    samples.map(|sample| sample.trace_id).collect::<BTreeSet<_>>().into_iter().collect()
}

impl Volume {
    fn add(&mut self, trace: &Trace, weight: f64) {
        self.clock_is_real = trace.clock_is_real && (self.clock_is_real || self.ended.is_none());
        let (first, last) = self.ended.unwrap_or((trace.ended_at, trace.ended_at));
        self.ended = Some((first.min(trace.ended_at), last.max(trace.ended_at)));
        self.traces += weight;
    }

    /// The time between the first and the last end; `None` when it is too short or its clock invented.
    fn days(&self) -> Option<f64> {
        let (first, last) = self.ended?;
        let days = last.seconds_since(first) / 86_400.0;
        (self.clock_is_real && days >= SHORTEST_DAYS).then_some(days)
    }
}

fn cost(preview: &Preview, volume: &Volume, settings: &Settings) -> Option<Cost> {
    let Questions { model, calls, input_tokens, output_tokens } = preview.questions.as_ref()?;
    let price = settings.judge.models.get(model).and_then(|model| {
        let (input, output) = (model.input_usd_per_mtok?, model.output_usd_per_mtok?);
        Some((input_tokens * input + output_tokens * output) / 1e6)
    });
    let days = volume.days();
    Some(Cost {
        evaluator: preview.evaluator.clone(),
        model: model.clone(),
        share: calls / volume.traces.0.max(1.0),
        tokens_per_call: if *calls > 0.0 { input_tokens / calls } else { 0.0 },
        calls_per_day: days.map(|days| calls / days),
        usd_per_day: days.and_then(|days| Some(price? / days)),
    })
}

fn show(previews: &[Preview], costs: &[Cost], volume: &Volume, output: &mut Output) -> Result<(), Failure> {
    let headings = ["evaluator", "kind", "traces", "scored", "failing", "not applicable", "not evaluable"];
    let mut table = Table::new(&headings);
    for preview in previews {
        let unscored = |outcome: &str| {
            Count(preview.unscored.get(outcome).map_or(0.0, |reasons| reasons.values().map(|count| count.0).sum()))
        };
        table.row([
            preview.evaluator.clone(),
            preview.kind.to_owned(),
            preview.traces.to_string(),
            preview.scored.to_string(),
            preview.failing.map_or_else(|| "-".to_owned(), |failing| failing.to_string()),
            unscored("not_applicable").to_string(),
            unscored("not_evaluable").to_string(),
        ]);
    }
    output.line(&table.to_string())?;
    previews.iter().try_for_each(|preview| show_details(preview, output))?;
    show_costs(costs, volume, output)
}

fn show_details(preview: &Preview, output: &mut Output) -> Result<(), Failure> {
    output.line("")?;
    output.line(&preview.evaluator)?;
    for (outcome, reasons) in &preview.unscored {
        for (reason, traces) in reasons {
            output.line(&format!("  {traces} {}: {reason}", outcome.replace('_', " ")))?;
        }
    }
    for sample in &preview.samples {
        output.line(&format!("  {} {}: {}", sample.trace_id, sample.label, sample.explanation))?;
    }
    Ok(())
}

fn show_costs(costs: &[Cost], volume: &Volume, output: &mut Output) -> Result<(), Failure> {
    if costs.is_empty() {
        return Ok(());
    }
    let shown = |value: Option<f64>| value.map_or_else(|| "unknown".to_owned(), number);
    let mut table = Table::new(&["judge", "model", "of traces", "tokens a call", "calls a day", "dollars a day"]);
    for cost in costs {
        let share = format!("{:.1} %", 100.0 * cost.share);
        let (calls, dollars) = (shown(cost.calls_per_day), shown(cost.usd_per_day));
        let tokens = number(cost.tokens_per_call);
        table.row([cost.evaluator.clone(), cost.model.clone(), share, tokens, calls, dollars]);
    }
    output.line("")?;
    output.line(&table.to_string())?;
    output.line(&match volume.days() {
        Some(days) => format!(
            "From {} traces in {} days, by the sampling of the settings; tokens are estimated at 4 bytes each, answers at 80.",
            volume.traces,
            number(days)
        ),
        None => "Calls a day are unknown: the traces span less than an hour, or their times are invented.".to_owned(),
    })
}
