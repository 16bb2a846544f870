//! Behaviour of the whole normalizer: on real traces, and on built ones.

mod agreement;
mod builder;
mod dialects;
mod emitters;
mod facts;
mod hostile;
mod mixed;
mod runs;
mod structure;
mod tools;
