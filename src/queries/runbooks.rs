//! What to do about each kind of trouble: `deploy/runbooks`, compiled in, so that a link from an alert always leads
//! somewhere.

macro_rules! runbooks {
    ($($name:literal),+ $(,)?) => {
        /// Every runbook: its name and its text, which is Markdown.
        pub const ALL: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../deploy/runbooks/", $name, ".md")))),+];
    };
}

runbooks![
    "cost-runaway",
    "error-spike",
    "judge-budget",
    "judge-in-doubt",
    "judge-outage",
    "latency-spike",
    "no-data",
    "quality-drift",
    "queue-backlog",
];

/// The text of a runbook.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::watch::alerts::runbook;

    #[test]
    fn every_alert_has_a_runbook_that_is_there() {
        let series = crate::evaluate::measure::SERIES.iter().map(|series| series.name);
        for series in series.chain(["loop", "groundedness", "run_error", "tool_outcome"]) {
            assert!(text(runbook(series)).is_some(), "{series}: {}", runbook(series));
        }
    }

    #[test]
    fn every_runbook_in_the_folder_is_compiled_in_and_says_what_to_do() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/runbooks");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let names: BTreeSet<String> = files.map(|file| file.trim_end_matches(".md").to_owned()).collect();
        assert_eq!(names, ALL.iter().map(|(name, _)| (*name).to_owned()).collect());
        for (name, text) in ALL {
            for part in ["## What it means", "## How to look", "## Usual causes", "## Stop the bleeding"] {
                assert!(text.contains(part), "{name} lacks {part:?}");
            }
            assert!(text.contains("driftline "), "{name} names no command");
        }
    }
}
