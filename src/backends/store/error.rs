//! What can go wrong with a store, and whether trying again may help.

use std::path::PathBuf;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address names no store.
    #[error("store address {url:?} is neither sqlite://PATH nor postgres://USER@HOST/DATABASE")]
    Address {
        /// The address, without its password.
        url: String,
    },
    /// A read-only store has to exist.
    #[error("there is no store at {}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The folder or the lock file could not be made.
    #[error("cannot prepare {}", path.display())]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One file, one process.
    #[error("the store at {} is in use by another process: stop it first, or open the store read-only", path.display())]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The schema was made by a later release.
    #[error("the store has schema version {found}, this program knows up to {known}: use a newer driftline")]
    SchemaNewer {
        /// Version in the store.
        found: i64,
        /// Newest version that is compiled in.
        known: i64,
    },
    /// A read-only store cannot be migrated.
    #[error("the store has schema version {found}, this program needs {known}: run driftline migrate")]
    SchemaOlder {
        /// Version in the store; 0 when it is empty.
        found: i64,
        /// Newest version that is compiled in.
        known: i64,
    },
    /// A migration failed, or a released one was edited.
    #[error("cannot migrate the store")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// Baselines never change.
    #[error("baseline {name:?} exists already, and baselines never change: choose another name")]
    BaselineExists {
        /// The name that is taken.
        name: String,
    },
    /// The archive is where none can be.
    #[error("the archive cannot be at {directory:?} ([archive] directory)")]
    Archive {
        /// What the settings say.
        directory: String,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// What is to be erased is in an archive that this process does not know.
    #[error("some of these traces are in the archive, and no archive is configured: set archive.directory")]
    NoArchive,
    /// The archive is another store's, or full of files that this one does not know.
    #[error(
        "the archive holds what another store wrote, so that nothing is put there and nothing removed: set [archive] \
         directory to a place of this store's own"
    )]
    ForeignArchive,
    /// Of what was erased the log of changes still has a copy.
    #[error("erased, but the store's log still holds it, because something is reading what it held before")]
    LogHeld,
    /// It was waited for as long as whoever asked could wait.
    #[error("the store did not answer within {seconds} seconds")]
    Late {
        /// How long that was.
        seconds: u64,
    },
    /// The system has no randomness to give.
    #[error("the system has no randomness to make a token of")]
    Random,
    /// The database failed, after retries where they could help.
    #[error("the store could not {operation}")]
    Database {
        /// What was asked of it.
        operation: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anyone doing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } => is_transient(source),
            Self::LogHeld | Self::Late { .. } => true,
            Self::Address { .. }
            | Self::Missing { .. }
            | Self::Folder { .. }
            | Self::InUse { .. }
            | Self::SchemaNewer { .. }
            | Self::SchemaOlder { .. }
            | Self::Migrate(_)
            | Self::Archive { .. }
            | Self::NoArchive
            | Self::ForeignArchive
            | Self::Random
            | Self::BaselineExists { .. } => false,
        }
    }

    /// Whether the database refuses what it was given, and would take something else.
    #[must_use]
    pub fn refuses_data(&self) -> bool {
        match self {
            Self::Database { source: sqlx::Error::Database(error), .. } => {
                error.code().is_some_and(|code| refuses_data(&code))
            }
            Self::Database { source: sqlx::Error::Encode(_), .. } => true,
            _ => false,
        }
    }
}

/// Whether the database may answer differently next time.
pub(super) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// PostgreSQL codes have five characters (PostgreSQL manual, appendix A); SQLite's are numbers whose low byte is the
/// primary result code (sqlite.org/rescode.html), so the two cannot be mistaken for each other here.
fn is_transient_code(code: &str) -> bool {
    const SQLITE_BUSY: u32 = 5;
    const SQLITE_LOCKED: u32 = 6;
    const SQLITE_IO_ERROR: u32 = 10;
    const SQLITE_FULL: u32 = 13;
    if code.len() == 5 {
        let class = &code[..2];
        // Transaction rollback, connection exception, insufficient resources, operator intervention.
        return matches!(class, "40" | "08" | "53" | "57");
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED | SQLITE_IO_ERROR | SQLITE_FULL))
}

/// A value or a row that is refused, in the codes of [`is_transient_code`].
fn refuses_data(code: &str) -> bool {
    const SQLITE_TOO_BIG: u32 = 18;
    const SQLITE_CONSTRAINT: u32 = 19;
    const SQLITE_MISMATCH: u32 = 20;
    if code.len() == 5 {
        // Data exception, integrity constraint violation, program limit exceeded.
        return matches!(&code[..2], "22" | "23" | "54");
    }
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, SQLITE_TOO_BIG | SQLITE_CONSTRAINT | SQLITE_MISMATCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlocks_lost_connections_and_busy_files_pass_and_broken_promises_do_not() {
        for code in ["40001", "40P01", "08006", "57P01", "53300", "53100", "5", "261", "517", "6", "13", "10"] {
            assert!(is_transient_code(code), "{code}");
        }
        for code in ["23505", "42P01", "22021", "2067", "1", "787"] {
            assert!(!is_transient_code(code), "{code}");
        }
    }

    #[test]
    fn a_row_that_is_refused_is_told_from_a_database_that_cannot_take_any() {
        for code in ["22021", "23505", "54000", "2067", "18"] {
            assert!(refuses_data(code), "{code}");
        }
        for code in ["40001", "53100", "42P01", "28P01", "13", "1"] {
            assert!(!refuses_data(code), "{code}");
        }
    }
}
