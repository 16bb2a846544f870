//! The outside world: one folder per seam.

pub mod judge;
