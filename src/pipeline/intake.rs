//! The way into the store: pieces of traces from every source, and what others scored, committed in groups.
//!
//! One task writes, and takes with it everything that waits, so that a commit is shared by as many requests as arrived
//! during the last one. A source is answered when its pieces are committed, not before: what was accepted is never
//! lost. What waits is bounded in bytes; beyond that a source is told to come back.

use std::sync::Arc;

use ring::digest::{SHA256, digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::Shared;
use super::redaction::Redaction;
use crate::backends::store::{AppendReport, Chunk, CompletionPolicy, StoreError};
use crate::domain::external_score::NewExternalScore;
use crate::otlp::{TracePiece, pack};
use crate::telemetry::metrics::Metrics;

/// Pieces and scores in one transaction at most: the other stages want the writer too.
const LARGEST_COMMIT: usize = 1_024;
const BYTES_PER_PERMIT: usize = 1_024;

/// What a source hands in at once.
#[derive(Debug, Clone, Default)]
pub struct Received {
    /// Pieces of traces.
    pub pieces: Vec<TracePiece>,
    /// What others scored.
    pub scores: Vec<NewExternalScore>,
}

impl Received {
    const fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.scores.is_empty()
    }
}

/// Why something was not stored; it may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotStored {
    /// Too much waits already.
    #[error("too much is waiting to be stored; send it again later")]
    Full,
    /// The store failed.
    #[error("the store cannot take traces at the moment; send them again later")]
    Failed,
}

/// Hands pieces to the store; clones share the way.
#[derive(Clone)]
pub struct Intake {
    submissions: mpsc::UnboundedSender<Submission>,
    /// Bounds the channel, in kibibytes.
    room: Arc<Semaphore>,
    size: u32,
    redaction: Option<Arc<Redaction>>,
    metrics: Arc<Metrics>,
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
}

/// Room for what is received and not yet stored; dropped, it is given back.
#[derive(Debug)]
pub struct Room {
    all: Arc<Semaphore>,
    size: u32,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Makes it large enough for `bytes` in all. For more than all the room there is, all of it will do.
    ///
    /// # Errors
    /// Too much waits already; what was taken stays taken.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), NotStored> {
        let wanted = u32::try_from(bytes.div_ceil(BYTES_PER_PERMIT)).unwrap_or(u32::MAX).min(self.size);
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = wanted.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        let more = Arc::clone(&self.all).try_acquire_many_owned(missing).map_err(|_| NotStored::Full)?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        Ok(())
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
        let size = u32::try_from(max_waiting_bytes / BYTES_PER_PERMIT).unwrap_or(u32::MAX).max(1);
        let room = Arc::new(Semaphore::new(size as usize));
        let metrics = Arc::clone(&shared.metrics);
        (Self { submissions, room, size, redaction: None, metrics }, write(shared, policy, waiting))
    }

    /// The same way, on which something is taken out of what is received.
    #[must_use]
    pub fn with_redaction(self, redaction: Option<Redaction>) -> Self {
        Self { redaction: redaction.map(Arc::new), ..self }
    }

    /// Room, of which nothing is taken yet.
    #[must_use]
    pub fn room(&self) -> Room {
        Room { all: Arc::clone(&self.room), size: self.size, taken: None }
    }

    /// Stores what was received, which has taken its room, and returns when it is committed.
    ///
    /// # Errors
    /// It was not stored, and may be sent again.
    pub async fn store(&self, received: Received, room: Room) -> Result<(), NotStored> {
        if received.is_empty() {
            return Ok(());
        }
        let redaction = self.redaction.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let mut received = received;
            let redacted = redaction.map_or(0, |redaction| redaction.apply(&mut received));
            let chunks: Vec<Chunk> = received.pieces.into_iter().map(chunk).collect();
            (chunks, received.scores, redacted)
        });
        let (chunks, scores, redacted) = packing.await.map_err(|_| NotStored::Failed)?;
        self.metrics.redacted.inc_by(redacted);
        let (answer, stored) = oneshot::channel();
        self.submissions.send(Submission { chunks, scores, answer, _room: room }).map_err(|_| NotStored::Failed)?;
        stored.await.unwrap_or(Err(NotStored::Failed))
    }
}

/// The same piece always gives the same hash, so that a repeat is known.
fn chunk(piece: TracePiece) -> Chunk {
    let (trace_id, root_ended) = (piece.trace_id, piece.root_ended);
    let span_count = u32::try_from(piece.span_count).unwrap_or(u32::MAX);
    let encoded = piece.encode();
    let mut content_hash = [0; 32];
    content_hash.copy_from_slice(digest(&SHA256, &encoded).as_ref());
    Chunk { trace_id, content_hash, body: pack(&encoded), span_count, root_ended }
}

async fn write(shared: Shared, policy: CompletionPolicy, mut waiting: mpsc::UnboundedReceiver<Submission>) {
    while let Some(first) = waiting.recv().await {
        let mut group = vec![first];
        let mut rows = group[0].rows();
        while rows < LARGEST_COMMIT {
            let Ok(next) = waiting.try_recv() else { break };
            rows += next.rows();
            group.push(next);
        }
        commit(&shared, &policy, group).await;
    }
}

async fn commit(shared: &Shared, policy: &CompletionPolicy, mut group: Vec<Submission>) {
    let chunks: Vec<Chunk> = group.iter_mut().flat_map(|submission| std::mem::take(&mut submission.chunks)).collect();
    let scores: Vec<NewExternalScore> =
        group.iter_mut().flat_map(|submission| std::mem::take(&mut submission.scores)).collect();
    let result = match append(shared, policy, &chunks, &scores).await {
        Ok(report) => {
            if report.too_late > 0 {
                tracing::info!(pieces = report.too_late, "pieces came after the body of their trace was purged");
            }
            if report.left_out > 0 {
                tracing::warn!(pieces = report.left_out, "pieces of a trace that is too large were not kept");
            }
            shared.metrics.too_late.inc_by(report.too_late as u64);
            shared.metrics.truncated_pieces.inc_by(report.left_out as u64);
            shared.metrics.external_scores.inc_by(scores.len() as u64);
            Ok(())
        }
        Err(error) => {
            let pieces = chunks.len();
            tracing::error!(%error, pieces, scores = scores.len(), "what was received could not be stored; senders keep it");
            Err(NotStored::Failed)
        }
    };
    for submission in group {
        // A source that has gone meanwhile sends again, and its pieces are known then.
        let _gone = submission.answer.send(result);
    }
}

/// Pieces and scores are known again when they are repeated, so that they need not be one transaction.
async fn append(
    shared: &Shared,
    policy: &CompletionPolicy,
    chunks: &[Chunk],
    scores: &[NewExternalScore],
) -> Result<AppendReport, StoreError> {
    let now = shared.now();
    if !scores.is_empty() {
        shared.store.add_external_scores(scores, now).await?;
    }
    if chunks.is_empty() { Ok(AppendReport::default()) } else { shared.store.append_chunks(chunks, now, policy).await }
}
