//! Whether an answer says only what the judge was shown: a crude and honest check of numbers and quoted names.
//!
//! Numbers are compared by value, durations and percentages together with their unit, identifiers and times letter
//! by letter. `[1]` in an answer is a citation mark. Word meaning is out of reach, and is not pretended.

use std::collections::{BTreeMap, BTreeSet};

use super::fence::Shown;

/// Why the answer is not supported by what was shown; `None` when nothing speaks against it.
pub(crate) fn objection(answer: &str, shown: &Shown) -> Option<String> {
    if shown.data.is_none() && shown.policy.is_none() {
        return None;
    }
    let data = shown.data.as_deref();
    // What the material lost on its way to the judge must not be held against the answer.
    if data.is_some_and(|data| data.contains("left out ...]")) {
        return None;
    }
    if shown.policy.is_some() {
        return unsupported_claim(answer, shown);
    }
    data.and_then(|data| unfounded_success(answer, data))
        .or_else(|| unsupported_name(answer, shown))
        .or_else(|| unsupported_claim(answer, shown))
        .or_else(|| data.and_then(|data| false_agreement(answer, data)))
}

/// A confident answer over data that holds nothing but failures and emptiness.
fn unfounded_success(answer: &str, data: &str) -> Option<String> {
    const ADMISSIONS: [&str; 7] =
        ["could not", "couldn't", "cannot", "unable", "not found", "unavailable", "no document"];
    let lower = answer.to_lowercase();
    let admits = ADMISSIONS.iter().any(|admission| lower.contains(admission)) || lower.trim_end().ends_with('?');
    let is_barren = data.lines().all(is_barren);
    (is_barren && !admits).then(|| "the data is empty or an error, and the answer claims success".to_owned())
}

fn is_barren(line: &str) -> bool {
    let line = line.trim().to_lowercase();
    let is_empty = ["[]", "{}", "null", "\"\""].iter().any(|empty| line.ends_with(empty));
    line.is_empty() || is_empty || line.contains("\"error\"") || line.starts_with("error")
}

/// A quoted name that was not shown.
fn unsupported_name(answer: &str, shown: &Shown) -> Option<String> {
    let evidence = evidence(shown).to_lowercase();
    let mut names = answer.split(['"', '“', '”']).skip(1).step_by(2).filter(|name| !name.trim().is_empty());
    names
        .find(|name| !evidence.contains(&name.to_lowercase()))
        .map(|name| format!("the name \"{name}\" does not stand in what was shown"))
}

/// A number, duration, percentage, time or identifier that was not shown.
fn unsupported_claim(answer: &str, shown: &Shown) -> Option<String> {
    let evidence: BTreeSet<String> =
        claims(&evidence(shown)).into_iter().flat_map(|claim| [claim.typed(), claim.plain]).collect();
    // Asked about a policy, only its own kind of numbers is checked: it names no amounts of single bookings.
    let is_checkable = |claim: &Claim| shown.policy.is_none() || claim.unit.is_some();
    claims(&without_citations(answer))
        .into_iter()
        .filter(is_checkable)
        .map(|claim| claim.typed())
        .find(|claim| !evidence.contains(claim))
        .map(|claim| format!("{claim} does not stand in what was shown"))
}

/// An answer that says things match when two records give different numbers under one name.
fn false_agreement(answer: &str, data: &str) -> Option<String> {
    let lower = answer.to_lowercase();
    if !lower.contains(" matches ") {
        return None;
    }
    let mut seen: BTreeMap<&str, f64> = BTreeMap::new();
    numeric_fields(data)
        .find(|(name, value)| *seen.entry(*name).or_insert(*value) != *value)
        .map(|(name, _)| format!("the records differ in {name}, and the answer says that they match"))
}

/// Every `"name": number` of JSON text, wherever it stands.
fn numeric_fields(data: &str) -> impl Iterator<Item = (&str, f64)> {
    let pieces: Vec<&str> = data.split('"').collect();
    let pairs: Vec<(&str, &str)> = pieces.windows(2).map(|pair| (pair[0], pair[1])).collect();
    pairs.into_iter().filter_map(|(name, after)| {
        let after = after.trim_start().strip_prefix(':')?.trim_start();
        let end = after.find(|character: char| !matches!(character, '0'..='9' | '.' | '-')).unwrap_or(after.len());
        Some((name, after[..end].parse().ok()?))
    })
}

fn evidence(shown: &Shown) -> String {
    [&shown.data, &shown.policy, &shown.question]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A checkable statement: something with a digit in it, and its unit when it is a duration or a percentage.
struct Claim {
    plain: String,
    unit: Option<&'static str>,
}

impl Claim {
    fn typed(&self) -> String {
        self.unit.map_or_else(|| self.plain.clone(), |unit| format!("{} {unit}", self.plain))
    }
}

fn claims(text: &str) -> Vec<Claim> {
    let words: Vec<&str> = text.split(is_separator).map(trimmed).filter(|word| !word.is_empty()).collect();
    let with_digits = words.iter().enumerate().filter(|(_, word)| word.contains(|c: char| c.is_ascii_digit()));
    with_digits.map(|(place, word)| Claim { plain: canonical(word), unit: unit(word, &words[place + 1..]) }).collect()
}

fn is_separator(character: char) -> bool {
    !(character.is_alphanumeric() || matches!(character, '.' | ',' | ':' | '-' | '%'))
}

fn trimmed(word: &str) -> &str {
    word.trim_matches(['.', ',', ':', '-'])
}

/// Numbers by value, anything else in lower case.
fn canonical(word: &str) -> String {
    let digits = word.trim_end_matches('%').replace(',', "");
    digits.parse::<f64>().map_or_else(|_| word.to_lowercase(), |value| value.to_string())
}

fn unit(word: &str, following: &[&str]) -> Option<&'static str> {
    const UNITS: [&str; 6] = ["minute", "hour", "day", "week", "month", "year"];
    if word.ends_with('%') {
        return Some("percent");
    }
    let mut words = following.iter().map(|word| word.to_lowercase());
    let next = words.find(|word| !matches!(word.as_str(), "working" | "business" | "calendar"))?;
    if next == "percent" {
        return Some("percent");
    }
    UNITS.into_iter().find(|unit| next.strip_suffix('s').unwrap_or(&next) == *unit)
}

/// The answer without marks such as `[1]`.
fn without_citations(answer: &str) -> String {
    let mut kept = String::with_capacity(answer.len());
    let mut rest = answer;
    while let Some(open) = rest.find('[') {
        let (before, bracket) = rest.split_at(open);
        kept.push_str(before);
        let length = bracket[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(bracket.len() - 1);
        let is_mark = length > 0 && bracket[1 + length..].starts_with(']');
        let skipped = if is_mark { length + 2 } else { 1 };
        kept.push(' ');
        rest = &bracket[skipped..];
    }
    kept + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(data: &str) -> Shown {
        Shown { data: Some(data.to_owned()), ..Shown::default() }
    }

    #[test]
    fn numbers_are_compared_by_value_and_identifiers_by_letter() {
        let shown = shown(r#"{"total":1412.3,"flight":"LW482","departs_at":"09:40"}"#);
        assert_eq!(objection("Flight LW482 at 09:40 costs EUR 1,412.30 [1].", &shown), None);
        assert!(objection("Flight LW483 costs EUR 1,412.30.", &shown).unwrap().contains("lw483"));
        assert!(objection("It costs EUR 1,412.40.", &shown).is_some());
    }

    #[test]
    fn a_duration_needs_its_unit_in_the_evidence() {
        let shown = shown("Cancel within 24 hours. Flight 36 leaves on time. The fee is 15 %, or 20 percent later.");
        assert_eq!(objection("You have 24 hours, and later 20% is kept.", &shown), None);
        assert!(objection("You have 36 hours.", &shown).unwrap().contains("36 hour"));
        assert!(objection("It takes 24 working days.", &shown).is_some());
    }

    #[test]
    fn a_quoted_name_must_stand_in_the_evidence() {
        let shown = shown("A note by the Estuary Survey.");
        assert_eq!(objection("According to the \"Estuary Survey\", it is so.", &shown), None);
        assert!(
            objection("According to the \"Global Council\", it is so.", &shown).unwrap().contains("Global Council")
        );
    }

    #[test]
    fn success_over_empty_or_failed_data_is_refused_and_an_admission_is_not() {
        let barren = shown("[]\n{\"error\":\"search is unavailable\"}");
        assert!(objection("All is well.", &barren).is_some());
        assert_eq!(objection("I could not find anything.", &barren), None);
    }

    #[test]
    fn records_that_differ_do_not_match() {
        let records = shown("{\"quantity\":120,\"total\":5}\n{\"quantity\":12,\"total\":5}");
        assert!(objection("The invoice matches the order.", &records).unwrap().contains("quantity"));
        assert_eq!(objection("The order is for 12 units, the invoice for 120.", &records), None);
    }

    #[test]
    fn shortened_data_is_not_held_against_the_answer() {
        assert!(objection("It costs 12.", &shown("head tail")).is_some());
        assert_eq!(objection("It costs 12.", &shown("head\n[... 900 bytes left out ...]\ntail")), None);
    }

    #[test]
    fn against_a_policy_alone_only_durations_and_percentages_are_checked() {
        let policy = Shown { policy: Some("Free within 24 hours.".to_owned()), ..Shown::default() };
        assert_eq!(objection("You paid EUR 310.50 and have 24 hours.", &policy), None);
        assert!(objection("You have 48 hours.", &policy).is_some());
    }
}
