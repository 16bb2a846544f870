//! driftline watches AI agents in production: it scores their traces, detects drift, and gates deployments.
//!
//! Modules in reading order. An arrow in ARCHITECTURE.md is an import here, and `tests/architecture.rs` holds it.

// What things are and what numbers mean: pure, and importing nothing of ours.
pub mod domain;
pub mod stats;

// From bytes to an evaluated run: pure.
pub mod otlp;

pub mod normalize;

pub mod evaluate;

// From evaluated runs to drift, alerts and gates: pure.
pub mod watch;

// What may be asked of a judge model, when, and for how much: pure.
pub mod limits;

// The outside world.
pub mod backends;
pub mod telemetry;

// What happens to a trace.
pub mod pipeline;

// What people ask: answers from the store, and their pages.
pub mod queries;
pub mod web;

// Simulated agents, for the demo, tests and fire drills.
pub mod simulate;

// Wiring.
pub mod app;
pub mod cli;
