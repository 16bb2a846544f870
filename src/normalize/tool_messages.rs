//! What models asked of tools and were told of them, by call id.
//!
//! Some models count their ids anew in every turn, so an id is looked for around a place in the trace: a call was asked
//! for last before it, and told first after it.

use std::collections::HashMap;

use super::messages::RequestedCall;
use super::model_calls::Exchange;

/// Requests and results of all model calls, each with the position of the call's span, in order.
pub(super) struct ToolMessages<'e, 'a> {
    requests: HashMap<&'e str, Vec<(usize, &'e RequestedCall<'a>)>>,
    results: HashMap<&'e str, Vec<(usize, &'e str)>>,
}

impl<'e, 'a> ToolMessages<'e, 'a> {
    pub(super) fn new(exchanges: &'e [Exchange<'a>]) -> Self {
        let mut found = Self { requests: HashMap::new(), results: HashMap::new() };
        for exchange in exchanges {
            for call in exchange.requested_calls() {
                if let Some(id) = call.id.as_deref() {
                    found.requests.entry(id).or_default().push((exchange.position, call));
                }
            }
            for (id, result) in exchange.tool_results() {
                found.results.entry(id).or_default().push((exchange.position, result));
            }
        }
        found
    }

    /// The last call under this id that was asked for before a position.
    pub(super) fn request_before(&self, position: usize, id: &str) -> Option<&'e RequestedCall<'a>> {
        let requests = self.requests.get(id)?;
        let before = requests.partition_point(|(asked_at, _)| *asked_at < position);
        requests[..before].last().map(|(_, call)| *call)
    }

    /// The result under this id that the first model call after a position was told; of several, those before the last
    /// are history.
    pub(super) fn result_after(&self, position: usize, id: &str) -> Option<&'e str> {
        let results = self.results.get(id)?;
        let after = &results[results.partition_point(|(told_at, _)| *told_at <= position)..];
        let (first, _) = after.first()?;
        after.iter().take_while(|(told_at, _)| told_at == first).last().map(|(_, result)| *result)
    }
}
