//! Labels: which traces wait for one, and the log that they go into.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::QueryError;
use super::inspection::inspection;
use super::reviewing::not_judged;
use crate::backends::store::{Anchor, NewLabel, ReviewFilter, ReviewItem, Store, Stream};
use crate::domain::ids::TraceId;
use crate::domain::label::{Answer, FlagReason, Label, Origin};
use crate::domain::time::Timestamp;
use crate::normalize::{AttributeMapping, PriceTable};

/// Traces that become anchors at once, at most.
const MOST_ANCHORS: usize = 300;
/// How long the spans of what is an anchor no longer are still kept.
const LET_GO: Duration = Duration::from_hours(24 * 7);

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextRequest {
    /// Of this judge only.
    pub judge: Option<String>,
    /// Only flagged traces, instead of the audit sample before them.
    pub flagged: bool,
    /// Show what the judge said. Labels are worth more when it is not known.
    pub show_verdict: bool,
    /// Who is asked; what is assigned to others is left to them.
    #[serde(default)]
    pub reviewer: Option<String>,
}

/// What waits for a label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReviewTask {
    /// `audit` or `flagged`.
    pub stream: String,
    /// Why it is flagged.
    #[serde(default)]
    pub flagged: Option<FlagReason>,
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule whose question is to be answered.
    pub evaluator: String,
    /// Its revision.
    pub revision: String,
    /// Whether its spans are still here; what has them is asked about first.
    #[serde(default)]
    pub has_spans: bool,
    /// What the user asked, while the trace is kept.
    pub input: Option<String>,
    /// The final answer, while the trace is kept.
    pub output: Option<String>,
    /// What the judge said, where that was asked for.
    pub verdict: Option<Answer>,
    /// Why it said so.
    pub reason: Option<String>,
}

/// The next trace to label, if there is any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Next {
    /// It.
    pub task: Option<ReviewTask>,
}

/// A label as people give it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenLabel {
    /// The trace.
    pub trace_id: TraceId,
    /// The judge or rule whose question is answered; it may be left out where one judge alone has judged the trace.
    #[serde(default)]
    pub evaluator: Option<String>,
    /// Revision of the judge.
    #[serde(default)]
    pub revision: Option<String>,
    /// `pass`, `fail` or `skip`; true, false, 1 and 0 are taken for the first two.
    #[serde(deserialize_with = "answer")]
    pub label: Answer,
    /// Who answers.
    #[serde(default)]
    pub reviewer: Option<String>,
    /// What they write beside it.
    #[serde(default)]
    pub note: Option<String>,
    /// When, in nanoseconds since the Unix epoch.
    #[serde(default)]
    pub labelled_at: Option<Timestamp>,
    /// Where it came from before; not kept.
    #[serde(default)]
    pub origin: Option<Origin>,
    /// Probability with which the trace was drawn to be labelled, if it was drawn at random.
    #[serde(default)]
    pub probability: Option<f64>,
}

/// Labels on their way in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenLabels {
    /// The labels.
    pub labels: Vec<GivenLabel>,
    /// Whether they come from a file; else a person gives them here, about traces that are here.
    #[serde(default)]
    pub import: bool,
}

/// What became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptLabels {
    /// Labels that were given.
    pub given: u64,
    /// Those of them that were not known yet.
    pub new: u64,
}

/// The label log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// Its lines, oldest first.
    pub labels: Vec<Label>,
}

/// Which labelled traces become anchors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorRequest {
    /// The judge.
    pub judge: String,
    /// The traces; without any, all that are labelled for this judge and kept, up to 300.
    #[serde(default)]
    pub traces: Vec<TraceId>,
    /// Whether they are to be anchors no longer, without any all of the judge's.
    #[serde(default)]
    pub remove: bool,
}

/// The anchors of a judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchors {
    /// How many there are now.
    pub anchors: u64,
}

fn answer<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Answer, D::Error> {
    let wrong = |other: &Value| serde::de::Error::custom(format!("label is {other}, and none of pass, fail, skip"));
    match Value::deserialize(deserializer)? {
        Value::Bool(passes) => Ok(Answer::of(passes)),
        Value::Number(number) if number.as_f64() == Some(1.0) => Ok(Answer::Pass),
        Value::Number(number) if number.as_f64() == Some(0.0) => Ok(Answer::Fail),
        Value::String(text) => text.parse().map_err(|_| wrong(&Value::String(text.clone()))),
        other => Err(wrong(&other)),
    }
}

impl GivenLabel {
    /// Reads one line of a label file.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn parse(line: &str) -> Result<Self, String> {
        let given: Self = serde_json::from_str(line).map_err(|error| format!("not a label: {error}"))?;
        given.check()?;
        Ok(given)
    }

    fn check(&self) -> Result<(), String> {
        match self.probability {
            Some(probability) if !(probability > 0.0 && probability <= 1.0) => {
                Err(format!("probability is {probability}, expected more than 0 and at most 1"))
            }
            _ => Ok(()),
        }
    }

    /// The label as the log keeps it.
    #[must_use]
    pub fn into_label(self, evaluator: String, origin: Origin, now: Timestamp) -> Label {
        Label {
            trace_id: self.trace_id,
            evaluator,
            revision: self.revision,
            label: self.label,
            reviewer: self.reviewer.unwrap_or_else(|| "unknown".to_owned()),
            note: self.note,
            labelled_at: self.labelled_at.unwrap_or(now),
            origin,
            probability: self.probability,
        }
    }
}

/// The next trace that waits for a label: of the audit sample first, then of what is flagged.
///
/// # Errors
/// The store failed.
pub async fn next(
    store: &Store,
    asked: &NextRequest,
    names: &AttributeMapping,
    prices: &PriceTable,
) -> Result<Next, QueryError> {
    let streams: &[Stream] = if asked.flagged { &[Stream::Flagged] } else { &[Stream::Audit, Stream::Flagged] };
    for stream in streams {
        let filter =
            ReviewFilter { stream: *stream, evaluator: asked.judge.as_deref(), reviewer: asked.reviewer.as_deref() };
        if let Some(item) = store.review_items(filter, 1).await?.pop() {
            // Without its spans a trace can still be labelled by who finds it elsewhere.
            let seen = inspection(store, item.trace_id, names, prices).await.ok();
            let item = ReviewItem { has_spans: seen.is_some(), ..item };
            let (input, output) = seen.map(|seen| (seen.input, seen.output)).unwrap_or_default();
            return Ok(Next { task: Some(task(item, *stream, asked.show_verdict, input, output)) });
        }
    }
    Ok(Next { task: None })
}

fn task(
    item: ReviewItem,
    stream: Stream,
    show_verdict: bool,
    input: Option<String>,
    output: Option<String>,
) -> ReviewTask {
    ReviewTask {
        stream: stream.as_str().to_owned(),
        flagged: item.flagged,
        trace_id: item.trace_id,
        evaluator: item.evaluator,
        revision: item.revision,
        has_spans: item.has_spans,
        input,
        output,
        verdict: show_verdict.then(|| Answer::of(item.passed)),
        reason: item.reason.filter(|_| show_verdict),
    }
}

/// Adds labels to the log. One that is given here names a judgement that is here; an imported one may be about anything.
///
/// # Errors
/// A label is about nothing that was judged, or says something impossible, or the store failed; then none is added.
pub async fn add_labels(store: &Store, given: GivenLabels, now: Timestamp) -> Result<KeptLabels, QueryError> {
    let mut labels = Vec::with_capacity(given.labels.len());
    for (line, label) in (0..).zip(given.labels) {
        // Labels that do not say when were given in their order, so that the last one holds.
        let now = Timestamp(now.0.saturating_add(line));
        label.check().map_err(|problem| QueryError::Label { trace_id: label.trace_id, problem })?;
        let said_at = label.labelled_at.or_else(|| (!given.import).then_some(now));
        let label = if given.import { imported(label, now)? } else { reviewed(store, label, now).await? };
        labels.push(NewLabel { label, said_at });
    }
    let new = store.insert_labels(&labels, now).await?;
    Ok(KeptLabels { given: labels.len() as u64, new })
}

fn imported(given: GivenLabel, now: Timestamp) -> Result<Label, QueryError> {
    let Some(evaluator) = given.evaluator.clone() else {
        let problem = "evaluator is missing".to_owned();
        return Err(QueryError::Label { trace_id: given.trace_id, problem });
    };
    Ok(given.into_label(evaluator, Origin::Import, now))
}

/// A label with the judge and revision that it is about. What was drawn at random, and how, is known from the draw.
async fn reviewed(store: &Store, given: GivenLabel, now: Timestamp) -> Result<Label, QueryError> {
    let trace_id = given.trace_id;
    let wrong = |problem: String| QueryError::Label { trace_id, problem };
    let judged = store.judged_by(trace_id, given.evaluator.as_deref()).await?;
    let is_meant = |(evaluator, revision): &&(String, String)| {
        given.evaluator.as_ref().is_none_or(|name| name == evaluator)
            && given.revision.as_ref().is_none_or(|name| name == revision)
    };
    let meant: Vec<&(String, String)> = judged.iter().filter(is_meant).collect();
    let Some((evaluator, revision)) = meant.last() else {
        return Err(not_judged(store, trace_id).await?);
    };
    if meant.iter().any(|(other, _)| other != evaluator) {
        let names: Vec<&str> = meant.iter().map(|(name, _)| name.as_str()).collect();
        return Err(wrong(format!("several judges have judged it; name one of {}", names.join(", "))));
    }
    let given = GivenLabel { revision: Some(revision.clone()), probability: None, ..given };
    Ok(given.into_label(evaluator.clone(), Origin::Review, now))
}

/// The label log, of one judge or of all.
///
/// # Errors
/// The store failed.
pub async fn labels(store: &Store, judge: Option<&str>) -> Result<Labels, QueryError> {
    Ok(Labels { labels: store.labels(judge).await? })
}

/// Makes labelled traces anchors of a judge, which keeps their spans for good; or lets go of anchors.
///
/// # Errors
/// A trace has no label of this judge or its spans are gone, or the store failed; then none is made.
pub async fn add_anchors(store: &Store, asked: &AnchorRequest, now: Timestamp) -> Result<Anchors, QueryError> {
    if asked.remove {
        store.remove_anchors(&asked.judge, &asked.traces, now.plus(LET_GO)).await?;
        return Ok(Anchors { anchors: store.anchors(&asked.judge).await?.len() as u64 });
    }
    let labels = store.labels(Some(&asked.judge)).await?;
    let mut anchors = Vec::new();
    for trace_id in wanted(asked, &labels) {
        let decided = labels.iter().rev().find(|label| label.trace_id == trace_id).map(|label| label.label);
        let is_kept = store.has_body(trace_id).await?;
        match decided.filter(|label| *label != Answer::Skip) {
            Some(label) if is_kept => anchors.push(Anchor { trace_id, evaluator: asked.judge.clone(), label }),
            // Of all that is labelled, what is gone is left out.
            _ if asked.traces.is_empty() => {}
            Some(_) => return Err(QueryError::Label { trace_id, problem: "its spans are gone".to_owned() }),
            None => {
                let problem = format!("it has no label of {}", asked.judge);
                return Err(QueryError::Label { trace_id, problem });
            }
        }
    }
    anchors.truncate(MOST_ANCHORS);
    store.add_anchors(&anchors, now).await?;
    Ok(Anchors { anchors: store.anchors(&asked.judge).await?.len() as u64 })
}

/// The traces that were named, or each that has a label.
fn wanted(asked: &AnchorRequest, labels: &[Label]) -> Vec<TraceId> {
    if !asked.traces.is_empty() {
        return asked.traces.clone();
    }
    let mut traces: Vec<TraceId> = labels.iter().map(|label| label.trace_id).collect();
    traces.sort_unstable();
    traces.dedup();
    traces
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\"trace_id\":\"00000000000000000000000000000001\"";

    fn parse(rest: &str) -> Result<GivenLabel, String> {
        GivenLabel::parse(&format!("{{{TRACE},{rest}}}"))
    }

    #[test]
    fn labels_are_words_booleans_or_numbers() {
        for (text, answer) in
            [("\"pass\"", Answer::Pass), ("false", Answer::Fail), ("1", Answer::Pass), ("\"skip\"", Answer::Skip)]
        {
            assert_eq!(parse(&format!("\"label\":{text}")).unwrap().label, answer);
        }
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        let problem = |rest: &str| parse(rest).unwrap_err();
        assert!(problem("\"label\":\"good\"").contains("label is \"good\", and none of pass, fail, skip"));
        assert!(problem("\"label\":\"pass\",\"probability\":0").contains("expected more than 0"));
        assert!(problem("\"label\":\"pass\",\"probabilty\":0.5").contains("unknown field `probabilty`"));
        assert!(GivenLabel::parse("{\"label\":true}").unwrap_err().contains("missing field `trace_id`"));
    }

    #[test]
    fn what_is_exported_can_be_imported() {
        let label = Label {
            trace_id: "00000000000000000000000000000001".parse().unwrap(),
            evaluator: "grounded".to_owned(),
            revision: Some("r1".to_owned()),
            label: Answer::Fail,
            reviewer: "anna".to_owned(),
            note: Some("made up".to_owned()),
            labelled_at: Timestamp(5),
            origin: Origin::Review,
            probability: Some(0.2),
        };
        let read = GivenLabel::parse(&serde_json::to_string(&label).unwrap()).unwrap();
        let evaluator = read.evaluator.clone().unwrap();
        assert_eq!(read.into_label(evaluator, Origin::Review, Timestamp(9)), label);
    }
}
