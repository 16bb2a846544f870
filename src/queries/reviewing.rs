//! Reviewing case by case: what a person sees of a run before and after they have answered, and what they decide about
//! the queue.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::judges::loaded_judges;
use super::words;
use super::{QueryError, body, compute, not_evaluated};
use crate::backends::store::{ReviewFilter, ReviewItem, Store, Stream};
use crate::domain::evaluation::{Evaluation, Outcome};
use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, FlagReason, Label};
use crate::domain::time::Timestamp;
use crate::domain::trace::{Step, ToolStatus, Trace};
use crate::evaluate::regression::regression_case;
use crate::evaluate::run::Evaluators;
use crate::normalize::{AttributeMapping, PriceTable, normalize_priced};
use crate::watch::reviewers::{Reviewers, reviewers};

/// Labels of a person that are looked back on.
const LOOKED_BACK: usize = 500;
/// Furthest place in a queue that is looked at without answering what stands before it.
const FURTHEST: usize = 200;
/// Items that are assigned at once, at most.
const MOST_ASSIGNED: usize = 500;

/// What runs are read with.
#[derive(Debug, Clone, Copy)]
pub struct Reading<'a> {
    /// The store.
    pub store: &'a Store,
    /// Names of attributes.
    pub names: &'a AttributeMapping,
    /// What model calls cost.
    pub prices: &'a PriceTable,
    /// The loaded evaluators, whose descriptions are the questions.
    pub evaluators: &'a Evaluators,
}

/// A case as a person judges it: nothing of what the judge said, but that it flags the case, where it does.
#[derive(Debug, Clone, PartialEq)]
pub struct ReviewCase {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule whose question is to be answered.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Why it is flagged; `None` in other streams.
    pub flagged: Option<FlagReason>,
    /// What a yes means; `None` where the evaluator is not loaded any more.
    pub question: Option<String>,
    /// The run, while its spans are kept.
    pub run: Option<SeenRun>,
    /// Rules that fail the run, each with its reason.
    pub failed_rules: Vec<(String, String)>,
}

/// What the agent was asked, saw and answered.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenRun {
    /// What the user asked.
    pub input: Option<String>,
    /// What the agent was shown, in order.
    pub data: Vec<SeenData>,
    /// The final answer.
    pub output: Option<String>,
}

/// The result of a tool call or a retrieval.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenData {
    /// The call.
    pub name: String,
    /// What it was called with.
    pub arguments: Option<String>,
    /// How it ended, where that is not a success.
    pub status: Option<&'static str>,
    /// What came back; `None` where that is not recorded.
    pub text: Option<String>,
}

/// What a person answered, and what the judge or rule had said.
#[derive(Debug, Clone, PartialEq)]
pub struct AnsweredCase {
    /// The answer.
    pub label: Label,
    /// The evaluator's verdict and reason, while they are kept.
    pub judge: Option<(Answer, Option<String>)>,
}

/// How far a person has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Cases that the person answered since the day began, UTC, skipped ones among them.
    pub today: usize,
    /// What waits in each stream, up to [`crate::backends::store::MOST_COUNTED`].
    pub waiting: Vec<(Stream, u64)>,
}

/// Items that one person is to be asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssignRequest {
    /// Who assigns.
    pub reviewer: String,
    /// Who is asked.
    pub assignee: String,
    /// Of this stream.
    pub stream: Stream,
    /// Of this judge, or of all.
    #[serde(default)]
    pub judge: Option<String>,
    /// The next so many of the assigner's queue, at most 500.
    pub count: usize,
}

/// What became of an assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Cases that the assignee is asked about from now on.
    pub assigned: usize,
}

/// A case that nobody is to be asked about any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveRequest {
    /// Who says so.
    pub reviewer: String,
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule whose question it is.
    pub evaluator: String,
}

/// A case that is out of the queue for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule.
    pub evaluator: String,
}

/// The case at a place of a person's queue, from 0; `None` where nothing waits there.
///
/// # Errors
/// The store failed.
pub async fn case_at(
    reading: Reading<'_>,
    filter: ReviewFilter<'_>,
    place: usize,
) -> Result<Option<ReviewCase>, QueryError> {
    let place = place.min(FURTHEST);
    let items = reading.store.review_items(filter, place + 1).await?;
    match items.into_iter().nth(place) {
        Some(ReviewItem { trace_id, evaluator, revision, flagged, .. }) => {
            let case = case(reading, trace_id, evaluator, revision).await?;
            Ok(Some(ReviewCase { flagged, ..case }))
        }
        None => Ok(None),
    }
}

/// A case that was judged, whether or not it waits: to answer it once more.
///
/// # Errors
/// No such judge has judged it, or the store failed.
pub async fn case_of(reading: Reading<'_>, trace_id: TraceId, evaluator: &str) -> Result<ReviewCase, QueryError> {
    let revision = revision_of(reading.store, trace_id, evaluator).await?;
    case(reading, trace_id, evaluator.to_owned(), revision).await
}

/// Refuses a name that no judge or rule has, loaded or of the past.
///
/// # Errors
/// There is none of that name, or the store failed.
pub async fn check_judge(store: &Store, evaluators: &Evaluators, name: Option<&str>) -> Result<(), QueryError> {
    let Some(name) = name.filter(|name| evaluators.get(name).is_none()) else { return Ok(()) };
    let mut known = store.judges().await?;
    // A rule of the past may have left cases to look at.
    let of_rule = ReviewFilter { stream: Stream::Flagged, evaluator: Some(name), reviewer: None };
    if known.contains(name) || !store.review_items(of_rule, 1).await?.is_empty() {
        return Ok(());
    }
    known.extend(loaded_judges(evaluators));
    Err(QueryError::UnknownJudge { name: name.to_owned(), known })
}

/// The revision of a judge or rule that has judged a trace.
async fn revision_of(store: &Store, trace_id: TraceId, evaluator: &str) -> Result<String, QueryError> {
    let judged = store.judged_by(trace_id, Some(evaluator)).await?;
    let found = judged.into_iter().rfind(|(name, _)| name == evaluator);
    match found {
        Some((_, revision)) => Ok(revision),
        None => Err(not_judged(store, trace_id).await?),
    }
}

/// Why no judge that is meant has judged a trace: there is no such trace, or no such judge looked at it.
pub(super) async fn not_judged(store: &Store, trace_id: TraceId) -> Result<QueryError, QueryError> {
    Ok(match store.trace(trace_id).await? {
        Some(_) => QueryError::Label { trace_id, problem: "no such judge has judged it".to_owned() },
        None => not_evaluated(store, trace_id).await?,
    })
}

async fn case(
    reading: Reading<'_>,
    trace_id: TraceId,
    evaluator: String,
    revision: String,
) -> Result<ReviewCase, QueryError> {
    let rows = reading.store.evaluations(trace_id).await?;
    let fails = rows.into_iter().map(|row| row.evaluation).filter(|it| it.is_failing() && !it.is_judged());
    let reason = |it: Evaluation| (it.evaluator, it.explanation.unwrap_or_default());
    Ok(ReviewCase {
        flagged: None,
        question: reading.evaluators.get(&evaluator).map(|definition| definition.description.clone()),
        run: run(reading, trace_id).await?.as_ref().map(SeenRun::of),
        failed_rules: fails.map(reason).collect(),
        trace_id,
        evaluator,
        revision,
    })
}

async fn run(reading: Reading<'_>, trace_id: TraceId) -> Result<Option<Trace>, QueryError> {
    let raw = body(reading.store, trace_id).await?;
    Ok(raw.and_then(|raw| normalize_priced(&raw, reading.names, reading.prices)))
}

impl SeenRun {
    fn of(trace: &Trace) -> Self {
        Self {
            input: trace.input.clone(),
            data: trace.steps.iter().flat_map(seen).collect(),
            output: trace.output.clone(),
        }
    }
}

fn seen(step: &Step) -> Vec<SeenData> {
    match step {
        Step::Model(_) => Vec::new(),
        Step::Tool(call) => vec![SeenData {
            name: call.name.clone(),
            arguments: call.arguments.clone(),
            status: (call.status != ToolStatus::Success).then(|| call.status.as_str()),
            text: call.result.clone().or_else(|| call.error.clone()),
        }],
        Step::Retrieval(retrieval) => {
            let document = |text: &String| SeenData {
                name: "document".to_owned(),
                arguments: retrieval.query.clone(),
                status: None,
                text: Some(text.clone()),
            };
            retrieval.documents.iter().map(document).collect()
        }
    }
}

/// What a person answered here, newest first: each case once.
///
/// # Errors
/// The store failed.
pub async fn answered_by(store: &Store, reviewer: &str) -> Result<Vec<Label>, QueryError> {
    let mut labels: Vec<Label> = Vec::new();
    for label in store.labels_by(reviewer, Timestamp(0), LOOKED_BACK).await? {
        if labels.iter().all(|seen| (seen.trace_id, &seen.evaluator) != (label.trace_id, &label.evaluator)) {
            labels.push(label);
        }
    }
    Ok(labels)
}

/// What the judge said of a case that is answered.
///
/// # Errors
/// The store failed.
pub async fn reveal(store: &Store, label: Label) -> Result<AnsweredCase, QueryError> {
    let rows = store.evaluations(label.trace_id).await?;
    let is_meant = |it: &Evaluation| {
        it.outcome == Outcome::Scored
            && it.evaluator == label.evaluator
            && label.revision.as_ref().is_none_or(|revision| *revision == it.revision)
    };
    let verdict = rows.into_iter().map(|row| row.evaluation).rfind(is_meant);
    let judge = verdict.map(|it| (Answer::of(!it.is_failing()), it.explanation));
    Ok(AnsweredCase { label, judge })
}

/// How far a person has come, and what is left.
///
/// # Errors
/// The store failed.
pub async fn progress(
    store: &Store,
    reviewer: &str,
    judge: Option<&str>,
    now: Timestamp,
) -> Result<Progress, QueryError> {
    let day = now.floor(std::time::Duration::from_hours(24));
    let mut waiting = Vec::new();
    for stream in Stream::ALL {
        let filter = ReviewFilter { stream, evaluator: judge, reviewer: Some(reviewer) };
        waiting.push((stream, store.count_review_items(filter).await?));
    }
    Ok(Progress { today: store.labels_by(reviewer, day, LOOKED_BACK).await?.len(), waiting })
}

/// Gives the next items of the assigner's queue to one person.
///
/// # Errors
/// A name is none, or the store failed.
pub async fn assign(store: &Store, asked: &AssignRequest, now: Timestamp) -> Result<Assigned, QueryError> {
    let (reviewer, assignee) = (words("reviewer", &asked.reviewer)?, words("assignee", &asked.assignee)?);
    let filter = ReviewFilter { stream: asked.stream, evaluator: asked.judge.as_deref(), reviewer: Some(&reviewer) };
    let items = store.review_items(filter, asked.count.min(MOST_ASSIGNED)).await?;
    // Two revisions of a judge may have judged the same run.
    let items: BTreeSet<(TraceId, String)> = items.into_iter().map(|item| (item.trace_id, item.evaluator)).collect();
    let items: Vec<(TraceId, String)> = items.into_iter().collect();
    store.assign_reviews(&items, &assignee, now).await?;
    Ok(Assigned { assigned: items.len() })
}

/// Takes a case out of the queue for good.
///
/// # Errors
/// The name is none, no such judge or rule has judged the trace, or the store failed.
pub async fn remove(store: &Store, asked: &RemoveRequest, now: Timestamp) -> Result<Removed, QueryError> {
    let RemoveRequest { reviewer, trace_id, evaluator } = asked;
    let reviewer = words("reviewer", reviewer)?;
    revision_of(store, *trace_id, evaluator).await?;
    store.remove_review(*trace_id, evaluator, &reviewer, now).await?;
    Ok(Removed { trace_id: *trace_id, evaluator: evaluator.clone() })
}

/// How far people agree with each other, over the whole label log.
///
/// # Errors
/// The store failed.
pub async fn agreement(store: &Store) -> Result<Reviewers, QueryError> {
    let log = store.labels(None).await?;
    compute(move || reviewers(&log)).await
}

/// A labelled run as a line for its judge's `cases.jsonl`; the label that holds is the right answer.
///
/// # Errors
/// It has no label, its spans are gone, or the store failed.
pub async fn regression_line(reading: Reading<'_>, trace_id: TraceId, evaluator: &str) -> Result<String, QueryError> {
    let labels = reading.store.labels(Some(evaluator)).await?;
    let held = labels.into_iter().rfind(|label| label.trace_id == trace_id && label.label != Answer::Skip);
    let wrong = |problem: &str| QueryError::Label { trace_id, problem: problem.to_owned() };
    let passes = held.and_then(|label| label.label.passes()).ok_or_else(|| wrong("nobody has decided it yet"))?;
    let trace = run(reading, trace_id).await?.ok_or_else(|| wrong("its spans are gone"))?;
    serde_json::to_string(&regression_case(&trace, passes)).map_err(QueryError::Unwritable)
}
