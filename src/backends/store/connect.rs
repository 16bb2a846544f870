//! Opens a store: the file lock, the pools, and what every connection is told.

use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::future::ready;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::AnyPoolOptions;
use sqlx::{AnyConnection, AnyPool, Connection, Executor};
use tokio::time::timeout;

use super::dialect::Dialect;
use super::error::StoreError;
use super::retry::silent;
use super::{Store, migrations};

/// SQLite readers run beside the writer; more than a few only compete for the disk.
const SQLITE_READERS: u32 = 4;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an idle connection may take to say that it is there; what is left of [`ACQUIRE_TIMEOUT`] is for a new one.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// The same for one that is given back: it may be at a statement that nobody waits for any longer. Closed too soon, it would
/// leave that to the server and make room for one more.
const RETURN_TIMEOUT: Duration = Duration::from_secs(30);

/// A commit is on the disk before anyone hears of it. The log is moved beside the writer; only what has grown all the same
/// (64 MiB) it moves itself.
const SQLITE_WRITER: &str = "PRAGMA busy_timeout = 5000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
                             PRAGMA wal_autocheckpoint = 16000; PRAGMA temp_store = MEMORY";
const SQLITE_READER: &str = "PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA temp_store = MEMORY";
/// What a client that has gone silent had locked is free again after a minute; none of ours rests so long between two
/// statements.
const POSTGRES_WRITER: &str = "SET application_name = 'driftline'; SET idle_in_transaction_session_timeout = '60s'";
const POSTGRES_READER: &str = "SET application_name = 'driftline'; SET default_transaction_read_only = on";

/// See [`Store::open`]; a SQLite file has its own number of connections.
pub(super) async fn open(url: &str, read_only: bool, connections: u32) -> Result<Store, StoreError> {
    sqlx::any::install_default_drivers();
    if let Some(path) = url.strip_prefix("sqlite://") {
        return open_sqlite(url, Path::new(path), read_only).await;
    }
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return open_postgres(url, read_only, connections).await;
    }
    Err(StoreError::Address { url: without_password(url) })
}

async fn open_sqlite(url: &str, path: &Path, read_only: bool) -> Result<Store, StoreError> {
    let path = std::path::absolute(path).map_err(|source| StoreError::Folder { path: path.to_owned(), source })?;
    if read_only {
        if !path.exists() {
            return Err(StoreError::Missing { path });
        }
        let pool = connect(&sqlite_url(&path, "ro"), of_a_file(), SQLITE_READERS, SQLITE_READER).await?;
        migrations::check(&pool).await?;
        let beside = Some(Address(url.into()));
        return Ok(Store {
            dialect: Dialect::Sqlite,
            writers: pool.clone(),
            readers: pool,
            moving: Arc::default(),
            archive: None,
            beside,
            _lock: None,
        });
    }
    let lock = lock(&path)?;
    create_private(&path)?;
    let writers = connect(&sqlite_url(&path, "rwc"), of_a_written_file(), 1, SQLITE_WRITER).await?;
    migrations::run(&writers, Dialect::Sqlite).await?;
    let readers = connect(&sqlite_url(&path, "rw"), of_a_file(), SQLITE_READERS, SQLITE_READER).await?;
    let (moving, lock) = (Arc::default(), Some(Arc::new(lock)));
    Ok(Store { dialect: Dialect::Sqlite, writers, readers, moving, archive: None, beside: None, _lock: lock })
}

async fn open_postgres(url: &str, read_only: bool, connections: u32) -> Result<Store, StoreError> {
    let greeting = if read_only { POSTGRES_READER } else { POSTGRES_WRITER };
    let pool = connect(url, of_a_server(), connections, greeting).await?;
    if read_only {
        migrations::check(&pool).await?;
    } else {
        migrations::run(&pool, Dialect::Postgres).await?;
    }
    Ok(Store {
        dialect: Dialect::Postgres,
        writers: pool.clone(),
        readers: pool,
        moving: Arc::default(),
        archive: None,
        beside: read_only.then(|| Address(url.into())),
        _lock: None,
    })
}

/// Where a store is; its password is never shown.
#[derive(Clone)]
pub(super) struct Address(Arc<str>);

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&without_password(&self.0))
    }
}

/// One connection that may write beside a store that is open for reading only.
pub(super) async fn connect_beside(address: &Address) -> Result<AnyConnection, sqlx::Error> {
    let Some(path) = address.0.strip_prefix("sqlite://") else { return AnyConnection::connect(&address.0).await };
    let path = std::path::absolute(path)?;
    let mut connection = AnyConnection::connect(&sqlite_url(&path, "rw")).await?;
    connection.execute("PRAGMA busy_timeout = 5000; PRAGMA synchronous = FULL").await?;
    Ok(connection)
}

/// Connects once by itself, because a pool goes on trying and then tells only of the time it took; and tells every
/// connection the `greeting`.
async fn connect(
    url: &str,
    options: AnyPoolOptions,
    connections: u32,
    greeting: &'static str,
) -> Result<AnyPool, StoreError> {
    let unreachable = |source| StoreError::Database { operation: "be reached", source };
    let mut probe = AnyConnection::connect(url).await.map_err(unreachable)?;
    probe.execute(greeting).await.map_err(unreachable)?;
    probe.close().await.map_err(unreachable)?;
    options
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .after_connect(move |connection, _| Box::pin(async move { connection.execute(greeting).await.map(drop) }))
        .connect(url)
        .await
        .map_err(unreachable)
}

/// A pool of connections to a server, which may go silent: a connection is asked whether it is still there before each use
/// and after it, and closed when it does not say so in time. The pool itself would wait for ever.
fn of_a_server() -> AnyPoolOptions {
    let options = AnyPoolOptions::new().test_before_acquire(false);
    let options = options.before_acquire(|connection, _| Box::pin(answers(connection, ANSWER_TIMEOUT)));
    options.after_release(|connection, _| Box::pin(answers(connection, RETURN_TIMEOUT)))
}

async fn answers(connection: &mut AnyConnection, limit: Duration) -> Result<bool, sqlx::Error> {
    timeout(limit, connection.ping()).await.unwrap_or_else(|_| Err(silent())).map(|()| true)
}

/// A pool of connections to a file, which does not go away: it is not asked before each use whether it is still there,
/// for that costs as much as a small query.
fn of_a_file() -> AnyPoolOptions {
    AnyPoolOptions::new().test_before_acquire(false)
}

/// The same for connections that write.
fn of_a_written_file() -> AnyPoolOptions {
    of_a_file().before_acquire(|connection, _| Box::pin(ready(Ok(begins_anew(connection)))))
}

/// Whether the next transaction of a connection would be one. SQLite itself undoes a transaction for which the disk has no
/// room; the driver's own attempt to undo it then fails, and from then on it takes each transaction for a part of another,
/// so that a commit commits nothing. Such a connection is closed.
fn begins_anew(connection: &AnyConnection) -> bool {
    !connection.is_in_transaction()
}

/// Takes the store for this process. The lock goes away with the process, however it ends.
fn lock(store: &Path) -> Result<File, StoreError> {
    if let Some(folder) = store.parent() {
        std::fs::create_dir_all(folder).map_err(|source| StoreError::Folder { path: folder.to_owned(), source })?;
    }
    let path = lock_path(store);
    let file = private().create(true).truncate(false).open(&path);
    let file = file.map_err(|source| StoreError::Folder { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: store.to_owned() }),
        Err(TryLockError::Error(source)) => Err(StoreError::Folder { path, source }),
    }
}

/// Makes the file of a store that is not there yet. What SQLite puts beside it has its permissions.
fn create_private(store: &Path) -> Result<(), StoreError> {
    match private().create_new(true).open(store) {
        Err(source) if source.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::Folder { path: store.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// How a file is made that holds what users wrote: for its owner alone. One that is there keeps its permissions.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

fn lock_path(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// A path may hold any character; an address may not.
fn sqlite_url(path: &Path, mode: &str) -> String {
    let path = path.to_string_lossy().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{path}?mode={mode}")
}

/// An address as it may be shown: what stands before its last `@` can hold a password.
fn without_password(url: &str) -> String {
    url.rsplit_once('@').map_or_else(|| url.to_owned(), |(_, host)| format!("…@{host}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_password_is_never_part_of_an_error() {
        assert_eq!(without_password("mysql://root:secret@host/db"), "…@host/db");
        assert_eq!(without_password("mysql://host/db"), "mysql://host/db");
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("text.db");
        std::fs::write(&path, "this is no database, however long one looks at it").unwrap();
        let error = open(&format!("sqlite://{}", path.display()), false, 1).await.unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("file is not a database"), "{source}");
    }

    #[tokio::test]
    async fn a_new_store_is_its_owners_alone_and_one_that_is_there_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        let url = format!("sqlite://{}", path.display());
        let store = open(&url, false, 1).await.unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for suffix in ["", ".lock", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(suffix);
            assert_eq!(mode(Path::new(&file)), 0o600, "{suffix}");
        }
        store.close().await;
        drop(store);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        open(&url, false, 1).await.unwrap();
        assert_eq!(mode(&path), 0o640);
    }

    #[tokio::test]
    async fn a_store_may_live_in_a_folder_with_a_strange_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("50% of #1 ?").join("store.db");
        open(&format!("sqlite://{}", path.display()), false, 1).await.unwrap();
        assert!(path.exists());
    }
}
