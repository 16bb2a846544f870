//! Many workers, interleaved at random, some of which die: what must hold whatever happens.

use std::time::Duration;

use fastrand::Rng;

use super::breaker::FAILURES;
use super::bucket::PerMinute;
use super::budget::{Account, Admission, Ladder, is_drawn};
use super::fleet::{Asking, FleetState, Grant, Limits};
use super::lane::{Ended, Lane, Start};
use crate::domain::ids::TraceId;
use crate::domain::money::NanoUsd;
use crate::domain::time::Timestamp;

const WORKERS: usize = 100;
const MILLISECOND: i64 = 1_000_000;
/// Simulated time.
const SECONDS: i64 = 150;

/// A worker and its calls under way: when each ends.
#[derive(Default)]
struct Worker {
    lane: Lane,
    ends: Vec<i64>,
    renewal: Renewal,
}

/// How far the renewal of a lease has come: others do their part in between, and calls start.
#[derive(Default)]
enum Renewal {
    #[default]
    None,
    Asked(Asking),
    Granted(Grant),
}

impl Worker {
    /// One step of a renewal; it begins when a call waits for it, and now and then anyhow.
    fn renew(&mut self, name: &str, fleet: &mut FleetState, limits: &Limits, now: Timestamp, begins: bool) {
        self.renewal = match std::mem::take(&mut self.renewal) {
            Renewal::None if begins => Renewal::Asked(self.lane.ask(true, now)),
            Renewal::None => Renewal::None,
            Renewal::Asked(asking) => Renewal::Granted(fleet.lease(name, &asking, limits, now)),
            Renewal::Granted(grant) => {
                self.lane.take(grant);
                Renewal::None
            }
        };
    }
}

fn ended(answered: bool) -> Ended {
    Ended { answered, tokens: None, paused_until: None }
}

/// A hundred workers ask one model for some minutes; some die and others take their place. Gives when calls started,
/// in milliseconds, and the most that were under way at once.
fn hammer(limits: &Limits, seed: u64, mortality: f64) -> (Vec<i64>, usize) {
    let mut rng = Rng::with_seed(seed);
    let mut fleet = FleetState::default();
    let mut workers: Vec<(String, Worker)> =
        (0..WORKERS).map(|number| (format!("worker {number}"), Worker::default())).collect();
    let (mut starts, mut most) = (Vec::new(), 0);
    for tick in 0..SECONDS * 20 {
        let milliseconds = tick * 50;
        let now = Timestamp(milliseconds * MILLISECOND);
        for _ in 0..20 {
            let index = rng.usize(..WORKERS);
            let (name, worker) = &mut workers[index];
            worker.ends.retain(|end| {
                let is_over = *end <= milliseconds;
                if is_over {
                    worker.lane.end(0, ended(true), now);
                }
                !is_over
            });
            if rng.f64() < mortality {
                // Its calls die with it, and its lease runs out.
                *name = format!("worker {index} of {tick}");
                *worker = Worker::default();
            }
            let start = worker.lane.start(0, now);
            if start == Start::Now {
                starts.push(milliseconds);
                worker.ends.push(milliseconds + rng.i64(20..2_000));
            }
            worker.renew(name, &mut fleet, limits, now, start == Start::AfterLease || rng.u8(..4) == 0);
        }
        let under_way = workers.iter().map(|(_, worker)| worker.ends.len()).sum();
        most = most.max(under_way);
    }
    (starts, most)
}

#[test]
fn a_hundred_workers_never_have_more_under_way_than_the_fleet_may() {
    for (seed, mortality) in [(1, 0.0), (2, 0.002)] {
        for concurrency in [1, 7, 64] {
            let limits = Limits { concurrency, requests: None, tokens: None, timeout: Duration::from_secs(60) };
            let (starts, most) = hammer(&limits, seed, mortality);
            assert!(most <= concurrency as usize, "{most} of {concurrency}");
            assert!(starts.len() > 50, "something was asked: {}", starts.len());
        }
    }
}

#[test]
fn a_hundred_workers_never_start_more_calls_in_any_minute_than_the_fleet_may() {
    for (seed, mortality) in [(4, 0.0), (5, 0.002)] {
        for limit in [3, 500] {
            let requests = Some(PerMinute(limit));
            let limits = Limits { concurrency: 64, requests, tokens: None, timeout: Duration::from_secs(60) };
            let (starts, _) = hammer(&limits, seed, mortality);
            let in_minute = |from: usize| starts[from..].partition_point(|start| *start < starts[from] + 60_000);
            let most = (0..starts.len()).map(in_minute).max().unwrap();
            assert!(most <= limit as usize, "{most} of {limit}");
            if mortality == 0.0 {
                assert!(starts.len() as f64 > 0.8 * 2.5 * limit as f64, "{} of {limit} a minute", starts.len());
            }
        }
    }
}

/// A reserved call: the most it can cost, and what the provider will bill when it is sent.
struct Reserved {
    worst: NanoUsd,
    bill: NanoUsd,
}

#[test]
fn no_interleaving_of_a_hundred_workers_and_their_deaths_spends_more_than_the_budget() {
    for seed in 0..10 {
        let mut rng = Rng::with_seed(seed);
        let limit = NanoUsd(1_000_000);
        let (mut committed, mut billed, mut refused) = (NanoUsd::ZERO, NanoUsd::ZERO, 0);
        let mut workers: Vec<Vec<Reserved>> = (0..WORKERS).map(|_| Vec::new()).collect();
        for _ in 0..20_000 {
            let worker = &mut workers[rng.usize(..WORKERS)];
            match rng.u8(..100) {
                // Reserve a group of calls.
                0..40 => {
                    for _ in 0..rng.usize(1..4) {
                        let worst = NanoUsd(rng.i64(1..1_000));
                        let account = Account { limit, committed, under_way: NanoUsd::ZERO };
                        match account.admit(worst) {
                            Admission::Admit => {
                                committed = committed + worst;
                                worker.push(Reserved { worst, bill: NanoUsd(rng.i64(0..=worst.0)) });
                            }
                            Admission::Wait | Admission::Refuse => refused += 1,
                        }
                    }
                }
                // One call leaves, is billed, and is settled.
                40..98 => {
                    if let Some(call) = worker.pop() {
                        billed = billed + call.bill;
                        committed = committed + call.bill - call.worst;
                    }
                }
                // The worker dies: its calls may have left, and no one settles them.
                _ => billed = billed + worker.drain(..).map(|call| call.bill).sum(),
            }
            assert!(billed <= committed && committed <= limit, "seed {seed}: {billed} of {committed} of {limit}");
        }
        assert!(refused > 0, "the budget was put to the test");
    }
}

/// Traces that fail more often as the day goes on, judged while the budget burns; the weighted share of failures with
/// its variance, and the true share.
fn judged_day(seed: u64, limit: f64) -> (f64, f64, f64) {
    let ladder = Ladder { full_rate_until: 0.5, reserve: 0.1, floor_rate: 0.05 };
    let mut rng = Rng::with_seed(seed);
    let traces = 4_000;
    let (mut spent, mut failing) = (0.0, 0.0);
    let mut seen: Vec<(f64, f64)> = Vec::new();
    for number in 0..traces {
        let of_day = f64::from(number) / f64::from(traces);
        let value = f64::from(u8::from(rng.f64() < 0.1 + 0.3 * of_day));
        failing += value;
        let rate = ladder.rate(spent / limit, of_day);
        let id = TraceId::from_bytes(&(u128::from(seed) << 64 | u128::from(number as u32 + 1)).to_be_bytes()).unwrap();
        if is_drawn(id, rate) {
            spent += 1.0;
            seen.push((value, rate));
        }
    }
    assert!(spent <= limit, "the reserve lasts");
    let weights: f64 = seen.iter().map(|(_, rate)| 1.0 / rate).sum();
    let share = seen.iter().map(|(value, rate)| value / rate).sum::<f64>() / weights;
    let variance = seen.iter().map(|(value, rate)| (1.0 - rate) * ((value - share) / rate).powi(2)).sum::<f64>();
    (share, variance / weights.powi(2), failing / f64::from(traces))
}

#[test]
fn estimates_stay_unbiased_and_their_intervals_honest_while_the_judging_rate_falls() {
    let days: Vec<(f64, f64, f64)> = (1..=400).map(|seed| judged_day(seed, 1_500.0)).collect();
    let errors: Vec<f64> = days.iter().map(|(share, _, truth)| share - truth).collect();
    let bias = errors.iter().sum::<f64>() / errors.len() as f64;
    let spread = (errors.iter().map(|error| error * error).sum::<f64>() / errors.len() as f64).sqrt();
    assert!(bias.abs() < 4.0 * spread / (errors.len() as f64).sqrt(), "bias {bias}, spread {spread}");
    let covers = |(share, variance, truth): &&(f64, f64, f64)| (share - truth).abs() <= 1.96 * variance.sqrt();
    let coverage = days.iter().filter(covers).count() as f64 / days.len() as f64;
    assert!((0.93..=0.97).contains(&coverage), "coverage {coverage}");
    assert_eq!(judged_day(1, f64::INFINITY).1, 0.0, "with money enough everything is judged");
}

#[test]
fn a_provider_that_is_down_is_asked_seldom_and_found_back_soon() {
    let limits = Limits { concurrency: 64, requests: None, tokens: None, timeout: Duration::from_secs(10) };
    let (mut fleet, mut lanes) = (FleetState::default(), vec![Lane::default(); 20]);
    let (mut asked_while_down, mut first_answer) = (0, None);
    for tick in 0..4_500_i64 {
        let (now, is_up) = (Timestamp(tick * 100 * MILLISECOND), tick >= 3_000);
        for (number, lane) in lanes.iter_mut().enumerate() {
            if lane.start(0, now) == Start::Now {
                lane.end(0, ended(is_up), now);
                asked_while_down += u32::from(!is_up);
                first_answer = first_answer.or(is_up.then_some(tick - 3_000));
            } else {
                let asking = lane.ask(true, now);
                lane.take(fleet.lease(&number.to_string(), &asking, &limits, now));
            }
        }
    }
    // Each worker may fail until it hears of the others; then there is one probe at a time.
    assert!(asked_while_down <= 64 * FAILURES + 30, "{asked_while_down} questions in five minutes");
    assert!(first_answer.unwrap() <= 1_200, "two minutes at most");
}
