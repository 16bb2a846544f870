//! The schema, compiled in: see `migrations/README.md`.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr};

use super::dialect::Dialect;
use super::error::StoreError;

/// A schema change in both dialects.
struct Change {
    description: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Every change in order; its version is its place, from 1.
const CHANGES: &[Change] = &[
    Change {
        description: "store",
        sqlite: include_str!("../../../migrations/sqlite/0001_store.sql"),
        postgres: include_str!("../../../migrations/postgres/0001_store.sql"),
    },
    Change {
        description: "sampling",
        sqlite: include_str!("../../../migrations/sqlite/0002_sampling.sql"),
        postgres: include_str!("../../../migrations/postgres/0002_sampling.sql"),
    },
    Change {
        description: "judging",
        sqlite: include_str!("../../../migrations/sqlite/0003_judging.sql"),
        postgres: include_str!("../../../migrations/postgres/0003_judging.sql"),
    },
    Change {
        description: "external scores",
        sqlite: include_str!("../../../migrations/sqlite/0004_external_scores.sql"),
        postgres: include_str!("../../../migrations/postgres/0004_external_scores.sql"),
    },
    Change {
        description: "judge controls",
        sqlite: include_str!("../../../migrations/sqlite/0005_judge_controls.sql"),
        postgres: include_str!("../../../migrations/postgres/0005_judge_controls.sql"),
    },
    Change {
        description: "labels",
        sqlite: include_str!("../../../migrations/sqlite/0006_labels.sql"),
        postgres: include_str!("../../../migrations/postgres/0006_labels.sql"),
    },
    Change {
        description: "judge revisions",
        sqlite: include_str!("../../../migrations/sqlite/0007_judge_revisions.sql"),
        postgres: include_str!("../../../migrations/postgres/0007_judge_revisions.sql"),
    },
    Change {
        description: "alerts",
        sqlite: include_str!("../../../migrations/sqlite/0008_alerts.sql"),
        postgres: include_str!("../../../migrations/postgres/0008_alerts.sql"),
    },
    Change {
        description: "releases",
        sqlite: include_str!("../../../migrations/sqlite/0009_releases.sql"),
        postgres: include_str!("../../../migrations/postgres/0009_releases.sql"),
    },
    Change {
        description: "judges",
        sqlite: include_str!("../../../migrations/sqlite/0010_judges.sql"),
        postgres: include_str!("../../../migrations/postgres/0010_judges.sql"),
    },
    Change {
        description: "counted versions",
        sqlite: include_str!("../../../migrations/sqlite/0011_counted_versions.sql"),
        postgres: include_str!("../../../migrations/postgres/0011_counted_versions.sql"),
    },
    Change {
        description: "fleet",
        sqlite: include_str!("../../../migrations/sqlite/0012_fleet.sql"),
        postgres: include_str!("../../../migrations/postgres/0012_fleet.sql"),
    },
    Change {
        description: "access",
        sqlite: include_str!("../../../migrations/sqlite/0013_access.sql"),
        postgres: include_str!("../../../migrations/postgres/0013_access.sql"),
    },
    Change {
        description: "erasure",
        sqlite: include_str!("../../../migrations/sqlite/0014_erasure.sql"),
        postgres: include_str!("../../../migrations/postgres/0014_erasure.sql"),
    },
    Change {
        description: "archive",
        sqlite: include_str!("../../../migrations/sqlite/0015_archive.sql"),
        postgres: include_str!("../../../migrations/postgres/0015_archive.sql"),
    },
    Change {
        description: "review items",
        sqlite: include_str!("../../../migrations/sqlite/0016_review_items.sql"),
        postgres: include_str!("../../../migrations/postgres/0016_review_items.sql"),
    },
    Change {
        description: "usage",
        sqlite: include_str!("../../../migrations/sqlite/0017_usage.sql"),
        postgres: include_str!("../../../migrations/postgres/0017_usage.sql"),
    },
    Change {
        description: "calls by day",
        sqlite: include_str!("../../../migrations/sqlite/0018_calls_by_day.sql"),
        postgres: include_str!("../../../migrations/postgres/0018_calls_by_day.sql"),
    },
    Change {
        description: "days",
        sqlite: include_str!("../../../migrations/sqlite/0019_days.sql"),
        postgres: include_str!("../../../migrations/postgres/0019_days.sql"),
    },
    Change {
        description: "later scores",
        sqlite: include_str!("../../../migrations/sqlite/0020_later_scores.sql"),
        postgres: include_str!("../../../migrations/postgres/0020_later_scores.sql"),
    },
    Change {
        description: "review flags",
        sqlite: include_str!("../../../migrations/sqlite/0021_review_flags.sql"),
        postgres: include_str!("../../../migrations/postgres/0021_review_flags.sql"),
    },
    Change {
        description: "judged hours",
        sqlite: include_str!("../../../migrations/sqlite/0022_judged_hours.sql"),
        postgres: include_str!("../../../migrations/postgres/0022_judged_hours.sql"),
    },
    Change {
        description: "external names",
        sqlite: include_str!("../../../migrations/sqlite/0023_external_names.sql"),
        postgres: include_str!("../../../migrations/postgres/0023_external_names.sql"),
    },
    Change {
        description: "used hours",
        sqlite: include_str!("../../../migrations/sqlite/0024_used_hours.sql"),
        postgres: include_str!("../../../migrations/postgres/0024_used_hours.sql"),
    },
    Change {
        description: "marks",
        sqlite: include_str!("../../../migrations/sqlite/0025_marks.sql"),
        postgres: include_str!("../../../migrations/postgres/0025_marks.sql"),
    },
    Change {
        description: "detector rules",
        sqlite: include_str!("../../../migrations/sqlite/0026_detector_rules.sql"),
        postgres: include_str!("../../../migrations/postgres/0026_detector_rules.sql"),
    },
    Change {
        description: "external expiry",
        sqlite: include_str!("../../../migrations/sqlite/0027_external_expiry.sql"),
        postgres: include_str!("../../../migrations/postgres/0027_external_expiry.sql"),
    },
    Change {
        description: "used tools",
        sqlite: include_str!("../../../migrations/sqlite/0028_used_tools.sql"),
        postgres: include_str!("../../../migrations/postgres/0028_used_tools.sql"),
    },
    Change {
        description: "audit replace",
        sqlite: include_str!("../../../migrations/sqlite/0029_audit_replace.sql"),
        postgres: include_str!("../../../migrations/postgres/0029_audit_replace.sql"),
    },
    Change {
        description: "evaluation lists",
        sqlite: include_str!("../../../migrations/sqlite/0030_evaluation_lists.sql"),
        postgres: include_str!("../../../migrations/postgres/0030_evaluation_lists.sql"),
    },
    Change {
        description: "pending again",
        sqlite: include_str!("../../../migrations/sqlite/0031_pending_again.sql"),
        postgres: include_str!("../../../migrations/postgres/0031_pending_again.sql"),
    },
    Change {
        description: "outbox age",
        sqlite: include_str!("../../../migrations/sqlite/0032_outbox_age.sql"),
        postgres: include_str!("../../../migrations/postgres/0032_outbox_age.sql"),
    },
];

const NEWEST: i64 = CHANGES.len() as i64;

/// PostgreSQL's undefined_table, and SQLite's SQLITE_ERROR for a statement that cannot be prepared.
const NO_SUCH_TABLE: [&str; 2] = ["42P01", "1"];

/// Brings the schema up to date; several processes may do so at once.
pub(super) async fn run(pool: &AnyPool, dialect: Dialect) -> Result<(), StoreError> {
    refuse_newer(version(pool).await?)?;
    Ok(migrator(dialect).run(pool).await?)
}

/// Refuses a schema that this program cannot read.
pub(super) async fn check(pool: &AnyPool) -> Result<(), StoreError> {
    let found = version(pool).await?;
    refuse_newer(found)?;
    if found < NEWEST { Err(StoreError::SchemaOlder { found, known: NEWEST }) } else { Ok(()) }
}

fn refuse_newer(found: i64) -> Result<(), StoreError> {
    if found > NEWEST { Err(StoreError::SchemaNewer { found, known: NEWEST }) } else { Ok(()) }
}

fn migrator(dialect: Dialect) -> Migrator {
    let migration = |(version, change): (i64, &Change)| {
        let sql = match dialect {
            Dialect::Sqlite => change.sqlite,
            Dialect::Postgres => change.postgres,
        };
        Migration::new(version, change.description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations((1..).zip(CHANGES).map(migration).collect())
}

/// The version that the store has, 0 when it is empty.
pub(super) async fn version(pool: &AnyPool) -> Result<i64, StoreError> {
    let version = "SELECT coalesce(max(version), 0) FROM _sqlx_migrations";
    match sqlx::query_scalar(version).fetch_one(pool).await {
        Err(sqlx::Error::Database(error)) if error.code().is_some_and(|code| NO_SUCH_TABLE.contains(&&*code)) => Ok(0),
        result => result.map_err(|source| StoreError::Database { operation: "tell its schema version", source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The newest version that is out.
    const RELEASED: usize = 21;

    #[test]
    fn what_a_released_process_asks_for_is_not_taken_away_under_it() {
        for change in &CHANGES[RELEASED..] {
            for sql in [change.sqlite, change.postgres] {
                assert!(!sql.lines().any(|line| line.contains("DROP ")), "{}", change.description);
            }
        }
    }

    #[test]
    fn both_dialects_name_the_same_tables_columns_and_indices_in_the_same_order() {
        let names = |sql: &str| -> Vec<String> {
            let is_of_one = |line: &str| line.starts_with("-- PostgreSQL alone") || line.starts_with("-- SQLite alone");
            let lines = sql.lines().take_while(|line| !is_of_one(line));
            let definitions = lines.filter(|line| !line.starts_with("--"));
            definitions.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect()
        };
        for change in CHANGES {
            assert_eq!(names(change.sqlite), names(change.postgres), "{}", change.description);
        }
    }
}
