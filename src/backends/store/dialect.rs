//! The few words in which the two databases differ.

/// How long PostgreSQL lets everyone wait at most for a table to be free, before it is left for another time; SQLite locks
/// none.
pub(super) const PATIENCE: &str = "SET LOCAL lock_timeout = '500ms'";
/// What PostgreSQL says then.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The database behind a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// One writer at a time, so nothing needs locking.
    Sqlite,
    /// Many writers: claims skip what others hold.
    Postgres,
}

impl Dialect {
    /// Ends a `SELECT` so that others skip its rows until the transaction ends.
    pub(super) const fn claim(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE SKIP LOCKED",
        }
    }

    /// Ends a `SELECT` so that others wait for its rows until the transaction ends.
    pub(super) const fn lock(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR UPDATE",
        }
    }

    /// Ends a `SELECT` so that its rows stay as they are until the transaction ends.
    pub(super) const fn hold(self) -> &'static str {
        match self {
            Self::Sqlite => "",
            Self::Postgres => " FOR SHARE",
        }
    }

    /// The smallest of several values.
    pub(super) const fn least(self) -> &'static str {
        match self {
            Self::Sqlite => "min",
            Self::Postgres => "least",
        }
    }

    /// The largest of several values.
    pub(super) const fn greatest(self) -> &'static str {
        match self {
            Self::Sqlite => "max",
            Self::Postgres => "greatest",
        }
    }

    /// Begins a transaction in which every statement sees the same state.
    pub(super) const fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }
}
