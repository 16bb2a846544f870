//! A stored trace as driftline understands it.

use super::{QueryError, body, not_evaluated};
use crate::backends::store::Store;
use crate::domain::ids::TraceId;
use crate::evaluate::sampling::SamplingDecision;
use crate::normalize::{AttributeMapping, Inspection, PriceTable, normalize_priced};

/// Reads the stored spans of a trace again, also of one that is still pending.
///
/// # Errors
/// The trace is unknown, its spans are gone or damaged, or the store failed.
pub async fn inspection(
    store: &Store,
    trace_id: TraceId,
    names: &AttributeMapping,
    prices: &PriceTable,
) -> Result<Inspection, QueryError> {
    let raw = body(store, trace_id).await?;
    let stored = store.trace(trace_id).await?;
    if let Some(trace) = raw.and_then(|raw| normalize_priced(&raw, names, prices)) {
        // What the settings said of upstream sampling when the trace was evaluated is part of the decision.
        let decision = stored.and_then(|stored| serde_json::from_str::<SamplingDecision>(&stored.decision).ok());
        let upstream_probability = decision.and_then(|it| it.upstream).or_else(|| trace.upstream_probability.clone());
        return Ok(Inspection { upstream_probability, ..Inspection::from(&trace) });
    }
    match stored {
        Some(stored) => Err(QueryError::BodyGone { trace_id, until: stored.keep_body_until }),
        None => Err(not_evaluated(store, trace_id).await?),
    }
}
