//! Everything that talks to something: one binary, so that its tests share the services they start.

mod rabbitmq;
mod stores;
mod support;
