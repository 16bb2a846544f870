//! Settings: as written (`default.toml`, `driftline.toml`, environment) and as meant ([`Settings`]).
//!
//! Mistakes are collected over the whole file before any is reported, each with its line and a remedy, because an
//! operator who fixes one mistake a run loses patience.

mod channels;
mod check;
mod effective;
mod range;
mod write_back;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::backends::archive::Archive;
use crate::backends::judge::JudgeModelSettings;
use crate::backends::store::StoreError;
use crate::evaluate::sampling::SamplingPolicy;
use crate::normalize::{AttributeMapping, PriceTable};
use crate::watch::budgets::{AgentBudgets, OWN_DIMENSIONS};
use crate::watch::rules::Objective;
use crate::watch::segments::SegmentPattern;
pub use channels::{ChannelKind, ChannelSettings, SecretError, SecretSource};
use check::{Variable, Written};
pub use effective::{changed, digest_of};
pub use write_back::{WriteBackKind, WriteBackSettings};

const DEFAULTS: &str = include_str!("default.toml");
const FILE_NAME: &str = "driftline.toml";
const PREFIX: &str = "DRIFTLINE__";

/// Everything that can be configured; see `default.toml` for meaning and defaults of each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each key is explained in default.toml, which users read")]
pub struct Settings {
    pub store: StoreSettings,
    pub service: ServiceSettings,
    pub queue: QueueSettings,
    pub receive: ReceiveSettings,
    pub web: WebSettings,
    pub complete: CompleteSettings,
    pub evaluators: EvaluatorSettings,
    pub sampling: SamplingPolicy,
    pub redaction: RedactionSettings,
    pub retention: RetentionSettings,
    pub archive: ArchiveSettings,
    pub judge: JudgeSettings,
    pub review: ReviewSettings,
    pub watch: WatchSettings,
    pub alerts: AlertSettings,
    pub links: LinkSettings,
    #[serde(default)]
    pub attributes: AttributeMapping,
    #[serde(default)]
    pub prices: PriceTable,
    #[serde(default)]
    pub slo: Vec<Objective>,
    #[serde(default)]
    pub budget: AgentBudgets,
    #[serde(default)]
    pub write_back: Vec<WriteBackSettings>,
    pub forward: ForwardSettings,
    #[serde(skip)]
    pub effective: BTreeMap<String, String>,
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

section!(StoreSettings { url: String, connections: u32 });
section!(ServiceSettings {
    #[serde(deserialize_with = "duration")]
    drain: Duration,
});
section!(QueueSettings {
    url: String,
    name: String,
    prefetch: u16,
    attempts: u32,
    #[serde(deserialize_with = "duration")]
    retry_delay: Duration,
    max_waiting: u32,
    max_message_mib: usize,
});
section!(ReceiveSettings { http: String, grpc: String, max_body_mib: usize, max_waiting_mib: usize });
section!(WebSettings { listen: String, url: String });
section!(CompleteSettings {
    #[serde(deserialize_with = "duration")]
    root_grace: Duration,
    #[serde(deserialize_with = "duration")]
    quiet_period: Duration,
    #[serde(deserialize_with = "duration")]
    max_age: Duration,
    #[serde(deserialize_with = "duration")]
    late_window: Duration,
    max_trace_mib: usize,
});
section!(EvaluatorSettings { directory: String, disabled: Vec<String> });
section!(RetentionSettings {
    #[serde(deserialize_with = "duration")]
    traces: Duration,
    #[serde(deserialize_with = "duration")]
    records: Duration,
    #[serde(deserialize_with = "duration")]
    judge_requests: Duration,
    #[serde(deserialize_with = "duration")]
    alert_steps: Duration,
});
section!(RedactionSettings {
    detect: Vec<String>,
    drop: Vec<String>,
    hash: Vec<String>,
    hash_key_env: String,
    #[serde(default)]
    patterns: BTreeMap<String, String>,
});
section!(ArchiveSettings {
    directory: String,
    #[serde(deserialize_with = "duration")]
    keep: Duration,
});
section!(JudgeSettings {
    attempts: u32,
    #[serde(deserialize_with = "duration")]
    give_up_after: Duration,
    #[serde(deserialize_with = "duration")]
    remember: Duration,
    control_share: f64,
    budget: BudgetSettings,
    #[serde(default)]
    models: BTreeMap<String, JudgeModelSettings>,
});
section!(BudgetSettings {
    daily_usd: f64,
    full_rate_until: f64,
    reserve: f64,
    floor_rate: f64,
    #[serde(default)]
    services: BTreeMap<String, f64>,
});
section!(ReviewSettings {
    audit_rate: f64,
    audit_failing_rate: f64,
    audit_seed: u64,
    flagged_per_day: u32,
    #[serde(deserialize_with = "duration")]
    window: Duration,
    #[serde(deserialize_with = "duration")]
    anchor_interval: Duration,
});
section!(WatchSettings {
    #[serde(deserialize_with = "duration")]
    interval: Duration,
    #[serde(deserialize_with = "duration")]
    lateness: Duration,
    baseline: String,
});
section!(AlertSettings {
    budget_per_30_days: f64,
    segments: Vec<SegmentPattern>,
    tokens_per_second: f64,
    #[serde(default)]
    daily_cost_usd: BTreeMap<String, f64>,
    webhook: String,
    #[serde(deserialize_with = "duration")]
    remind_after: Duration,
    #[serde(deserialize_with = "duration")]
    no_data_after: Duration,
    #[serde(default)]
    channels: Vec<ChannelSettings>,
});
section!(ForwardSettings { endpoint: String });
section!(LinkSettings { trace: String, logs: String });

impl QueueSettings {
    /// Whether the queue is the store's own and there is no broker.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.url == "embedded"
    }
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
    read(&name, &text, variables(std::env::vars_os())?)
}

/// The compiled-in settings, without any file or environment.
///
/// # Errors
/// They are wrong, which a test rules out.
pub fn defaults() -> Result<Settings, SettingsError> {
    read("default.toml", "", Vec::new())
}

impl Settings {
    /// The archive, if there is to be one.
    ///
    /// # Errors
    /// It is a bucket that cannot be addressed so.
    pub fn archive(&self) -> Result<Option<Archive>, StoreError> {
        let directory = &self.archive.directory;
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let archive = (!directory.is_empty()).then(|| Archive::at(directory, variables)).transpose();
        archive.map_err(|source| StoreError::Archive { directory: directory.clone(), source })
    }

    /// What is set in earnest by few, each as a sentence for the log.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        range::doubts(self)
    }
}

fn read(name: &str, text: &str, variables: Vec<Variable>) -> Result<Settings, SettingsError> {
    let mistakes = check::mistakes(&Written { name, text, variables: &variables }, DEFAULTS);
    if !mistakes.is_empty() {
        return Err(SettingsError(mistakes));
    }
    let mut settings = layered(text, &variables).map_err(|error| SettingsError(vec![error.to_string()]))?;
    settings.attributes.add_keys(settings.sampling.attributes());
    let unknown = unknown_scopes(&settings);
    if unknown.is_empty() { Ok(settings) } else { Err(SettingsError(unknown)) }
}

/// Budgets that no run would ever count for; which names there are is known only when all is read.
fn unknown_scopes(settings: &Settings) -> Vec<String> {
    let mapped = |dimension: &str| settings.attributes.iter().any(|(name, _)| name == dimension);
    let scopes = settings.budget.0.iter().map(|budget| &budget.scope);
    let unknown = scopes.filter(|scope| !OWN_DIMENSIONS.contains(&scope.dimension()) && !mapped(scope.dimension()));
    let mistake = |scope| {
        let own = OWN_DIMENSIONS.join(", ");
        format!("budget.scope: no run has the dimension of {scope}; write {own} or a name of [attributes]")
    };
    unknown.map(mistake).collect()
}

/// The defaults, under the file, under the environment.
fn layered(text: &str, variables: &[Variable]) -> Result<Settings, config::ConfigError> {
    let toml = |text| config::File::from_str(text, config::FileFormat::Toml);
    let mut builder = config::Config::builder().add_source(toml(DEFAULTS)).add_source(toml(text));
    for variable in variables {
        // A variable's text is TOML where it is that; where a text is expected, a number is taken for one.
        let value = format!("value = {}", variable.value).parse::<toml::Table>().ok();
        let value = value.and_then(|mut table| table.remove("value"));
        let value = value.unwrap_or_else(|| toml::Value::String(variable.value.clone()));
        builder = builder.set_override(variable.path.join("."), value.try_into::<config::Value>().map_err(wrong)?)?;
    }
    let config = builder.build()?;
    let effective = effective::effective(&config.clone().try_deserialize()?);
    Ok(Settings { effective, ..config.try_deserialize()? })
}

fn wrong(error: toml::de::Error) -> config::ConfigError {
    config::ConfigError::Message(error.to_string())
}

/// The variables of ours: `DRIFTLINE__SECTION__KEY`.
fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Variable>, SettingsError> {
    let mut variables = Vec::new();
    let mut mistakes = Vec::new();
    for (name, value) in all {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let path = name.trim_start_matches(PREFIX).split("__").map(str::to_lowercase).collect();
        match value.into_string() {
            Ok(value) => variables.push(Variable { name: name.to_owned(), path, value }),
            Err(_) => mistakes.push(format!("environment variable {name}: not UTF-8; write it again")),
        }
    }
    if mistakes.is_empty() { Ok(variables) } else { Err(SettingsError(mistakes)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Settings, SettingsError> {
        parse_with(text, &[])
    }

    fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        read("driftline.toml", text, variables(environment)?)
    }

    #[test]
    fn the_defaults_are_complete_and_usable() {
        let settings = parse("").unwrap();
        assert_eq!(settings.web.listen, "127.0.0.1:8080");
        assert_eq!(settings.complete.root_grace, Duration::from_secs(2));
        assert!(settings.judge.models.is_empty());
    }

    #[test]
    fn a_bucket_without_a_name_and_a_broker_that_only_seems_to_be_checked_are_mistakes() {
        let wrong = "[archive]\ndirectory = \"s3:///runs\"\n[queue]\nurl = \"amqp://a:b@c/%2f?cacertfile=/ca.pem\"\n";
        let SettingsError(mistakes) = parse(wrong).unwrap_err();
        assert!(mistakes[0].starts_with("driftline.toml:2: archive.directory: name the bucket"), "{mistakes:#?}");
        assert!(mistakes[1].starts_with("driftline.toml:4: queue.url: cacertfile checks a broker"), "{mistakes:#?}");
        assert!(parse("[archive]\ndirectory = \"s3://runs\"").is_ok());
    }

    #[test]
    fn a_service_has_a_few_connections_to_its_database_and_not_thousands() {
        assert_eq!(parse("").unwrap().store.connections, 10);
        for wrong in [1, 1_001] {
            let SettingsError(mistakes) = parse(&format!("[store]\nconnections = {wrong}\n")).unwrap_err();
            assert_eq!(mistakes, ["driftline.toml:2: store.connections: at least 2, at most 1000"]);
        }
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
    fn no_mistake_hides_another() {
        let text = "[stor]\nurl = \"x\"\n[sampling]\nhealthy_rate = 7\n[judge.models.default]\nprovder = \"openai\"\n\
                    [judge.models.other]\nmodel = \"m\"\n[[write_back]]\nkind = \"otlp\"\nendpoint = \"http://x\"\n\
                    [[write_back]]\nkind = \"zipkin\"\nendpoint = \"http://x\"\n\
                    [sampling.services.\"x\"]\nhealthy_rat = 0.5\n[watch]\ninterval = \"1ms\"\nlateness = \"soon\"\n\
                    [retention]\ntraces = \"99999d\"\n[queue]\nprefetch = 70000\nurl = \"embeded\"\n";
        let SettingsError(mistakes) = parse(text).unwrap_err();
        let expected = [
            "driftline.toml:1: unknown section [stor]",
            "driftline.toml:4: sampling.healthy_rate: 7 is not between 0 and 1",
            "driftline.toml:6: judge.models.default: unknown field `provder`",
            "driftline.toml:7: judge.models.other: missing field `base_url`",
            "driftline.toml:13: write_back: unknown variant `zipkin`, expected one of `otlp`, `phoenix`, `langfuse`, `mlflow`",
            "driftline.toml:16: sampling.services.x: unknown field `healthy_rat`",
            "driftline.toml:18: watch.interval: at least \"100ms\"",
            "driftline.toml:19: watch.lateness: `soon` is not a duration",
            "driftline.toml:21: retention.traces: at most \"3650d\"",
            "driftline.toml:23: queue.prefetch is out of range",
            "driftline.toml:24: queue.url: write \"embedded\"",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{expected}: {mistakes:#?}");
        }
    }

    #[test]
    fn a_value_out_of_range_has_the_line_of_its_key() {
        let model = "[judge.models.default]\nmodel = \"m\"\nbase_url = \"http://x\"\ntimeout = \"9999d\"\n";
        let service = "[sampling.services.a]\nslow_threshold = \"1s\"\nhealthy_rate = 0.0\n";
        let SettingsError(mistakes) = parse(&format!("{model}{service}[sampling]\nhealthy_rate = 0.0")).unwrap_err();
        for line in [4, 7, 9] {
            let place = format!("driftline.toml:{line}: ");
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(&place)), "{line}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    }

    #[test]
    fn a_budget_is_dollars_and_without_one_there_is_no_limit() {
        assert_eq!(parse("").unwrap().judge.budget.daily_usd, f64::INFINITY);
        let budget = parse("[judge.budget]\ndaily_usd = 20\n[judge.budget.services]\nshop = 5").unwrap().judge.budget;
        assert_eq!((budget.daily_usd, budget.services["shop"], budget.reserve), (20.0, 5.0, 0.1));
        let wrong = "[judge.budget]\ndaily_usd = -1.0\nfloor_rate = 0.0\n[judge.budget.services]\nshop = nan\n";
        let SettingsError(mistakes) = parse(wrong).unwrap_err();
        let expected = [
            "driftline.toml:2: judge.budget.daily_usd: dollars, 0 or more; inf for no limit",
            "driftline.toml:3: judge.budget.floor_rate: more than 0, at most 1",
            "driftline.toml:5: judge.budget.services.shop: dollars, 0 or more; inf for no limit",
        ];
        assert_eq!(mistakes, expected);
    }

    #[test]
    fn a_budget_of_agents_names_a_scope_and_dollars() {
        let budgets = parse("[[budget]]\nscope = \"user=*\"\ndaily_usd = 2\n").unwrap().budget;
        assert_eq!(budgets.of("user=kim").unwrap().daily_usd, 2.0);
        let wrong =
            "[[budget]]\nscope = \"refunds\"\ndaily_usd = 2\n[[budget]]\nscope = \"feature=a\"\ndaily_usd = -1\n";
        let SettingsError(mistakes) = parse(wrong).unwrap_err();
        assert!(mistakes[0].starts_with("driftline.toml:2: budget: \"refunds\" names no segment"), "{mistakes:#?}");
        assert_eq!(mistakes[1], "driftline.toml:4: budget.daily_usd: dollars, 0 or more");
        assert_eq!(mistakes.len(), 2);
        let of_team = "[[budget]]\nscope = \"team=a\"\ndaily_usd = 1.0\n";
        assert!(parse(of_team).unwrap_err().to_string().contains("no run has the dimension of team=a"));
        assert!(parse(&format!("{of_team}[attributes]\nteam = [\"app.team\"]\n")).is_ok());
    }

    #[test]
    fn sampling_policies_are_read_and_make_the_attributes_they_ask_for_known() {
        let text = "[sampling]\nhealthy_rate = 0.2\n[[sampling.policies]]\nname = \"vip\"\nrate = 1.0\n\
                    where = { tier = \"enterprise\", \"Plan.Name\" = \"gold\", retries = 2, beta = true }\n\
                    [[sampling.policies]]\nname = \"cap\"\nper_minute = 5\n\
                    [[sampling.upstream]]\nwhere = { span_error = true }\nprobability = 1.0\n\
                    [[sampling.upstream]]\nprobability = 0.05\n[attributes]\nbeta = [\"app.beta\"]\n";
        let settings = parse(text).unwrap();
        assert_eq!((settings.sampling.policies.len(), settings.sampling.upstream.len()), (2, 2));
        let keys = |name: &str| settings.attributes.iter().find(|(known, _)| *known == name).unwrap().1.to_vec();
        assert_eq!(keys("Plan.Name"), ["Plan.Name"]);
        assert_eq!(keys("beta"), ["app.beta"], "what the settings say of a name stays");
        assert!(keys("tier").len() > 1, "and so does what is known of it");
    }

    #[test]
    fn every_mistake_in_a_list_is_named_with_its_line() {
        let text = "[[sampling.policies]]\nname = \"a\"\nrate = 2.0\n[[sampling.policies]]\nname = \"a\"\nrate = 0.5\n\
                    [[sampling.policies]]\nname = \"b\"\n[[sampling.upstream]]\nprobabilty = 1.0\n\
                    [[sampling.polices]]\nname = \"c\"\n";
        let SettingsError(mistakes) = parse(text).unwrap_err();
        let expected = [
            "driftline.toml:3: sampling.policies: 2 is not more than 0 and at most 1",
            "driftline.toml:4: sampling.policies: the name \"a\" is taken",
            "driftline.toml:7: sampling.policies: policy \"b\" says neither rate nor per_minute nor per_hour",
            "driftline.toml:10: sampling.upstream: unknown field `probabilty`",
            "driftline.toml:11: unknown key sampling.polices; known here: healthy_rate, services, slow_threshold, \
             policies, upstream",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{expected}: {mistakes:#?}");
        }
    }

    #[test]
    fn a_channel_says_where_it_is_and_which_alerts_it_hears_of() {
        let text = "[[alerts.channels]]\nname = \"on-call\"\nkind = \"pagerduty\"\ntoken_env = \"KEY\"\n\
                    severity = \"page\"\nservices = [\"shop\"]\nremind_after = \"1h\"\n";
        let channel = parse(text).unwrap().alerts.channels.remove(0);
        assert_eq!((channel.kind, channel.url), (ChannelKind::Pagerduty, None));
        assert_eq!(channel.token, Some(SecretSource::Variable("KEY".to_owned())));
        assert_eq!(channel.remind_after, Some(Duration::from_hours(1)));
    }

    #[test]
    fn every_mistake_in_a_channel_is_named() {
        let text = "[[alerts.channels]]\nname = \"a\"\nkind = \"slack\"\n\
                    [[alerts.channels]]\nname = \"b\"\nkind = \"pagerduty\"\n\
                    [[alerts.channels]]\nname = \"log\"\nkind = \"webhook\"\nurl = \"http://x\"\n\
                    [[alerts.channels]]\nname = \"c\"\nkind = \"pager\"\n\
                    [[alerts.channels]]\nname = \"d\"\nkind = \"slack\"\nurl = \"http://x\"\nurl_env = \"X\"\n";
        let SettingsError(mistakes) = parse(text).unwrap_err();
        let expected = [
            "alerts.channels: channel \"a\" has no address",
            "alerts.channels: channel \"b\" needs its routing key",
            "alerts.channels: the name \"log\" cannot be used",
            "alerts.channels: unknown variant `pager`",
            "alerts.channels: channel \"d\" has its url in two places",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.contains(expected), "{expected}: {mistakes:#?}");
        }
    }

    #[test]
    fn variables_win_over_the_file_and_complete_its_tables() {
        let text = "[judge.models.default]\nmodel = \"m\"\n[queue]\nname = \"q\"\nprefetch = 1\n";
        let settings = parse_with(
            text,
            &[
                ("DRIFTLINE__QUEUE__PREFETCH", "7"),
                ("DRIFTLINE__QUEUE__NAME", "5"),
                ("DRIFTLINE__SAMPLING__HEALTHY_RATE", "1"),
                ("DRIFTLINE__JUDGE__MODELS__DEFAULT__BASE_URL", "http://x"),
                ("DRIFTLINE__JUDGE__MODELS__DEFAULT__CONCURRENCY", "3"),
                ("DRIFTLINE__ATTRIBUTES__FEATURE", "[\"app.feature\"]"),
                ("DRIFTLINE_OTHER", "x"),
            ],
        )
        .unwrap();
        assert_eq!((settings.queue.prefetch, settings.queue.name.as_str()), (7, "5"));
        assert!((settings.sampling.healthy_rate - 1.0).abs() < 1e-12);
        let model = &settings.judge.models["default"];
        assert_eq!((model.model.as_str(), model.base_url.as_str(), model.concurrency), ("m", "http://x", 3));
    }

    #[test]
    fn a_rate_that_leaves_judges_with_failures_alone_is_doubted_and_not_refused() {
        let settings = parse("[sampling]\nhealthy_rate = 0.001\n[sampling.services]\n\"a\" = { healthy_rate = 0.002 }");
        let doubts = settings.unwrap().doubts();
        assert_eq!(doubts.len(), 2);
        assert!(
            doubts[0].starts_with("sampling.healthy_rate is 0.001: ")
                && doubts[0].contains("one healthy trace of 1000")
        );
        assert!(doubts[1].starts_with("sampling.services.a.healthy_rate is 0.002: "), "{doubts:?}");
        assert_eq!(parse("[sampling]\nhealthy_rate = 0.01").unwrap().doubts(), [""; 0]);
    }

    #[test]
    fn a_mistake_in_the_environment_names_its_variable_and_no_file() {
        let mistaken = [
            ("DRIFTLINE__RECIEVE__HTTP", "127.0.0.1:1"),
            ("DRIFTLINE__QUEUE__PREFETCH", "many"),
            ("DRIFTLINE__SAMPLING__HEALTHY_RATE", "7"),
            ("DRIFTLINE__WATCH__INTERVAL", "1ms"),
            ("DRIFTLINE__JUDGE__MODELS__DEFAULT__TIMEOUT", "soon"),
            ("DRIFTLINE__ATTRIBUTES__FEATURE", "[1]"),
            ("DRIFTLINE__STORE", "x"),
        ];
        let SettingsError(mistakes) = parse_with("[queue]\nprefetch = 1\n", &mistaken).unwrap_err();
        for (name, _) in mistaken {
            let place = format!("environment variable {name}: ");
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(&place)), "{name}: {mistakes:#?}");
        }
        assert_eq!(mistakes.len(), mistaken.len(), "{mistakes:#?}");
    }

    #[test]
    fn prices_add_to_the_shipped_ones_under_names_as_they_are_written() {
        let text = "[prices]\n\"Org/House-1.5\" = { input_usd_per_mtok = 1, output_usd_per_mtok = 2 }\n\
                    [prices.\"gpt-*\"]\ninput_usd_per_mtok = 3.0\noutput_usd_per_mtok = 4\n";
        let prices: PriceTable =
            toml::from_str(text.replace("[prices]", "").replace("[prices.", "[").as_str()).unwrap();
        assert_eq!(parse(text).unwrap().prices, prices);
    }

    #[test]
    fn a_wrong_price_is_named_with_its_line() {
        let text = "[prices]\na = { input_usd_per_mtok = 1 }\n\"b.1*\" = { input_usd_per_mtok = -1, output_usd_per_mtok = 1 }\n\
                    [prices.c]\ninput_usd_per_mtok = 1\noutput_usd_per_mtok = inf\n[prices.d]\ninput = 1\n";
        let SettingsError(mistakes) = parse(text).unwrap_err();
        let expected = [
            "driftline.toml:2: prices.a: missing field `output_usd_per_mtok`",
            "driftline.toml:3: prices.b.1*.input_usd_per_mtok: at least 0",
            "driftline.toml:6: prices.c.output_usd_per_mtok: at least 0",
            "driftline.toml:8: prices.d: unknown field `input`, expected one of `input_usd_per_mtok`",
        ];
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
        for (mistake, expected) in mistakes.iter().zip(expected) {
            assert!(mistake.starts_with(expected), "{expected}: {mistakes:#?}");
        }
    }

    #[test]
    fn text_that_is_not_toml_is_named_with_its_line() {
        let message = parse("[store\nurl = 1").unwrap_err().to_string();
        assert!(message.contains("driftline.toml:1"), "{message}");
    }
}
