//! Filled stores of every earlier schema are brought up to date, and lose nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftline::backends::store::Store;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _};
use tokio::task::JoinHandle;

use crate::support::services::postgres;

/// Rows in each table.
const ROWS: i64 = 3;

/// How a dialect tells of its tables, and writes values and rows as text.
struct Dialect {
    folder: &'static str,
    tables: &'static str,
    /// Name and type of a table's columns, but for those that the database fills itself.
    columns: &'static str,
    bytes: fn(i64) -> String,
    as_text: fn(&str) -> String,
}

const SQLITE: Dialect = Dialect {
    folder: "sqlite",
    tables: "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' \
             AND name <> '_sqlx_migrations' ORDER BY name",
    columns: "SELECT name, lower(type) AS kind FROM pragma_table_info($1) ORDER BY cid",
    bytes: |row| format!("x'{row:032x}'"),
    as_text: |column| format!("quote({column})"),
};

const POSTGRES: Dialect = Dialect {
    folder: "postgres",
    // A partition is filled through its table.
    tables: "SELECT relname::text AS name FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition \
             AND relnamespace = 'public'::regnamespace AND relname <> '_sqlx_migrations' ORDER BY 1",
    columns: "SELECT column_name::text AS name, data_type::text AS kind FROM information_schema.columns \
              WHERE table_schema = 'public' AND table_name = $1 AND is_identity = 'NO' ORDER BY ordinal_position",
    bytes: |row| format!("decode('{row:032x}', 'hex')"),
    as_text: |column| format!("coalesce({column}::text, 'NULL')"),
};

impl Dialect {
    /// Every change of the schema in order, as the program holds them.
    fn changes(&self) -> Vec<Migration> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let list = fs::read_to_string(repository.join("src/backends/store/migrations.rs")).unwrap();
        let folder = format!("migrations/{}/", self.folder);
        let names = list.split(&folder).skip(1).map(|rest| rest.split('"').next().unwrap());
        let change = |(version, name): (i64, &str)| {
            let sql = AssertSqlSafe(fs::read_to_string(repository.join(&folder).join(name)).unwrap()).into_sql_str();
            Migration::new(version, name.to_owned().into(), MigrationType::Simple, sql, false)
        };
        (1..).zip(names).map(change).collect()
    }

    async fn tables(&self, connection: &mut AnyConnection) -> Vec<String> {
        let rows = sqlx::query(self.tables).fetch_all(connection).await.unwrap();
        rows.iter().map(|row| row.get("name")).collect()
    }

    async fn columns(&self, connection: &mut AnyConnection, table: &str) -> Vec<(String, String)> {
        let rows = sqlx::query(self.columns).bind(table).fetch_all(connection).await.unwrap();
        rows.iter().map(|row| (row.get("name"), row.get("kind"))).collect()
    }

    /// A value of a column that no other row has there.
    fn value(&self, kind: &str, row: i64) -> String {
        match kind {
            "bigint" | "integer" | "double" | "double precision" => row.to_string(),
            "blob" | "bytea" => (self.bytes)(row),
            // JSON as hostile as that of traces: PostgreSQL stores it, and fails to take it apart.
            "text" => format!(r#"'{{"row":{row},"rules":{{}},"name":"\u0000"}}'"#),
            other => panic!("a column of type {other}"),
        }
    }

    /// Puts some rows into each table.
    async fn fill(&self, connection: &mut AnyConnection) -> Vec<Filled> {
        let mut filled = Vec::new();
        for table in self.tables(connection).await {
            let columns = self.columns(connection, &table).await;
            let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
            for row in 1..=ROWS {
                let values: Vec<String> = columns.iter().map(|(_, kind)| self.value(kind, row)).collect();
                let sql = format!("INSERT INTO {table} ({}) VALUES ({})", names.join(", "), values.join(", "));
                connection.execute(AssertSqlSafe(sql)).await.unwrap();
            }
            // That an hour is to be summed up again is no loss.
            let is_mark = |name: &String| ["judged_hour", "used_hour"].contains(&table.as_str()) && name == "state";
            let names: Vec<String> = names.into_iter().filter(|name| !is_mark(name)).collect();
            let rows = self.rows(connection, &table, &names).await;
            filled.push(Filled { table, names, rows });
        }
        filled
    }

    /// What stands in these columns of a table, as text.
    async fn rows(&self, connection: &mut AnyConnection, table: &str, names: &[String]) -> Vec<String> {
        let texts: Vec<String> = names.iter().map(|name| (self.as_text)(name)).collect();
        let sql = format!("SELECT {} AS row FROM {table} ORDER BY 1", texts.join(" || ' ' || "));
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(connection).await.unwrap()
    }

    /// Fills the schema of a version, migrates it, and looks whether all is there.
    async fn migrate_filled(&self, url: &str, version: usize) {
        let mut connection = AnyConnection::connect(url).await.unwrap();
        let older = self.changes().into_iter().take(version).collect();
        Migrator::with_migrations(older).run(&mut connection).await.unwrap();
        let filled = self.fill(&mut connection).await;
        assert!(filled.len() >= 10, "{} tables", filled.len());
        let store = Store::open(url, false).await.unwrap();
        assert_eq!(store.schema_version().await.unwrap(), i64::try_from(self.changes().len()).unwrap());
        for Filled { table, names, rows } in filled {
            assert_eq!(rows.len(), usize::try_from(ROWS).unwrap(), "{table}");
            assert_eq!(self.rows(&mut connection, &table, &names).await, rows, "{table} of version {version}");
        }
        store.close().await;
    }
}

/// Whether a transaction waits for a table.
async fn is_waited_for(connection: &mut AnyConnection, table: &str) -> bool {
    let sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST($1 AS regclass) \
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    let waiting: i64 = sqlx::query_scalar(sql).bind(table).fetch_one(connection).await.unwrap();
    waiting > 0
}

/// Waits until what was begun waits for a table, or has ended.
pub(crate) async fn blocked<T>(url: &str, table: &str, begun: &JoinHandle<T>) {
    let mut connection = AnyConnection::connect(url).await.unwrap();
    while !begun.is_finished() && !is_waited_for(&mut connection, table).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A table with what stands in it.
struct Filled {
    table: String,
    names: Vec<String>,
    rows: Vec<String>,
}

#[tokio::test]
async fn a_filled_sqlite_store_of_any_earlier_schema_becomes_the_newest_and_keeps_every_row() {
    sqlx::any::install_default_drivers();
    for version in 1..SQLITE.changes().len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("older.db");
        fs::write(&path, "").unwrap();
        SQLITE.migrate_filled(&format!("sqlite://{}", path.display()), version).await;
    }
}

#[tokio::test]
async fn a_filled_postgresql_store_of_any_earlier_schema_becomes_the_newest_and_keeps_every_row() {
    sqlx::any::install_default_drivers();
    for version in 1..POSTGRES.changes().len() {
        POSTGRES.migrate_filled(&postgres().database().await, version).await;
    }
}

#[tokio::test]
async fn names_that_others_score_while_the_schema_changes_are_known() {
    sqlx::any::install_default_drivers();
    let url = postgres().database().await;
    let mut connection = AnyConnection::connect(&url).await.unwrap();
    let older = POSTGRES.changes().into_iter().take(24).collect();
    Migrator::with_migrations(older).run(&mut connection).await.unwrap();
    let mut writing = connection.begin().await.unwrap();
    let score = "INSERT INTO external_score (trace_id, key, span_id, name, annotator_kind, source, value, scored_at) \
                 VALUES ('x', 'x', '', 'late', 'llm', 'tool', 4.0, 1)";
    writing.execute(score).await.unwrap();
    let opening = tokio::spawn({
        let url = url.clone();
        async move { Store::open(&url, false).await }
    });
    blocked(&url, "external_score", &opening).await;
    writing.commit().await.unwrap();
    opening.await.unwrap().unwrap();
    let names = "SELECT name, has_values + is_unbounded AS flags FROM external_name";
    let names = sqlx::query(names).fetch_all(&mut connection).await.unwrap();
    let names: Vec<(String, i64)> = names.iter().map(|row| (row.get("name"), row.get("flags"))).collect();
    assert_eq!(names, [("late".to_owned(), 2)]);
}
