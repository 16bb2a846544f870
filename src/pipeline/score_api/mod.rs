//! Scores by the own APIs of tracing backends, which show them on the span itself.
//!
//! Each score has an identity that follows from trace, evaluator and revision: a repeat changes nothing, and what is
//! said of a later version of the trace replaces what was said of an earlier one. A judgement that failed is no score.

mod langfuse;
mod mlflow;
mod phoenix;

use ring::digest::{SHA256, digest};
use serde_json::{Map, Value};

use super::write_back::WriteBack;
use crate::backends::http::{HttpSender, SendError};
use crate::domain::evaluation::{Evaluation, Outcome};

/// Largest answer that is read, in bytes.
const LARGEST_ANSWER: usize = 1024 * 1024;

/// A backend that takes scores by an API of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreApi {
    /// Annotations of spans.
    Phoenix,
    /// Scores of observations.
    Langfuse,
    /// Assessments of traces.
    Mlflow,
}

impl ScoreApi {
    /// Write-backs in one claim: with scores of many evaluators each, still one body of moderate size.
    #[must_use]
    pub const fn batch(self) -> usize {
        match self {
            Self::Phoenix | Self::Langfuse => 50,
            // A request a score.
            Self::Mlflow => 4,
        }
    }

    /// Tells the backend the scores of some write-backs.
    ///
    /// # Errors
    /// The backend did not take all of them; those that it took can be sent again.
    pub async fn send(self, sender: &HttpSender, write_backs: &[WriteBack]) -> Result<(), SendError> {
        let scores: Vec<Score<'_>> = write_backs.iter().flat_map(Score::of).collect();
        if scores.is_empty() {
            return Ok(());
        }
        match self {
            Self::Phoenix => phoenix::send(sender, &scores).await,
            Self::Langfuse => langfuse::send(sender, &scores).await,
            Self::Mlflow => mlflow::send(sender, &scores).await,
        }
    }
}

/// A score and the write-back that it stands in.
#[derive(Clone, Copy)]
struct Score<'a> {
    write_back: &'a WriteBack,
    row: &'a Evaluation,
}

impl<'a> Score<'a> {
    fn of(write_back: &'a WriteBack) -> impl Iterator<Item = Self> {
        let scored = write_back.evaluations.iter().filter(|row| row.outcome == Outcome::Scored);
        scored.map(move |row| Self { write_back, row })
    }

    /// 32 hexadecimal digits, the same for every version of the trace.
    fn id(&self) -> String {
        let row = self.row;
        let identity = [&row.trace_id.to_string(), &row.evaluator, &row.revision].map(|part| format!("{part}\n"));
        hex::encode(&digest(&SHA256, identity.concat().as_bytes()).as_ref()[..16])
    }

    /// What a backend has no field of its own for.
    fn metadata(&self) -> Map<String, Value> {
        let row = self.row;
        let mut metadata = Map::new();
        metadata.insert("source".to_owned(), "driftline".into());
        metadata.insert("revision".to_owned(), row.revision.clone().into());
        metadata.insert("trace_version".to_owned(), self.write_back.trace_version.to_string().into());
        metadata.extend(row.label.iter().map(|label| ("label".to_owned(), label.clone().into())));
        if row.truncated {
            metadata.insert("truncated".to_owned(), "true".into());
        }
        metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::evaluation::AnnotatorKind;
    use crate::domain::time::Timestamp;

    fn write_back(trace_version: i64, revision: &str, outcome: Outcome) -> WriteBack {
        let row = Evaluation {
            trace_id: "65888dddb25592422df09b0e4b474df2".parse().unwrap(),
            span_id: "2df09b0e4b474df2".parse().unwrap(),
            evaluator: "loop".to_owned(),
            revision: revision.to_owned(),
            annotator_kind: AnnotatorKind::Code,
            outcome,
            value: Some(0.0),
            label: None,
            explanation: None,
            truncated: false,
            split: false,
        };
        WriteBack {
            service: "support".to_owned(),
            trace_version,
            evaluated_at: Timestamp(5),
            conversation_id: None,
            evaluations: vec![row],
            calls: Vec::new(),
        }
    }

    fn id(write_back: &WriteBack) -> String {
        Score::of(write_back).next().unwrap().id()
    }

    #[test]
    fn a_later_version_has_the_identity_of_the_earlier_one_and_another_revision_its_own() {
        let first = id(&write_back(1, "r1", Outcome::Scored));
        assert_eq!(first.len(), 32);
        assert_eq!(id(&write_back(2, "r1", Outcome::Scored)), first);
        assert_ne!(id(&write_back(1, "r2", Outcome::Scored)), first);
    }

    #[test]
    fn a_judgement_that_failed_is_not_told() {
        assert_eq!(Score::of(&write_back(1, "r1", Outcome::Failed)).count(), 0);
    }
}
