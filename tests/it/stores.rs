//! The contract of the store.
use crate::support::services::{postgres, rabbitmq};
use driftline::backends::store::Store;
#[tokio::test]
async fn smoke() {
    let url = postgres().database().await;
    let s = Store::open(&url, false).await.unwrap();
    s.ping().await.unwrap();
    let h = tokio::spawn({
        let s = s.clone();
        async move {
            s.unwatched_hours(driftline::domain::time::Timestamp(0)).await.unwrap();
            s.claim_due(driftline::domain::time::Timestamp(0), std::time::Duration::from_secs(1), 5).await.unwrap();
            s.append_chunks(
                &[],
                driftline::domain::time::Timestamp(0),
                &driftline::backends::store::CompletionPolicy {
                    root_grace: std::time::Duration::ZERO,
                    quiet_period: std::time::Duration::ZERO,
                    max_age: std::time::Duration::ZERO,
                },
            )
            .await
            .unwrap();
            s.record_traces(&[], driftline::domain::time::Timestamp(0)).await.unwrap();
            s.records(&Default::default()).await.unwrap();
        }
    });
    h.await.unwrap();
    let s = Store::open(&url, true).await.unwrap();
    s.ping().await.unwrap();
    eprintln!("{}", rabbitmq().amqp_url);
}
