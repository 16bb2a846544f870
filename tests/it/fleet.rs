//! Many processes on one broker and one database: nothing is lost, and nothing happens twice.

mod crash_points;
mod effects;
mod faults;
mod plans;
mod queue;
mod recovery;
mod rounds;
mod workers;
