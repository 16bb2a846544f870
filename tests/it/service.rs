//! The service as its neighbours see it: senders, judge models, destinations, an operator, and those who mean it ill.

mod channels;
mod complete;
mod fake;
pub(crate) mod fixtures;
mod grpc;
mod hostile;
mod judge;
mod judging;
mod judging_speed;
mod logs;
mod own_service;
mod receive;
mod sampling;
mod stop;
mod watch;
mod webhook;
mod write_back;
