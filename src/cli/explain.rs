//! `driftline explain`: what happened to one trace, and why.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer, shown};
use super::table::clip;
use crate::app::evaluators;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::evaluation::Evaluation;
use crate::domain::ids::TraceId;
use crate::domain::report::calibration_mark;
use crate::domain::text::printable;
use crate::queries::explain::{EvaluatorOutcome, Explanation, explain};
use crate::queries::scores::ScoreRow;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The trace: 32 hexadecimal digits.
    trace_id: TraceId,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let explanation = ask(&arguments, context).await?;
    let mut output = Output::new();
    if context.json {
        output.json(&explanation)?;
    } else {
        print(&explanation, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Done)
}

async fn ask(arguments: &Arguments, context: &Context) -> Result<Explanation, Failure> {
    match arguments.place.open(context).await? {
        Asked::Store(store) => {
            let loaded = evaluators(&context.settings()?, None).map_err(|error| Failure::Usage(error.to_string()))?;
            let found = answer(explain(&store, arguments.trace_id, &loaded, SystemClock.now()).await)?;
            shown(&store, &[arguments.trace_id]).await?;
            Ok(found)
        }
        Asked::Service(service) => {
            service.get(&["api", "v1", "traces", &arguments.trace_id.to_string(), "explain"], &[]).await
        }
    }
}

fn print(explanation: &Explanation, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!("trace {}", explanation.trace_id))?;
    output.line(&explanation.summary)?;
    if let Some(reason) = &explanation.sampling_reason {
        output.line(reason)?;
    }
    explanation.notes.iter().try_for_each(|note| output.line(&format!("Note: {note}.")))?;
    if let Some(body) = explanation.body {
        let kept = if body.kept { "Its spans are kept until" } else { "Its spans were kept until" };
        output.line(&format!("{kept} {}.", body.until))?;
    }
    if !explanation.neighbours.is_empty() {
        let ids: Vec<String> = explanation.neighbours.iter().map(ToString::to_string).collect();
        output.line(&format!("Other traces of its conversation ran at the same time: {}.", ids.join(", ")))?;
    }
    explanation.evaluators.iter().try_for_each(|outcome| print_outcome(outcome, output))?;
    explanation.external_scores.iter().try_for_each(|row| print_external(row, output))
}

fn print_external(row: &ScoreRow, output: &mut Output) -> Result<(), Failure> {
    let Evaluation { evaluator, annotator_kind, value, label, outcome, explanation, .. } = &row.evaluation;
    let source = clip(row.source.as_deref().unwrap_or_default());
    let said = [label.as_deref().map(clip), value.map(|value| value.to_string())];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let verdict = if said.is_empty() { outcome.as_str().to_owned() } else { said.join(" ") };
    output.line("")?;
    output.line(&format!("{} [{} of {source}]: {verdict}", clip(evaluator), annotator_kind.as_str()))?;
    explanation.iter().try_for_each(|why| output.line(&format!("  {}", printable(why).replace('\n', "\n  "))))
}

fn print_outcome(outcome: &EvaluatorOutcome, output: &mut Output) -> Result<(), Failure> {
    let verdict = match (outcome.value, &outcome.label) {
        (Some(value), Some(label)) => format!("{label} ({value:.2})"),
        (Some(value), None) => format!("{value:.2}"),
        (None, _) => outcome.outcome.replace('_', " "),
    };
    output.line("")?;
    let mark = calibration_mark(outcome.calibrated);
    output.line(&format!("{} [{}]: {verdict}{mark}", outcome.evaluator, outcome.revision))?;
    output.line(&format!("  {}", outcome.why.replace('\n', "\n  ")))
}
