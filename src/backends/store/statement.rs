//! SQL text and its arguments, written together so that they cannot disagree.

use sqlx::any::{AnyArguments, AnyRow};
use sqlx::{Any, AnyConnection, Arguments, AssertSqlSafe, Encode, Executor, Type};

/// Rows in one statement: few different sizes, so that each connection keeps every statement prepared.
const SIZES: [usize; 5] = [256, 64, 16, 4, 1];
/// Keys in one list at most: what is filled up to the next size is work for nothing.
const LONGEST_LIST: usize = 64;

/// What `sqlx` calls the database whose placeholders are numbered.
const NUMBERED: &str = "PostgreSQL";

/// A statement in the making.
pub(super) struct Statement {
    sql: String,
    arguments: AnyArguments,
    is_numbered: bool,
    invalid: Option<sqlx::Error>,
}

impl Statement {
    /// Starts with our own text.
    pub(super) fn new(sql: &str) -> Self {
        Self { sql: sql.to_owned(), arguments: AnyArguments::default(), is_numbered: true, invalid: None }
    }

    /// Starts one with many values. SQLite takes numbers too, but looks each up among all that come before it, which is
    /// the square of the work.
    fn of_many(connection: &AnyConnection, sql: &str) -> Self {
        Self { is_numbered: connection.backend_name() == NUMBERED, ..Self::new(sql) }
    }

    /// Adds our own text.
    pub(super) fn sql(&mut self, sql: &str) -> &mut Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds a value, which may come from anywhere.
    pub(super) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.invalid.get_or_insert(sqlx::Error::Encode(error));
        }
        if self.is_numbered {
            self.sql.push('$');
            self.sql.push_str(&self.arguments.len().to_string());
        } else {
            self.sql.push('?');
        }
        self
    }

    /// Adds `(value, value, …)`, filled up to a fixed size by repeating the last one.
    pub(super) fn list<'v, T: Copy + Encode<'v, Any> + Type<Any>>(&mut self, values: &[T]) -> &mut Self {
        for (place, value) in filled_up(values).enumerate() {
            self.sql(if place == 0 { "(" } else { ", " }).bind(*value);
        }
        self.sql(")")
    }

    /// Runs it and reads every row.
    pub(super) async fn fetch(self, connection: impl Executor<'_, Database = Any>) -> Result<Vec<AnyRow>, sqlx::Error> {
        self.invalid.map_or(Ok(()), Err)?;
        sqlx::query_with(AssertSqlSafe(self.sql), self.arguments).fetch_all(connection).await
    }
}

/// The values of one row.
pub(super) struct Values<'s> {
    statement: &'s mut Statement,
    separator: &'static str,
}

impl Values<'_> {
    /// Adds the next column's value.
    pub(super) fn bind<'v, T: Encode<'v, Any> + Type<Any>>(&mut self, value: T) -> &mut Self {
        self.statement.sql(self.separator).bind(value);
        self.separator = ", ";
        self
    }

    /// Adds a score, which lies in [0, 1], or its absence. The two must be bound with one type: the driver would bind an
    /// absent number with another one, which PostgreSQL refuses in a statement that it has prepared.
    pub(super) fn bind_score(&mut self, score: Option<f64>) -> &mut Self {
        self.statement.sql(self.separator).sql("NULLIF(").bind(score.unwrap_or(-1.0)).sql(", -1.0)");
        self.separator = ", ";
        self
    }

    /// Adds a number of any size, or its absence, for the same reason in the form of [`Values::bind_score`].
    pub(super) fn bind_number(&mut self, number: Option<f64>) -> &mut Self {
        self.statement.sql(self.separator).sql("NULLIF(").bind(number.unwrap_or(f64::MIN)).sql(", ").bind(f64::MIN);
        self.statement.sql(")");
        self.separator = ", ";
        self
    }
}

/// Runs `INSERT INTO {into} VALUES (…), (…) {then}` for every row, and reads what it returns.
pub(super) async fn insert<R>(
    connection: &mut AnyConnection,
    into: &str,
    rows: &[R],
    write: impl Fn(&mut Values<'_>, &R),
    then: &str,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut returned = Vec::new();
    for part in in_fixed_sizes(rows) {
        let mut statement = Statement::of_many(connection, "INSERT INTO ");
        statement.sql(into).sql(" VALUES ");
        for (place, row) in part.iter().enumerate() {
            statement.sql(if place == 0 { "(" } else { ", (" });
            write(&mut Values { statement: &mut statement, separator: "" }, row);
            statement.sql(")");
        }
        statement.sql(" ").sql(then);
        returned.extend(statement.fetch(&mut *connection).await?);
    }
    Ok(returned)
}

/// Runs `{before} (VALUES (…), (…)) {after}` for all rows (some more than once), and reads what it returns; `before` ends in `(column, …) IN`.
pub(super) async fn for_rows<R>(
    connection: &mut AnyConnection,
    before: &str,
    rows: &[R],
    write: impl Fn(&mut Values<'_>, &R),
    after: &str,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut returned = Vec::new();
    for part in rows.chunks(LONGEST_LIST) {
        let mut statement = Statement::of_many(connection, before);
        statement.sql(" (VALUES ");
        for (place, row) in filled_up(part).enumerate() {
            statement.sql(if place == 0 { "(" } else { ", (" });
            write(&mut Values { statement: &mut statement, separator: "" }, row);
            statement.sql(")");
        }
        statement.sql(") ").sql(after);
        returned.extend(statement.fetch(&mut *connection).await?);
    }
    Ok(returned)
}

/// Runs `{before} (key, key, …) {after}` for all keys, and reads what it returns; `before` ends in `IN`.
pub(super) async fn for_keys<'v, T: Copy + Encode<'v, Any> + Type<Any>>(
    connection: &mut AnyConnection,
    before: &str,
    keys: &[T],
    after: &str,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut returned = Vec::new();
    for part in keys.chunks(LONGEST_LIST) {
        let mut statement = Statement::of_many(connection, before);
        statement.sql(" ").list(part).sql(after);
        returned.extend(statement.fetch(&mut *connection).await?);
    }
    Ok(returned)
}

/// As many as the next of [`SIZES`], by repeating the last one.
fn filled_up<T>(values: &[T]) -> impl Iterator<Item = &T> {
    let size = SIZES.into_iter().rev().find(|size| *size >= values.len()).unwrap_or(values.len());
    values.iter().chain(values.last().into_iter().cycle()).take(size)
}

/// Cuts a slice into parts whose lengths are among [`SIZES`], largest first.
fn in_fixed_sizes<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= rows.len())?;
        let (part, rest) = rows.split_at(size);
        rows = rest;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_different_sizes_and_none_is_lost() {
        let rows: Vec<u32> = (0..402).collect();
        let parts: Vec<&[u32]> = in_fixed_sizes(&rows).collect();
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [256, 64, 64, 16, 1, 1]);
        assert_eq!(parts.concat(), rows);
        assert_eq!(in_fixed_sizes::<u32>(&[]).count(), 0);
    }

    #[test]
    fn lists_are_filled_up_with_their_last_value() {
        let mut statement = Statement::new("x IN ");
        statement.list(&[5_i64, 6, 7]);
        assert_eq!(statement.sql, "x IN ($1, $2, $3, $4)");
        assert_eq!(statement.arguments.len(), 4);
    }
}
