//! Settings: as written (`default.toml`, `driftline.toml`, environment) and as meant ([`Settings`]).
//!
//! Mistakes are collected over the whole file before any is reported, each with its line and a remedy, because an
//! operator who fixes one mistake a run loses patience.

mod check;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::backends::judge::JudgeModelSettings;
use crate::evaluate::sampling::SamplingPolicy;
use crate::normalize::AttributeMapping;

const DEFAULTS: &str = include_str!("default.toml");
const FILE_NAME: &str = "driftline.toml";

/// Everything that can be configured; see `default.toml` for meaning and defaults of each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each key is explained in default.toml, which users read")]
pub struct Settings {
    pub store: StoreSettings,
    pub queue: QueueSettings,
    pub receive: ReceiveSettings,
    pub web: WebSettings,
    pub complete: CompleteSettings,
    pub evaluators: EvaluatorSettings,
    pub sampling: SamplingPolicy,
    pub retention: RetentionSettings,
    pub judge: JudgeSettings,
    pub watch: WatchSettings,
    pub alerts: AlertSettings,
    pub links: LinkSettings,
    #[serde(default)]
    pub attributes: AttributeMapping,
    #[serde(default)]
    pub write_back: Vec<WriteBackSettings>,
}

macro_rules! section {
    ($name:ident { $($(#[$meta:meta])* $field:ident : $type:ty),* $(,)? }) => {
        #[doc = concat!("Section of `default.toml`: ", stringify!($name), ".")]
        #[derive(Debug, Clone, Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(missing_docs, reason = "each key is explained in default.toml, which users read")]
        pub struct $name { $($(#[$meta])* pub $field: $type),* }
    };
}

section!(StoreSettings { url: String });
section!(QueueSettings { url: String, name: String, prefetch: u16 });
section!(ReceiveSettings { http: String, max_body_mib: usize, max_waiting_mib: usize });
section!(WebSettings { listen: String });
section!(CompleteSettings {
    #[serde(deserialize_with = "duration")]
    root_grace: Duration,
    #[serde(deserialize_with = "duration")]
    quiet_period: Duration,
    #[serde(deserialize_with = "duration")]
    max_age: Duration,
    #[serde(deserialize_with = "duration")]
    late_window: Duration,
});
section!(EvaluatorSettings { directory: String });
section!(RetentionSettings {
    #[serde(deserialize_with = "duration")]
    traces: Duration,
});
section!(JudgeSettings {
    attempts: u32,
    #[serde(default)]
    models: BTreeMap<String, JudgeModelSettings>,
});
section!(WatchSettings {
    #[serde(deserialize_with = "duration")]
    interval: Duration,
    #[serde(deserialize_with = "duration")]
    lateness: Duration,
    baseline: String,
});
section!(AlertSettings { budget_per_30_days: f64, webhook: String });
section!(LinkSettings { trace: String, logs: String });
section!(WriteBackSettings { kind: WriteBackKind, endpoint: String });

/// What speaks at the other end of a write-back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteBackKind {
    /// Any OTLP/HTTP endpoint.
    Otlp,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text)
        .map_err(|error| serde::de::Error::custom(format!("`{text}` is not a duration such as \"30s\": {error}")))
}

/// Why settings cannot be used: every mistake found, one a line.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

/// Reads the settings: defaults, then the file, then the environment.
///
/// Without `path`, `driftline.toml` in the working directory is read if it is there.
///
/// # Errors
/// Every unknown key, wrong type and unusable value, with file, line and remedy.
pub fn load(path: Option<&Path>) -> Result<Settings, SettingsError> {
    let file = path.map(PathBuf::from).or_else(|| Path::new(FILE_NAME).exists().then(|| FILE_NAME.into()));
    let text = match &file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            SettingsError(vec![format!("cannot read {}: {error}; check the path given with --config", file.display())])
        })?,
        None => String::new(),
    };
    let name = file.map_or_else(|| FILE_NAME.to_owned(), |file| file.display().to_string());
    let environment = config::Environment::with_prefix("DRIFTLINE").prefix_separator("__").separator("__");
    read(&name, &text, environment)
}

/// The compiled-in settings, without any file or environment.
///
/// # Errors
/// They are wrong, which a test rules out.
pub fn defaults() -> Result<Settings, SettingsError> {
    read("default.toml", "", config::Environment::with_prefix("DRIFTLINE__NOTHING"))
}

fn read(name: &str, text: &str, environment: config::Environment) -> Result<Settings, SettingsError> {
    let mistakes = check::mistakes(name, text, DEFAULTS);
    if !mistakes.is_empty() {
        return Err(SettingsError(mistakes));
    }
    let settings: Settings = config::Config::builder()
        .add_source(config::File::from_str(DEFAULTS, config::FileFormat::Toml))
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment.try_parsing(true))
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|error| SettingsError(vec![format!("{name}: {error}")]))?;
    let unusable = unusable_values(name, &settings);
    if unusable.is_empty() { Ok(settings) } else { Err(SettingsError(unusable)) }
}

fn unusable_values(name: &str, settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut require = |holds: bool, key: &str, remedy: &str| {
        if !holds {
            problems.push(format!("{name}: {key}: {remedy}"));
        }
    };
    let url = &settings.store.url;
    require(
        url.starts_with("sqlite://") || url.starts_with("postgres://") || url.starts_with("postgresql://"),
        "store.url",
        "write sqlite://PATH or postgres://USER:PASSWORD@HOST/DATABASE",
    );
    let queue = &settings.queue.url;
    require(
        queue == "embedded" || queue.starts_with("amqp://") || queue.starts_with("amqps://"),
        "queue.url",
        "write \"embedded\" or amqp://USER:PASSWORD@HOST:5672/%2f",
    );
    require(settings.queue.prefetch > 0, "queue.prefetch", "at least 1");
    require(settings.receive.max_body_mib > 0, "receive.max_body_mib", "at least 1");
    require(settings.receive.max_waiting_mib > 0, "receive.max_waiting_mib", "at least 1");
    require(settings.judge.attempts > 0, "judge.attempts", "at least 1");
    require(settings.alerts.budget_per_30_days > 0.0, "alerts.budget_per_30_days", "more than 0");
    let rate = settings.sampling.healthy_rate;
    require(rate > 0.0 && rate <= 1.0, "sampling.healthy_rate", "more than 0, at most 1");
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        read("driftline.toml", text, config::Environment::with_prefix("DRIFTLINE_TEST_NONE"))
    }

    #[test]
    fn the_defaults_are_complete_and_usable() {
        let settings = parse("").unwrap();
        assert_eq!(settings.web.listen, "127.0.0.1:8080");
        assert_eq!(settings.complete.root_grace, Duration::from_secs(2));
        assert!(settings.judge.models.is_empty());
    }

    #[test]
    fn the_file_wins_over_the_defaults_and_keeps_the_rest() {
        let settings =
            parse("[sampling]\nhealthy_rate = 0.5\n[[write_back]]\nkind = \"otlp\"\nendpoint = \"http://x\"").unwrap();
        assert!((settings.sampling.healthy_rate - 0.5).abs() < 1e-12);
        assert_eq!(settings.write_back.len(), 1);
        assert_eq!(settings.receive.http, "127.0.0.1:4318");
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_line_and_remedy() {
        let message =
            parse("[stor]\nurl = \"x\"\n\n[queue]\nprefetch = \"many\"\nnmae = \"q\"\n").unwrap_err().to_string();
        assert!(message.contains("driftline.toml:1: unknown section [stor]"), "{message}");
        assert!(message.contains("driftline.toml:5: queue.prefetch"), "{message}");
        assert!(message.contains("driftline.toml:6: unknown key queue.nmae"), "{message}");
    }

    #[test]
    fn a_value_out_of_range_names_its_key() {
        let message = parse("[sampling]\nhealthy_rate = 0.0").unwrap_err().to_string();
        assert!(message.contains("sampling.healthy_rate"), "{message}");
    }

    #[test]
    fn text_that_is_not_toml_is_named_with_its_line() {
        let message = parse("[store\nurl = 1").unwrap_err().to_string();
        assert!(message.contains("driftline.toml:1"), "{message}");
    }
}
