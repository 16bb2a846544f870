//! What other tools and people scored. It hangs on a trace by id alone, so that it may come before the trace does, and
//! stays apart from the evaluations: nothing that is about the product's own evaluators reads it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ring::digest::{Context, SHA256};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row};

use super::columns::{count, flag, key, limit, parse_word, text};
use super::dialect::Dialect;
use super::erasure::erased_among;
use super::retry::retried;
use super::statement::{Values, for_keys, for_rows, insert};
use super::{Store, StoreError};
use crate::domain::evaluation::AnnotatorKind;
use crate::domain::external_score::{ExternalScore, NewExternalScore, ScoreIdentity};
use crate::domain::ids::{SpanId, TraceId};
use crate::domain::measurement::{Measurement, SeriesKind, TraceRecord, Value};
use crate::domain::time::Timestamp;

/// Scores of one trace that are shown: anyone may send any number of them.
const MOST_SHOWN: usize = 500;
/// Scores that one call of [`Store::purge_waiting_scores`] deletes at most.
const BATCH: usize = 500;
/// Of a trace that neither was recorded nor waits.
const OF_NO_TRACE: &str = "NOT EXISTS (SELECT 1 FROM trace WHERE trace.trace_id = external_score.trace_id) \
                           AND NOT EXISTS (SELECT 1 FROM pending WHERE pending.trace_id = external_score.trace_id)";
/// Ends the name of a series of magnitudes, and of the labels that came without a value where others came with one.
const NUMBERS: &str = ".number";
const LABELS: &str = ".label";
/// Series that are made of them: a sender that puts ids into names must not make a series of each.
const MOST_SERIES: usize = 200;

impl Store {
    /// Keeps scores; of those that are one and the same the newest stands. A score without a time was made at `now`, as
    /// was one from the future. Answers how many stand now that did not so before, repeats included.
    ///
    /// # Errors
    /// The database failed; then none is kept.
    pub async fn add_external_scores(&self, scores: &[NewExternalScore], now: Timestamp) -> Result<usize, StoreError> {
        let rows = newest(scores, now);
        retried("keep scores of others", || async {
            let mut transaction = self.begin().await?;
            let erased = erased_among(&mut transaction, rows.keys().map(|(trace_id, _)| *trace_id)).await?;
            let rows = rows.clone().into_iter().filter(|((trace_id, _), _)| !erased.contains(trace_id)).collect();
            let written = insert_scores(&mut transaction, &rows, now).await?;
            transaction.commit().await?;
            Ok(written)
        })
        .await
    }

    /// What others scored of a trace, by name and time; of more than 500 the newest.
    ///
    /// # Errors
    /// The database failed.
    pub async fn external_scores(&self, trace_id: TraceId) -> Result<Vec<ExternalScore>, StoreError> {
        retried("read scores of others", || async {
            let sql = "SELECT trace_id, span_id, name, annotator_kind, source, value, label, explanation, error, scored_at \
                       FROM external_score WHERE trace_id = $1 ORDER BY scored_at DESC, key LIMIT $2";
            let query = sqlx::query(sql).bind(trace_id).bind(limit(MOST_SHOWN));
            let rows = query.fetch_all(&self.readers).await?;
            let mut scores: Vec<ExternalScore> = rows.iter().map(read_score).collect::<Result<_, _>>()?;
            scores.sort_by(|left, right| (&left.name, left.scored_at).cmp(&(&right.name, right.scored_at)));
            Ok(scores)
        })
        .await
    }

    /// The series of external scores, before any record is read; `None` where no one has sent any.
    pub(super) async fn external_series(&self) -> Result<Option<ExternalSeries>, StoreError> {
        retried("read scores of others", || async {
            let any = sqlx::query("SELECT name FROM external_name LIMIT 1").fetch_optional(&self.readers).await?;
            Ok(any.map(|_| ExternalSeries::default()))
        })
        .await
    }

    /// Adds what others scored to the records it belongs to.
    pub(super) async fn add_external(
        &self,
        external: &mut ExternalSeries,
        records: &mut [TraceRecord],
    ) -> Result<(), StoreError> {
        let scored = self.external_of(records).await?;
        let names = external.admit(&scored, records);
        let select = "SELECT annotator_kind, name, has_values, is_unbounded FROM external_name \
                      WHERE (annotator_kind, name) IN";
        let known = retried("read scores of others", || async {
            let connection = &mut *self.readers.acquire().await?;
            for_rows(connection, select, &names, write_name, "").await
        });
        for row in &known.await? {
            external
                .learn(row)
                .map_err(|source| StoreError::Database { operation: "read scores of others", source })?;
        }
        external.add(scored, records);
        Ok(())
    }

    /// Deletes scores that were received before `before` of traces that never came, a bounded number at a time; whether
    /// there may be more.
    ///
    /// # Errors
    /// The database failed; then nothing is deleted.
    pub async fn purge_waiting_scores(&self, before: Timestamp) -> Result<bool, StoreError> {
        let waiting = retried("look for scores of no trace", || async {
            let sql = format!(
                "SELECT trace_id, key, coalesce(received_at, scored_at) AS received_at FROM external_score \
                 WHERE coalesce(received_at, scored_at) < $1 AND {OF_NO_TRACE} \
                 ORDER BY coalesce(received_at, scored_at) LIMIT $2"
            );
            let query = sqlx::query(AssertSqlSafe(sql)).bind(before).bind(limit(BATCH));
            query.fetch_all(&self.readers).await?.iter().map(read_waiting).collect::<Result<Vec<_>, _>>()
        });
        let waiting = waiting.await?;
        if !waiting.is_empty() {
            retried("purge scores of no trace", || async {
                let mut transaction = self.begin().await?;
                // What was sent again meanwhile, or has its trace now, stays.
                let delete = "DELETE FROM external_score WHERE (trace_id, key, coalesce(received_at, scored_at)) IN";
                let then = format!("AND {OF_NO_TRACE} RETURNING annotator_kind, name");
                let deleted = for_rows(&mut transaction, delete, &waiting, write_waiting, &then).await?;
                forget_names(&mut transaction, self.dialect, &deleted).await?;
                transaction.commit().await
            })
            .await?;
        }
        Ok(waiting.len() == BATCH)
    }

    /// What others scored of the traces of records.
    async fn external_of(&self, records: &[TraceRecord]) -> Result<ScoredTraces, StoreError> {
        let trace_ids: Vec<TraceId> = records.iter().map(|record| record.trace_id).collect();
        let select = "SELECT trace_id, annotator_kind, name, CASE WHEN value IS NULL THEN label END AS verdict, \
                      avg(value) AS value, count(*) AS scores FROM external_score \
                      WHERE (value IS NOT NULL OR label IS NOT NULL) AND trace_id IN";
        retried("read scores of others", || async {
            let connection = &mut *self.readers.acquire().await?;
            let mut scored = ScoredTraces::new();
            for row in for_keys(connection, select, &trace_ids, " GROUP BY 1, 2, 3, 4").await? {
                let one = scored.entry(row.try_get("trace_id")?).or_default().entry(series(&row)?).or_default();
                match row.try_get::<Option<String>, _>("verdict")? {
                    Some(label) => *one.labels.entry(label).or_default() += count::<u32>(&row, "scores")?,
                    None => one.value = row.try_get("value")?,
                }
            }
            Ok(scored)
        })
        .await
    }
}

/// A score by its trace and key, and when it came.
type Waiting = (TraceId, Vec<u8>, Timestamp);

fn read_waiting(row: &AnyRow) -> Result<Waiting, sqlx::Error> {
    Ok((row.try_get("trace_id")?, row.try_get("key")?, row.try_get("received_at")?))
}

fn write_waiting(row: &mut Values<'_>, (trace_id, key, received_at): &Waiting) {
    row.bind(*trace_id).bind(key.as_slice()).bind(*received_at);
}

/// Forgets those of the names of scores, deleted in the same transaction, that no score has any more.
pub(super) async fn forget_names(
    connection: &mut AnyConnection,
    dialect: Dialect,
    deleted: &[AnyRow],
) -> Result<(), sqlx::Error> {
    let names = deleted.iter().map(read_name).collect::<Result<BTreeSet<ExternalName>, _>>()?;
    if names.is_empty() {
        return Ok(());
    }
    if dialect == Dialect::Postgres {
        // Whoever adds a score holds the other lock until the score is there to be seen.
        let lock = "LOCK TABLE external_name IN SHARE ROW EXCLUSIVE MODE";
        sqlx::query(lock).execute(&mut *connection).await?;
    }
    let names: Vec<ExternalName> = names.into_iter().collect();
    let delete = "DELETE FROM external_name WHERE (annotator_kind, name) IN";
    let unused = "AND NOT EXISTS (SELECT 1 FROM external_score WHERE external_score.name = external_name.name \
                  AND external_score.annotator_kind = external_name.annotator_kind)";
    for_rows(connection, delete, &names, write_name, unused).await.map(drop)
}

/// Who scored, and what.
type ExternalName = (String, String);

fn write_name(row: &mut Values<'_>, (annotator_kind, name): &ExternalName) {
    row.bind(annotator_kind.as_str()).bind(name.as_str());
}

fn read_name(row: &AnyRow) -> Result<ExternalName, sqlx::Error> {
    Ok((row.try_get("annotator_kind")?, row.try_get("name")?))
}

/// Scores by trace and key, with when they were made.
type Rows<'a> = BTreeMap<(TraceId, [u8; 32]), (&'a ExternalScore, Timestamp)>;

/// One row for each identity: a statement cannot write the same row twice. In order, so that transactions queue up.
fn newest(scores: &[NewExternalScore], now: Timestamp) -> Rows<'_> {
    let mut rows = Rows::new();
    for new in scores {
        let scored_at = new.score.scored_at.map_or(now, |at| at.min(now));
        let row = rows.entry((new.score.trace_id, identity(new, now))).or_insert((&new.score, scored_at));
        if row.1 <= scored_at {
            *row = (&new.score, scored_at);
        }
    }
    rows
}

async fn insert_scores(connection: &mut AnyConnection, rows: &Rows<'_>, now: Timestamp) -> Result<usize, sqlx::Error> {
    let rows: Vec<_> = rows.iter().collect();
    let written = insert(
        connection,
        "external_score (trace_id, key, span_id, name, annotator_kind, source, value, label, explanation, error, \
         scored_at, received_at)",
        &rows,
        |row, ((trace_id, identity), (score, scored_at))| {
            let span_id = score.span_id.as_ref().map_or(&[][..], |id| id.as_bytes());
            row.bind(*trace_id).bind(identity.as_slice()).bind(span_id).bind(key(&score.name));
            row.bind(score.annotator_kind.as_str()).bind(key(&score.source)).bind_number(score.value);
            for said in [&score.label, &score.explanation, &score.error] {
                row.bind(said.as_deref().map(text));
            }
            row.bind(*scored_at).bind(now);
        },
        "ON CONFLICT (trace_id, key) DO UPDATE SET span_id = excluded.span_id, name = excluded.name, \
         annotator_kind = excluded.annotator_kind, value = excluded.value, label = excluded.label, \
         explanation = excluded.explanation, error = excluded.error, scored_at = excluded.scored_at, \
         received_at = excluded.received_at \
         WHERE external_score.scored_at <= excluded.scored_at RETURNING trace_id",
    );
    Ok(written.await?.len())
}

/// The hash of what makes two scores of a trace the same.
fn identity(new: &NewExternalScore, now: Timestamp) -> [u8; 32] {
    let score = &new.score;
    let ExternalScore { source, name, annotator_kind, .. } = score;
    let span_id = score.span_id.map(|id| id.to_string()).unwrap_or_default();
    let (now, content) = (now.0.to_string(), format!("{score:?}"));
    let parts = match &new.identity {
        ScoreIdentity::Target => ["target", source, name, annotator_kind.as_str(), &span_id],
        ScoreIdentity::Given(id) => ["given", source, id, "", ""],
        ScoreIdentity::Separate => ["separate", &now, &content, "", ""],
    };
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

fn read_score(row: &AnyRow) -> Result<ExternalScore, sqlx::Error> {
    let span_id: &[u8] = row.try_get("span_id")?;
    Ok(ExternalScore {
        trace_id: row.try_get("trace_id")?,
        span_id: SpanId::from_bytes(span_id).ok(),
        name: row.try_get("name")?,
        annotator_kind: parse_word(row.try_get("annotator_kind")?)?,
        source: row.try_get("source")?,
        value: row.try_get("value")?,
        label: row.try_get("label")?,
        explanation: row.try_get("explanation")?,
        error: row.try_get("error")?,
        scored_at: Some(row.try_get("scored_at")?),
    })
}

/// The series that a score belongs to: who scored, and what. No evaluator has a dot in its name.
fn series(row: &AnyRow) -> Result<String, sqlx::Error> {
    let kind: AnnotatorKind = parse_word(row.try_get("annotator_kind")?)?;
    Ok(format!("{}.{}", kind.as_str(), row.try_get::<&str, _>("name")?))
}

/// What others scored, by trace and series.
type ScoredTraces = HashMap<TraceId, BTreeMap<String, Scored>>;

/// What one trace has in one series.
#[derive(Debug, Default)]
pub(super) struct Scored {
    /// Mean of the values.
    value: Option<f64>,
    /// How often each label was given without a value.
    labels: BTreeMap<String, u32>,
}

/// The series of external scores, in the course of one reading of records.
#[derive(Debug, Default)]
pub(super) struct ExternalSeries {
    /// Those of which some values are no shares.
    unbounded: BTreeSet<String>,
    /// Those that have values at all.
    valued: BTreeSet<String>,
    seen: BTreeSet<String>,
}

impl ExternalSeries {
    /// Admits the series of which there are traces among the records, as many as there may be; the names of the new ones.
    fn admit(&mut self, scored: &ScoredTraces, records: &[TraceRecord]) -> Vec<ExternalName> {
        let mut names = Vec::new();
        for series in records.iter().filter_map(|record| scored.get(&record.trace_id)).flat_map(BTreeMap::keys) {
            if self.seen.len() >= MOST_SERIES {
                break;
            }
            if self.seen.insert(series.clone()) {
                names.extend(series.split_once('.').map(|(kind, name)| (kind.to_owned(), name.to_owned())));
            }
        }
        names
    }

    /// Takes in what is known of a name.
    fn learn(&mut self, row: &AnyRow) -> Result<(), sqlx::Error> {
        for (column, set) in [("has_values", &mut self.valued), ("is_unbounded", &mut self.unbounded)] {
            if flag(row, column)? {
                set.insert(series(row)?);
            }
        }
        Ok(())
    }

    /// Adds what others scored to the records it belongs to. Which traces others score is up to them: with what
    /// probability they chose is not known, and taken as 1.
    fn add(&self, mut scored: ScoredTraces, records: &mut [TraceRecord]) {
        for record in records {
            let of_trace = scored.remove(&record.trace_id).unwrap_or_default().into_iter();
            record.measurements.extend(of_trace.flat_map(|(series, scored)| self.measurements(series, scored)));
        }
    }

    /// A kind is part of what a series is, so each has its own: values are ordered scores, of which one that is no share
    /// is counted and left out; of a name that ever had such a one they are magnitudes too; labels are categories, beside
    /// the values where there are any.
    fn measurements(&self, series: String, scored: Scored) -> Vec<Measurement> {
        if !self.seen.contains(&series) {
            return Vec::new();
        }
        let measurement = |end: &str, kind, value| Measurement {
            series: format!("{series}{end}"),
            kind,
            value,
            probability: 1.0,
            revision: None,
        };
        let Some(value) = scored.value else {
            let end = if self.valued.contains(&series) { LABELS } else { "" };
            return vec![measurement(end, SeriesKind::Categorical, Value::Counts(scored.labels))];
        };
        let score = measurement("", SeriesKind::Ordinal, Value::Number(value));
        let is_magnitude = self.unbounded.contains(&series);
        let magnitude = is_magnitude.then(|| measurement(NUMBERS, SeriesKind::Numeric, Value::Number(value)));
        std::iter::once(score).chain(magnitude).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: u8) -> TraceRecord {
        TraceRecord {
            trace_id: TraceId::from_bytes(&[number + 1; 16]).unwrap(),
            conversation: String::new(),
            service: String::new(),
            segments: BTreeMap::new(),
            ended_at: Timestamp(0),
            upstream_probability: None,
            notes: Vec::new(),
            measurements: Vec::new(),
        }
    }

    #[test]
    fn names_without_end_make_no_series_without_end() {
        let mut external = ExternalSeries::default();
        let mut page = |first: usize| {
            let half = || Scored { value: Some(0.5), ..Scored::default() };
            let mut records = [0, 1].map(record);
            let of = |trace: usize| (trace..1_000).map(|name| (format!("llm.{:04}", first + name), half())).collect();
            let scored: ScoredTraces = [0, 1].map(|trace| (records[trace].trace_id, of(trace))).into();
            let names = external.admit(&scored, &records).len();
            external.add(scored, &mut records);
            (names, records.map(|record| record.measurements.len()))
        };
        assert_eq!(page(0), (MOST_SERIES, [MOST_SERIES, MOST_SERIES - 1]));
        assert_eq!(
            page(150),
            (0, [MOST_SERIES - 150, MOST_SERIES - 151]),
            "known ones go on, and are not looked up again"
        );
    }

    #[test]
    fn a_value_that_is_no_share_makes_a_series_of_its_own_and_leaves_the_first_as_it_was() {
        let unbounded = BTreeSet::from(["human.stars".to_owned()]);
        let valued = BTreeSet::from(["human.stars".to_owned(), "human.ok".to_owned()]);
        let seen = ["human.stars", "human.ok", "human.topic"].map(str::to_owned).into();
        let external = ExternalSeries { unbounded, valued, seen };
        let of = |series: &str, scored| {
            let made = external.measurements(series.to_owned(), scored);
            made.into_iter().map(|one| (one.series, one.kind)).collect::<Vec<_>>()
        };
        let value = |value| Scored { value: Some(value), ..Scored::default() };
        let both = [("human.stars", SeriesKind::Ordinal), ("human.stars.number", SeriesKind::Numeric)];
        let both: Vec<_> = both.map(|(series, kind)| (series.to_owned(), kind)).into();
        assert_eq!((of("human.stars", value(4.0)), of("human.stars", value(1.0))), (both.clone(), both));
        assert_eq!(of("human.ok", value(1.0)), [("human.ok".to_owned(), SeriesKind::Ordinal)]);
        let label = || Scored { labels: [("good".to_owned(), 1)].into(), ..Scored::default() };
        assert_eq!(of("human.ok", label()), [("human.ok.label".to_owned(), SeriesKind::Categorical)]);
        assert_eq!(of("human.topic", label()), [("human.topic".to_owned(), SeriesKind::Categorical)]);
    }
}
