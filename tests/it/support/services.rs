//! Throw-away PostgreSQL, RabbitMQ, Alertmanager and Prometheus, started by the test run itself and shared by its tests.
//!
//! Each runs under a small shell that holds the end of a pipe from this process. However this process ends, the pipe
//! closes, and the shell kills the service and removes its folder.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tokio::time::Instant;

const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(50);

static NAMES: AtomicU32 = AtomicU32::new(0);

/// A name that no other test of this process has.
pub(crate) fn fresh_name(prefix: &str) -> String {
    format!("{prefix}_{}", NAMES.fetch_add(1, Ordering::Relaxed))
}

/// A PostgreSQL server of this test run.
pub(crate) struct Postgres {
    url: String,
    _service: Service,
}

/// The server that trades durability for speed: most tests want this one.
pub(crate) fn postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start("off"))
}

/// The server that writes through to the disk, for measurements and crash tests.
pub(crate) fn durable_postgres() -> &'static Postgres {
    static SHARED: OnceLock<Postgres> = OnceLock::new();
    SHARED.get_or_init(|| Postgres::start("on"))
}

impl Postgres {
    /// A server of its caller's own that writes through to the disk, and may be ill-treated.
    pub(crate) fn start_durable() -> Self {
        Self::start("on")
    }

    /// Where it listens, as `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.url.rsplit_once('@').unwrap().1
    }

    /// Kills one of its processes with `kill -9`: it cuts every connection, undoes what was not committed, and is waited for
    /// until it is back.
    pub(crate) async fn crash(&self) {
        let url = format!("{}/postgres", self.url);
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let process: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
        assert!(Command::new("kill").args(["-KILL", &process.to_string()]).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        while connection.ping().await.is_ok() || PgConnection::connect(&url).await.is_err() {
            assert!(Instant::now() < deadline, "the database does not come back");
            tokio::time::sleep(POLL).await;
        }
    }

    /// The address of a new, empty database.
    pub(crate) async fn database(&self) -> String {
        let name = fresh_name("test");
        let mut connection = PgConnection::connect(&format!("{}/postgres", self.url)).await.unwrap();
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        format!("{}/{name}", self.url)
    }

    fn start(fsync: &str) -> Self {
        let initdb = find("initdb", "/usr/lib/postgresql", "postgresql");
        let bin = fs::canonicalize(&initdb).unwrap().parent().unwrap().to_owned();
        retry_other_port("PostgreSQL", |port| {
            // PostgreSQL refuses to run as root.
            let service = Service::prepare("postgres", is_root().then_some("postgres"));
            let script = format!(
                "'{bin}/initdb' -D data -U driftline -A trust -E UTF8 --locale=C --no-sync >log 2>&1\n\
                 '{bin}/postgres' -D data -k . -h 127.0.0.1 -p {port} -c fsync={fsync} -c max_connections=300 \
                 >>log 2>&1 &\n",
                bin = bin.display()
            );
            let service = service.run(&script, "INT", "database system is ready to accept connections")?;
            Ok(Self { url: format!("postgres://driftline@127.0.0.1:{port}"), _service: service })
        })
    }
}

/// Makes a server's certificate by an authority, and the certificate of another authority, in the folder of a service.
const CERTIFICATES: &str = "new='openssl req -newkey rsa:2048 -nodes -days 2'\n\
    for name in authority other; do $new -x509 -subj /CN=$name -keyout $name.key -out $name.pem; done 2>/dev/null\n\
    $new -subj /CN=localhost -keyout server.key -out server.csr 2>/dev/null\n\
    echo subjectAltName=IP:127.0.0.1 >names\n\
    openssl x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 \
    -extfile names -out server.pem 2>/dev/null\n";

/// A server that lets in over TLS, with a certificate of an authority of its own.
pub(crate) struct TlsPostgres {
    /// The address of its database, with a user and a password.
    pub(crate) url: String,
    /// The certificate of its authority.
    pub(crate) authority: PathBuf,
    /// The certificate of another.
    pub(crate) other_authority: PathBuf,
    _service: Service,
}

impl TlsPostgres {
    pub(crate) fn start() -> Self {
        let initdb = find("initdb", "/usr/lib/postgresql", "postgresql");
        let bin = fs::canonicalize(&initdb).unwrap().parent().unwrap().to_owned();
        find("openssl", "/usr/bin", "openssl");
        retry_other_port("PostgreSQL", |port| {
            let service = Service::prepare("postgres-tls", is_root().then_some("postgres"));
            let folder = service.folder.clone();
            let script = format!(
                "{CERTIFICATES}\
                 '{bin}/initdb' -D data -U driftline -A trust -E UTF8 --locale=C --no-sync >log 2>&1\n\
                 '{bin}/postgres' -D data -k . -h 127.0.0.1 -p {port} -c fsync=off -c ssl=on \
                 -c ssl_cert_file=\"$PWD/server.pem\" -c ssl_key_file=\"$PWD/server.key\" >>log 2>&1 &\n",
                bin = bin.display()
            );
            let service = service.run(&script, "INT", "database system is ready to accept connections")?;
            Ok(Self {
                url: format!("postgres://driftline:not-to-be-seen@127.0.0.1:{port}/postgres"),
                authority: folder.join("authority.pem"),
                other_authority: folder.join("other.pem"),
                _service: service,
            })
        })
    }
}

/// A RabbitMQ broker of this test run, with quorum queues and without plugins.
pub(crate) struct RabbitMq {
    /// Where it listens, with its user and password.
    pub(crate) amqp_url: String,
    /// The same place as `host:port`.
    pub(crate) address: String,
    node: String,
    epmd_port: u16,
    service: Service,
}

/// The broker of this test run.
pub(crate) fn rabbitmq() -> &'static RabbitMq {
    static SHARED: OnceLock<RabbitMq> = OnceLock::new();
    SHARED.get_or_init(RabbitMq::start)
}

impl RabbitMq {
    /// A broker of its caller's own, which may be ill-treated.
    pub(crate) fn start() -> Self {
        Self::start_with("")
    }

    /// The same, and the address on which it tells Prometheus of itself.
    pub(crate) fn start_scraped() -> (Self, String) {
        let port = free_port();
        let script = format!(
            "cat >settings.conf <<END\nprometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {port}\nEND\n\
             echo '[rabbitmq_prometheus].' >plugins\n"
        );
        (Self::start_with(&script), format!("127.0.0.1:{port}"))
    }

    /// The same, which the script has written `settings.conf` for, and `plugins` if it wants any.
    fn start_with(script: &str) -> Self {
        let server = find("rabbitmq-server", "/usr/lib/rabbitmq/bin", "rabbitmq-server");
        retry_other_port("RabbitMQ", |port| {
            let service = Service::prepare("rabbitmq", None);
            let [epmd_port, distribution_port] = [free_port(), free_port()];
            // A system-wide installation may configure all of these: everything is named, nothing is inherited. The
            // name daemon is ours too, or the first node of the machine would leave one behind.
            let script = format!(
                "{script}export HOME=\"$PWD\" ERL_EPMD_PORT={epmd_port} ERL_EPMD_ADDRESS=127.0.0.1\n\
                 export RABBITMQ_NODENAME=driftline{port}@localhost RABBITMQ_NODE_PORT={port}\n\
                 export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT={distribution_port}\n\
                 export RABBITMQ_MNESIA_BASE=\"$PWD/data\" RABBITMQ_LOG_BASE=\"$PWD/logs\" RABBITMQ_LOGS=-\n\
                 export RABBITMQ_ENABLED_PLUGINS_FILE=\"$PWD/plugins\" RABBITMQ_CONFIG_FILE=\"$PWD/settings\"\n\
                 export RABBITMQ_ADVANCED_CONFIG_FILE=\"$PWD/none\" RABBITMQ_CONF_ENV_FILE=/dev/null\n\
                 export RABBITMQ_PID_FILE=\"$PWD/pid\" RUNNING_UNDER_SYSTEMD=true\n\
                 [ -e plugins ] || echo '[].' >plugins\n\
                 epmd -port {epmd_port} -address 127.0.0.1 >log 2>&1 & others=$!\n\
                 '{server}' >>log 2>&1 &\n",
                server = server.display()
            );
            let service = service.run(&script, "KILL", "completed with")?;
            let address = format!("127.0.0.1:{port}");
            let (amqp_url, node) = (format!("amqp://guest:guest@{address}/%2f"), format!("driftline{port}@localhost"));
            Ok(Self { amqp_url, address, node, epmd_port, service })
        })
    }

    /// What `rabbitmqctl` answers; it must succeed.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("timeout");
        command.arg(PATIENCE.as_secs().to_string());
        command.arg(find("rabbitmqctl", "/usr/lib/rabbitmq/bin", "rabbitmq-server"));
        command.env("HOME", &self.service.folder).env("ERL_EPMD_PORT", self.epmd_port.to_string());
        command.env("RABBITMQ_CONF_ENV_FILE", "/dev/null").args(["-q", "-n", &self.node]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A broker that lets in over TLS, with a certificate of an authority of its own.
pub(crate) struct TlsRabbitMq {
    /// Where it listens for TLS, with a user and a password.
    pub(crate) url: String,
    /// The same place as `host:port`.
    pub(crate) address: String,
    /// The certificate of its authority.
    pub(crate) authority: PathBuf,
    /// The certificate of another.
    pub(crate) other_authority: PathBuf,
    _broker: RabbitMq,
}

impl TlsRabbitMq {
    pub(crate) fn start() -> Self {
        find("openssl", "/usr/bin", "openssl");
        let address = format!("127.0.0.1:{}", free_port());
        let broker = RabbitMq::start_with(&format!(
            "{CERTIFICATES}cat >settings.conf <<END\nlisteners.ssl.1 = {address}\n\
             ssl_options.cacertfile = $PWD/authority.pem\nssl_options.certfile = $PWD/server.pem\n\
             ssl_options.keyfile = $PWD/server.key\nssl_options.verify = verify_none\nEND\n"
        ));
        let folder = &broker.service.folder;
        Self {
            url: format!("amqps://guest:guest@{address}/%2f"),
            address,
            authority: folder.join("authority.pem"),
            other_authority: folder.join("other.pem"),
            _broker: broker,
        }
    }
}

/// An Alertmanager of this test run, which tells no one.
pub(crate) struct Alertmanager {
    pub(crate) url: String,
    _service: Service,
}

/// The Alertmanager of this test run.
pub(crate) fn alertmanager() -> &'static Alertmanager {
    static SHARED: OnceLock<Alertmanager> = OnceLock::new();
    SHARED.get_or_init(Alertmanager::start)
}

impl Alertmanager {
    fn start() -> Self {
        let server = find("prometheus-alertmanager", "/usr/bin", "prometheus-alertmanager");
        retry_other_port("Alertmanager", |port| {
            let service = Service::prepare("alertmanager", None);
            let script = format!(
                "printf 'route:\n  receiver: none\nreceivers:\n  - name: none\n' >settings.yml\n\
                 '{server}' --config.file=settings.yml --storage.path=data --cluster.listen-address= \
                 --web.listen-address=127.0.0.1:{port} >log 2>&1 &\n",
                server = server.display()
            );
            let service = service.run(&script, "KILL", "Listening on")?;
            Ok(Self { url: format!("http://127.0.0.1:{port}"), _service: service })
        })
    }
}

/// A Prometheus of this test run, which scrapes one target and keeps exemplars.
pub(crate) struct Prometheus {
    pub(crate) url: String,
    _service: Service,
}

impl Prometheus {
    /// Scrapes `/metrics` of a `host:port` five times a second.
    pub(crate) fn scraping(target: &str) -> Self {
        let server = find("prometheus", "/usr/bin", "prometheus");
        retry_other_port("Prometheus", |port| {
            let service = Service::prepare("prometheus", None);
            let script = format!(
                "printf 'global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
                 scrape_configs: [{{job_name: driftline, static_configs: [{{targets: [\"{target}\"]}}]}}]\n' >settings.yml\n\
                 '{server}' --config.file=settings.yml --storage.tsdb.path=data --enable-feature=exemplar-storage \
                 --web.listen-address=127.0.0.1:{port} --web.console.templates=. --web.console.libraries=. >log 2>&1 &\n",
                server = server.display()
            );
            let service = service.run(&script, "KILL", "Server is ready to receive web requests")?;
            Ok(Self { url: format!("http://127.0.0.1:{port}"), _service: service })
        })
    }
}

/// A service's folder and the shell that watches over it; the shell lives as long as the pipe to it is open.
struct Service {
    folder: PathBuf,
    user: Option<&'static str>,
    shell: Option<Child>,
}

impl Service {
    fn prepare(name: &str, user: Option<&'static str>) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("driftline-{name}-")).tempdir().unwrap().keep();
        if let Some(user) = user {
            assert!(Command::new("chown").arg(user).arg(&folder).status().unwrap().success(), "cannot chown to {user}");
        }
        Self { folder, user, shell: None }
    }

    /// Runs `script`, whose last background process is the service, and waits until its log says that it is `ready`.
    fn run(mut self, script: &str, signal: &str, ready: &str) -> Result<Self, String> {
        let script = format!(
            "exec 3<&0\nothers=\n{script}service=$!\n\
             {{ read -r _ <&3; kill -{signal} $service; }} 2>/dev/null &\n\
             wait $service\n: >exited\nread -r _ <&3\n\
             kill $others 2>/dev/null\nwait\ncd /\nrm -rf '{}'\n",
            self.folder.display()
        );
        let mut command = match self.user {
            Some(user) => shell_as(user),
            None => Command::new("sh"),
        };
        command.arg("-c").arg(script).current_dir(&self.folder).stdin(Stdio::piped());
        // It outlives the test run by a moment, and must not keep its output open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        // Its own group, so that an interrupt typed at the terminal reaches it only as the end of the pipe.
        self.shell = Some(command.process_group(0).spawn().unwrap());
        self.wait_for(ready).map(|()| self)
    }

    fn wait_for(&self, ready: &str) -> Result<(), String> {
        for _ in 0..PATIENCE.as_millis() / POLL.as_millis() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if log.contains(ready) {
                return Ok(());
            }
            if self.folder.join("exited").exists() {
                return Err(tail(&log));
            }
            sleep(POLL);
        }
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        Err(format!("not ready within {PATIENCE:?}\n{}", tail(&log)))
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

fn shell_as(user: &str) -> Command {
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--", "sh"]);
    command
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// Starts on a free port; another process may take the port first, so a few are tried.
fn retry_other_port<T>(name: &str, start: impl Fn(u16) -> Result<T, String>) -> T {
    let mut problem = String::new();
    for _ in 0..ATTEMPTS {
        match start(free_port()) {
            Ok(started) => return started,
            Err(log) => problem = log,
        }
    }
    panic!("{name} does not start; the end of its log:\n{problem}");
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Finds a program below `folder` or on the path; root installs what is missing, anyone else is told what to install.
pub(crate) fn find(program: &str, folder: &str, package: &str) -> PathBuf {
    if let Some(path) = look_for(program, folder) {
        return path;
    }
    if is_root() {
        install(package);
    }
    look_for(program, folder).unwrap_or_else(|| panic!("{program} is missing: install the package {package}"))
}

/// Makes sure that a program runs with these arguments, which a Debian package adds to what it can.
pub(crate) fn require(program: &Path, arguments: &[&str], package: &str) {
    let runs = || Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success());
    if !runs() && is_root() {
        install(package);
    }
    assert!(runs(), "{} cannot do what it must: install the package {package}", program.display());
}

fn look_for(program: &str, folder: &str) -> Option<PathBuf> {
    let mut versions: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path().join("bin")).collect();
    // The newest version first; they differ in the number at the end.
    versions.sort();
    versions.reverse();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(folder)).chain(versions).chain(std::env::split_paths(&on_path));
    folders.map(|folder| folder.join(program)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o111 != 0)
}

/// Installs a Debian package without starting the services in it.
fn install(package: &str) {
    apt(&["update"]);
    apt(&["install", "-y", "--no-install-recommends", package]);
}

fn apt(arguments: &[&str]) {
    let mut command = Command::new("apt-get");
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300"]).args(arguments).stdin(Stdio::null());
    // In run level 1 the packages' scripts start nothing.
    command.env("DEBIAN_FRONTEND", "noninteractive").env("RUNLEVEL", OsStr::new("1"));
    if let Err(error) = command.status() {
        panic!("cannot run apt-get to install what the tests need: {error}");
    }
}
