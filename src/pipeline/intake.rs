//! The way into the store: pieces of traces from every source, and what others scored, committed in groups.
//!
//! One task writes, and takes with it everything that waits, so that a commit is shared by as many requests as arrived
//! during the last one, and a moment longer when that was shared. A source is answered when its pieces are
//! committed, not before: what was accepted is never lost. What waits to be stored is bounded in bytes, and what waits to be
//! evaluated in traces; beyond that a source is told to come back.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use ring::digest::{SHA256, digest};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::backlog::Backlog;
use super::crash_point::crash_point;
use super::invariant::{Invariant, adds_up};
use super::redaction::Redaction;
use super::room::{Room, Rooms};
use super::work::{HEAVY, work_on};
use super::writing::{Writable, Writing};
use crate::backends::store::{AppendReport, Chunk, CompletionPolicy, StoreError};
use crate::domain::external_score::NewExternalScore;
use crate::limits::budget::day_of;
use crate::otlp::{
    DecodeError, EncodedPiece, Encoding, Rejection, TracePiece, decode_traces, pack, slice_by_trace, split_by_trace,
};
use crate::telemetry::logs::causes;
use crate::telemetry::metrics::Metrics;

/// Pieces and scores in one transaction at most: the other stages want the writer too.
const LARGEST_COMMIT: usize = 1_024;
/// How long a commit waits at most for others to share it: one of few costs each of them far more. (The timer may add a
/// millisecond.)
const GATHERING: Duration = Duration::from_millis(3);
/// How long a commit may take, with its repeats. Senders give up after ten seconds and send again; a database that has gone
/// silent is known by nothing else.
const LIMIT: Duration = Duration::from_secs(30);

/// What a source hands in at once.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Pieces of traces.
    pub pieces: Vec<EncodedPiece>,
    /// What others scored.
    pub scores: Vec<NewExternalScore>,
}

impl Received {
    /// What was decoded and taken apart by trace.
    #[must_use]
    pub fn new(traces: Vec<TracePiece>, scores: Vec<NewExternalScore>) -> Self {
        Self { pieces: traces.into_iter().map(TracePiece::encode).collect(), scores }
    }

    /// What a request of spans holds, and which of its spans cannot be used. It is decoded only where it has to be.
    pub(super) fn of_spans(request: &Bytes, encoding: Encoding) -> Result<(Self, Vec<Rejection>), DecodeError> {
        let sliced = if encoding == Encoding::Protobuf { slice_by_trace(request) } else { None };
        if let Some(pieces) = sliced {
            return Ok((Self { pieces, scores: Vec::new() }, Vec::new()));
        }
        let split = split_by_trace(decode_traces(request, encoding)?);
        Ok((Self::new(split.traces, split.scores), split.rejected))
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.scores.is_empty()
    }
}

/// Why something was not stored. Unless it was refused or too large, it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Too much waits already.
    #[error("too much is waiting; send it again later")]
    Full,
    /// The store failed.
    #[error("traces cannot be stored at the moment; send them again later")]
    Failed,
    /// The queue takes no message of this size.
    #[error("the request is larger than the queue takes, compressed ([queue] max_message_mib): send smaller ones")]
    TooLarge,
    /// The store takes other things and refuses this one, and would again.
    #[error("the store refuses what was sent; the log says why")]
    Refused,
}

/// Hands pieces to the store; clones share the way.
#[derive(Clone)]
pub struct Intake {
    submissions: mpsc::UnboundedSender<Submission>,
    /// Bounds the channel.
    rooms: Rooms,
    redaction: Option<Arc<Redaction>>,
    backlog: Backlog,
    metrics: Arc<Metrics>,
    writing: Arc<Writing>,
}

struct Submission {
    chunks: Vec<Chunk>,
    scores: Vec<NewExternalScore>,
    answer: oneshot::Sender<Result<(), NotStored>>,
    _room: Room,
}

impl Submission {
    const fn rows(&self) -> usize {
        self.chunks.len() + self.scores.len()
    }

    fn answer(self, result: Result<(), NotStored>) {
        // A source that has gone meanwhile sends again, and its pieces are known then.
        let _gone = self.answer.send(result);
    }
}

impl Intake {
    /// The way in, with room for `max_waiting_bytes`, and the task that writes. The task ends when every clone of the
    /// way in is gone and all that was handed in is answered.
    pub fn new(
        shared: Shared,
        policy: CompletionPolicy,
        max_waiting_bytes: usize,
    ) -> (Self, impl Future<Output = ()> + Send) {
        let (submissions, waiting) = mpsc::unbounded_channel();
        let (metrics, writing) = (Arc::clone(&shared.metrics), Arc::<Writing>::default());
        let (rooms, backlog) = (Rooms::new(max_waiting_bytes), Backlog::default());
        let way_in = Self { submissions, rooms, redaction: None, backlog, metrics, writing: Arc::clone(&writing) };
        (way_in, write(shared, policy, waiting, writing))
    }

    /// The same way, on which something is taken out of what is received.
    #[must_use]
    pub fn with_redaction(self, redaction: Option<Arc<Redaction>>) -> Self {
        Self { redaction, ..self }
    }

    /// The same way, which takes no traces while as many wait as may.
    #[must_use]
    pub fn with_backlog(self, backlog: Backlog) -> Self {
        Self { backlog, ..self }
    }

    /// Whether what is received can be written, as far as the last commits tell.
    #[must_use]
    pub fn is_writable(&self) -> Writable {
        self.writing.is_writable()
    }

    /// Takes note of how a write ended that stands before a commit.
    pub(super) fn noted<T>(&self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        written.inspect(|_| self.writing.succeeded()).inspect_err(|_| self.writing.failed())
    }

    /// Room, of which nothing is taken yet.
    #[must_use]
    pub fn room(&self) -> Room {
        self.rooms.room()
    }

    /// Stores what was received, which has taken its room, and returns when it is committed.
    ///
    /// # Errors
    /// It was not stored, and may be sent again.
    pub async fn store(&self, received: Received, room: Room) -> Result<(), NotStored> {
        if received.is_empty() {
            return Ok(());
        }
        if self.backlog.is_full() && !received.pieces.is_empty() {
            return Err(NotStored::Full);
        }
        let redaction = self.redaction.clone();
        let work = if redaction.is_some() { room.bytes().saturating_mul(HEAVY) } else { room.bytes() };
        let packing = work_on(work, move || {
            let mut received = received;
            let redacted = redaction.map_or(Ok(0), |redaction| redaction.apply(&mut received))?;
            let chunks: Vec<Chunk> = received.pieces.into_iter().map(chunk).collect();
            Ok((chunks, received.scores, redacted))
        });
        let packed = packing.await.ok_or(NotStored::Failed)?;
        let (chunks, scores, redacted) = packed.map_err(|error: DecodeError| {
            tracing::error!(error = causes(&error), "what must not be kept cannot be taken out of what was received");
            NotStored::Refused
        })?;
        self.metrics.redacted.inc_by(redacted);
        let (answer, stored) = oneshot::channel();
        self.submissions.send(Submission { chunks, scores, answer, _room: room }).map_err(|_| NotStored::Failed)?;
        stored.await.unwrap_or(Err(NotStored::Failed))
    }
}

/// The same piece always gives the same hash, so that a repeat is known.
fn chunk(EncodedPiece { trace_id, body, span_count, root_ended, started_at }: EncodedPiece) -> Chunk {
    let span_count = u32::try_from(span_count).unwrap_or(u32::MAX);
    let day = started_at.map_or(0, day_of);
    let mut content_hash = [0; 32];
    content_hash.copy_from_slice(digest(&SHA256, &body).as_ref());
    Chunk { trace_id, content_hash, day, body: pack(&body), span_count, root_ended }
}

async fn write(
    shared: Shared,
    policy: CompletionPolicy,
    mut waiting: mpsc::UnboundedReceiver<Submission>,
    writing: Arc<Writing>,
) {
    let mut gathering = Duration::ZERO;
    while let Some(first) = waiting.recv().await {
        let mut group = vec![first];
        take_waiting(&mut waiting, &mut group);
        if !gathering.is_zero() && rows(&group) < LARGEST_COMMIT {
            sleep(gathering).await;
            take_waiting(&mut waiting, &mut group);
        }
        let (started, is_shared) = (Instant::now(), group.len() > 1);
        writing.begin();
        store(&shared, &policy, &writing, group).await;
        gathering = gathering_after(is_shared, started.elapsed());
        writing.end();
    }
}

/// How long a commit waits for others to share it: no longer than the last one took, and not at all when nobody shared that.
fn gathering_after(was_shared: bool, took: Duration) -> Duration {
    if was_shared { took.min(GATHERING) } else { Duration::ZERO }
}

/// Adds to a group what waits, as much as one commit may hold.
fn take_waiting(waiting: &mut mpsc::UnboundedReceiver<Submission>, group: &mut Vec<Submission>) {
    let mut held = rows(group);
    while held < LARGEST_COMMIT {
        let Ok(next) = waiting.try_recv() else { break };
        held += next.rows();
        group.push(next);
    }
}

fn rows(group: &[Submission]) -> usize {
    group.iter().map(Submission::rows).sum()
}

/// Commits a group; when the store refuses something in it, each by itself, so that none fails for another's sake.
async fn store(shared: &Shared, policy: &CompletionPolicy, writing: &Writing, mut group: Vec<Submission>) {
    let result = commit(shared, policy, writing, &mut group).await;
    if result == Err(NotStored::Refused) && group.len() > 1 {
        for mut alone in group {
            let result = commit(shared, policy, writing, std::slice::from_mut(&mut alone)).await;
            alone.answer(result);
        }
        return;
    }
    group.into_iter().for_each(|submission| submission.answer(result));
}

/// Commits what is in the submissions, which have it still when that fails.
async fn commit(
    shared: &Shared,
    policy: &CompletionPolicy,
    writing: &Writing,
    group: &mut [Submission],
) -> Result<(), NotStored> {
    let counts: Vec<(usize, usize)> = group.iter().map(|one| (one.chunks.len(), one.scores.len())).collect();
    let chunks: Vec<Chunk> = group.iter_mut().flat_map(|one| std::mem::take(&mut one.chunks)).collect();
    let scores: Vec<NewExternalScore> = group.iter_mut().flat_map(|one| std::mem::take(&mut one.scores)).collect();
    crash_point("intake.commit");
    let late = |_| Err(StoreError::Late { seconds: LIMIT.as_secs() });
    let appended = timeout(LIMIT, append(shared, policy, &chunks, &scores)).await.unwrap_or_else(late);
    match appended {
        Ok(report) => {
            writing.succeeded();
            Invariant::EveryPieceIsAccountedFor.check(&shared.metrics, adds_up(report, chunks.len()));
            count(shared, report, scores.len());
            Ok(())
        }
        Err(error) => {
            let (pieces, causes) = (chunks.len(), causes(&error));
            tracing::error!(error = causes, pieces, scores = scores.len(), "what was received could not be stored");
            let (mut chunks, mut scores) = (chunks.into_iter(), scores.into_iter());
            for (one, (pieces, scored)) in group.iter_mut().zip(counts) {
                one.chunks = chunks.by_ref().take(pieces).collect();
                one.scores = scores.by_ref().take(scored).collect();
            }
            if error.refuses_data() {
                return Err(NotStored::Refused);
            }
            writing.failed();
            Err(NotStored::Failed)
        }
    }
}

fn count(shared: &Shared, report: AppendReport, scores: usize) {
    if report.too_late > 0 {
        tracing::info!(pieces = report.too_late, "pieces came after the body of their trace was purged");
    }
    if report.left_out > 0 {
        tracing::warn!(pieces = report.left_out, "pieces of a trace that is too large were not kept");
    }
    shared.metrics.too_late.inc_by(report.too_late as u64);
    shared.metrics.truncated_pieces.inc_by(report.left_out as u64);
    shared.metrics.external_scores.inc_by(scores as u64);
}

/// Pieces are known again when they are repeated, so that they need not be one transaction with the scores. Some scores
/// are not: they come last, when nothing else can fail any more.
async fn append(
    shared: &Shared,
    policy: &CompletionPolicy,
    chunks: &[Chunk],
    scores: &[NewExternalScore],
) -> Result<AppendReport, StoreError> {
    let now = shared.now();
    let report = if chunks.is_empty() {
        AppendReport::default()
    } else {
        shared.store.append_chunks(chunks, now, policy).await?
    };
    if !scores.is_empty() {
        shared.store.add_external_scores(scores, now).await?;
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_waits_for_company_only_when_the_last_one_had_some_and_no_longer_than_that_took() {
        let [short, long] = [1, 50].map(Duration::from_millis);
        assert_eq!(gathering_after(true, short), short);
        assert_eq!(gathering_after(true, long), GATHERING);
        assert_eq!(gathering_after(false, long), Duration::ZERO);
    }
}
