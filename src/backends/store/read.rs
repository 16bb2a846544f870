//! What people ask: one trace, a search, the records that statistics read, and how much there is.

use std::collections::{BTreeMap, HashMap};

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row};

use super::columns::{count, flag, key, limit, parse_json, parse_word};
use super::retry::retried;
use super::selection::Selection;
use super::statement::{Statement, for_keys};
use super::traces::{FAILURE_CLASS, StoredTrace, TRACE_COLUMNS, read_trace};
use super::{Store, StoreError};
use crate::domain::evaluation::{AnnotatorKind, FailureClass};
use crate::domain::ids::TraceId;
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::time::Timestamp;

/// The dimension that tells scores on shortened inputs apart.
const TRUNCATED: &str = "truncated";
/// Records that are in memory at once while they are visited.
const PAGE: usize = 512;

/// Where a trace stands among all of them in order of end.
pub type Place = (Timestamp, TraceId);

/// How much work is waiting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueDepths {
    /// Traces that are not evaluated, or have grown since.
    pub pending: u64,
    /// Those of them that are complete.
    pub due: u64,
    /// Judgements to be made.
    pub judge_jobs: u64,
    /// Items to be sent.
    pub outbox: u64,
}

/// Traces of one service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCount {
    /// The service.
    pub service: String,
    /// Its traces.
    pub traces: u64,
    /// Those that are flagged.
    pub failing: u64,
    /// Those of which it is not known with what probability upstream sampling kept them.
    pub upstream_unknown: u64,
    /// Sums over all of them.
    pub all: WeightSums,
    /// Sums over those that are flagged.
    pub flagged: WeightSums,
}

/// Sums of the weights of traces: one over the probability with which upstream sampling kept each, 1 where unknown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WeightSums {
    /// Of the weights: how many traces they stand for.
    pub weight: f64,
    /// Of their squares.
    pub squared: f64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Evaluated traces.
    pub traces: u64,
    /// Pieces whose body is kept.
    pub chunks: u64,
    /// Evaluations.
    pub evaluations: u64,
    /// Alerts, open or not.
    pub alerts: u64,
    /// Baselines.
    pub baselines: u64,
}

impl Store {
    /// An evaluated trace.
    ///
    /// # Errors
    /// The database failed.
    pub async fn trace(&self, trace_id: TraceId) -> Result<Option<StoredTrace>, StoreError> {
        retried("read a trace", || async {
            let mut statement = Statement::new("SELECT ");
            statement.sql(TRACE_COLUMNS).sql(" FROM trace WHERE trace_id = ").bind(trace_id);
            Ok(self.read_traces(statement).await?.pop())
        })
        .await
    }

    /// The traces of a selection that ended last, newest first.
    ///
    /// # Errors
    /// The database failed.
    pub async fn search(&self, selection: &Selection, traces: usize) -> Result<Vec<StoredTrace>, StoreError> {
        retried("search traces", || async {
            let mut statement = Statement::new("SELECT ");
            statement.sql(TRACE_COLUMNS).sql(" FROM trace WHERE 1 = 1");
            selection.narrow(&mut statement);
            statement.sql(" ORDER BY ended_at DESC, trace_id DESC LIMIT ").bind(limit(traces));
            self.read_traces(statement).await
        })
        .await
    }

    /// When the earliest of the last `traces` traces of a selection ended; `None` when there are not so many.
    ///
    /// # Errors
    /// The database failed.
    pub async fn since_last(&self, selection: &Selection, traces: usize) -> Result<Option<Timestamp>, StoreError> {
        retried("find where recent traces begin", || async {
            let mut statement = Statement::new("SELECT ended_at FROM trace WHERE 1 = 1");
            selection.narrow(&mut statement);
            statement
                .sql(" ORDER BY ended_at DESC, trace_id DESC LIMIT 1 OFFSET ")
                .bind(limit(traces.saturating_sub(1)));
            let rows = statement.fetch(&self.readers).await?;
            rows.first().map(|row| row.try_get("ended_at")).transpose()
        })
        .await
    }

    /// Every record of a selection, in order of end; see [`Store::visit_records`] for more than fit in memory.
    ///
    /// # Errors
    /// The database failed.
    pub async fn records(&self, selection: &Selection) -> Result<Vec<TraceRecord>, StoreError> {
        let mut records = Vec::new();
        self.visit_records(selection, |record| records.push(record)).await?;
        Ok(records)
    }

    /// Shows every record of a selection to `visit`, in order of end. What the judges scored is added as a Boolean
    /// measurement named after the evaluator; of several revisions the last to score counts. A judged record's segment
    /// `truncated` says whether any of its judges was shown a shortened input. What others scored is added as
    /// `human.<name>`, `llm.<name>`, `code.<name>` or `external.<name>`, magnitudes with `.number` at the end. What is
    /// recorded meanwhile may be seen or not; nothing is seen twice.
    ///
    /// # Errors
    /// The database failed.
    pub async fn visit_records(
        &self,
        selection: &Selection,
        mut visit: impl FnMut(TraceRecord),
    ) -> Result<(), StoreError> {
        let mut external = self.external_series().await?;
        let mut last = None;
        loop {
            let (mut page, end) = self.record_page(selection, last).await?;
            if let Some(external) = &mut external {
                self.add_external(external, &mut page).await?;
            }
            let is_full = page.len() == PAGE;
            page.into_iter().for_each(&mut visit);
            if !is_full {
                return Ok(());
            }
            last = end;
        }
    }

    /// Evaluated traces by their ids, in no order; unknown ones are left out.
    ///
    /// # Errors
    /// The database failed.
    pub async fn traces(&self, trace_ids: &[TraceId]) -> Result<Vec<StoredTrace>, StoreError> {
        retried("read traces", || async {
            let mut transaction = self.begin_read().await?;
            let select = format!("SELECT {TRACE_COLUMNS} FROM trace WHERE trace_id IN");
            let rows = for_keys(&mut transaction, &select, trace_ids, "").await?;
            let mut traces: Vec<StoredTrace> = rows.iter().map(read_trace).collect::<Result<_, _>>()?;
            add_attributes(&mut transaction, &mut traces).await?;
            transaction.commit().await?;
            Ok(traces)
        })
        .await
    }

    /// A few hundred records of a selection in order of end, those that follow a place, with what judges and others
    /// scored as in [`Store::visit_records`]; and the place of the last of them, absent when there are no more.
    ///
    /// # Errors
    /// The database failed.
    pub async fn records_after(
        &self,
        selection: &Selection,
        after: Option<Place>,
    ) -> Result<(Vec<TraceRecord>, Option<Place>), StoreError> {
        let (mut records, end) = self.record_page(selection, after).await?;
        let is_full = records.len() == PAGE;
        if let Some(mut external) = self.external_series().await? {
            self.add_external(&mut external, &mut records).await?;
        }
        Ok((records, end.filter(|_| is_full)))
    }

    /// The records that follow a place, and the place of the last of them.
    async fn record_page(
        &self,
        selection: &Selection,
        after: Option<Place>,
    ) -> Result<(Vec<TraceRecord>, Option<Place>), StoreError> {
        retried("read records", || async {
            let mut statement = Statement::new("SELECT trace_id, ended_at, record FROM trace WHERE 1 = 1");
            let since = after.map_or(selection.since, |(ended_at, _)| Some(ended_at));
            // The bound is given twice, so that every index that ends in these columns starts at the page.
            Selection { since, ..selection.clone() }.narrow(&mut statement);
            if let Some((ended_at, trace_id)) = after {
                statement.sql(" AND (ended_at, trace_id) > (").bind(ended_at).sql(", ").bind(trace_id).sql(")");
            }
            statement.sql(" ORDER BY ended_at, trace_id LIMIT ").bind(limit(PAGE));
            let mut transaction = self.begin_read().await?;
            let (mut records, mut end) = (Vec::new(), None);
            for row in statement.fetch(&mut *transaction).await? {
                records.push(parse_json::<TraceRecord>(row.try_get("record")?)?);
                end = Some((row.try_get("ended_at")?, row.try_get("trace_id")?));
            }
            add_judgements(&mut transaction, &mut records).await?;
            transaction.commit().await?;
            Ok((records, end))
        })
        .await
    }

    /// Reads traces with their attributes.
    async fn read_traces(&self, statement: Statement) -> Result<Vec<StoredTrace>, sqlx::Error> {
        let mut transaction = self.begin_read().await?;
        let rows = statement.fetch(&mut *transaction).await?;
        let mut traces: Vec<StoredTrace> = rows.iter().map(read_trace).collect::<Result<_, _>>()?;
        add_attributes(&mut transaction, &mut traces).await?;
        transaction.commit().await?;
        Ok(traces)
    }

    /// The services of which traces ended in the hours of a selection, those with the newest first. Nothing else of the
    /// selection is looked at, and no trace either.
    ///
    /// # Errors
    /// The database failed.
    pub async fn services_by_hour(&self, selection: &Selection) -> Result<Vec<String>, StoreError> {
        retried("list services", || async {
            let mut statement = Statement::new("SELECT service FROM service_hour WHERE 1 = 1");
            if let Some(service) = &selection.service {
                statement.sql(" AND service = ").bind(key(service));
            }
            for (bound, at) in
                [(" AND hour >= ", selection.since.map(Timestamp::hour)), (" AND hour < ", selection.until)]
            {
                if let Some(at) = at {
                    statement.sql(bound).bind(at);
                }
            }
            statement.sql(" GROUP BY service ORDER BY max(hour) DESC, service");
            statement.fetch(&self.readers).await?.iter().map(|row| row.try_get("service")).collect()
        })
        .await
    }

    /// The services that have traces in a selection, by name.
    ///
    /// # Errors
    /// The database failed.
    pub async fn services(&self, selection: &Selection) -> Result<Vec<ServiceCount>, StoreError> {
        retried("count traces by service", || async {
            let mut statement = Statement::new(
                "SELECT service, count(*) AS traces, count(CASE WHEN failing = 1 THEN 1 END) AS failing, \
                 count(*) - count(upstream_probability) AS upstream_unknown, \
                 sum(1.0 / coalesce(upstream_probability, 1.0)) AS weight, \
                 sum(1.0 / coalesce(upstream_probability * upstream_probability, 1.0)) AS squared, \
                 sum(failing / coalesce(upstream_probability, 1.0)) AS flagged_weight, \
                 sum(failing / coalesce(upstream_probability * upstream_probability, 1.0)) AS flagged_squared \
                 FROM trace WHERE 1 = 1",
            );
            selection.narrow(&mut statement);
            statement.sql(" GROUP BY service ORDER BY service");
            let rows = statement.fetch(&self.readers).await?;
            rows.iter()
                .map(|row| {
                    Ok(ServiceCount {
                        service: row.try_get("service")?,
                        traces: count(row, "traces")?,
                        failing: count(row, "failing")?,
                        upstream_unknown: count(row, "upstream_unknown")?,
                        all: WeightSums { weight: row.try_get("weight")?, squared: row.try_get("squared")? },
                        flagged: WeightSums {
                            weight: row.try_get("flagged_weight")?,
                            squared: row.try_get("flagged_squared")?,
                        },
                    })
                })
                .collect()
        })
        .await
    }

    /// How much work is waiting at `now`.
    ///
    /// # Errors
    /// The database failed.
    pub async fn queue_depths(&self, now: Timestamp) -> Result<QueueDepths, StoreError> {
        retried("count what is waiting", || async {
            let sql = "SELECT (SELECT count(*) FROM pending) AS pending, \
                       (SELECT count(*) FROM pending WHERE due_at <= $1) AS due, \
                       (SELECT count(*) FROM judge_job) AS judge_jobs, (SELECT count(*) FROM outbox) AS outbox";
            let row = sqlx::query(sql).bind(now).fetch_one(&self.readers).await?;
            Ok(QueueDepths {
                pending: count(&row, "pending")?,
                due: count(&row, "due")?,
                judge_jobs: count(&row, "judge_jobs")?,
                outbox: count(&row, "outbox")?,
            })
        })
        .await
    }

    /// How much there is. It reads whole tables: for a person who asks, not for a metric.
    ///
    /// # Errors
    /// The database failed.
    pub async fn counts(&self) -> Result<Counts, StoreError> {
        retried("count what there is", || async {
            let sql = "SELECT (SELECT count(*) FROM trace) AS traces, (SELECT count(*) FROM chunk) AS chunks, \
                       (SELECT count(*) FROM evaluation) + \
                       (SELECT CAST(coalesce(sum(listed), 0) AS BIGINT) FROM evaluation_list) AS evaluations, \
                       (SELECT count(*) FROM alert) AS alerts, \
                       (SELECT count(*) FROM baseline) AS baselines";
            let row = sqlx::query(sql).fetch_one(&self.readers).await?;
            Ok(Counts {
                traces: count(&row, "traces")?,
                chunks: count(&row, "chunks")?,
                evaluations: count(&row, "evaluations")?,
                alerts: count(&row, "alerts")?,
                baselines: count(&row, "baselines")?,
            })
        })
        .await
    }
}

/// Adds the searchable names to the traces they belong to.
async fn add_attributes(connection: &mut AnyConnection, traces: &mut [StoredTrace]) -> Result<(), sqlx::Error> {
    let trace_ids: Vec<TraceId> = traces.iter().map(|trace| trace.trace_id).collect();
    let select = "SELECT trace_id, name, value FROM trace_attribute WHERE trace_id IN";
    let mut attributes: HashMap<TraceId, BTreeMap<String, String>> = HashMap::new();
    for row in for_keys(connection, select, &trace_ids, "").await? {
        let of_trace = attributes.entry(row.try_get("trace_id")?).or_default();
        of_trace.insert(row.try_get("name")?, row.try_get("value")?);
    }
    for trace in traces {
        trace.attributes = attributes.remove(&trace.trace_id).unwrap_or_default();
        trace.failure_class = trace.attributes.remove(FAILURE_CLASS).and_then(|class| FailureClass::parse(&class));
    }
    Ok(())
}

/// Adds what judges and services scored to the records they belong to: what came later than the trace's own rows.
async fn add_judgements(connection: &mut AnyConnection, records: &mut [TraceRecord]) -> Result<(), sqlx::Error> {
    let trace_ids: Vec<TraceId> = records.iter().map(|record| record.trace_id).collect();
    let select = "SELECT trace_id, evaluator, revision, annotator_kind, value, probability, truncated FROM evaluation \
                  WHERE trace_id IN";
    // The condition is that of an index.
    let scored = " AND after_record = 1 ORDER BY evaluated_at, revision";
    let mut judgements: HashMap<TraceId, BTreeMap<String, Judgement>> = HashMap::new();
    for row in for_keys(connection, select, &trace_ids, scored).await? {
        let judgement = judgement(&row)?;
        let of_trace = judgements.entry(row.try_get("trace_id")?).or_default();
        of_trace.insert(judgement.measurement.series.clone(), judgement);
    }
    for record in records {
        let judgements = judgements.remove(&record.trace_id).unwrap_or_default();
        let judged = judgements.values().filter_map(|it| it.is_truncated);
        if let Some(is_truncated) = judged.reduce(|one, other| one || other) {
            // A trace that was itself too large to be read whole stays marked.
            let segment = record.segments.entry(TRUNCATED.to_owned()).or_default();
            if segment != "true" {
                *segment = is_truncated.to_string();
            }
        }
        record.measurements.extend(judgements.into_values().map(|it| it.measurement));
    }
    Ok(())
}

/// What came later than a trace's own rows.
struct Judgement {
    measurement: Measurement,
    /// Of a judge, whether it was shown a shortened input.
    is_truncated: Option<bool>,
}

/// A judge says yes or no; what comes late from code is a service's, whose scores may be anything from 0 to 1.
fn judgement(row: &AnyRow) -> Result<Judgement, sqlx::Error> {
    let value: f64 = row.try_get("value")?;
    let annotator: AnnotatorKind = parse_word(row.try_get("annotator_kind")?)?;
    let (kind, value) = match annotator {
        AnnotatorKind::Code => (SeriesKind::Ordinal, Value::Number(value)),
        AnnotatorKind::Llm | AnnotatorKind::Human | AnnotatorKind::External => {
            (SeriesKind::Boolean, Value::Boolean(value >= 0.5))
        }
    };
    let is_truncated = (annotator == AnnotatorKind::Llm).then(|| flag(row, "truncated")).transpose()?;
    let (series, revision) = (row.try_get("evaluator")?, Some(row.try_get("revision")?));
    let measurement = Measurement { series, kind, value, probability: row.try_get("probability")?, revision };
    Ok(Judgement { measurement, is_truncated })
}
