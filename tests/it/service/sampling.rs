//! Who is judged and kept, by what names traces are found, and which versions of an agent are told apart.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use driftline::app::settings::defaults;
use driftline::backends::clock::ManualClock;
use driftline::backends::store::{CompletionPolicy, Selection, Store};
use driftline::domain::time::Timestamp;
use driftline::evaluate::run::Evaluators;
use driftline::evaluate::sampling::SamplingDecision;
use driftline::normalize::AttributeMapping;
use driftline::otlp::any_value::Value;
use driftline::otlp::{AnyValue, KeyValue, Span, split_by_trace};
use driftline::pipeline::Shared;
use driftline::pipeline::agent_versions::NEW_VERSIONS_A_DAY;
use driftline::pipeline::intake::{Intake, Received};
use driftline::pipeline::retention::BodyRetention;
use driftline::pipeline::scoring::{Scoring, score};
use driftline::queries::explain::explain;
use driftline::queries::selection::parse;
use driftline::telemetry::metrics::Metrics;
use tokio_util::sync::CancellationToken;

use super::fixtures::{Running, eventually, request, span, trace_id};

fn with(span: Span, attributes: &[(&str, &str)]) -> Span {
    let attribute = |(key, text): &(&str, &str)| KeyValue {
        key: (*key).to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue((*text).to_owned())) }),
        key_strindex: 0,
    };
    Span { attributes: attributes.iter().map(attribute).collect(), ..span }
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_names_decide_about_sampling_and_are_searched_by() {
    let mut names = AttributeMapping::default();
    let service = Running::start(|settings| {
        settings.sampling = toml::from_str(
            "healthy_rate = 0.5\n[[policies]]\nname = \"vip\"\nwhere = { plan = \"gold\", \"acme.beta\" = \"yes\" }\n\
             rate = 1.0\n[[upstream]]\nwhere = { service = \"unknown_service\" }\nprobability = 0.25",
        )
        .unwrap();
        let plan = [("plan".to_owned(), vec!["acme.plan".to_owned()])];
        settings.attributes = AttributeMapping::from(std::collections::BTreeMap::from(plan));
        settings.attributes.add_keys(settings.sampling.attributes());
        names = settings.attributes.clone();
    })
    .await;
    let asked = [("acme.plan", "gold"), ("acme.beta", "yes"), ("invoice.id", "I-7"), ("SampleRate", "20")];
    let spans = vec![with(span(1, 0), &asked), span(2, 0)];
    service.accept(&request("s", spans)).await;
    service.scored(trace_id(2), 1).await;

    let now = Timestamp(1_770_000_000_000_000_000);
    for conditions in ["invoice.id=I-7", "plan=gold", "acme.beta=yes,plan=gold"] {
        let selection = parse(conditions, &names, now).unwrap();
        let found = service.store.search(&selection, 10).await.unwrap();
        assert_eq!(found.iter().map(|trace| trace.trace_id).collect::<Vec<_>>(), [trace_id(1)], "{conditions}");
        assert_eq!(found[0].record.segments["plan"], "gold");
    }
    let evaluators = Evaluators::load(None, std::collections::BTreeMap::new()).unwrap();
    let vip = explain(&service.store, trace_id(1), &evaluators, now).await.unwrap();
    let sentence = vip.sampling_reason.unwrap();
    assert!(sentence.contains("Chosen for judging and keeping, with probability 1: the policy \"vip\""), "{sentence}");
    assert!(sentence.contains("kept it with probability 0.05 (SampleRate)"), "{sentence}");
    let other = explain(&service.store, trace_id(2), &evaluators, now).await.unwrap();
    let upstream = other.sampling.unwrap().upstream.unwrap();
    assert_eq!((upstream.probability, upstream.source.as_str()), (0.25, "sampling.upstream[0]"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_never_the_same_makes_few_versions_and_then_falls_back() {
    let service = Running::start(|_| {}).await;
    let traces = u32::try_from(NEW_VERSIONS_A_DAY).unwrap() + 5;
    let letters = |number: u32| [number / 26, number % 26].map(|place| char::from(b'a' + u8::try_from(place).unwrap()));
    let told = |number: u32| {
        let prompt = format!("answer as {} would", String::from_iter(letters(number)));
        let attributes = [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.request.model", "m"),
            ("gen_ai.system_instructions", prompt.as_str()),
        ];
        with(span(number, 0), &attributes)
    };
    service.accept(&request("s", (0..traces).map(told).collect())).await;
    for number in 0..traces {
        service.scored(trace_id(number), 1).await;
    }
    let records = service.store.records(&Selection::default()).await.unwrap();
    let versions: BTreeSet<&String> =
        records.iter().filter_map(|record| record.segments.get("agent_version")).collect();
    assert_eq!(versions.len(), NEW_VERSIONS_A_DAY);
    let noted = records.iter().filter(|record| record.notes.iter().any(|note| note.starts_with("agent version ")));
    assert_eq!(noted.count(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_met_by_the_probability_that_the_hour_before_gives() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(Timestamp(480_000 * Timestamp::NANOS_PER_HOUR));
    let shared = Shared {
        store: Store::open(&format!("sqlite://{}/driftline.db", folder.path().display()), false).await.unwrap(),
        clock: Arc::new(clock.clone()),
        metrics: Arc::new(Metrics::default()),
        stop: CancellationToken::new(),
        worker: "test".into(),
    };
    let at_once = Duration::ZERO;
    let completion =
        CompletionPolicy { root_grace: at_once, quiet_period: at_once, max_age: at_once, max_trace_bytes: usize::MAX };
    let (intake, writing) = Intake::new(shared.clone(), completion, 1 << 24);
    let settings = defaults().unwrap();
    let scoring = Scoring {
        evaluators: Arc::new(Evaluators::load(None, std::collections::BTreeMap::new()).unwrap()),
        sampling: toml::from_str("[[policies]]\nname = \"cap\"\nper_hour = 10\nrate = 0.9").unwrap(),
        attributes: settings.attributes,
        prices: settings.prices,
        budgets: settings.budget,
        max_age: settings.complete.max_age,
        retention: BodyRetention { sampled: settings.retention.traces, late_window: settings.complete.late_window },
        destinations: Vec::new(),
        forward: None,
    };
    tokio::spawn(writing);
    tokio::spawn(score(shared.clone(), Arc::new(scoring)));
    let mut probabilities = Vec::new();
    for hour in 0..3 {
        let traces = hour * 100..hour * 100 + 40;
        let spans = traces.clone().map(|number| span(number, 0)).collect();
        let split = split_by_trace(request("s", spans).resource_spans);
        let received = Received::new(split.traces, split.scores);
        assert!(intake.store(received, intake.room()).await.is_ok());
        for number in traces {
            let stored = async || shared.store.trace(trace_id(number)).await.unwrap();
            let trace = eventually("a trace", stored).await;
            let decision: SamplingDecision = serde_json::from_str(&trace.decision).unwrap();
            assert_eq!((decision.stratum(), trace.stratum.as_deref()), ("cap", Some("cap")));
            probabilities.push(decision.probability);
        }
        clock.advance(Duration::from_hours(1));
    }
    shared.stop.cancel();
    assert_eq!(probabilities[..40], [0.9; 40], "there is no hour before");
    assert_eq!(probabilities[40..], [0.25; 80], "ten of the forty");
}
