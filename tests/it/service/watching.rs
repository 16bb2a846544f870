//! What is watched: the segments that the settings name, and by rules before there is a baseline and after traffic ends.

use std::sync::Arc;
use std::time::Duration;

use driftline::app::service::watching;
use driftline::app::settings::defaults;
use driftline::backends::clock::{Clock, ManualClock};
use driftline::backends::store::{AlertFilter, NewLabel, Selection, Store};
use driftline::domain::alert::{Alert, Severity};
use driftline::domain::label::{Answer, Label, Origin};
use driftline::domain::measurement::{Measurement, SeriesKind, Value};
use driftline::domain::time::Timestamp;
use driftline::pipeline::Shared;
use driftline::pipeline::watching::Watching;
use driftline::queries::series::{Watched, series};
use driftline::telemetry::metrics::Metrics;
use driftline::watch::baseline::Baseline;
use driftline::watch::segments::SegmentPattern;
use tokio_util::sync::CancellationToken;

use crate::stores::fixtures::{plain, stored_evaluation, trace_id};

const HOUR: Duration = Duration::from_hours(1);
const START: Timestamp = Timestamp(480_000 * Timestamp::NANOS_PER_HOUR);
const TRACES_AN_HOUR: u64 = 100;

/// A store of one service, whose hours are told one after the other.
struct Service {
    shared: Shared,
    clock: ManualClock,
    traces: u64,
    /// Whether a judge fails what fails.
    is_judged: bool,
    _folder: tempfile::TempDir,
}

impl Service {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(START);
        let store = Store::open(&format!("sqlite://{}/driftline.db", folder.path().display()), false).await.unwrap();
        let shared = Shared {
            store,
            clock: Arc::new(clock.clone()),
            metrics: Arc::new(Metrics::default()),
            stop: CancellationToken::new(),
            worker: "test".into(),
        };
        Self { shared, clock, traces: 0, is_judged: false, _folder: folder }
    }

    /// Hours of traffic of which every tenth run is about refunds; shares of runs that fail, of refunds and of others.
    async fn traffic(&mut self, hours: u64, failing: (f64, f64)) {
        let mut rng = fastrand::Rng::with_seed(self.traces);
        for _ in 0..hours {
            let traces = (0..TRACES_AN_HOUR).map(|index| {
                self.traces += 1;
                let mut one = plain(self.traces);
                let is_refund = index % 10 == 0;
                let feature = if is_refund { "refunds" } else { "orders" };
                let at = self.clock.now().plus(Duration::from_secs(index));
                let is_failing = rng.f64() < if is_refund { failing.0 } else { failing.1 };
                one.trace.ended_at = at;
                one.trace.record.ended_at = at;
                one.trace.record.segments.insert("feature".to_owned(), feature.to_owned());
                one.trace.record.measurements = vec![measured("run_error", is_failing)];
                if self.is_judged {
                    let value = Some(f64::from(!is_failing));
                    one.evaluations = vec![stored_evaluation(one.trace.trace_id, "grounded", value)];
                }
                one
            });
            let traces: Vec<_> = traces.collect();
            self.shared.store.record_traces(&traces, self.clock.now()).await.unwrap();
            self.clock.advance(HOUR);
        }
    }

    async fn take_baseline(&self) {
        let records = self.shared.store.records(&Selection::default()).await.unwrap();
        let now = self.clock.now();
        let json = serde_json::to_string(&Baseline::from_records("default", now, "", &records)).unwrap();
        self.shared.store.insert_baseline("default", now, "", &json).await.unwrap();
    }

    /// Watches the hours that are over, when they are ripe.
    async fn watch(&self, watching: &Watching) -> Vec<Alert> {
        let now = self.clock.now();
        self.clock.advance(Duration::from_mins(11));
        while watching.step(&self.shared).await.unwrap() {}
        watching.listen(&self.shared).await.unwrap();
        self.clock.set(now);
        self.shared.store.alerts(&AlertFilter { open_only: true, service: None }).await.unwrap()
    }
}

fn measured(series: &str, value: bool) -> Measurement {
    Measurement {
        series: series.to_owned(),
        kind: SeriesKind::Boolean,
        value: Value::Boolean(value),
        probability: 1.0,
        revision: None,
    }
}

fn watching_segments(segments: &[&str]) -> Watching {
    let mut settings = defaults().unwrap();
    let pattern = |text: &&str| SegmentPattern::try_from((*text).to_owned()).unwrap();
    settings.alerts.segments = segments.iter().map(pattern).collect();
    watching(&settings)
}

#[tokio::test]
async fn a_segment_that_the_settings_name_raises_alerts_of_its_own_and_others_do_not() {
    let mut service = Service::new().await;
    service.traffic(40, (0.02, 0.02)).await;
    service.take_baseline().await;
    service.traffic(12, (0.5, 0.02)).await;
    let named = ["feature=refunds".to_owned()];
    let is_of_stream = |alert: &&Alert| alert.detector == "shiryaev_roberts" && alert.segment != "all";
    let alerts = service.watch(&watching_segments(&["feature=refunds"])).await;
    let raised: Vec<String> = alerts.iter().filter(is_of_stream).map(|alert| alert.segment.clone()).collect();
    assert_eq!(raised, named, "{alerts:#?}");

    let patterns = [SegmentPattern::try_from(named[0].clone()).unwrap()];
    let watched = Watched { baseline: "default", segments: &patterns };
    let listed = series(&service.shared.store, watched, &Selection::default()).await.unwrap().series;
    let segments: Vec<(&str, bool)> = listed.iter().map(|one| (one.segment.as_str(), one.watched)).collect();
    assert_eq!(segments, [("all", true), ("feature=refunds", true)]);
}

#[tokio::test]
async fn segments_that_no_setting_names_explain_and_do_not_alarm() {
    let mut service = Service::new().await;
    service.traffic(40, (0.02, 0.02)).await;
    service.take_baseline().await;
    service.traffic(12, (0.5, 0.02)).await;
    let alerts = service.watch(&watching_segments(&[])).await;
    assert!(alerts.iter().all(|alert| alert.segment == "all"), "{alerts:#?}");
}

#[tokio::test]
async fn an_alert_about_a_judge_says_that_it_is_uncalibrated_until_labels_have_come() {
    let mut service = Service::new().await;
    service.is_judged = true;
    service.traffic(40, (0.02, 0.02)).await;
    service.take_baseline().await;
    service.traffic(12, (0.5, 0.5)).await;
    let watching = watching_segments(&[]);
    let of = |alerts: &[Alert], series: &str| {
        let found = alerts.iter().find(|alert| alert.series == series && alert.detector == "shiryaev_roberts");
        let alert = found.unwrap_or_else(|| panic!("no alert about {series}: {alerts:#?}"));
        (alert.calibrated, alert.summary.contains("the judge is uncalibrated"))
    };
    let alerts = service.watch(&watching).await;
    assert_eq!((of(&alerts, "grounded"), of(&alerts, "run_error")), ((Some(false), true), (None, false)));

    let label = |number| Label {
        trace_id: trace_id(number),
        evaluator: "grounded".to_owned(),
        revision: None,
        label: Answer::Pass,
        reviewer: "anna".to_owned(),
        note: None,
        labelled_at: START,
        origin: Origin::Import,
        probability: None,
    };
    let labels: Vec<NewLabel> =
        (4_001..=4_400).map(|number| NewLabel { label: label(number), said_at: None }).collect();
    service.shared.store.insert_labels(&labels, service.clock.now()).await.unwrap();
    service.traffic(1, (0.5, 0.5)).await;
    assert_eq!(of(&service.watch(&watching).await, "grounded"), (Some(true), false));
}

#[tokio::test]
async fn rules_that_need_no_baseline_alert_before_there_is_one_and_leave_the_hours_to_it() {
    let mut service = Service::new().await;
    service.traffic(3, (0.02, 0.02)).await;
    service.traffic(1, (0.4, 0.4)).await;
    let watching = watching_segments(&[]);
    let alerts = service.watch(&watching).await;
    let [alert] = &alerts[..] else { panic!("{alerts:#?}") };
    assert_eq!((alert.detector.as_str(), alert.severity), ("burn_rate", Severity::Page));
    assert!(alert.guarantee.starts_with("rule: ") && alert.runbook == "error-spike", "{alert:?}");
    assert_eq!(service.shared.store.watched_hours("shop", Timestamp(0)).await.unwrap().len(), 0);

    service.traffic(1, (0.0, 0.0)).await;
    assert!(service.watch(&watching).await.is_empty(), "it is over");
    service.take_baseline().await;
    service.watch(&watching).await;
    assert_eq!(service.shared.store.watched_hours("shop", Timestamp(0)).await.unwrap().len(), 5);
}

#[tokio::test]
async fn a_service_gone_quiet_is_told_of_and_its_return_ends_it() {
    let mut service = Service::new().await;
    let watching = watching_segments(&[]);
    for _ in 0..30 {
        service.traffic(1, (0.0, 0.0)).await;
        assert!(service.watch(&watching).await.is_empty());
    }
    service.clock.advance(HOUR);
    let alerts = service.watch(&watching).await;
    let [alert] = &alerts[..] else { panic!("{alerts:#?}") };
    assert_eq!((alert.detector.as_str(), alert.runbook.as_str()), ("service_quiet", "no-data"));
    service.traffic(1, (0.0, 0.0)).await;
    assert!(service.watch(&watching).await.is_empty(), "its traffic is back");
}
