//! What driftline tells of itself: logs and metrics.

pub mod agents;
pub mod logs;
pub mod metrics;
