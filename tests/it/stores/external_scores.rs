//! What other tools and people scored.

use driftline::backends::store::Selection;
use driftline::domain::evaluation::AnnotatorKind;
use driftline::domain::external_score::{ExternalScore, NewExternalScore, ScoreIdentity};
use driftline::domain::measurement::{SeriesKind, Value};

use sqlx::{AnyConnection, Connection as _, Executor as _};

use super::contract;
use super::fixtures::{POLICY, TestStore, chunk, plain, seconds, span_id, stored_evaluation, trace_id};
use super::migrations::blocked;

contract!(
    what_comes_twice_counts_once_and_the_newest_stands,
    whoever_sends_the_same_without_an_id_means_two,
    a_score_is_read_as_it_was_given_whatever_its_value,
    scores_may_come_before_their_trace_and_survive_its_next_version,
    each_name_and_kind_is_a_series_beside_those_of_our_own,
    a_name_is_known_for_as_long_as_a_score_has_it,
    scores_of_traces_that_never_came_go_after_their_time,
);

pub(super) fn score(trace: u64, name: &str, value: Option<f64>) -> ExternalScore {
    ExternalScore {
        trace_id: trace_id(trace),
        span_id: None,
        name: name.to_owned(),
        annotator_kind: AnnotatorKind::Llm,
        source: "tool".to_owned(),
        value,
        label: None,
        explanation: None,
        error: None,
        scored_at: None,
    }
}

pub(super) fn new(score: ExternalScore) -> NewExternalScore {
    NewExternalScore { score, identity: ScoreIdentity::Target }
}

fn given(id: &str, score: ExternalScore) -> NewExternalScore {
    NewExternalScore { score, identity: ScoreIdentity::Given(id.to_owned()) }
}

impl TestStore {
    async fn values(&self, trace: u64) -> Vec<Option<f64>> {
        let scores = self.store.external_scores(trace_id(trace)).await.unwrap();
        scores.into_iter().map(|score| score.value).collect()
    }
}

async fn what_comes_twice_counts_once_and_the_newest_stands(it: TestStore) {
    let at = |second, value| ExternalScore { scored_at: Some(seconds(second)), ..score(1, "relevance", Some(value)) };
    let both = [new(at(5, 0.5)), new(at(3, 0.3)), new(at(5, 0.5))];
    assert_eq!(it.store.add_external_scores(&both, seconds(9)).await.unwrap(), 1);
    assert_eq!(it.values(1).await, [Some(0.5)]);
    it.store.add_external_scores(&[new(at(4, 0.4))], seconds(9)).await.unwrap();
    assert_eq!(it.values(1).await, [Some(0.5)], "an older result that comes late changes nothing");
    it.store.add_external_scores(&[new(at(6, 0.6))], seconds(9)).await.unwrap();
    assert_eq!(it.values(1).await, [Some(0.6)]);
    it.store.add_external_scores(&[new(at(500, 0.9))], seconds(10)).await.unwrap();
    it.store.add_external_scores(&[new(at(11, 0.7))], seconds(11)).await.unwrap();
    assert_eq!(it.values(1).await, [Some(0.7)], "a time to come is taken as now");

    let of_span = ExternalScore { span_id: Some(span_id(3)), ..at(5, 0.1) };
    let of_other = ExternalScore { source: "other tool".to_owned(), ..at(5, 0.2) };
    it.store.add_external_scores(&[new(of_span), new(of_other)], seconds(12)).await.unwrap();
    let by_hand = ExternalScore { annotator_kind: AnnotatorKind::Human, ..at(5, 0.3) };
    it.store.add_external_scores(&[new(by_hand)], seconds(12)).await.unwrap();
    assert_eq!(it.values(1).await.len(), 4, "another span, tool or hand is another score");

    let thumbs = |value| given("f-1", score(2, "thumbs", Some(value)));
    it.store.add_external_scores(&[thumbs(1.0)], seconds(1)).await.unwrap();
    it.store.add_external_scores(&[thumbs(1.0)], seconds(2)).await.unwrap();
    it.store.add_external_scores(&[thumbs(0.0)], seconds(3)).await.unwrap();
    assert_eq!(it.values(2).await, [Some(0.0)], "whoever changes their mind says so under the same id");
}

async fn whoever_sends_the_same_without_an_id_means_two(it: TestStore) {
    let one = NewExternalScore { score: score(1, "thumbs", Some(1.0)), identity: ScoreIdentity::Separate };
    for second in [1, 2] {
        it.store.add_external_scores(std::slice::from_ref(&one), seconds(second)).await.unwrap();
    }
    assert_eq!(it.values(1).await.len(), 2);
}

async fn a_score_is_read_as_it_was_given_whatever_its_value(it: TestStore) {
    let numbers = [-1.0, 0.0, 1e300, f64::MAX, 5e-324];
    let scores: Vec<ExternalScore> = numbers
        .iter()
        .enumerate()
        .map(|(number, value)| ExternalScore {
            span_id: Some(span_id(number as u64)),
            label: Some("a\u{fffd}b".to_owned()),
            explanation: Some("why".to_owned()),
            scored_at: Some(seconds(number as i64)),
            ..score(1, "number", Some(*value))
        })
        .collect();
    let failed = ExternalScore {
        error: Some("timeout".to_owned()),
        annotator_kind: AnnotatorKind::External,
        scored_at: Some(seconds(7)),
        ..score(1, "out of order", None)
    };
    let scores = [scores, vec![failed]].concat();
    let sent: Vec<NewExternalScore> = scores.iter().cloned().map(new).collect();
    assert_eq!(it.store.add_external_scores(&sent, seconds(9)).await.unwrap(), 6);
    assert_eq!(it.store.external_scores(trace_id(1)).await.unwrap(), scores);
    let hostile = ExternalScore { label: Some("a\0b".to_owned()), ..score(2, &"x\0".repeat(900), None) };
    it.store.add_external_scores(&[new(hostile)], seconds(9)).await.unwrap();
    assert_eq!(it.store.external_scores(trace_id(2)).await.unwrap()[0].label.as_deref(), Some("a\u{fffd}b"));
}

async fn scores_may_come_before_their_trace_and_survive_its_next_version(it: TestStore) {
    it.store.add_external_scores(&[new(score(1, "relevance", Some(0.5)))], seconds(0)).await.unwrap();
    assert!(it.store.records(&Selection::default()).await.unwrap().is_empty());
    let mut trace = plain(1);
    trace.evaluations = vec![stored_evaluation(trace_id(1), "relevance", Some(1.0))];
    for version in [1, 2] {
        trace.trace.version = version;
        it.store.record_traces(std::slice::from_ref(&trace), seconds(version)).await.unwrap();
        let records = it.store.records(&Selection::default()).await.unwrap();
        let value = |series| records[0].measurement(series).map(|found| found.value.clone());
        assert_eq!(value("llm.relevance"), Some(Value::Number(0.5)));
        assert_eq!(value("relevance"), Some(Value::Boolean(true)), "a judge of the same name stays what it is");
        assert_eq!(it.store.evaluations(trace_id(1)).await.unwrap().len(), 1);
    }
}

async fn each_name_and_kind_is_a_series_beside_those_of_our_own(it: TestStore) {
    it.store.record_traces(&[plain(1), plain(2), plain(3)], seconds(1)).await.unwrap();
    let human = |id: &str, trace, value: Option<f64>, label: Option<&str>| {
        let kind = AnnotatorKind::Human;
        let label = label.map(str::to_owned);
        given(id, ExternalScore { annotator_kind: kind, label, ..score(trace, "help", value) })
    };
    let stars = |trace, value| new(score(trace, "stars", Some(value)));
    let topic =
        |id: &str, label: &str| given(id, ExternalScore { label: Some(label.to_owned()), ..score(1, "topic", None) });
    let failed = ExternalScore { error: Some("timeout".to_owned()), ..score(3, "failed", None) };
    let sent = [
        human("a", 1, Some(1.0), Some("up")),
        human("b", 1, Some(0.0), Some("down")),
        human("c", 2, Some(1.0), None),
        stars(1, 1.0),
        stars(2, 4.0),
        topic("d", "billing"),
        topic("e", "billing"),
        topic("f", "refund"),
        new(failed),
    ];
    it.store.add_external_scores(&sent, seconds(2)).await.unwrap();
    let records = it.store.records(&Selection::default()).await.unwrap();
    let found = |index: usize, series| records[index].measurement(series).map(|it| (it.kind, it.value.clone()));
    let number = |kind, value| Some((kind, Value::Number(value)));
    assert_eq!(found(0, "human.help"), number(SeriesKind::Ordinal, 0.5), "of several the mean");
    assert_eq!(found(1, "human.help"), number(SeriesKind::Ordinal, 1.0));
    assert_eq!(found(0, "llm.stars.number"), number(SeriesKind::Numeric, 1.0), "one scale in every trace");
    assert_eq!(found(1, "llm.stars.number"), number(SeriesKind::Numeric, 4.0));
    assert_eq!(found(0, "llm.stars"), number(SeriesKind::Ordinal, 1.0), "and what was watched before still is");
    let topics = Value::Counts([("billing".to_owned(), 2), ("refund".to_owned(), 1)].into());
    assert_eq!(found(0, "llm.topic"), Some((SeriesKind::Categorical, topics)));
    assert_eq!(records[2].measurements.len(), 1, "an evaluation that failed is no score");
}

/// Names of which something is known.
async fn names(it: &TestStore) -> Vec<String> {
    let mut connection = AnyConnection::connect(&it.url).await.unwrap();
    let sql = "SELECT name FROM external_name ORDER BY name";
    sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap()
}

async fn a_name_is_known_for_as_long_as_a_score_has_it(it: TestStore) {
    it.store.record_traces(&[plain(1)], seconds(10)).await.unwrap();
    it.store.record_traces(&[plain(2)], seconds(20)).await.unwrap();
    let scored = [(1, "both", 4.0), (1, "first", 0.5), (2, "both", 0.5), (2, "second", 7.0)];
    let sent: Vec<NewExternalScore> =
        scored.into_iter().map(|(trace, name, value)| new(score(trace, name, Some(value)))).collect();
    it.store.add_external_scores(&sent, seconds(30)).await.unwrap();
    it.store.purge(seconds(2_000)).await.unwrap();
    assert_eq!(names(&it).await, ["both", "first", "second"]);
    it.store.purge_records(seconds(11)).await.unwrap();
    assert_eq!(names(&it).await, ["both", "second"]);
    let record = it.store.records(&Selection::default()).await.unwrap().remove(0);
    let series: Vec<&str> = record.measurements.iter().map(|one| one.series.as_str()).collect();
    assert_eq!(series[1..], ["llm.both", "llm.both.number", "llm.second", "llm.second.number"]);
    it.store.purge_records(seconds(21)).await.unwrap();
    assert_eq!(names(&it).await, Vec::<String>::new());
}

async fn scores_of_traces_that_never_came_go_after_their_time(it: TestStore) {
    it.store.record_traces(&[plain(1)], seconds(1)).await.unwrap();
    it.store.append_chunks(&[chunk(2, "waits", false)], seconds(1), &POLICY).await.unwrap();
    for (trace, name, at) in [(1, "recorded", 5), (2, "waits", 5), (3, "never", 5), (4, "young", 6)] {
        it.store.add_external_scores(&[new(score(trace, name, Some(0.5)))], seconds(at)).await.unwrap();
    }
    let dated = ExternalScore { scored_at: Some(seconds(-9_000)), ..score(5, "young", Some(0.5)) };
    it.store.add_external_scores(&[new(dated)], seconds(6)).await.unwrap();
    assert!(!it.store.purge_waiting_scores(seconds(5)).await.unwrap());
    assert_eq!(it.values(3).await, [Some(0.5)]);
    assert!(!it.store.purge_waiting_scores(seconds(6)).await.unwrap());
    assert_eq!(names(&it).await, ["recorded", "waits", "young"]);
    assert_eq!((it.values(1).await.len(), it.values(2).await.len(), it.values(3).await.len()), (1, 1, 0));
    assert_eq!(it.values(5).await.len(), 1, "however early its sender dates it");
    it.forge(&format!("UPDATE external_score SET received_at = NULL WHERE scored_at < {}", seconds(0).0)).await;
    assert!(!it.store.purge_waiting_scores(seconds(6)).await.unwrap());
    assert_eq!(it.values(5).await.len(), 0, "of one that an earlier release stored nothing else is known");
    let many: Vec<NewExternalScore> = (10..511).map(|trace| new(score(trace, "never", None))).collect();
    it.store.add_external_scores(&many, seconds(7)).await.unwrap();
    assert!(it.store.purge_waiting_scores(seconds(8)).await.unwrap(), "a bounded number at a time");
    assert!(!it.store.purge_waiting_scores(seconds(8)).await.unwrap());
    assert_eq!(names(&it).await, ["recorded", "waits"]);
}

#[tokio::test]
async fn a_name_that_comes_again_while_it_is_forgotten_is_known() {
    let it = TestStore::postgres().await;
    it.store.add_external_scores(&[new(score(1, "help", Some(0.5)))], seconds(1)).await.unwrap();
    let mut other = AnyConnection::connect(&it.url).await.unwrap();
    let mut writing = other.begin().await.unwrap();
    let again = "INSERT INTO external_score (trace_id, key, span_id, name, annotator_kind, source, value, scored_at) \
                 SELECT 'x', 'x', span_id, name, annotator_kind, source, 0.7, scored_at + 1000000000 FROM external_score";
    writing.execute(again).await.unwrap();
    let purging = tokio::spawn({
        let store = it.store.clone();
        async move { store.purge_waiting_scores(seconds(2)).await }
    });
    blocked(&it.url, "external_name", &purging).await;
    assert_eq!(it.values(1).await, [Some(0.5)], "a score goes together with its name");
    writing.commit().await.unwrap();
    assert!(!purging.await.unwrap().unwrap());
    assert_eq!((it.values(1).await, names(&it).await), (vec![], vec!["help".to_owned()]));
}
