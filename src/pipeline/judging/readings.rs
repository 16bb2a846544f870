//! The traces of claimed jobs: their bodies are fetched together, and each is put together once, when its first job
//! comes to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OnceCell, Semaphore};

use crate::backends::store::{StoreError, TraceBody};
use crate::domain::ids::TraceId;
use crate::domain::trace::Trace;
use crate::pipeline::Shared;
use crate::pipeline::scoring::Scoring;

/// Bytes of bodies that are fetched together. What is left over is fetched by its own jobs, one body at a time.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Traces that are put together at once: more would only take memory, a thread and its arena each.
const MOST_AT_ONCE: usize = 2;

/// Reads the traces of one lane's jobs.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Shared,
    scoring: Arc<Scoring>,
    turns: Semaphore,
}

/// A trace that several jobs read once.
#[derive(Debug, Default)]
pub(super) struct Reading {
    fetched: Mutex<Option<TraceBody>>,
    trace: OnceCell<Option<Arc<Trace>>>,
}

impl Reader {
    pub(super) fn new(shared: Shared, scoring: Arc<Scoring>) -> Self {
        Self { shared, scoring, turns: Semaphore::new(MOST_AT_ONCE) }
    }

    /// The readings of some traces. One whose body could not be fetched with the others' fetches it by itself, and says
    /// then what is wrong.
    pub(super) async fn fetch(&self, trace_ids: Vec<TraceId>) -> HashMap<TraceId, Arc<Reading>> {
        let mut bodies = self.shared.store.bodies_within(&trace_ids, MOST_BYTES).await.unwrap_or_default();
        let reading = |trace_id| {
            let fetched = Mutex::new(bodies.remove(&trace_id));
            (trace_id, Arc::new(Reading { fetched, trace: OnceCell::new() }))
        };
        trace_ids.into_iter().map(reading).collect()
    }

    /// The trace; `None` when there is nothing of it that can be read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) async fn trace(&self, reading: &Reading, trace_id: TraceId) -> Result<Option<Arc<Trace>>, StoreError> {
        let read = async || {
            let _turn = self.turns.acquire().await;
            let fetched = reading.fetched.lock().unwrap_or_else(PoisonError::into_inner).take();
            let trace = match fetched {
                Some(body) => self.scoring.read_body(trace_id, body).await,
                None => self.scoring.read(&self.shared, trace_id).await?,
            };
            Ok(trace.map(Arc::new))
        };
        reading.trace.get_or_try_init(read).await.cloned()
    }
}
