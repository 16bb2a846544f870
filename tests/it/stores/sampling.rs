//! What sampling asks of the traces before.

use std::collections::BTreeSet;

use driftline::backends::store::{Selection, StratumCount};

use super::contract;
use super::fixtures::{TestStore, plain, seconds, trace_id};

contract!(
    strata_are_counted_over_every_trace_once_however_often_it_is_recorded,
    a_windows_strata_are_those_recorded_in_it,
    new_agent_versions_are_few_a_day_and_known_ones_stay_known,
);

fn count(service: &str, stratum: &str, traces: u64, sampled: u64) -> StratumCount {
    StratumCount { service: service.to_owned(), stratum: stratum.to_owned(), traces, sampled }
}

async fn strata_are_counted_over_every_trace_once_however_often_it_is_recorded(it: TestStore) {
    let traces: Vec<_> = (0..10)
        .map(|number| {
            let mut trace = plain(number);
            trace.trace.sampled = number < 3;
            trace.trace.stratum = Some(if number < 2 { "failed_rule" } else { "healthy" }.to_owned());
            trace.trace.service = if number == 9 { "desk" } else { "shop" }.to_owned();
            trace
        })
        .collect();
    let mut again = traces[4].clone();
    again.trace.version = 2;
    again.trace.stratum = Some("slow".to_owned());
    again.trace.sampled = true;
    for recorded in [&traces[..], &traces[..5], std::slice::from_ref(&again)] {
        it.store.record_traces(recorded, seconds(9)).await.unwrap();
    }
    let expected = [
        count("desk", "healthy", 1, 0),
        count("shop", "failed_rule", 2, 2),
        count("shop", "healthy", 6, 1),
        count("shop", "slow", 1, 1),
    ];
    assert_eq!(it.store.strata(&Selection::default()).await.unwrap(), expected);
    let of_hour = it.store.strata(&Selection::of_hour("desk", seconds(0))).await.unwrap();
    assert_eq!(of_hour, expected[..1]);
    assert_eq!(it.store.trace(trace_id(4)).await.unwrap().unwrap(), again.trace);
}

async fn a_windows_strata_are_those_recorded_in_it(it: TestStore) {
    for second in [10, 20, 30] {
        it.store.record_traces(&[plain(second)], seconds(second as i64)).await.unwrap();
    }
    let recorded = it.store.strata_recorded(seconds(20), seconds(30)).await.unwrap();
    assert_eq!(recorded, [count("shop", "healthy", 1, 0)]);
}

async fn new_agent_versions_are_few_a_day_and_known_ones_stay_known(it: TestStore) {
    let versions = |service: &str, numbers: std::ops::Range<u32>| -> BTreeSet<(String, String)> {
        numbers.map(|number| (service.to_owned(), format!("v{number}"))).collect()
    };
    let (today, now) = (seconds(0), seconds(50));
    let admit = async |given, since, now| it.store.admit_agent_versions(&given, since, 3, now).await.unwrap();
    assert_eq!(admit(versions("shop", 0..2), today, now).await, versions("shop", 0..2));
    assert_eq!(admit(versions("shop", 0..9), today, now).await, versions("shop", 0..3));
    assert_eq!(admit(versions("desk", 0..9), today, now).await, versions("desk", 0..3), "each service for itself");
    let tomorrow = seconds(86_400);
    assert_eq!(admit(versions("shop", 0..9), tomorrow, seconds(86_401)).await, versions("shop", 0..6));
}
