//! The contract of the store, held by SQLite and by PostgreSQL: every test runs against both.

mod access;
mod alerts;
mod anchors;
mod bodies;
mod bucket;
mod chunks;
mod controls;
mod cost;
mod days;
mod erasure;
mod evaluations;
mod expiry;
mod external_scores;
mod failures;
pub(crate) mod fixtures;
mod flags;
mod judged_hours;
mod labels;
mod leases;
mod ledger;
mod lifecycle;
mod migrations;
mod order;
mod outbox;
mod reads;
mod releases;
mod sampling;
mod tls;
mod traces;
mod usage;
mod used_hours;
mod waiting;
mod watch;

/// Runs each test of the module against a fresh store of either kind.
macro_rules! contract {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::stores::fixtures::TestStore::sqlite().await).await;
            })+
        }

        mod postgres {
            $(#[tokio::test]
            async fn $test() {
                super::$test(crate::stores::fixtures::TestStore::postgres().await).await;
            })+
        }
    };
}
use contract;
