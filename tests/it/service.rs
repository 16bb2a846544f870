//! The service as its neighbours see it: senders, judge models, destinations, an operator, and those who mean it ill.

mod budgets;
mod channels;
mod complete;
pub(crate) mod fake;
pub(crate) mod fixtures;
mod gate_wait;
mod grpc;
mod hostile;
mod injections;
mod judge;
pub(crate) mod judging;
mod judging_crash;
mod logs;
mod misbehaving;
mod own_service;
mod receive;
mod releases;
mod resolved_model;
mod review;
mod sampling;
mod score_api;
mod scraping;
mod stop;
mod watch;
mod watching;
mod webhook;
mod write_back;
