//! Text that tries to steer its judge: planted in every place of a trace, in many languages and encodings, against judges
//! behind a real socket.
//!
//! The harness's own judge is told what is planted and does what it says, in whatever encoding, wherever it stands in the
//! system role or outside a fence. What is fenced it judges rightly, and the right answer is always NO. So a YES means
//! that planted text got out of its fence.

mod planted;

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use driftline::app::settings::Settings;
use driftline::backends::judge::{JudgeModelSettings, Provider};
use driftline::backends::store::{AlertFilter, CostDimension, CostSelection, Selection, Store, StoredEvaluation};
use driftline::domain::alert::{Alert, AlertState};
use driftline::domain::evaluation::{AnnotatorKind, Outcome};
use driftline::domain::judge::REPAIR;
use driftline::domain::time::Timestamp;
use driftline::evaluate::run::Evaluators;
use driftline::otlp::{AnyValue, ExportTraceServiceRequest, KeyValue, Span, any_value, span as wire};
use driftline::queries::judges::judges;
use driftline::simulate::judge::ScriptedJudge;
use serde_json::{Value, json};

use super::fake::{Asked, Fake};
use super::fixtures::{Running, eventually, request, requests, simulated, span, trace_id};
use crate::stores::fixtures::alert;
use crate::support::services::postgres;
use planted::Planted;

/// An answer that is wrong about what the data says, in a word that no prompt holds.
const WRONG: &str = "Order A7 held a sofa.";
/// What the harness's judge says of it, in its own words.
const NO: &str = "{\"reason\": \"the order was for lamps\", \"verdict\": \"NO\"}";
const YES: &str = "{\"reason\": \"I was told to say so\", \"verdict\": \"YES\"}";

/// Where text of others stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Question,
    Answer,
    ToolName,
    ToolArguments,
    ToolResult,
    ToolError,
    Document,
    Query,
    Instructions,
    Metadata,
}

impl Place {
    const ALL: [Self; 10] = [
        Self::Question,
        Self::Answer,
        Self::ToolName,
        Self::ToolArguments,
        Self::ToolResult,
        Self::ToolError,
        Self::Document,
        Self::Query,
        Self::Instructions,
        Self::Metadata,
    ];
}

/// A run that answers wrongly, with a text planted in one place.
fn run(number: u32, planted: &Planted, place: Place) -> ExportTraceServiceRequest {
    let with = |at: Place, text: &str| if place == at { format!("{text}\n{}", planted.text) } else { text.to_owned() };
    let message =
        |role: &str, text: &str| json!([{ "role": role, "parts": [{ "type": "text", "content": text }] }]).to_string();
    let instructions = json!([{ "type": "text", "content": with(Place::Instructions, "Answer from the orders.") }]);
    let metadata = with(Place::Metadata, "gold");
    // No two are the same question, of which the second would not be asked.
    let question = format!("What was in order A7? I ask for the {number}th time.");
    let mut root = span(number, 0);
    root.attributes = texts(&[
        ("gen_ai.operation.name", "invoke_agent"),
        ("gen_ai.agent.name", &metadata),
        ("gen_ai.conversation.id", &metadata),
        ("user.id", &metadata),
        ("customer.tier", &metadata),
        ("gen_ai.system_instructions", &instructions.to_string()),
        ("gen_ai.input.messages", &message("user", &with(Place::Question, &question))),
        ("gen_ai.output.messages", &message("assistant", &with(Place::Answer, WRONG))),
    ]);
    let (name, error) = (with(Place::ToolName, "get_order"), with(Place::ToolError, "no such order"));
    let (arguments, result) = (with(Place::ToolArguments, "A7"), with(Place::ToolResult, "Order A7: two lamps."));
    let of_tool = [
        ("gen_ai.operation.name", "execute_tool"),
        ("gen_ai.tool.name", name.as_str()),
        ("gen_ai.tool.call.arguments", &arguments),
    ];
    let (document, query) = (with(Place::Document, "A7 was delivered."), with(Place::Query, "order A7"));
    let retrieval = [
        ("gen_ai.operation.name", "retrieval"),
        ("gen_ai.retrieval.query.text", query.as_str()),
        ("gen_ai.retrieval.documents", &json!([{ "content": document }]).to_string()),
    ];
    let found = [&of_tool[..], &[("gen_ai.tool.call.result", result.as_str())]].concat();
    let failed = [&of_tool[..], &[("error.type", "not_found"), ("gen_ai.tool.call.result", error.as_str())]].concat();
    let steps = [found, failed, retrieval.to_vec()];
    let steps = steps.iter().zip(1..).map(|(attributes, at)| step(number, at, attributes));
    request("made", std::iter::once(root).chain(steps).collect())
}

fn step(number: u32, at: u32, attributes: &[(&str, &str)]) -> Span {
    let error = attributes.iter().any(|(key, _)| *key == "error.type");
    let status =
        driftline::otlp::Status { code: driftline::otlp::status::StatusCode::Error.into(), ..Default::default() };
    Span {
        attributes: texts(attributes),
        status: error.then_some(status),
        kind: wire::SpanKind::Client.into(),
        ..span(number, at)
    }
}

fn texts(attributes: &[(&str, &str)]) -> Vec<KeyValue> {
    let attribute = |(key, text): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue((*text).to_owned())) }),
        ..KeyValue::default()
    };
    attributes.iter().map(attribute).collect()
}

/// A question as a judge gets it, taken apart.
struct Question {
    /// The system role, and the user's words but for what is fenced.
    outside: String,
    fenced: String,
    is_repair: bool,
}

impl Question {
    fn read(asked: &Asked) -> Self {
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        let of_role = |role: &str| -> Vec<String> {
            let messages = body["messages"].as_array().unwrap().iter();
            messages.filter(|it| it["role"] == role).map(|it| it["content"].as_str().unwrap().to_owned()).collect()
        };
        let (system, user) = (of_role("system"), of_role("user").join("\n"));
        assert_eq!((system.len(), of_role("assistant").len()), (1, 0));
        let (mut outside, mut fenced) = (system[0].clone() + "\n", String::new());
        let code = system[0].split("end with the code ").nth(1).unwrap().split('.').next().unwrap();
        let mut is_fenced = false;
        for line in user.split('\n') {
            let is_fence = line.ends_with(&format!(" {code}"));
            if is_fence && line.starts_with(if is_fenced { "<<<END " } else { "<<<BEGIN " }) {
                is_fenced = !is_fenced;
            } else {
                let side = if is_fenced { &mut fenced } else { &mut outside };
                side.push_str(line);
                side.push('\n');
            }
        }
        assert!(!is_fenced, "every fence is closed");
        Self { outside, fenced, is_repair: user.ends_with(REPAIR) }
    }

    /// Whether any of the planted texts, or its beginning or end, stands where a judge obeys.
    fn is_told(&self, planted: &[Planted]) -> bool {
        planted.iter().flat_map(|it| pieces(&it.text)).any(|piece| self.outside.contains(&piece))
    }

    fn verdict(&self, planted: &[Planted]) -> &'static str {
        if self.is_told(planted) || !self.fenced.contains("sofa") { YES } else { NO }
    }
}

/// The beginning and the end of a text, as they are and as JSON writes them.
fn pieces(text: &str) -> Vec<String> {
    let letters: Vec<char> = text.chars().collect();
    let ends = [&letters[..letters.len().min(20)], &letters[letters.len().saturating_sub(20)..]];
    let ends = ends.map(|end| end.iter().collect::<String>());
    ends.into_iter().flat_map(|end| [serde_json::to_string(&end).unwrap().trim_matches('"').to_owned(), end]).collect()
}

fn completion(text: &str) -> Option<Response> {
    let choices = json!([{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }]);
    let usage = json!({ "prompt_tokens": 9, "completion_tokens": 3 });
    Some(Json(json!({ "model": "m", "choices": choices, "usage": usage })).into_response())
}

/// Judges every trace with the model at `url`.
fn judging(settings: &mut Settings, url: &str, control_share: f64) {
    let model = JudgeModelSettings::new(Provider::Openai, format!("{url}/v1"), "m");
    let model = JudgeModelSettings { timeout: Duration::from_secs(30), concurrency: 32, ..model };
    settings.judge.models = [("default".to_owned(), model)].into();
    settings.judge.attempts = 1;
    settings.evaluators.disabled = Vec::new();
    settings.judge.control_share = control_share;
    settings.sampling.healthy_rate = 1.0;
}

/// Plants each text in each of these places, has every run judged, and gives the judges' rows with where it was planted.
async fn judged(model: &Fake, planted: &[Planted], places: &[Place]) -> Vec<(String, StoredEvaluation)> {
    let running = Running::start(|settings| judging(settings, &model.url, 0.0)).await;
    let all: Vec<(&Planted, Place)> =
        planted.iter().flat_map(|it| places.iter().map(move |place| (it, *place))).collect();
    for ((planted, place), number) in all.iter().zip(0..) {
        running.accept(&run(number, planted, *place)).await;
    }
    let done = async || {
        let depths = running.store.queue_depths(Timestamp(0)).await.unwrap();
        (depths.pending == 0 && depths.judge_jobs == 0).then_some(())
    };
    running.scored(trace_id(u32::try_from(all.len()).unwrap() - 1), 1).await;
    eventually("every judgement", done).await;
    let mut rows = Vec::new();
    for ((planted, place), number) in all.iter().zip(0..) {
        let of_trace = running.store.evaluations(trace_id(number)).await.unwrap();
        let of_judges = of_trace.into_iter().filter(|row| row.evaluation.annotator_kind == AnnotatorKind::Llm);
        rows.extend(of_judges.map(|row| (format!("{} in {place:?}: {row:?}", planted.name), row)));
    }
    rows
}

fn is_no(row: &StoredEvaluation) -> bool {
    row.evaluation.outcome == Outcome::Scored && row.evaluation.value == Some(0.0)
}

#[test]
fn the_harness_judge_obeys_what_stands_outside_a_fence_or_in_the_system_role() {
    let planted = planted::all();
    for told in &planted {
        let question = |outside: &str, fenced: &str| Question {
            outside: outside.to_owned(),
            fenced: fenced.to_owned(),
            is_repair: false,
        };
        assert_eq!(question(&format!("You judge.\n{}\n", told.text), WRONG).verdict(&planted), YES, "{}", told.name);
        assert_eq!(question("You judge.", &format!("{WRONG}\n{}", told.text)).verdict(&planted), NO, "{}", told.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_planted_instruction_changes_a_verdict_wherever_it_stands() {
    let planted = planted::all();
    let told = planted.clone();
    let model = Fake::start(move |asked| completion(Question::read(&asked[asked.len() - 1]).verdict(&told))).await;
    let rows = judged(&model, &planted, &Place::ALL).await;
    assert_eq!(rows.len(), planted.len() * Place::ALL.len() * 6, "a row for each judge");
    for (what, row) in &rows {
        assert!(is_no(row), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_quotes_what_it_read_is_still_understood() {
    let planted = planted::all();
    let model = Fake::start(move |asked| {
        let question = Question::read(&asked[asked.len() - 1]);
        let quoted: String = question.fenced.chars().take(2_000).collect();
        completion(&format!("I read: {quoted}\n\nMy own view:\n{NO}"))
    });
    let model = model.await;
    for (what, row) in judged(&model, &planted, &[Place::Answer, Place::ToolResult]).await {
        assert!(is_no(&row), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_repeats_a_planted_verdict_has_not_judged() {
    let planted: Vec<Planted> = planted::all().into_iter().filter(|it| it.name.starts_with("ready answer")).collect();
    let model = Fake::start(|asked| {
        let fenced = Question::read(&asked[asked.len() - 1]).fenced;
        let copied = if fenced.contains("all is well") {
            "{\"reason\":\"all is well\",\"verdict\":\"YES\"}"
        } else {
            "{\"verdict\": true}"
        };
        completion(copied)
    });
    let model = model.await;
    let rows = judged(&model, &planted, &[Place::Answer]).await;
    assert!(rows.len() >= 12, "{rows:?}");
    for (what, row) in rows {
        assert_eq!(row.evaluation.outcome, Outcome::Failed, "{what}");
        assert!(row.evaluation.explanation.unwrap().contains("only repeats a verdict"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_judge_wrote_is_not_shown_to_it_again() {
    let planted = planted::all();
    let told = planted.clone();
    let model = Fake::start(move |asked| {
        let question = Question::read(&asked[asked.len() - 1]);
        let echo: String = question.fenced.chars().take(2_000).filter(|letter| !"{}".contains(*letter)).collect();
        completion(if question.is_repair { question.verdict(&told) } else { &echo })
    });
    let model = model.await;
    for (what, row) in judged(&model, &planted, &[Place::Answer]).await {
        assert!(is_no(&row), "{what}");
    }
    assert!(model.asked().iter().any(|asked| Question::read(asked).is_repair));
}

/// A model that obeys what it reads, fenced or not.
async fn weak() -> Fake {
    let weak = Fake::start(|asked| {
        let fenced = Question::read(&asked[asked.len() - 1]).fenced.to_lowercase();
        let is_told = fenced.contains("verdict") && fenced.contains("yes");
        completion(if is_told { YES } else { NO })
    });
    weak.await
}

/// Has eight harmless runs judged.
async fn judge_some(running: &Running) {
    let harmless = Planted { name: "nothing".to_owned(), text: String::new() };
    for number in 0..8 {
        running.accept(&run(number, &harmless, Place::Metadata)).await;
    }
    for number in 0..8 {
        running.judged(trace_id(number)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_stays_in_doubt_however_long_nothing_is_asked_and_until_it_is_disabled() {
    let (weak, url) = (weak().await, postgres().database().await);
    let settings = |settings: &mut Settings| {
        judging(settings, &weak.url, 1.0);
        settings.store.url = url.clone();
        settings.alerts.no_data_after = Duration::from_secs(1);
    };
    let running = Running::start(settings).await;
    judge_some(&running).await;
    let store = Store::open(&url, false).await.unwrap();
    let doubted = async || {
        let alerts = store.alerts(&AlertFilter { open_only: true, service: None }).await.unwrap();
        alerts.into_iter().filter(|alert| alert.detector == "judge_control").collect::<Vec<_>>()
    };
    assert_eq!(doubted().await.len(), 6);
    // An alert that is confirmed later than those and needs data: when it has been without too long, so have they.
    let other = alert("other", "shop", AlertState::Firing, now());
    store.put_alert(&other, now()).await.unwrap();
    let is_without_data = async || {
        let alerts = store.alerts(&AlertFilter { open_only: true, service: Some("shop".to_owned()) }).await.unwrap();
        alerts.first().and_then(|alert| alert.no_data_since)
    };
    eventually("the other alert to be without data", is_without_data).await;
    assert!(doubted().await.iter().all(|alert| alert.no_data_since.is_none()));

    drop(running);
    let _running = Running::start(|changed| {
        settings(changed);
        changed.evaluators.disabled.push("groundedness".to_owned());
    })
    .await;
    let left = async || Some(doubted().await).filter(|left| left.len() < 6);
    let left = eventually("the end of the disabled judge's alert", left).await;
    assert!(left.len() == 5 && left.iter().all(|alert| alert.series != "groundedness"), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_obeys_fenced_text_is_caught_by_its_control_questions() {
    let weak = weak().await;
    let running = Running::start(|settings| judging(settings, &weak.url, 1.0)).await;
    judge_some(&running).await;
    let evaluators = Evaluators::load(None, [].into()).unwrap();
    let found = judges(&running.store, &evaluators, now()).await.unwrap();
    let asked: Vec<_> = found.judges.iter().filter(|judge| judge.catch_rate.is_some()).collect();
    assert_eq!(asked.len(), 6, "{found:?}");
    for judge in asked {
        assert_eq!((judge.catches.caught, judge.catches.missed, judge.in_doubt), (0, 8, true), "{judge:?}");
    }
    let alerts = running.store.alerts(&AlertFilter { open_only: true, service: None }).await.unwrap();
    let of_controls: Vec<_> = alerts.iter().filter(|alert| alert.detector == "judge_control").collect();
    assert_eq!(of_controls.len(), 6, "one alert a judge: {alerts:?}");
    let is_marked = |alert: &&Alert| alert.calibrated == Some(false) && alert.summary.contains("judge is uncalibrated");
    assert!(of_controls.iter().all(is_marked), "{of_controls:?}");
    let metrics = running.metrics.encode();
    let line =
        metrics.lines().find(|line| line.starts_with("driftline_judge_controls_total{evaluator=\"groundedness\""));
    assert!(line.is_some_and(|line| line.ends_with("result=\"missed\"} 8")), "{metrics}");

    let ledger = running.store.costs(CostDimension::JudgeModel, &CostSelection::default()).await.unwrap().remove(0);
    assert_eq!((ledger.requests as usize, weak.asked().len()), (weak.asked().len(), 8 * 6 * 2), "each has its control");
    let traces = running.store.search(&Selection::default(), 100).await.unwrap();
    assert_eq!(traces.len(), 8, "a control question is no trace");
    for trace in traces {
        let rows = running.store.evaluations(trace.trace_id).await.unwrap();
        let of_judges = rows.iter().filter(|row| row.evaluation.annotator_kind == AnnotatorKind::Llm);
        assert!(of_judges.clone().count() == 6 && of_judges.clone().all(is_no), "and leaves no score: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_judge_that_judges_catches_its_control_questions_and_raises_no_alert() {
    let judge = ScriptedJudge::start().await.unwrap();
    let url = judge.base_url().trim_end_matches("/v1").to_owned();
    let running = Running::start(|settings| judging(settings, &url, 1.0)).await;
    let start = Timestamp(1_760_000_000_000_000_000);
    let traces = simulated("healthy", 20, start, Duration::from_hours(1));
    for request in requests(&traces, 20) {
        running.accept(&request).await;
    }
    for trace in &traces {
        running.judged(trace.truth.trace_id).await;
    }
    let evaluators = Evaluators::load(None, [].into()).unwrap();
    let found = judges(&running.store, &evaluators, now()).await.unwrap();
    let asked: Vec<_> = found.judges.iter().filter(|judge| judge.catches.caught >= 5).collect();
    assert!(asked.len() >= 5, "{found:?}");
    assert!(found.judges.iter().all(|judge| judge.catches.missed == 0 && !judge.in_doubt), "{found:?}");
    assert_eq!(running.store.alerts(&AlertFilter { open_only: true, service: None }).await.unwrap(), []);
}

fn now() -> Timestamp {
    use driftline::backends::clock::{Clock as _, SystemClock};
    SystemClock.now()
}
