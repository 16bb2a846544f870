//! Times on the command line: `2026-03-01`, `2026-03-01T12:00:00Z`, or how long ago, `2h`.

use std::time::UNIX_EPOCH;

use super::failure::Failure;
use crate::domain::time::Timestamp;

/// Reads a time; `what` names the argument.
///
/// # Errors
/// The text is neither an RFC 3339 time, a date, nor a duration.
pub(super) fn parse(what: &str, text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now.minus(ago));
    }
    let instant =
        humantime::parse_rfc3339_weak(text).or_else(|_| humantime::parse_rfc3339(&format!("{text}T00:00:00Z")));
    let since_epoch = instant.ok().and_then(|instant| instant.duration_since(UNIX_EPOCH).ok());
    since_epoch.map(|since_epoch| Timestamp(0).plus(since_epoch)).ok_or_else(|| {
        Failure::Usage(format!(
            "{what}: {text:?} is no time; write 2026-03-01T12:00:00Z, 2026-03-01, or 2h for two hours ago"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_instants_dates_or_so_long_ago() {
        let now = Timestamp(1_772_370_000_000_000_000);
        for (text, shown) in [
            ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
            ("2026-03-01 12:00:00", "2026-03-01T12:00:00Z"),
            ("2026-03-01", "2026-03-01T00:00:00Z"),
            ("2h", "2026-03-01T11:00:00Z"),
            ("7d", "2026-02-22T13:00:00Z"),
        ] {
            assert_eq!(parse("--since", text, now).ok().unwrap().to_string(), shown);
        }
        for text in ["", "soon", "2026-13-01", "1960-01-01"] {
            assert!(matches!(parse("--since", text, now), Err(Failure::Usage(_))), "{text}");
        }
    }
}
