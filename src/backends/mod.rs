//! The outside world: one module a seam, each knowing nothing of the others.
//!
//! To add one, write its module here and build it in `app`. A seam is a trait only where there are two real
//! implementations; the store serves two databases behind one struct because their SQL is the same text.

pub mod access;
pub mod archive;
pub mod clock;
pub(crate) mod crash_point;
pub mod http;
pub mod judge;
pub mod rabbitmq;
pub mod store;
