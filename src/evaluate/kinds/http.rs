//! A check of your own, behind an address: the run is posted to it as JSON, and it answers with a score.
//!
//! For what no kind here can say: a model of your own, a look into your database, a check that another team runs. The
//! run is sent as the record that conditions see (`trace` in `evaluators/README.md`), absent facts as `null`. The answer is
//! `{"value": 0.0 to 1.0, "label": "…", "explanation": "…"}`, of which a value or one of the labels `pass`, `fail`, `yes`
//! and `no` is needed; anything else in it is refused.
//!
//! It is slow, remote and may be down, so it is no rule: it is asked later, like a judge, on the traces that sampling
//! chose, one queue for each evaluator. A service that hangs delays its own answers and nothing else. After the last
//! attempt the outcome is `failed`, with the cause; a failure to answer is never a low score. Redirects are not
//! followed, since they would carry the run to a host that no one named, and of an answer at most 64 KiB are read. The
//! secret that the service may want comes from an environment variable and never stands in a file.
//!
//! Its series holds the scores as they are, so that a fall from .95 to .55 is seen as well as one below a half.
//!
//! Detectors wait for judges before they watch an hour, and not for services: an answer that comes after its hour was
//! watched is in every report and score, and not in what was watched.
//!
//! The revision holds the address and nothing of what answers there: when the service changes what it scores, change its
//! path (`/v2`), and a new series begins.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Behaviour, Built, Source};
use crate::evaluate::mistake::Mistake;
use crate::evaluate::service::Service;

pub(super) const DOC: &str = "a service of your own scores the run, which is posted to it as JSON";

/// Longest wait for an answer that can be asked for, in seconds.
const LONGEST_TIMEOUT: f64 = 300.0;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    url: String,
    timeout_seconds: f64,
    attempts: u32,
    header: String,
    header_env: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: String::new(),
            timeout_seconds: 5.0,
            attempts: 3,
            header: "authorization".to_owned(),
            header_env: None,
        }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = Vec::new();
    if !["http://", "https://"].iter().any(|scheme| settings.url.starts_with(scheme)) {
        let problem = format!("url {:?} is no http or https address", settings.url);
        mistakes.push(source.mistake("url", &problem, "set it to where the run is to be posted"));
    }
    if !(settings.timeout_seconds > 0.0 && settings.timeout_seconds <= LONGEST_TIMEOUT) {
        let problem = format!("timeout_seconds is {}", settings.timeout_seconds);
        mistakes.push(source.mistake("timeout_seconds", &problem, "set it above 0 and to 300 at most"));
    }
    if !(1..=20).contains(&settings.attempts) {
        let problem = format!("attempts is {}", settings.attempts);
        mistakes.push(source.mistake("attempts", &problem, "set it between 1 and 20"));
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    let canonical = json!({ "url": settings.url });
    let service = Service {
        url: settings.url,
        timeout: std::time::Duration::from_secs_f64(settings.timeout_seconds),
        attempts: settings.attempts,
        header: settings.header_env.map(|variable| (settings.header, variable)),
    };
    Ok(Built { behaviour: Behaviour::Service(Box::new(service)), canonical })
}

#[cfg(test)]
mod tests {
    use super::super::testing::mistakes;

    #[test]
    fn an_address_that_cannot_be_called_and_numbers_out_of_range_are_refused() {
        assert!(mistakes("http", "url = \"ftp://host/x\"").contains("\"ftp://host/x\" is no http or https address"));
        assert!(mistakes("http", "").contains("url \"\" is no http or https address"));
        assert!(mistakes("http", "url = \"http://h\"\ntimeout_seconds = nan").contains("timeout_seconds is NaN"));
        assert!(mistakes("http", "url = \"http://h\"\nattempts = 0").contains("attempts is 0"));
        assert!(mistakes("http", "url = \"http://h\"\nsecret = \"x\"").contains("unknown field"));
    }
}
