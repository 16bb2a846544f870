//! Does a text hold what it must not, or lack what it must? Secrets, personal data, and patterns of your own.
//!
//! `detect` names built-in detectors (table in `evaluators/README.md`). Each has a form, and where the thing has check
//! digits they decide: sixteen digits are an order number far more often than a card. What is left to chance, held by a
//! test on random digits: about 1 in 40 runs of sixteen digits counts as a card, 1 in 100 of the form of a Brazilian
//! number with its two check digits, fewer than 1 in 1,000 of a Norwegian one, which holds a date too. `email`, `phone`
//! and `us_ssn` have no check digits: they find everything of the form. Numbers that are part of a longer one
//! (`0.4111…`) are left out.
//!
//! The rule claims that something of that form is there, not that it is somebody's, and not that the user had no right
//! to see it. It does not find names, addresses, spelled-out numbers, or secrets that are ordinary words.
//!
//! `forbid` and `require` are your own regular expressions by name (crate `regex`: no look-around and no
//! back-references, and therefore time linear in the text, whatever the text). A required pattern must occur in one of
//! the texts.
//!
//! What was found is never repeated: the explanation masks it, `####-####-####-####`, so that scores may be kept,
//! shown and sent where the texts may not.

use std::collections::BTreeMap;
use std::ops::Range;

use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::{Deserialize, Serialize};

use super::{Built, Finding, Rule, Source, clip};
use crate::domain::ids::SpanId;
use crate::domain::trace::{Step, Trace};
use crate::evaluate::mistake::Mistake;

mod checksums;
mod detectors;

pub(in crate::evaluate) use detectors::named;
pub use detectors::{DETECTORS, Detector};

pub(super) const DOC: &str =
    "secrets, personal data or text of a pattern where it must not be, or its absence where it must";

/// Most findings that an explanation lists.
const MOST_LISTED: usize = 5;
/// Most findings of one detector in one text.
const MOST_COUNTED: usize = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Subject {
    Question,
    Answer,
    Arguments,
    Results,
    Documents,
}

impl Subject {
    const fn attribute(self) -> &'static str {
        match self {
            Self::Question => "gen_ai.input.messages",
            Self::Answer => "gen_ai.output.messages",
            Self::Arguments => "gen_ai.tool.call.arguments",
            Self::Results => "gen_ai.tool.call.result",
            Self::Documents => "gen_ai.retrieval.documents",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    subjects: Vec<Subject>,
    detect: Vec<String>,
    forbid: BTreeMap<String, String>,
    require: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { subjects: vec![Subject::Answer], detect: Vec::new(), forbid: BTreeMap::new(), require: BTreeMap::new() }
    }
}

pub(super) fn build(source: &Source<'_>) -> Result<Built, Vec<Mistake>> {
    let settings: Settings = source.settings()?;
    let mut mistakes = Vec::new();
    if settings.detect.is_empty() && settings.forbid.is_empty() && settings.require.is_empty() {
        mistakes.push(source.mistake("pattern", "nothing is looked for", "set detect, forbid or require"));
    }
    if settings.subjects.is_empty() {
        mistakes.push(source.mistake("subjects", "subjects is empty", "name a text, such as \"answer\""));
    }
    let forbidden = own_patterns(source, "forbid", &settings.forbid, &mut mistakes);
    let required = own_patterns(source, "require", &settings.require, &mut mistakes);
    let detectors = detectors_of(source, &settings, &mut mistakes);
    let compiled = Detectors::compile(detectors).map_err(|problem| source.mistake("detect", &problem, "name fewer"));
    match compiled {
        Ok(detectors) if mistakes.is_empty() => {
            let subjects = settings.subjects.clone();
            Ok(Built::rule(PatternRule { subjects, detectors, forbidden, required }, &settings))
        }
        Ok(_) => Err(mistakes),
        Err(mistake) => Err(mistakes.into_iter().chain([mistake]).collect()),
    }
}

fn detectors_of(source: &Source<'_>, settings: &Settings, mistakes: &mut Vec<Mistake>) -> Vec<&'static Detector> {
    let names = || DETECTORS.iter().map(|detector| detector.name).collect::<Vec<_>>().join(", ");
    let mut found = Vec::new();
    for name in &settings.detect {
        match named(name) {
            Some(detector) => found.push(detector),
            None => {
                let problem = format!("there is no detector {name:?}");
                mistakes.push(source.mistake("detect", &problem, &format!("name any of {}", names())));
            }
        }
    }
    found
}

fn own_patterns(
    source: &Source<'_>,
    key: &str,
    patterns: &BTreeMap<String, String>,
    mistakes: &mut Vec<Mistake>,
) -> Vec<(String, Regex)> {
    let mut compiled = Vec::new();
    for (name, pattern) in patterns {
        match Regex::new(pattern) {
            Ok(regex) if regex.is_match("") => {
                let problem = format!("{key} {name:?} matches an empty text, so it matches every text");
                mistakes.push(source.mistake(key, &problem, "make the pattern ask for something"));
            }
            Ok(regex) => compiled.push((name.clone(), regex)),
            Err(error) => {
                let last_line = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                mistakes.push(source.mistake(key, &format!("{key} {name:?}: {last_line}"), "correct the pattern"));
            }
        }
    }
    compiled
}

/// Detectors with their compiled forms. Most texts hold nothing, and one pass over all forms at once says so.
#[derive(Debug)]
pub(in crate::evaluate) struct Detectors {
    any: RegexSet,
    each: Vec<(&'static Detector, Regex)>,
}

impl Detectors {
    pub(in crate::evaluate) fn compile(detectors: Vec<&'static Detector>) -> Result<Self, String> {
        let compile = |form: &str| RegexBuilder::new(form).unicode(false).build().map_err(|error| error.to_string());
        let forms = detectors.iter().map(|detector| detector.form);
        let any = RegexSetBuilder::new(forms).unicode(false).build().map_err(|error| error.to_string())?;
        let each = detectors.iter().map(|detector| Ok((*detector, compile(detector.form)?)));
        Ok(Self { any, each: each.collect::<Result<_, String>>()? })
    }

    /// Whether there is none.
    pub(in crate::evaluate) const fn is_empty(&self) -> bool {
        self.each.is_empty()
    }

    /// What a text holds, with the name of its detector.
    fn found<'t>(&self, text: &'t str) -> Vec<(&'static str, &'t str)> {
        self.ranges(text).into_iter().map(|(name, range)| (name, &text[range])).collect()
    }

    /// Where in a text something stands, with the name of its detector.
    pub(in crate::evaluate) fn ranges(&self, text: &str) -> Vec<(&'static str, Range<usize>)> {
        let mut found = Vec::new();
        for index in &self.any.matches(text) {
            let (detector, form) = &self.each[index];
            let (mut from, most) = (0, found.len() + MOST_COUNTED);
            while found.len() < most
                && let Some(matched) = form.find_at(text, from)
            {
                let accepted =
                    (detector.accept)(matched.as_str()).filter(|_| !is_part_of_number(text, matched.range()));
                // What only looks like it may overlap the real thing.
                from = accepted.map_or(matched.start() + 1, |length| matched.start() + length);
                found.extend(accepted.map(|length| (detector.name, matched.start()..matched.start() + length)));
            }
        }
        found
    }
}

/// Whether digits go on beyond a match that begins as a number: `0.4111…`, or one group of a longer id.
fn is_part_of_number(text: &str, matched: Range<usize>) -> bool {
    let bytes = text.as_bytes();
    let is_word = |index: Option<usize>| index.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_alphanumeric);
    let is_joint = |index: Option<usize>| index.and_then(|at| bytes.get(at)).is_some_and(|byte| b".-+".contains(byte));
    let (start, end) = (matched.start, matched.end);
    let goes_on_before =
        is_joint(start.checked_sub(1)) && is_word(start.checked_sub(2)) || is_word(start.checked_sub(1));
    let goes_on_after = is_joint(Some(end)) && is_word(Some(end + 1));
    bytes.get(start).is_some_and(|byte| byte.is_ascii_digit() || *byte == b'+') && (goes_on_before || goes_on_after)
}

#[derive(Debug)]
struct PatternRule {
    subjects: Vec<Subject>,
    detectors: Detectors,
    forbidden: Vec<(String, Regex)>,
    required: Vec<(String, Regex)>,
}

/// One text to look through, and where it stands.
struct Text<'a> {
    place: &'a str,
    text: &'a str,
    span: Option<SpanId>,
}

impl Rule for PatternRule {
    fn check(&self, trace: &Trace) -> Finding {
        let texts: Vec<Text<'_>> = self.subjects.iter().flat_map(|subject| texts(*subject, trace)).collect();
        if texts.is_empty() {
            return self.without_texts(trace);
        }
        let (mut problems, mut span) = (Vec::new(), None);
        for text in &texts {
            let found = self.forbidden_in(text.text);
            span = span.or(text.span.filter(|_| !found.is_empty()));
            problems
                .extend(found.iter().map(|(name, held)| format!("{name} {} in {}", masked(held), clip(text.place))));
        }
        let is_missing = |regex: &Regex| !texts.iter().any(|text| regex.is_match(text.text));
        let missing = self.required.iter().filter(|(_, regex)| is_missing(regex));
        problems.extend(missing.map(|(name, _)| format!("{name} is missing")));
        if problems.is_empty() {
            return Finding::pass(format!("nothing amiss in {} texts", texts.len()));
        }
        Finding::fail(listed(problems), span)
    }
}

impl PatternRule {
    fn forbidden_in<'t>(&self, text: &'t str) -> Vec<(&str, &'t str)> {
        let mut found = self.detectors.found(text);
        for (name, regex) in &self.forbidden {
            found.extend(regex.find_iter(text).take(MOST_LISTED + 1).map(|matched| (name.as_str(), matched.as_str())));
        }
        found
    }

    /// A text that is always there is missing from the telemetry; the others may not have been part of the run.
    fn without_texts(&self, trace: &Trace) -> Finding {
        let is_expected = |subject: &Subject| match subject {
            Subject::Question | Subject::Answer => true,
            Subject::Arguments | Subject::Results => trace.tool_calls().next().is_some(),
            Subject::Documents => trace.retrievals().any(|retrieval| !retrieval.documents_recorded),
        };
        match self.subjects.iter().copied().find(is_expected) {
            Some(subject) => Finding::NotEvaluable(subject.attribute().to_owned()),
            None => Finding::NotApplicable("the run has none of the texts that are looked through".to_owned()),
        }
    }
}

fn texts(subject: Subject, trace: &Trace) -> Vec<Text<'_>> {
    match subject {
        Subject::Question => of_run("the question", trace.input.as_deref()),
        Subject::Answer => of_run("the answer", trace.output.as_deref()),
        Subject::Arguments | Subject::Results | Subject::Documents => {
            trace.steps.iter().flat_map(|step| of_step(subject, step)).collect()
        }
    }
}

fn of_run<'a>(place: &'a str, text: Option<&'a str>) -> Vec<Text<'a>> {
    text.map(|text| Text { place, text, span: None }).into_iter().collect()
}

fn of_step(subject: Subject, step: &Step) -> Vec<Text<'_>> {
    let (place, texts, span) = match (subject, step) {
        (Subject::Arguments, Step::Tool(call)) => (call.name.as_str(), call.arguments.as_slice(), call.span_id),
        (Subject::Results, Step::Tool(call)) => (call.name.as_str(), call.result.as_slice(), call.span_id),
        (Subject::Documents, Step::Retrieval(retrieval)) => {
            ("a document", retrieval.documents.as_slice(), retrieval.span_id)
        }
        _ => return Vec::new(),
    };
    texts.iter().map(|text| Text { place, text, span: Some(span) }).collect()
}

/// The form of a text without the text: digits become `#`, letters `x`.
fn masked(text: &str) -> String {
    const LONGEST: usize = 40;
    let mask = |character: char| match character {
        '0'..='9' => '#',
        '-' | ' ' | '.' | '@' | '+' | '_' => character,
        _ => 'x',
    };
    let mut masked: String = text.chars().map(mask).take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        masked.push('…');
    }
    masked
}

fn listed(mut problems: Vec<String>) -> String {
    if problems.len() > MOST_LISTED {
        let more = problems.len() - MOST_LISTED;
        problems.truncate(MOST_LISTED);
        problems.push(format!("and {more} more"));
    }
    problems.join("; ")
}

#[cfg(test)]
mod tests;
