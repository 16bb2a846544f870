//! Behaviour of the whole normalizer: on real traces, and on built ones.

mod agreement;
mod builder;
mod hostile;
mod runs;
mod tools;
