//! `driftline review`: traces that wait for a label, labels in and out, and anchors.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Context;
use super::failure::{Exit, Failure};
use super::label_files;
use super::output::{Output, counted, json_line};
use super::output_file::OutputFile;
use super::problems::Problems;
use super::review_queue;
use super::service::{Asked, Place, answer, open_for_writing, shown};
use crate::app::evaluators;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::store::Stream;
use crate::domain::ids::TraceId;
use crate::domain::label::Answer;
use crate::queries::review::{
    AnchorRequest, Anchors, GivenLabel, GivenLabels, KeptLabels, Labels, Next, NextRequest, ReviewTask, add_anchors,
    add_labels, labels, next,
};
use crate::queries::reviewing::{AssignRequest, RemoveRequest, check_judge};

/// Labels in one request to a service, whose bodies are limited.
const BATCH: usize = 1_000;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the next trace to label: of the random audit sample first, then of what rules and judges flag.
    Next {
        /// Of this judge only.
        #[arg(long, value_name = "NAME")]
        judge: Option<String>,
        /// Flagged traces only. Their labels help to improve a judge, and never calibrate it.
        #[arg(long)]
        flagged: bool,
        /// Show what the judge said; labels are worth more when you do not know it.
        #[arg(long)]
        show_verdict: bool,
        /// Who is asked: what is assigned to you comes first, what is assigned to others is left to them.
        #[arg(long, value_name = "NAME")]
        reviewer: Option<String>,
    },
    /// Say whether a trace passes or fails what a judge is asked about, or that you skip it.
    Label {
        /// The trace.
        trace_id: TraceId,
        /// pass, fail or skip.
        label: Answer,
        /// The judge or rule; needed where several judges have judged the trace.
        #[arg(long, value_name = "NAME")]
        judge: Option<String>,
        /// Why.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
        /// Who says so; without it the user of this machine.
        #[arg(long, value_name = "NAME")]
        reviewer: Option<String>,
    },
    /// Ask one person about the next cases, and nobody else.
    Assign {
        /// Who is asked.
        assignee: String,
        /// audit, flagged or second.
        #[arg(long, default_value = "flagged")]
        stream: Stream,
        /// So many cases, at most 500.
        #[arg(long, default_value_t = 10, value_name = "N")]
        count: usize,
        /// Of this judge or rule only.
        #[arg(long, value_name = "NAME")]
        judge: Option<String>,
        /// Who assigns, of whose queue; without it the user of this machine.
        #[arg(long, value_name = "NAME")]
        reviewer: Option<String>,
    },
    /// Take a case out of the queue for good, whatever judges it later.
    Remove {
        /// The trace.
        trace_id: TraceId,
        /// The judge or rule whose question it is.
        #[arg(long, value_name = "NAME")]
        judge: String,
        /// Who says so; without it the user of this machine.
        #[arg(long, value_name = "NAME")]
        reviewer: Option<String>,
    },
    /// Tell how far people agree: Cohen's kappa of each two, over the cases that both decided.
    Agreement,
    /// Write the label log as JSON lines.
    Export {
        /// Of this judge only.
        #[arg(long, value_name = "NAME")]
        judge: Option<String>,
        /// Write here instead of to standard output; .gz and .zst are compressed.
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Read labels from JSON lines: trace_id, evaluator, label (pass, fail, skip); and, if you like, reviewer, note,
    /// and the probability with which the trace was drawn to be labelled.
    Import {
        /// Files of labels.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make labelled traces anchors: the judge is asked about them again and again, so that a judge that changes is told
    /// apart from an agent that does. Without traces, all that are labelled.
    Anchor {
        /// The traces.
        #[arg(value_name = "TRACE_ID")]
        traces: Vec<TraceId>,
        /// The judge.
        #[arg(long, value_name = "NAME")]
        judge: String,
        /// Let go of these anchors instead, or of all of the judge's. What it said of them is shown no longer.
        #[arg(long)]
        remove: bool,
    },
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { command, place } = arguments;
    let mut output = Output::new();
    match command {
        Command::Next { judge, flagged, show_verdict, reviewer } => {
            let asked = NextRequest { judge, flagged, show_verdict, reviewer };
            let found = ask_next(&asked, &place, context).await?;
            if context.json { output.json(&found)? } else { show(&found, &mut output)? }
        }
        Command::Label { trace_id, label, judge, note, reviewer } => {
            let reviewer = reviewer.or_else(user);
            let given = given(trace_id, label, judge, note, reviewer);
            let kept = keep(GivenLabels { labels: vec![given], import: false }, &place, context).await?;
            told(kept, context, &mut output)?;
        }
        Command::Assign { assignee, stream, count, judge, reviewer } => {
            let asked = AssignRequest { reviewer: somebody(reviewer), assignee, stream, judge, count };
            review_queue::assign(&asked, &place, context, &mut output).await?;
        }
        Command::Remove { trace_id, judge, reviewer } => {
            let asked = RemoveRequest { reviewer: somebody(reviewer), trace_id, evaluator: judge };
            review_queue::remove(&asked, &place, context, &mut output).await?;
        }
        Command::Agreement => review_queue::agreement(&place, context, &mut output).await?,
        Command::Export { judge, output: path } => {
            let log = export(judge.as_deref(), &place, context).await?;
            write(&log, path, &mut output)?;
        }
        Command::Import { files } => return import(&files, &place, context, output).await,
        Command::Anchor { traces, judge, remove } => {
            let anchors = anchor(&AnchorRequest { judge, traces, remove }, &place, context).await?;
            let text = format!("{} are asked about by each round", counted(anchors.anchors, "anchor"));
            if context.json { output.json(&anchors)? } else { output.line(&text)? }
        }
    }
    output.finish()?;
    Ok(Exit::Done)
}

/// The user of this machine.
fn user() -> Option<String> {
    std::env::var("USER").ok()
}

fn somebody(reviewer: Option<String>) -> String {
    reviewer.or_else(user).unwrap_or_else(|| "unknown".to_owned())
}

fn given(
    trace_id: TraceId,
    label: Answer,
    evaluator: Option<String>,
    note: Option<String>,
    reviewer: Option<String>,
) -> GivenLabel {
    GivenLabel {
        trace_id,
        evaluator,
        revision: None,
        label,
        reviewer,
        note,
        labelled_at: None,
        origin: None,
        probability: None,
    }
}

async fn ask_next(asked: &NextRequest, place: &Place, context: &Context) -> Result<Next, Failure> {
    match place.open(context).await? {
        Asked::Store(store) => {
            let settings = context.settings()?;
            let found = answer(next(&store, asked, &settings.attributes, &settings.prices).await)?;
            if found.task.is_none() {
                let loaded = evaluators(&settings, None).map_err(|error| Failure::Usage(error.to_string()))?;
                answer(check_judge(&store, &loaded, asked.judge.as_deref()).await)?;
            }
            let trace_ids: Vec<TraceId> = found.task.iter().map(|task| task.trace_id).collect();
            shown(&store, &trace_ids).await?;
            Ok(found)
        }
        Asked::Service(service) => {
            let mut parameters = vec![
                ("flagged".to_owned(), asked.flagged.to_string()),
                ("show_verdict".to_owned(), asked.show_verdict.to_string()),
            ];
            let named = [("judge", &asked.judge), ("reviewer", &asked.reviewer)];
            parameters.extend(named.into_iter().filter_map(|(key, name)| Some((key.to_owned(), name.clone()?))));
            service.get(&["api", "v1", "review", "next"], &parameters).await
        }
    }
}

async fn export(judge: Option<&str>, place: &Place, context: &Context) -> Result<Labels, Failure> {
    match place.open(context).await? {
        Asked::Store(store) => answer(labels(&store, judge).await),
        Asked::Service(service) => {
            let parameters: Vec<_> = judge.iter().map(|judge| ("judge".to_owned(), (*judge).to_owned())).collect();
            service.get(&["api", "v1", "labels"], &parameters).await
        }
    }
}

async fn keep(given: GivenLabels, place: &Place, context: &Context) -> Result<KeptLabels, Failure> {
    match place.service()? {
        Some(service) => service.post(&["api", "v1", "labels"], &given).await,
        None => answer(add_labels(&open_for_writing(context).await?, given, SystemClock.now()).await),
    }
}

async fn anchor(asked: &AnchorRequest, place: &Place, context: &Context) -> Result<Anchors, Failure> {
    match place.service()? {
        Some(service) => service.post(&["api", "v1", "review", "anchors"], asked).await,
        None => answer(add_anchors(&open_for_writing(context).await?, asked, SystemClock.now()).await),
    }
}

async fn import(files: &[PathBuf], place: &Place, context: &Context, mut output: Output) -> Result<Exit, Failure> {
    let mut problems = Problems::default();
    let labels = label_files::labels(files, &mut problems)?;
    let mut kept = KeptLabels { given: 0, new: 0 };
    for labels in batches(labels) {
        let of_batch = keep(GivenLabels { labels, import: true }, place, context).await?;
        kept = KeptLabels { given: kept.given + of_batch.given, new: kept.new + of_batch.new };
    }
    told(kept, context, &mut output)?;
    output.finish()?;
    problems.report();
    if problems.is_empty() {
        return Ok(Exit::Done);
    }
    Err(Failure::CouldNot(format!("{} with the labels; everything else is imported", problems.counted())))
}

/// Labels in batches, in their order, but that what is said of one trace stays together: it is told apart by its order.
fn batches(mut labels: Vec<GivenLabel>) -> Vec<Vec<GivenLabel>> {
    let mut first = BTreeMap::new();
    for (place, label) in labels.iter().enumerate() {
        first.entry(label.trace_id).or_insert(place);
    }
    labels.sort_by_key(|label| first.get(&label.trace_id).copied());
    let mut batches: Vec<Vec<GivenLabel>> = Vec::new();
    for of_trace in labels.chunk_by(|one, next| one.trace_id == next.trace_id) {
        match batches.last_mut() {
            Some(batch) if batch.len() + of_trace.len() <= BATCH => batch.extend_from_slice(of_trace),
            _ => batches.push(of_trace.to_vec()),
        }
    }
    batches
}

fn told(kept: KeptLabels, context: &Context, output: &mut Output) -> Result<(), Failure> {
    if context.json {
        return output.json(&kept);
    }
    output.line(&format!("{}, {} of them new", counted(kept.given, "label"), kept.new))
}

fn write(log: &Labels, path: Option<PathBuf>, output: &mut Output) -> Result<(), Failure> {
    let Some(path) = path else { return log.labels.iter().try_for_each(|label| output.json(label)) };
    let mut file = OutputFile::create(&path)?;
    for label in &log.labels {
        file.line(json_line(label)?.as_bytes())?;
    }
    file.finish()
}

fn show(found: &Next, output: &mut Output) -> Result<(), Failure> {
    let Some(task) = &found.task else { return output.line("nothing waits for a label") };
    let ReviewTask { stream, trace_id, evaluator, revision, .. } = task;
    let why = task.flagged.map(|reason| format!(": {}", reason.in_words())).unwrap_or_default();
    output.line(&format!("{trace_id}  {evaluator} ({revision}), {stream} stream{why}"))?;
    let gone = || {
        let why =
            if task.has_spans { "(not recorded)" } else { "(its spans are gone; find it in your tracing backend)" };
        why.to_owned()
    };
    for (name, text) in [("question", &task.input), ("answer", &task.output)] {
        output.line(&format!("\n{name}:"))?;
        let text = text.clone().unwrap_or_else(gone);
        text.lines().try_for_each(|line| output.line(line))?;
    }
    if let Some(verdict) = task.verdict {
        let reason = task.reason.as_deref().unwrap_or_default();
        output.line(&format!("\njudge: {}: {reason}", verdict.as_str()))?;
    }
    output.line(&format!("\ndriftline review label {trace_id} pass|fail|skip --judge {evaluator}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_one_trace_stays_together_and_in_its_order() {
        let label = |number: u128, note: usize| {
            let trace_id = TraceId::from_bytes(&number.to_be_bytes()).unwrap();
            given(trace_id, Answer::Pass, None, Some(note.to_string()), None)
        };
        // The last trace is spoken of twice more, at the end of three batches.
        let mut labels: Vec<GivenLabel> = (0..2 * BATCH + 1).map(|place| label(3_000 - place as u128, place)).collect();
        let last = labels[2 * BATCH].trace_id;
        labels.extend([2 * BATCH + 1, 2 * BATCH + 2].map(|place| GivenLabel { trace_id: last, ..label(1, place) }));
        labels.push(GivenLabel { trace_id: labels[0].trace_id, ..label(1, 2 * BATCH + 3) });
        let batches = batches(labels);
        assert!(batches.iter().all(|batch| batch.len() <= BATCH));
        assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 2 * BATCH + 4);
        let notes = |batch: &[GivenLabel], trace_id| -> Vec<String> {
            batch.iter().filter(|label| label.trace_id == trace_id).filter_map(|label| label.note.clone()).collect()
        };
        assert_eq!(notes(&batches[0], batches[0][0].trace_id), ["0".to_owned(), (2 * BATCH + 3).to_string()]);
        assert_eq!(notes(batches.last().unwrap(), last), [0, 1, 2].map(|more| (2 * BATCH + more).to_string()));
    }
}
