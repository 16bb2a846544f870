//! Everything that talks to something: one binary, so that its tests share the services they start.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod agreement;
mod crash;
mod demo;
mod deploy;
mod deploy_gates;
mod deploy_stack;
mod doctor;
mod emitters;
mod fleet;
mod fuzz_seeds;
mod hostile;
mod offline;
mod rabbitmq;
mod service;
mod stores;
mod support;
mod targets;
mod web;
