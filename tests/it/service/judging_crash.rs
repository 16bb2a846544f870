//! `kill -9` at every step of a request's money: nothing is judged twice, and no request is missing from the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Json;
use axum::response::IntoResponse;
use driftline::backends::clock::{Clock as _, SystemClock};
use driftline::backends::store::{CostDimension, CostRow, CostSelection, NOT_SENT, Store};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};
use driftline::domain::money::NanoUsd;
use driftline::domain::time::Timestamp;
use driftline::limits::budget::day_of;
use prost::Message as _;

use super::fake::{Asked, Fake};
use super::fixtures::{PROTOBUF, evaluators, eventually, post, requests, simulated};
use super::judging::{HOUR, PRICES, START, YES, bill, chat};
use crate::support::serve::Serve;

const TRACES: usize = 6;
/// Tokens that a judge's answer may take: what it can cost at most counts them.
const LONGEST_ANSWER: f64 = 1_024.0;

/// Where the process dies.
#[derive(Debug, Clone, Copy)]
enum Death {
    /// At a crash point of this name.
    At(&'static str),
    /// While the provider holds the requests.
    Sent,
}

/// What is left behind by a service that died, came back and did the rest.
struct Left {
    asked: Vec<Asked>,
    ledger: CostRow,
    /// Requests that never left.
    not_sent: u64,
    /// What the day's budget has committed.
    committed: NanoUsd,
}

fn settings(url: &str) -> String {
    format!(
        "[store]\nurl = \"sqlite://{{folder}}/driftline.db\"\n[sampling]\nhealthy_rate = 1.0\n[judge.budget]\n\
         daily_usd = 100.0\n[judge.models.default]\nbase_url = \"{url}/v1\"\nmodel = \"m\"\ntimeout = \"3s\"\n\
         input_usd_per_mtok = {}\noutput_usd_per_mtok = {}\n",
        PRICES.0, PRICES.1
    )
}

/// Judges traces, dies once on the way, and does the rest after a restart.
async fn after(death: Death) -> Left {
    let is_back = Arc::new(AtomicBool::new(false));
    let answers = Arc::clone(&is_back);
    let holds = matches!(death, Death::Sent);
    let fake = Fake::start(move |asked| {
        let is_held = holds && !answers.load(Ordering::Relaxed);
        (!is_held).then(|| Json(chat(&asked[asked.len() - 1], YES)).into_response())
    });
    let fake = fake.await;
    let mut serve = Serve::start(&settings(&fake.url));
    if let Death::At(point) = death {
        serve.kill();
        serve.restart_to_crash_at(point);
    }
    let traces = simulated("healthy", TRACES, START, HOUR);
    let receiver = format!("http://{}", serve.receives_on);
    let body = requests(&traces, TRACES).remove(0).encode_to_vec();
    assert_eq!(post(&receiver, &[("content-type", PROTOBUF)], body).await.status(), 200);
    match death {
        Death::At(point) => serve.wait_for_end(point).await,
        Death::Sent => eventually("a question", async || (!fake.asked().is_empty()).then_some(())).await,
    }
    serve.kill();
    is_back.store(true, Ordering::Relaxed);
    serve.restart();

    let store = Store::open(&serve.sqlite_url(), true).await.unwrap();
    let done = async || {
        let depths = store.queue_depths(Timestamp(0)).await.unwrap();
        (depths.judge_jobs == 0 && depths.pending == 0).then_some(())
    };
    eventually("every judgement", done).await;
    for trace in &traces {
        let rows = store.evaluations(trace.truth.trace_id).await.unwrap();
        evaluators(&rows);
        let judged = rows.iter().filter(|row| row.evaluation.annotator_kind == AnnotatorKind::Llm);
        assert!(judged.clone().all(|row| row.evaluation.outcome != Outcome::Failed), "{death:?}: {rows:?}");
        assert!(judged.filter(|row| row.evaluation.value == Some(1.0)).count() >= 2, "{death:?}: {rows:?}");
    }
    let ledger = store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap().remove(0);
    // The killed process still has its turns with the model for a while: some questions of the next one have none.
    let outcomes = store.costs(CostDimension::Outcome, &CostSelection::default()).await.unwrap();
    let not_sent = outcomes.iter().filter(|row| row.part.as_deref() == Some(NOT_SENT)).map(|row| row.requests).sum();
    let mut committed = NanoUsd::ZERO;
    // It may have become midnight.
    for day in [0, 1].map(|ago| day_of(SystemClock.now()) - ago) {
        committed = committed + store.budget_day(day).await.unwrap().iter().map(|budget| budget.committed).sum();
    }
    Left { asked: fake.asked(), ledger, not_sent, committed }
}

/// What holds wherever it died.
fn holds(death: Death, left: &Left) {
    let Left { asked, ledger, committed, .. } = left;
    assert!(ledger.requests as usize >= asked.len(), "{death:?}: {} received, {ledger:?}", asked.len());
    assert!(ledger.charged >= bill(asked), "{death:?}: {} is below the bill {}", ledger.charged, bill(asked));
    assert_eq!(ledger.charged, *committed, "{death:?}: budget and ledger say the same");
    let lost = ledger.requests - ledger.answered - left.not_sent;
    let in_full = NanoUsd::from_usd(lost as f64 * LONGEST_ANSWER * PRICES.1 / 1e6);
    assert!(ledger.unsettled >= in_full, "{death:?}: {lost} lost requests are charged {}", ledger.unsettled);
    match death {
        Death::At("judge.reserve") => assert_eq!(lost, 0, "nothing was under way: {ledger:?}"),
        // Others may have been under way, or not.
        Death::At("record judgements") => {}
        Death::At(_) | Death::Sent => assert!(lost > 0, "{death:?} {ledger:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_step_of_a_request_it_is_paid_for_in_full_and_each_judgement_made_once() {
    let points = ["judge.reserve", "judge.send", "judge.answer", "judge.record", "record judgements"];
    let deaths = points.map(Death::At).into_iter().chain([Death::Sent]);
    futures_util::future::join_all(deaths.map(async |death| holds(death, &after(death).await))).await;
}
