//! `driftline serve` as a process of its own, which can be killed and started again.

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::thread::sleep;
use std::time::Duration;

use driftline::pipeline::invariant::VIOLATED;
use driftline::web::Readiness;
use tempfile::TempDir;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// A service with a folder and ports of its own.
pub(crate) struct Serve {
    folder: TempDir,
    pub(crate) receives_on: SocketAddr,
    pub(crate) receives_grpc_on: SocketAddr,
    pub(crate) web_on: SocketAddr,
    /// What it does; nothing stands for everything.
    roles: &'static str,
    process: Option<Child>,
    starts: usize,
}

impl Serve {
    /// Starts with these settings, which follow the addresses and completion times that all tests share. `{folder}`
    /// stands for the service's folder.
    pub(crate) fn start(settings: &str) -> Self {
        Self::start_roles("", settings)
    }

    /// The same with these roles; `web` has to be among them.
    pub(crate) fn start_roles(roles: &'static str, settings: &str) -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let [receives_on, receives_grpc_on, web_on] = [free_address(), free_address(), free_address()];
        let settings = settings.replace("{folder}", &folder.path().display().to_string());
        let shared = format!(
            "[receive]\nhttp = \"{receives_on}\"\ngrpc = \"{receives_grpc_on}\"\n[web]\nlisten = \"{web_on}\"\n\
             [complete]\nroot_grace = \"200ms\"\nquiet_period = \"1s\"\n{settings}"
        );
        fs::write(folder.path().join("driftline.toml"), shared).unwrap();
        let mut serve = Self { folder, receives_on, receives_grpc_on, web_on, roles, process: None, starts: 0 };
        serve.restart();
        serve
    }

    /// Starts the process and waits until it listens.
    pub(crate) fn restart(&mut self) {
        self.restart_to_crash_at("");
    }

    /// The same, and lets it die at a crash point of this name.
    pub(crate) fn restart_to_crash_at(&mut self, point: &str) {
        self.restart_to_crash_on(point, "");
    }

    /// The same, but only on a message that holds this text.
    pub(crate) fn restart_to_crash_on(&mut self, point: &str, text: &str) {
        self.launch(&[("DRIFTLINE_CRASH_AT", point), ("DRIFTLINE_CRASH_ON", text)], !point.is_empty());
    }

    /// Starts the process, and lets it write the name of each crash point that it passes into a file.
    pub(crate) fn restart_listing_crash_points(&mut self, list: &Path) {
        self.launch(&[("DRIFTLINE_CRASH_LIST", list.to_str().unwrap())], false);
    }

    /// Starts the process, and lets it log every statement that it sends to its database, and what that remarks.
    pub(crate) fn restart_logging_statements(&mut self) {
        self.launch(&[("DRIFTLINE_LOG", "warn,sqlx::query=debug,sqlx::postgres::notice=info")], false);
    }

    /// Starts the process with these variables, and waits until it listens, or has died where it `may_die`.
    fn launch(&mut self, variables: &[(&str, &str)], may_die: bool) {
        let log = fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = self.command();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).envs(variables.iter().copied());
        if !self.roles.is_empty() {
            command.args(["--roles", self.roles]);
        }
        self.process = Some(command.spawn().unwrap());
        self.starts += 1;
        let deadline = Instant::now() + PATIENCE;
        // What is bound last, where it has that role.
        let has_web = self.roles.is_empty() || self.roles.contains("web");
        let listens_on = if has_web { self.web_on } else { self.receives_on };
        while TcpStream::connect(listens_on).is_err() {
            let ended = self.process.as_mut().and_then(|process| process.try_wait().unwrap());
            if ended.is_some() && may_die {
                return;
            }
            assert!(ended.is_none(), "serve ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "serve does not listen:\n{}", self.log());
            sleep(POLL);
        }
    }

    /// `serve` in the service's folder.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_driftline"));
        command.arg("serve").current_dir(self.folder.path());
        command
    }

    /// What becomes of a second process on the same folder and settings, but with ports of its own.
    pub(crate) fn second(&self) -> Output {
        let mut command = self.command();
        for listener in ["RECEIVE__HTTP", "RECEIVE__GRPC", "WEB__LISTEN"] {
            command.env(format!("DRIFTLINE__{listener}"), free_address().to_string());
        }
        command.output().unwrap()
    }

    /// Whether it says that it is ready, and the dependencies that it says are not.
    pub(crate) async fn readiness(&self) -> Option<(bool, Vec<String>)> {
        let response = reqwest::get(format!("http://{}/readyz", self.web_on)).await.ok()?;
        let is_ready = response.status() == 200;
        let readiness: Readiness = serde_json::from_slice(&response.bytes().await.ok()?).unwrap();
        assert_eq!(readiness.ready, is_ready);
        let away = readiness.dependencies.into_iter().filter(|dependency| !dependency.ready);
        Some((is_ready, away.map(|dependency| dependency.name).collect()))
    }

    /// One of its metrics, by its line up to the value.
    pub(crate) async fn metric(&self, line: &str) -> f64 {
        let text = reqwest::get(format!("http://{}/metrics", self.web_on)).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|found| found.strip_prefix(line));
        value.unwrap_or_else(|| panic!("no {line} in {text}")).trim().parse().unwrap()
    }

    /// How often it has been started.
    pub(crate) const fn starts(&self) -> usize {
        self.starts
    }

    /// Whether the process has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.try_wait().unwrap().is_some())
    }

    /// Waits until the process has ended by itself, as it is to for this reason.
    pub(crate) async fn wait_for_end(&mut self, reason: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < deadline, "serve does not end at {reason}:\n{}", self.log());
            tokio::time::sleep(POLL).await;
        }
    }

    /// `kill -9`: no handler runs, nothing is flushed.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// `kill -TERM`, as an operator stops a service; gives how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let process = self.process.as_mut().unwrap();
        assert!(Command::new("kill").arg("-TERM").arg(process.id().to_string()).status().unwrap().success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = process.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "serve does not end:\n{}", self.log());
            sleep(POLL);
        };
        self.process = None;
        status
    }

    /// The most memory that the process has had at once, in mebibytes.
    pub(crate) fn peak_mib(&self) -> u64 {
        let id = self.process.as_ref().map(Child::id).unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    /// Everything the service has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// What the service has said of invariants that did not hold.
    pub(crate) fn violations(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(VIOLATED)).map(str::to_owned).collect()
    }

    /// Address of the SQLite store, when the settings name `sqlite://{folder}/driftline.db`.
    pub(crate) fn sqlite_url(&self) -> String {
        format!("sqlite://{}/driftline.db", self.folder.path().display())
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that nobody listens on, below the ports that outgoing connections are given. It has to be free again after a
/// restart, so that no other test gets it.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(15_000..32_000)));
        if GIVEN.lock().unwrap().insert(address.port()) && TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
