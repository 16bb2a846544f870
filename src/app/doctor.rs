//! What an operator wants to know before the first trace, and when something is wrong: each thing that the settings
//! name, whether it is there, and what to do if not. Nothing is changed and no judge model is asked a question.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::channels;
use super::settings::Settings;
use super::{doctor_disk as disk, write_back};
use crate::backends::archive::Archive;
use crate::backends::http::{HttpSender, Reached};
use crate::backends::judge::{JudgeClient, JudgeModelSettings};
use crate::backends::rabbitmq::DeadLetters;
use crate::backends::store::{Store, StoreError};
use crate::domain::time::Timestamp;
use crate::telemetry::logs::causes;

/// Longest that the clocks of two machines may be apart.
const MOST_SKEW: Duration = Duration::from_secs(60);
/// A broker that does not answer within this is not there.
const PATIENCE: Duration = Duration::from_secs(10);

/// How well a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should be.
    Ok,
    /// It works, and someone should look at it.
    Warn,
    /// It does not work.
    Fail,
}

impl Health {
    /// The health as it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at, for example `store`.
    pub name: String,
    /// How well it is.
    pub health: Health,
    /// What was found.
    pub finding: String,
    /// What to do about it, unless it is well.
    pub remedy: Option<String>,
}

impl Check {
    pub(super) fn ok(name: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { name: name.into(), health: Health::Ok, finding: finding.into(), remedy: None }
    }

    pub(super) fn warn(name: impl Into<String>, finding: impl Into<String>, remedy: &str) -> Self {
        let remedy = Some(remedy.to_owned());
        Self { name: name.into(), health: Health::Warn, finding: finding.into(), remedy }
    }

    pub(super) fn fail(name: impl Into<String>, finding: impl Into<String>, remedy: &str) -> Self {
        Self { health: Health::Fail, ..Self::warn(name, finding, remedy) }
    }
}

/// Looks at everything that the settings name.
pub async fn examine(settings: &Settings, now: Timestamp) -> Vec<Check> {
    let mut checks = configuration(settings);
    checks.push(store(&settings.store.url).await);
    if let Some(path) = settings.store.url.strip_prefix("sqlite://") {
        checks.extend(disk::examine(Path::new(path)));
    }
    checks.push(archive(settings).await);
    checks.push(queue(settings).await);
    let addresses = addresses(settings, &mut checks);
    let mut reached = Vec::new();
    for (name, sender) in &addresses {
        let answer = sender.reach().await;
        checks.push(address(name, sender, answer.as_ref().map_err(|error| causes(error))));
        reached.extend(answer.ok());
    }
    checks.push(clock(now, &reached));
    checks
}

fn configuration(settings: &Settings) -> Vec<Check> {
    let mut checks: Vec<Check> = settings
        .doubts()
        .into_iter()
        .map(|doubt| Check::warn("settings", doubt, "raise the rate, or keep it if that is what you want"))
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok("settings", "every key is known and every value can be meant"));
    }
    checks.push(match super::evaluators(settings, None) {
        Ok(evaluators) => Check::ok("evaluators", format!("{} are on", evaluators.definitions().len())),
        Err(error) => Check::fail("evaluators", causes(&error), "correct them; driftline evaluators check tells more"),
    });
    checks
}

async fn store(url: &str) -> Check {
    match Store::open(url, true).await {
        Ok(store) => {
            store.close().await;
            Check::ok("store", "it can be read, and its schema is this program's")
        }
        Err(error @ StoreError::Missing { .. }) => {
            Check::warn("store", causes(&error), "nothing, if driftline serve has never run: it makes the store")
        }
        Err(error @ StoreError::SchemaOlder { .. }) => {
            Check::warn("store", causes(&error), "start driftline serve, which brings the schema up to date")
        }
        Err(error) => Check::fail("store", causes(&error), "check store.url, and that the database runs"),
    }
}

/// The archive; without one, what it would have kept.
async fn archive(settings: &Settings) -> Check {
    let directory = &settings.archive.directory;
    let looked = match settings.archive() {
        Ok(None) => return without_archive(settings),
        Ok(Some(archive)) => owned(archive, &settings.store.url).await,
        Err(error) => Err(causes(&error)),
    };
    match looked {
        Ok(true) => Check::ok("archive", format!("{directory} can be read")),
        Ok(false) => {
            let remedy = "give each store an archive of its own: set archive.directory to an empty place";
            Check::fail("archive", format!("{directory} holds what another store wrote, and is not used"), remedy)
        }
        Err(problem) => {
            let remedy = "check archive.directory, and of a bucket the AWS_ variables and what its keys may do";
            Check::fail("archive", format!("{directory} cannot be read: {problem}"), remedy)
        }
    }
}

fn without_archive(settings: &Settings) -> Check {
    let kept = humantime::format_duration(settings.retention.traces);
    let finding = format!("there is none: flagged and failed runs are deleted with all others after {kept}");
    Check::warn("archive", finding, "set archive.directory to a folder or a bucket, if they are to be kept for longer")
}

/// Whether an archive that can be read is this store's, or may become it.
async fn owned(archive: Archive, url: &str) -> Result<bool, String> {
    archive.reach().await.map_err(|error| causes(&error))?;
    let Ok(store) = Store::open(url, true).await else {
        return archive.is_of("", |_| false).await.map_err(|error| causes(&error));
    };
    let store = store.with_archive(Some(archive));
    let owned = store.owns_archive().await;
    store.close().await;
    owned.map_err(|error| causes(&error))
}

async fn queue(settings: &Settings) -> Check {
    let queue = &settings.queue;
    if queue.is_embedded() {
        return Check::ok("queue", "embedded: traces arrive over OTLP");
    }
    let looking = async {
        let letters = DeadLetters::open(&queue.url, &queue.name).await?;
        let (first, behind) = letters.list(1).await?;
        letters.close().await.map(|()| first.len() + behind as usize)
    };
    let remedy = "check queue.url, and that its user may configure, write and read the queue";
    match tokio::time::timeout(PATIENCE, looking).await {
        Err(_) => Check::fail("queue", "the broker does not answer", remedy),
        Ok(Err(error)) => Check::fail("queue", causes(&error), remedy),
        Ok(Ok(0)) => Check::ok("queue", format!("{} can be used, and there are no dead letters", queue.name)),
        Ok(Ok(dead)) => {
            let finding = format!("{dead} messages could not be read");
            Check::warn("queue", finding, "driftline dead-letters list shows why; dead-letters replay puts them back")
        }
    }
}

/// Everything that is spoken to over HTTP, by name; what cannot be spoken to at all is a check of its own.
fn addresses(settings: &Settings, checks: &mut Vec<Check>) -> Vec<(String, HttpSender)> {
    let mut addresses = Vec::new();
    if settings.judge.models.is_empty() {
        let finding = "none is configured: traces are checked by rules alone";
        checks.push(Check::warn("judge", finding, "set [judge.models.default], if judges are to be asked"));
    }
    for (name, model) in &settings.judge.models {
        match judge(model) {
            Ok(sender) => addresses.push((format!("judge {name}"), sender)),
            Err(finding) => {
                checks.push(Check::fail(format!("judge {name}"), finding, "correct [judge.models], see default.toml"));
            }
        }
    }
    let forward = write_back::forward(settings).map(|destination| destination.into_iter().collect());
    let destinations = [write_back::destinations(settings), forward, channels::destinations_of(settings)];
    for destinations in destinations {
        match destinations {
            Ok(found) => addresses.extend(found.into_iter().map(|it| (format!("destination {}", it.name), it.sender))),
            Err(error) => checks.push(Check::fail("destination", causes(&error), "correct its table in the settings")),
        }
    }
    addresses
}

/// The way to a judge model whose settings can be used, price and key among them.
fn judge(model: &JudgeModelSettings) -> Result<HttpSender, String> {
    JudgeClient::new(model.clone()).map_err(|error| causes(&error))?;
    HttpSender::new(&model.base_url).map_err(|error| causes(&error))
}

fn address(name: &str, sender: &HttpSender, answer: Result<&Reached, String>) -> Check {
    match answer {
        Err(problem) => Check::fail(name, problem, "check its address, and that it runs and can be reached from here"),
        Ok(Reached { status: 407 | 502..=504, .. }) => {
            let finding = format!("a proxy answers in place of {}", sender.name());
            Check::fail(name, finding, "check the way there")
        }
        Ok(_) => Check::ok(name, format!("{} answers", sender.name())),
    }
}

/// Hours are cut by this machine's clock: it should agree with the others'.
fn clock(now: Timestamp, reached: &[Reached]) -> Check {
    let skew = |reached: &Reached| Some(now.seconds_since(reached.date?).abs());
    let furthest = reached
        .iter()
        .filter_map(skew)
        .fold(None, |most: Option<f64>, skew| most.map_or(Some(skew), |it| Some(it.max(skew))));
    match furthest {
        None => Check::ok("clock", "nothing answered that could be asked for the time"),
        Some(seconds) if seconds > MOST_SKEW.as_secs_f64() => {
            let finding = format!("it is {seconds:.0} s apart from that of a server");
            Check::warn("clock", finding, "keep the clock by NTP: hours and budgets of days are cut by it")
        }
        Some(_) => Check::ok("clock", "it agrees with the servers that answered"),
    }
}

/// The nearest folder above a path that exists.
pub(super) fn existing_folder(path: &Path) -> Result<PathBuf, ErrorKind> {
    let absolute = std::path::absolute(path).map_err(|error| error.kind())?;
    let found = absolute.ancestors().skip(1).find(|folder| folder.is_dir());
    found.map(Path::to_path_buf).ok_or(ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(date: Option<i64>) -> Reached {
        Reached { status: 200, date: date.map(|seconds| Timestamp(seconds * 1_000_000_000)) }
    }

    #[test]
    fn a_clock_that_is_far_from_any_other_is_told_and_without_another_nothing_is_claimed() {
        let now = Timestamp(1_000_000_000_000);
        assert_eq!(clock(now, &[at(Some(1_001)), at(None)]).health, Health::Ok);
        assert_eq!(clock(now, &[at(Some(1_001)), at(Some(900))]).health, Health::Warn);
        assert!(clock(now, &[]).finding.starts_with("nothing answered"));
    }

    #[tokio::test]
    async fn a_store_that_was_never_made_is_no_failure_and_one_that_is_none_is() {
        let folder = tempfile::tempdir().unwrap();
        let url = |name: &str| format!("sqlite://{}/{name}", folder.path().display());
        assert_eq!(store(&url("new.db")).await.health, Health::Warn);
        std::fs::write(folder.path().join("text.db"), "this is no database, however long one looks at it").unwrap();
        assert_eq!(store(&url("text.db")).await.health, Health::Fail);
    }

    #[test]
    fn a_judge_model_without_a_price_is_named() {
        let mut settings = super::super::settings::defaults().unwrap();
        let provider = crate::backends::judge::Provider::Openai;
        let mut model = JudgeModelSettings::new(provider, "http://127.0.0.1:1".to_owned(), "m");
        model.allow_unpriced = false;
        settings.judge.models.insert("default".to_owned(), model);
        let mut checks = Vec::new();
        assert!(addresses(&settings, &mut checks).is_empty());
        assert_eq!((checks[0].name.as_str(), checks[0].health), ("judge default", Health::Fail));
        assert!(checks[0].finding.contains("price"), "{}", checks[0].finding);
    }
}
