//! What of a trace is counted for dashboards about agents.

use crate::domain::trace::{ModelCall, Trace};
use crate::telemetry::agents::ModelRequest;

/// What stands where a trace does not say.
const UNKNOWN: &str = "unknown";

/// The trace's requests to models.
pub(super) fn requests(trace: &Trace) -> Vec<ModelRequest> {
    let operation = trace.operation().unwrap_or(UNKNOWN).to_owned();
    let user_tier = trace.attributes.get("tier").cloned().unwrap_or_else(|| UNKNOWN.to_owned());
    let request = |call: &ModelCall| ModelRequest {
        model: call.model.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
        operation: operation.clone(),
        user_tier: user_tier.clone(),
        tokens: call.input_tokens.unwrap_or_default().saturating_add(call.output_tokens.unwrap_or_default()),
        cost_usd: call.cost_usd,
        seconds: trace.clock_is_real.then(|| call.ended_at.seconds_since(call.started_at).max(0.0)),
    };
    trace.model_calls().map(request).collect()
}
