//! What people ask: one file a question, and one shape of its answer for the API, the pages and the command line.

pub mod account;
pub mod affected;
pub mod agent_costs;
pub mod alerts;
pub mod audit;
pub mod backfill;
pub mod baselines;
pub mod calibration;
pub mod compare;
pub mod costs;
pub mod erasure;
pub mod evaluators;
pub mod explain;
pub mod feedback;
pub mod inspection;
pub mod judge_revisions;
pub mod judges;
pub mod objectives;
pub mod overview;
pub mod readiness;
pub mod releases;
pub mod review;
pub mod reviewing;
pub mod runbooks;
pub mod scores;
pub mod search;
pub mod selection;
pub mod series;
pub mod series_page;
pub mod source;
pub mod span;
pub mod system;
pub mod tokens;
pub mod top;
pub mod trace;

use std::collections::BTreeSet;

use tokio::sync::Semaphore;

use crate::backends::store::{Selection, Store, StoreError};
use crate::domain::feedback::InvalidFeedback;
use crate::domain::ids::TraceId;
use crate::domain::silence::InvalidMatcher;
use crate::domain::time::Timestamp;
use crate::otlp::{RawTrace, UnpackError};
use crate::watch::gate_policy::InvalidGatePolicy;
use selection::InvalidSelection;

/// Answers that are computed at once in this process; the others wait, so that cores are left to receiver and health.
static COMPUTING: Semaphore = Semaphore::const_new(2);

/// Computes away from the threads that serve requests.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, QueryError> {
    let permit = COMPUTING.acquire().await;
    let working = tokio::task::spawn_blocking(move || {
        // Held until the work ends, even when no one waits for it any more.
        let _permit = permit;
        work()
    });
    working.await.map_err(QueryError::Interrupted)
}

/// Names that an error lists where one is not known.
const LISTED: usize = 40;

/// Longest name, note or reason that people give, in characters.
const LONGEST_WORDS: usize = 1000;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There is no such trace.
    #[error("trace {trace_id} is not known")]
    UnknownTrace {
        /// The trace.
        trace_id: TraceId,
    },
    /// The trace has arrived and is not evaluated yet.
    #[error("trace {trace_id} has arrived and is evaluated after {due_at}")]
    PendingTrace {
        /// The trace.
        trace_id: TraceId,
        /// When it counts as complete.
        due_at: Timestamp,
    },
    /// The trace is known, and its spans are gone.
    #[error("the spans of trace {trace_id} were kept until {until}")]
    BodyGone {
        /// The trace.
        trace_id: TraceId,
        /// How long they were kept.
        until: Timestamp,
    },
    /// There is no such baseline.
    #[error("there is no baseline {name:?}")]
    UnknownBaseline {
        /// The name that was asked for.
        name: String,
    },
    /// There is no such token.
    #[error("there is no token {id:?} that is not revoked")]
    UnknownToken {
        /// The id that was asked for.
        id: String,
    },
    /// A token cannot live so long.
    #[error("{text:?} is no time for a token to live")]
    TokenTime {
        /// What was written.
        text: String,
    },
    /// Everything would be erased.
    #[error("nothing says whose traces are to be erased")]
    ErasesAll,
    /// There is no such series.
    #[error("no trace in this time has the series {key}")]
    UnknownSeries {
        /// The key that was asked for.
        key: String,
    },
    /// A source of traces names nothing that a store has.
    #[error("{text:?} is not a source of stored traces")]
    Source {
        /// What was written.
        text: String,
    },
    /// A baseline of nothing would alarm at everything.
    #[error("{text:?} holds no trace")]
    EmptySource {
        /// The source as it was written.
        text: String,
    },
    /// A baseline's name stands in addresses and settings.
    #[error("{name:?} is no name for a baseline")]
    BaselineName {
        /// The name that was asked for.
        name: String,
    },
    /// No trace has the dimension that is asked for.
    #[error("there is no dimension {name:?}; known: {}", listed(.known))]
    UnknownDimension {
        /// The dimension.
        name: String,
        /// What there is.
        known: BTreeSet<String>,
    },
    /// There is no such version of a service.
    #[error("service {service:?} has no version {value:?}; known: {}", listed(.known))]
    UnknownRelease {
        /// The service.
        service: String,
        /// The version that was asked for.
        value: String,
        /// What there is.
        known: BTreeSet<String>,
    },
    /// A first version has nothing before it.
    #[error("no other version ran before {value:?}")]
    NothingBefore {
        /// The version.
        value: String,
    },
    /// A stored baseline keeps no traces.
    #[error("{text:?} is a summary, to which no traces arrive")]
    NoTraces {
        /// The source as it was written.
        text: String,
    },
    /// Neither a budget of the settings nor a service whose judging could cost something.
    #[error("there is no budget {scope:?}; known: {}", listed(.known))]
    UnknownScope {
        /// The scope that was asked for.
        scope: String,
        /// What there is.
        known: BTreeSet<String>,
    },
    /// No trace is of such a service.
    #[error("no trace of a service {name:?} is known; known: {}", listed(.known))]
    UnknownService {
        /// The service that was asked for.
        name: String,
        /// What there is.
        known: BTreeSet<String>,
    },
    /// A part of a distribution that it does not have.
    #[error("no part of this distribution is called {bin:?}; known: {}", listed(.known))]
    UnknownBin {
        /// The part that was asked for.
        bin: String,
        /// What there is, in order.
        known: Vec<String>,
    },
    /// Both sides are one.
    #[error("both sides are {text:?}")]
    SameSides {
        /// The side.
        text: String,
    },
    /// There is no such alert.
    #[error("there is no alert {id:?}")]
    UnknownAlert {
        /// The id that was asked for.
        id: String,
    },
    /// What is over cannot be taken in hand.
    #[error("alert {id} is resolved")]
    AlertOver {
        /// Its id.
        id: String,
    },
    /// There is no such silence.
    #[error("there is no silence {id:?}")]
    UnknownSilence {
        /// The id that was asked for.
        id: String,
    },
    /// A silence that would never hold.
    #[error("{text:?} is no time for a silence")]
    SilenceTime {
        /// What was given.
        text: String,
    },
    /// A matcher that matches nothing.
    #[error(transparent)]
    Matcher(#[from] InvalidMatcher),
    /// Who and why is kept with every change, and must say something.
    #[error("{name} is empty or longer than {LONGEST_WORDS} characters")]
    Words {
        /// `by`, `reason` or `note`.
        name: &'static str,
    },
    /// Not a place in a list.
    #[error("{text:?} is no place in the list of affected traces")]
    Cursor {
        /// What was given.
        text: String,
    },
    /// There is no such judge.
    #[error("there is no judge {name:?}; known: {}", listed(.known))]
    UnknownJudge {
        /// The name that was asked for.
        name: String,
        /// What there is.
        known: BTreeSet<String>,
    },
    /// A label that cannot be kept.
    #[error("the label of trace {trace_id} cannot be kept: {problem}")]
    Label {
        /// The trace.
        trace_id: TraceId,
        /// What is wrong with it.
        problem: String,
    },
    /// A number that is out of its range.
    #[error("{name} is {value}, expected {expected}")]
    OutOfRange {
        /// What the number is.
        name: &'static str,
        /// The number.
        value: f64,
        /// The range.
        expected: &'static str,
    },
    /// A selection that means nothing.
    #[error(transparent)]
    Selection(#[from] InvalidSelection),
    /// Feedback that cannot be kept.
    #[error(transparent)]
    Feedback(#[from] InvalidFeedback),
    /// A gate policy that means nothing.
    #[error(transparent)]
    Policy(#[from] InvalidGatePolicy),
    /// A stored baseline that this program cannot read.
    #[error("the stored baseline {name:?} cannot be read")]
    DamagedBaseline {
        /// Its name.
        name: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A baseline that cannot be written as JSON.
    #[error("the baseline cannot be written")]
    Unwritable(#[source] serde_json::Error),
    /// The computation did not end.
    #[error("the answer could not be computed")]
    Interrupted(#[source] tokio::task::JoinError),
    /// Stored spans that this program cannot read.
    #[error(transparent)]
    Body(#[from] UnpackError),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl QueryError {
    /// Whether the question itself is wrong, whatever the store holds.
    #[must_use]
    pub const fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Source { .. }
                | Self::EmptySource { .. }
                | Self::BaselineName { .. }
                | Self::UnknownDimension { .. }
                | Self::NothingBefore { .. }
                | Self::NoTraces { .. }
                | Self::SameSides { .. }
                | Self::UnknownBin { .. }
                | Self::Label { .. }
                | Self::TokenTime { .. }
                | Self::ErasesAll
                | Self::AlertOver { .. }
                | Self::SilenceTime { .. }
                | Self::Matcher(_)
                | Self::Words { .. }
                | Self::Cursor { .. }
                | Self::OutOfRange { .. }
                | Self::Selection(_)
                | Self::Feedback(_)
                | Self::Policy(_)
        )
    }

    /// What the asker can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::UnknownTrace { .. } => "check the id; a trace that was just sent shows once its root span has ended",
            Self::PendingTrace { .. } => "ask again after that time",
            Self::BodyGone { .. } => "its scores and decisions are kept: ask for /explain or /scores",
            Self::UnknownBaseline { .. } => "list the baselines, or create it first",
            Self::UnknownToken { .. } => "list the tokens: an id has 10 hexadecimal digits",
            Self::TokenTime { .. } => "write a duration such as 90d, of at most 3650d",
            Self::ErasesAll => "name a user, a conversation, or key=value",
            Self::UnknownSeries { .. } => "list the series, or ask about a longer time with since",
            Self::Source { .. } => "write where:key=value[,key=value] or name:BASELINE",
            Self::EmptySource { .. } => "select traces that are there: search for them first",
            Self::BaselineName { .. } => "write 1 to 100 of A-Z a-z 0-9 . _ -",
            Self::UnknownDimension { .. } => "name one of these dimensions",
            Self::UnknownService { .. } => {
                "check the name; a trace that was just sent shows once its root span has ended"
            }
            Self::UnknownBin { .. } => "name one of these parts; those of numbers move as traces come in",
            Self::UnknownRelease { .. } => "list the releases; versions are counted within a minute of their traces",
            Self::NothingBefore { .. } => "name the version to compare with",
            Self::NoTraces { .. } => "give the candidate as where:key=value[,key=value]",
            Self::UnknownScope { .. } => {
                "ask for all, for a service, or for dimension=value that the scope of a [[budget]] covers"
            }
            Self::SameSides { .. } => "name two different sides",
            Self::Interrupted(_) => "ask again, about less at once",
            Self::UnknownAlert { .. } => "list the alerts: an id has 16 hexadecimal digits",
            Self::AlertOver { .. } => "list the open alerts",
            Self::UnknownSilence { .. } => "list the silences",
            Self::SilenceTime { .. } => "write a duration such as 2h, of at most 365d",
            Self::Matcher(_) => "write an alert's id, or for example service=shop,series=latency*",
            Self::Words { .. } => "say it in a few words",
            Self::Cursor { .. } => "take it from the key next of the page before",
            Self::UnknownJudge { .. } => "list the evaluators; judges are those of kind llm_judge",
            Self::Label { .. } => "ask for the next trace to label, or see what judged this one with explain",
            Self::OutOfRange { .. } => "give a number in that range",
            Self::Selection(invalid) => invalid.remedy(),
            Self::Feedback(_) => {
                "send {trace_id, span_id?, name, value?, label?, explanation?, source, id?, annotator_kind?}"
            }
            Self::Policy(_) => "correct the policy",
            Self::DamagedBaseline { .. } | Self::Unwritable(_) => "create the baseline again under another name",
            Self::Body(_) => "its scores and decisions can still be read",
            Self::Store(StoreError::BaselineExists { .. }) => {
                "choose another name, and set `[watch] baseline = \"…\"` to watch against it"
            }
            Self::Store(StoreError::NoArchive) => "ask the service, which knows its archive, or set archive.directory",
            Self::Store(StoreError::LogHeld) => "erase it again: what is still in the log then goes as well",
            Self::Store(_) => "check that the store can be reached, and ask again",
        }
    }
}

/// Names that are known, as many of them as can be read.
fn listed<'a>(names: impl IntoIterator<Item = &'a String, IntoIter: ExactSizeIterator>) -> String {
    let names = names.into_iter();
    let left = names.len().saturating_sub(LISTED);
    let shown: Vec<&str> = names.take(LISTED).map(String::as_str).collect();
    match (shown.is_empty(), left) {
        (true, _) => "none".to_owned(),
        (_, 0) => shown.join(", "),
        _ => format!("{} and {left} more", shown.join(", ")),
    }
}

/// The services of which traces are known.
async fn services(store: &Store) -> Result<BTreeSet<String>, QueryError> {
    Ok(store.services_by_hour(&Selection::default()).await?.into_iter().collect())
}

/// Whether traces of a service are known.
async fn is_service(store: &Store, name: &str) -> Result<bool, QueryError> {
    let of_service = Selection { service: Some(name.to_owned()), ..Selection::default() };
    Ok(!store.services_by_hour(&of_service).await?.is_empty())
}

/// What people say of themselves and their reasons.
fn words(name: &'static str, text: &str) -> Result<String, QueryError> {
    let text = text.trim();
    let is_usable = !text.is_empty() && text.chars().count() <= LONGEST_WORDS;
    is_usable.then(|| text.to_owned()).ok_or(QueryError::Words { name })
}

/// The spans of a trace as far as they are kept; `None` when they are gone or never came.
async fn body(store: &Store, trace_id: TraceId) -> Result<Option<RawTrace>, QueryError> {
    let body = store.chunks_of(trace_id).await?;
    if body.chunks.is_empty() { Ok(None) } else { Ok(Some(body.unpack(trace_id)?)) }
}

/// Why a trace that is not among the evaluated ones is not.
async fn not_evaluated(store: &Store, trace_id: TraceId) -> Result<QueryError, QueryError> {
    Ok(match store.pending_trace(trace_id).await? {
        Some(pending) => QueryError::PendingTrace { trace_id, due_at: pending.due_at },
        None => QueryError::UnknownTrace { trace_id },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::compute;

    #[tokio::test]
    async fn two_answers_are_computed_at_once_and_the_serving_thread_stays_free() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            compute(move || {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
                running.fetch_sub(1, Ordering::SeqCst);
            })
        };
        // On one thread, these could not overlap at all if they were computed where they are asked for.
        let answers = futures_util::future::join_all((0..8).map(|_| work())).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }
}
