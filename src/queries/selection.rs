//! Selections as people write them: `service=shop,model=gpt-5,since=24h`.

use std::time::{Duration, UNIX_EPOCH};

use crate::backends::store::{CostSelection, Selection, Verdict};
use crate::domain::evaluation::FailureClass;
use crate::domain::time::Timestamp;
use crate::normalize::AttributeMapping;

/// Keys that every trace can be selected by; names of the attribute mapping come on top.
pub const KEYS: [&str; 12] = [
    "service",
    "release",
    "model",
    "environment",
    "conversation",
    "user",
    "failing",
    "failure",
    "failure_class",
    "verdict",
    "since",
    "until",
];

/// A key and its value.
pub type Condition = (String, String);

/// Why a text selects nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSelection {
    /// A part has no key, no `=` or no value.
    #[error("{text:?} is not key=value")]
    NotACondition {
        /// The part.
        text: String,
    },
    /// The key is none of ours and no configured attribute.
    #[error("unknown key {key:?}; known: {}", .known.join(", "))]
    UnknownKey {
        /// The key.
        key: String,
        /// Every key there is.
        known: Vec<String>,
    },
    /// A key can have one value only.
    #[error("{key:?} is given twice")]
    Repeated {
        /// The key.
        key: String,
    },
    /// Not a point in time.
    #[error("{key}={value:?} is neither a time such as 2026-01-31T12:00:00Z nor an age such as 24h")]
    Instant {
        /// `since` or `until`.
        key: String,
        /// What was given for it.
        value: String,
    },
    /// Not a yes or no.
    #[error("failing={value:?} is neither true nor false")]
    Flag {
        /// What was given.
        value: String,
    },
    /// Not a class of failure.
    #[error("failure_class={value:?} is none of hard, soft, looping and drifting")]
    FailureClass {
        /// What was given.
        value: String,
    },
    /// A time that ends before it begins.
    #[error("since ({since}) is later than until ({until}), and nothing lies between")]
    Backwards {
        /// Where it would begin.
        since: Timestamp,
        /// Where it would end.
        until: Timestamp,
    },
}

impl InvalidSelection {
    /// What to write instead.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::NotACondition { .. } => "write key=value[,key=value]",
            Self::UnknownKey { .. } => "write key=value with a known key",
            Self::Repeated { .. } => "give each key once",
            Self::Instant { .. } => "write for example 24h, 2026-01-31 or 2026-01-31T12:00:00Z",
            Self::Flag { .. } => "write true or false",
            Self::FailureClass { .. } => "write hard, soft, looping or drifting",
            Self::Backwards { .. } => "ages count back from now: since=5h,until=2h is five to two hours ago",
        }
    }
}

/// How far back is looked where a question is about recent traces and says nothing of time.
pub const RECENT: &str = "24h";

/// The conditions, with `since` set to [`RECENT`] where they say nothing of time.
#[must_use]
pub fn recent(mut conditions: Vec<Condition>) -> Vec<Condition> {
    if !conditions.iter().any(|(key, _)| key == "since" || key == "until") {
        conditions.push(("since".to_owned(), RECENT.to_owned()));
    }
    conditions
}

/// Refuses a time that ends before it begins.
///
/// # Errors
/// It does.
pub fn check_window(since: Option<Timestamp>, until: Option<Timestamp>) -> Result<(), InvalidSelection> {
    match since.zip(until) {
        Some((since, until)) if since > until => Err(InvalidSelection::Backwards { since, until }),
        _ => Ok(()),
    }
}

/// Reads which requests to judges are meant: `service`, `since` and `until`, each at most once.
///
/// # Errors
/// A condition that is malformed, unknown or given twice.
pub fn cost_selection(conditions: &[Condition], now: Timestamp) -> Result<CostSelection, InvalidSelection> {
    let known = ["service", "since", "until"];
    if let Some((key, _)) = conditions.iter().find(|(key, _)| !known.contains(&key.as_str())) {
        let known = known.map(str::to_owned).to_vec();
        return Err(InvalidSelection::UnknownKey { key: key.clone(), known });
    }
    let Selection { service, since, until, .. } = selection(conditions, &AttributeMapping::default(), now)?;
    Ok(CostSelection { service, since, until })
}

/// Reads `key=value[,key=value]…`; a comma inside a value is written `\,`. Nothing at all selects every trace.
///
/// # Errors
/// A condition that is malformed, unknown or given twice.
pub fn parse(text: &str, names: &AttributeMapping, now: Timestamp) -> Result<Selection, InvalidSelection> {
    selection(&conditions(text)?, names, now)
}

/// Takes `key=value[,key=value]…` apart, without asking what the keys mean.
///
/// # Errors
/// A part is not `key=value`.
pub fn conditions(text: &str) -> Result<Vec<Condition>, InvalidSelection> {
    parts(text).into_iter().filter(|part| !part.trim().is_empty()).map(|part| condition(&part)).collect()
}

fn condition(part: &str) -> Result<Condition, InvalidSelection> {
    let invalid = || InvalidSelection::NotACondition { text: part.to_owned() };
    let (key, value) = part.split_once('=').ok_or_else(invalid)?;
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || value.is_empty() { Err(invalid()) } else { Ok((key.to_owned(), value.to_owned())) }
}

fn parts(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            ',' => parts.push(String::new()),
            '\\' if characters.next_if_eq(&',').is_some() => push(&mut parts, ','),
            other => push(&mut parts, other),
        }
    }
    parts
}

fn push(parts: &mut [String], character: char) {
    if let Some(part) = parts.last_mut() {
        part.push(character);
    }
}

/// The selection that conditions mean. Ages count back from `now`.
///
/// # Errors
/// A condition that is unknown, given twice, or has no such value; or a time that ends before it begins.
pub fn selection(
    conditions: &[Condition],
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<Selection, InvalidSelection> {
    let mut selection = Selection::default();
    for (place, (key, value)) in conditions.iter().enumerate() {
        if conditions[..place].iter().any(|(earlier, _)| fact(earlier) == fact(key)) {
            return Err(InvalidSelection::Repeated { key: key.clone() });
        }
        narrow(&mut selection, key, value, names, now)?;
    }
    check_window(selection.since, selection.until)?;
    Ok(selection)
}

/// The name under which a key is known first.
fn fact(key: &str) -> &str {
    if key == "failure" { "failure_class" } else { key }
}

fn narrow(
    selection: &mut Selection,
    key: &str,
    value: &str,
    names: &AttributeMapping,
    now: Timestamp,
) -> Result<(), InvalidSelection> {
    let text = || Some(value.to_owned());
    match key {
        "service" => selection.service = text(),
        "release" => selection.release = text(),
        "model" => selection.model = text(),
        "environment" => selection.environment = text(),
        "conversation" => selection.conversation = text(),
        "user" => selection.user = text(),
        "since" => selection.since = Some(instant(key, value, now)?),
        "until" => selection.until = Some(instant(key, value, now)?),
        "failing" => selection.failing = Some(flag(value)?),
        "failure" | "failure_class" => selection.failure_class = Some(failure_class(value)?),
        "verdict" => selection.verdict = Some(verdict(value)),
        key if names.iter().any(|(name, _)| name == key) => {
            selection.attributes.insert(key.to_owned(), value.to_owned());
        }
        key => return Err(InvalidSelection::UnknownKey { key: key.to_owned(), known: known_keys(names) }),
    }
    Ok(())
}

fn known_keys(names: &AttributeMapping) -> Vec<String> {
    let own = names.iter().map(|(name, _)| name).filter(|name| !KEYS.contains(name));
    KEYS.into_iter().chain(own).map(str::to_owned).collect()
}

fn failure_class(value: &str) -> Result<FailureClass, InvalidSelection> {
    FailureClass::parse(value).ok_or_else(|| InvalidSelection::FailureClass { value: value.to_owned() })
}

/// `LABEL` of any evaluator, or `EVALUATOR:LABEL`.
fn verdict(value: &str) -> Verdict {
    let (evaluator, label) = value.split_once(':').map_or((None, value), |(name, label)| (Some(name), label));
    Verdict { evaluator: evaluator.map(|name| name.trim().to_owned()), label: label.trim().to_lowercase() }
}

fn flag(value: &str) -> Result<bool, InvalidSelection> {
    value.parse().map_err(|_| InvalidSelection::Flag { value: value.to_owned() })
}

/// A day, a time (RFC 3339, UTC), or an age before `now`; `key` names it in the error.
///
/// # Errors
/// It is none of them.
pub fn instant(key: &str, value: &str, now: Timestamp) -> Result<Timestamp, InvalidSelection> {
    if let Ok(age) = humantime::parse_duration(value) {
        return Ok(now.minus(age));
    }
    let is_day = value.len() == "2026-01-31".len();
    let day = if is_day { format!("{value}T00:00:00Z") } else { value.to_owned() };
    let since_epoch: Option<Duration> =
        humantime::parse_rfc3339_weak(&day).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let invalid = || InvalidSelection::Instant { key: key.to_owned(), value: value.to_owned() };
    since_epoch.map(|since_epoch| Timestamp(0).plus(since_epoch)).ok_or_else(invalid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_770_000_000_000_000_000);

    fn read(text: &str) -> Result<Selection, InvalidSelection> {
        parse(text, &AttributeMapping::default(), NOW)
    }

    #[test]
    fn names_attributes_flags_and_times_are_selected_by() {
        let selection =
            read("service=shop, user=u=1,invoice.id=a\\,b,failing=true,since=24h,until=2026-02-02").unwrap();
        assert_eq!(selection.service.as_deref(), Some("shop"));
        assert_eq!(selection.user.as_deref(), Some("u=1"));
        assert_eq!(selection.attributes["invoice.id"], "a,b");
        assert_eq!(selection.failing, Some(true));
        assert_eq!(selection.since, Some(NOW.minus(Duration::from_hours(24))));
        assert_eq!(selection.until.unwrap().to_string(), "2026-02-02T00:00:00Z");
        assert_eq!(read("").unwrap(), Selection::default());
        assert_eq!(read("failure=hard").unwrap().failure_class, Some(FailureClass::Hard));
        let verdict = |text| read(text).unwrap().verdict.unwrap();
        assert_eq!(verdict("verdict=NO"), Verdict { evaluator: None, label: "no".to_owned() });
        let of_one = Verdict { evaluator: Some("groundedness".to_owned()), label: "no".to_owned() };
        assert_eq!(verdict("verdict=groundedness:no"), of_one);
    }

    #[test]
    fn what_selects_nothing_is_refused_by_name() {
        let message = |text: &str| read(text).unwrap_err().to_string();
        assert!(message("servce=shop").contains("unknown key \"servce\"; known: service, release"));
        assert_eq!(message("shop"), "\"shop\" is not key=value");
        assert_eq!(message("model="), "\"model=\" is not key=value");
        assert_eq!(message("model=a,model=b"), "\"model\" is given twice");
        assert!(message("since=yesterday").contains("since=\"yesterday\""));
        assert!(message("failing=1").contains("neither true nor false"));
        assert_eq!(message("failure=hard,failure_class=soft"), "\"failure_class\" is given twice");
        assert!(message("failure_class=odd").contains("none of hard, soft, looping and drifting"));
    }

    #[test]
    fn a_time_that_ends_before_it_begins_is_refused() {
        let error = read("since=2h,until=5h").unwrap_err();
        assert!(matches!(error, InvalidSelection::Backwards { since, until } if since > until), "{error}");
        assert!(read("since=5h,until=2h").is_ok() && read("since=2h,until=2h").is_ok() && read("until=5h").is_ok());
        let of_judges = conditions("since=2h,until=5h").unwrap();
        assert!(matches!(cost_selection(&of_judges, NOW), Err(InvalidSelection::Backwards { .. })));
    }

    #[test]
    fn the_remedy_says_what_the_value_should_look_like() {
        for (text, part) in [
            ("since=abc", "24h, 2026-01-31"),
            ("failing=maybe", "true or false"),
            ("failure=odd", "looping"),
            ("servce=shop", "known key"),
            ("model=a,model=b", "once"),
        ] {
            let remedy = read(text).unwrap_err().remedy();
            assert!(remedy.contains(part), "{text}: {remedy}");
        }
    }

    #[test]
    fn a_question_about_recent_traces_may_say_another_time() {
        let since = |text: &str| parse_conditions(recent(conditions(text).unwrap())).since;
        assert_eq!(since("service=shop"), Some(NOW.minus(Duration::from_hours(24))));
        assert_eq!((since("since=7d"), since("until=1h")), (Some(NOW.minus(Duration::from_hours(24 * 7))), None));
    }

    fn parse_conditions(conditions: Vec<Condition>) -> Selection {
        selection(&conditions, &AttributeMapping::default(), NOW).unwrap()
    }

    #[test]
    fn a_time_is_read_to_the_second() {
        assert_eq!(instant("since", "2026-01-31T12:30:45Z", NOW).unwrap().to_string(), "2026-01-31T12:30:45Z");
    }
}
