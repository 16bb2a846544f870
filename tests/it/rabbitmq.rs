//! The consumer on a real broker.
