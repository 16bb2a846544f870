//! Providers that do everything wrong, in both wire formats, beside one that works: nothing is lost, every request is in
//! the ledger, and the other is not slowed down.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::backends::store::{CostDimension, CostRow, CostSelection};
use driftline::domain::evaluation::Outcome;
use driftline::domain::money::NanoUsd;
use serde_json::{Value, json};

use super::fake::{Asked, Fake, status};
use super::fixtures::{Running, eventually, simulated};
use super::judging::{HOUR, START, YES, accept, bill, chat, count, judgements, judging, model, own_judge, tokens, yes};

/// Everything that can go wrong and two answers that are good, by turns.
const TURNS: usize = 13;
/// Of those, the turns that a provider does not bill: it turned the request away.
const UNBILLED: [usize; 2] = [1, 2];

/// The provider's answer with this text.
fn says(provider: Provider, asked: &Asked, text: &str) -> Value {
    match provider {
        Provider::Openai => chat(asked, text),
        Provider::Anthropic => message(asked, json!([{ "type": "text", "text": text }]), "end_turn"),
    }
}

fn message(asked: &Asked, content: Value, stop_reason: &str) -> Value {
    let (input, output) = tokens(asked);
    let usage = json!({ "input_tokens": input, "output_tokens": output });
    json!({ "model": "m-2026", "content": content, "stop_reason": stop_reason, "usage": usage })
}

/// A refusal as the protocol has it.
fn declines(provider: Provider, asked: &Asked) -> Value {
    match provider {
        Provider::Openai => {
            let mut refused = chat(asked, "");
            refused["choices"][0]["message"] = json!({ "role": "assistant", "content": null, "refusal": "no" });
            refused
        }
        Provider::Anthropic => message(asked, json!([]), "refusal"),
    }
}

/// Bytes that come in pieces with pauses; what `ends` badly breaks the connection.
fn drip(text: String, pause: Duration, ends: bool) -> Response {
    let pieces: Vec<String> = text.as_bytes().chunks(40).map(|piece| String::from_utf8_lossy(piece).into()).collect();
    let stream = futures_util::stream::unfold(pieces.into_iter(), move |mut pieces| async move {
        tokio::time::sleep(pause).await;
        match pieces.next() {
            Some(piece) => Some((Ok(piece), pieces)),
            None if ends => None,
            None => Some((Err(std::io::Error::other("cut")), pieces)),
        }
    });
    Response::new(Body::from_stream(stream))
}

fn misbehave(provider: Provider, asked: &[Asked]) -> Option<Response> {
    let last = &asked[asked.len() - 1];
    let good = says(provider, last, YES).to_string();
    match asked.len() % TURNS {
        0 => None,
        1 => Some(([("retry-after", "1")], StatusCode::TOO_MANY_REQUESTS).into_response()),
        2 => status(429),
        3 => status(500),
        4 => Some(drip(good[..good.len() / 2].to_owned(), Duration::ZERO, false)),
        5 => Some(Json(json!({ "hello": 1 })).into_response()),
        6 => {
            let prose = format!("Well, let me see.\n```json\n{YES}\n```\nThat is all.");
            Some(Json(says(provider, last, &prose)).into_response())
        }
        7 => Some(Json(says(provider, last, "I would rather not say")).into_response()),
        8 => Some(drip(good, Duration::from_millis(10), true)),
        9 => Some(drip(good, Duration::from_secs(1), true)),
        // Closes before a single byte of the body.
        10 => Some(drip(String::new(), Duration::ZERO, false)),
        11 => Some(Json(declines(provider, last)).into_response()),
        _ => Some(Json(says(provider, last, YES)).into_response()),
    }
}

/// The ledger's row of a judge model.
async fn lane(running: &Running, name: &str) -> CostRow {
    let rows = running.store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap();
    rows.into_iter().find(|row| row.part.as_deref() == Some(name)).unwrap()
}

async fn whatever_it_does(provider: Provider) {
    let bad = Fake::start(move |asked| misbehave(provider, asked)).await;
    let (good, folder) = (Fake::start(yes).await, tempfile::tempdir().unwrap());
    let running = Running::start(|settings| {
        // Some of what it does is to hang.
        judging(settings, JudgeModelSettings { timeout: Duration::from_secs(2), ..model(provider, &bad.url) });
        settings.judge.models.insert("other".to_owned(), model(Provider::Openai, &good.url));
        settings.judge.attempts = 3;
        own_judge(folder.path(), settings);
    })
    .await;
    let traces = simulated("healthy", 14, START, HOUR);
    accept(&running, &traces).await;
    eventually("the other model's answers", async || (good.asked().len() >= 2 * traces.len()).then_some(())).await;
    let left = running.store.queue_depths(driftline::domain::time::Timestamp(0)).await.unwrap().judge_jobs;
    assert!(left > 0, "the other model is through while this one still fails");

    let rows = judgements(&running.store, &traces).await;
    let (scored, failed) = (count(&rows, Outcome::Scored), count(&rows, Outcome::Failed));
    assert_eq!(
        scored + failed + count(&rows, Outcome::NotEvaluable) + count(&rows, Outcome::NotApplicable),
        rows.len(),
        "{rows:?}"
    );
    assert!(scored > traces.len() + 5 && failed > 0, "{scored} scored, {failed} failed");
    assert!(rows.iter().all(|row| row.evaluation.value.is_none_or(|value| value == 1.0)), "a failure is never a zero");
    let of_other = rows.iter().filter(|row| row.evaluation.evaluator == "tone");
    assert!(of_other.clone().count() == traces.len() && of_other.clone().all(|row| row.evaluation.value.is_some()));

    let (asked, ledger) = (bad.asked(), lane(&running, "default").await);
    assert_eq!(ledger.requests as usize, asked.len(), "every request that was received, and no other, is there");
    assert_eq!(ledger.unsettled, NanoUsd::ZERO);
    let is_billed = |(at, _): &(usize, &Asked)| !UNBILLED.contains(&((at + 1) % TURNS));
    let billed: Vec<Asked> = asked.iter().enumerate().filter(is_billed).map(|(_, asked)| asked.clone()).collect();
    assert!(ledger.charged >= bill(&billed), "{} is below the bill {}", ledger.charged, bill(&billed));
    assert_eq!(lane(&running, "other").await.charged, bill(&good.asked()), "known tokens are charged exactly");
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_openai_model_does_every_judgement_ends_once_and_the_ledger_covers_the_bill() {
    whatever_it_does(Provider::Openai).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_an_anthropic_model_does_every_judgement_ends_once_and_the_ledger_covers_the_bill() {
    whatever_it_does(Provider::Anthropic).await;
}
