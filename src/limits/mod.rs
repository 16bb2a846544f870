//! What may be asked of a judge model, when, and for how much. Pure: the time is an argument, nothing waits and nothing
//! is sent.
//!
//! ```text
//! fleet state (one row of the store for each judge model)          money (one row a day and scope)
//!   workers and their slots · buckets of requests and tokens         committed = charged + reserved
//!   breaker · pause asked for by the provider                        never above the limit
//!          │ lease, about once a second                                     │ reserve before, settle after
//!          ▼                                                                ▼
//! lane (one in each process): may this call start now?             ledger: a row for every request that left
//! ```
//!
//! A lane starts calls out of what it has leased, so the store is asked once a lease and not once a call. What a process
//! that died had leased lapses; what it had reserved stays spent, because no one can know whether it was.

pub mod breaker;
pub mod bucket;
pub mod budget;
pub mod fleet;
pub mod lane;
pub mod retry;

#[cfg(test)]
mod simulation;
