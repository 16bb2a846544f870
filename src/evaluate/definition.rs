//! Evaluator definitions: folders of text files, read into what runs.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::cases::{Case, parse_cases};
use super::expression::Expression;
use super::kinds::{Behaviour, Finding, KINDS, Kind, Source};
use super::measure::SERIES;
use super::mistake::{InvalidEvaluators, Mistake, line_of_key, line_of_offset};
use super::revision::revision;
use crate::domain::evaluation::AnnotatorKind;
use crate::domain::judge::JudgeModelIdentity;
use crate::domain::measurement::NOT_EVALUABLE;
use crate::domain::trace::Trace;

/// The definition's file in its folder.
const DEFINITION: &str = "evaluator.toml";
/// The labelled examples' file in the folder.
const CASES: &str = "cases.jsonl";
/// Keys of `evaluator.toml` beside the kind's own table.
const KEYS: [&str; 6] = ["kind", "description", "target", "severity", "flag", "applies_when"];
/// Largest file that is read from an evaluator's folder, in bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Judge models by their key under `[judge.models]`.
pub type JudgeModels = BTreeMap<String, JudgeModelIdentity>;

/// The text files of one evaluator, as they were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvaluatorFolder {
    /// The folder's name, which is the evaluator's name.
    pub name: String,
    /// The folder as a user would find it, for messages.
    pub place: String,
    /// File name to text.
    pub files: BTreeMap<String, String>,
}

/// What an evaluator scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The run as a whole.
    #[default]
    Trace,
}

/// How bad a failing score is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth counting.
    Info,
    /// Worth a look.
    Warn,
    /// A failure.
    #[default]
    Fail,
}

/// One evaluator, checked and ready to run.
#[derive(Debug)]
pub struct EvaluatorDefinition {
    /// The folder's name; also the name of its series.
    pub name: String,
    /// Its kind.
    pub kind: &'static Kind,
    /// One sentence on what a YES or a pass means.
    pub description: String,
    /// What it scores.
    pub target: Target,
    /// How bad a failing score is.
    pub severity: Severity,
    /// Whether a failing score puts the trace before a person and keeps its body.
    pub flag: bool,
    /// First 12 hexadecimal digits of the SHA-256 of all that changes a score.
    pub revision: String,
    /// What it does.
    pub behaviour: Behaviour,
    /// Its labelled examples.
    pub cases: Vec<Case>,
    applies_when: Option<Expression>,
}

impl EvaluatorDefinition {
    /// Who scores: code for rules, a language model for judges.
    #[must_use]
    pub const fn annotator_kind(&self) -> AnnotatorKind {
        match self.behaviour {
            Behaviour::Rule(_) | Behaviour::Service(_) => AnnotatorKind::Code,
            Behaviour::Judge(_) => AnnotatorKind::Llm,
        }
    }

    /// The cases that are asked about beside real traces, to see whether the judge can be talked round.
    pub fn controls(&self) -> impl Iterator<Item = &Case> {
        self.cases.iter().filter(|case| case.control)
    }

    /// Why `applies_when` keeps this evaluator from a trace; `None` where it applies.
    #[must_use]
    pub fn inapplicable(&self, trace: &Trace) -> Option<Finding> {
        match self.applies_when.as_ref()?.holds(trace) {
            Ok(true) => None,
            Ok(false) => Some(Finding::NotApplicable("applies_when does not hold".to_owned())),
            Err(unanswered) => Some(Finding::NotEvaluable(format!("an answer to applies_when ({unanswered})"))),
        }
    }

    /// Reads a folder. `models` are the configured judge models; a judge whose model is not among them is loaded too,
    /// so that its rows can say why it did not run.
    ///
    /// # Errors
    /// Every mistake in every file of the folder.
    pub fn parse(folder: &EvaluatorFolder, models: &JudgeModels) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = name_mistakes(folder);
        let cases = match folder.file(CASES).map_or(Ok(Vec::new()), parse_cases) {
            Ok(cases) => cases,
            Err(wrong) => {
                mistakes.extend(wrong.into_iter().map(|case| Mistake {
                    line: Some(case.line),
                    ..folder.mistake(CASES, &case.problem, "correct the case (the format is in evaluators/README.md)")
                }));
                Vec::new()
            }
        };
        match Self::read(folder, models, cases) {
            Ok(definition) if mistakes.is_empty() => Ok(definition),
            Ok(_) => Err(mistakes),
            Err(wrong) => {
                mistakes.extend(wrong);
                Err(mistakes)
            }
        }
    }

    fn read(folder: &EvaluatorFolder, models: &JudgeModels, cases: Vec<Case>) -> Result<Self, Vec<Mistake>> {
        let table = read_table(folder)?;
        let kind = kind_of(folder, &table)?;
        let mut mistakes = unknown_keys(folder, &table, kind);
        let common = Common::read(folder, &table).unwrap_or_else(|wrong| {
            mistakes.extend(wrong);
            Common::default()
        });
        let own = table.get(kind.name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let built = match kind.build(&Source { folder, kind: kind.name, table: own }) {
            Ok(built) if mistakes.is_empty() => built,
            Ok(_) => return Err(mistakes),
            Err(wrong) => {
                mistakes.extend(wrong);
                return Err(mistakes);
            }
        };
        let model = match &built.behaviour {
            Behaviour::Judge(judge) => models.get(&judge.model),
            Behaviour::Rule(_) | Behaviour::Service(_) => None,
        };
        let revision = revision(kind, &common.canonical(built.canonical), model);
        Ok(Self {
            name: folder.name.clone(),
            kind,
            description: common.description,
            target: common.target,
            severity: common.severity,
            flag: common.flag,
            revision,
            behaviour: built.behaviour,
            cases,
            applies_when: common.applies_when.map(|(_, condition)| condition),
        })
    }
}

/// The keys every definition has.
#[derive(Debug, Default)]
struct Common {
    description: String,
    target: Target,
    severity: Severity,
    flag: bool,
    /// As it is written, and as it is meant.
    applies_when: Option<(String, Expression)>,
}

impl Common {
    fn read(folder: &EvaluatorFolder, table: &toml::Table) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let mut common = Self { flag: true, ..Self::default() };
        read_key(folder, table, "description", &mut common.description, &mut mistakes);
        read_key(folder, table, "target", &mut common.target, &mut mistakes);
        read_key(folder, table, "severity", &mut common.severity, &mut mistakes);
        read_key(folder, table, "flag", &mut common.flag, &mut mistakes);
        if common.description.trim().is_empty() && mistakes.is_empty() {
            mistakes.push(folder.mistake(
                DEFINITION,
                "description is missing",
                "say in one sentence what a pass means",
            ));
        }
        let mut condition = String::new();
        read_key(folder, table, "applies_when", &mut condition, &mut mistakes);
        if table.get("applies_when").is_some_and(toml::Value::is_str) {
            match Expression::parse(&condition) {
                Ok(parsed) => common.applies_when = Some((condition, parsed)),
                Err(problem) => mistakes.push(folder.mistake_at_key(
                    "applies_when",
                    &format!("applies_when: {problem}"),
                    "correct or remove it (evaluators/README.md)",
                )),
            }
        }
        if mistakes.is_empty() { Ok(common) } else { Err(mistakes) }
    }

    /// What changes a score: the kind's part, and to which traces it applies.
    fn canonical(&self, of_kind: serde_json::Value) -> serde_json::Value {
        match &self.applies_when {
            Some((condition, _)) => json!({ "applies_when": condition, "of_kind": of_kind }),
            None => of_kind,
        }
    }
}

fn read_key<T: for<'de> Deserialize<'de>>(
    folder: &EvaluatorFolder,
    table: &toml::Table,
    key: &str,
    into: &mut T,
    mistakes: &mut Vec<Mistake>,
) {
    let Some(value) = table.get(key) else { return };
    match value.clone().try_into() {
        Ok(value) => *into = value,
        Err(error) => {
            let problem = format!("{key}: {}", error.message().replace('\n', " ").trim());
            mistakes.push(folder.mistake_at_key(key, &problem, "correct or remove it"));
        }
    }
}

fn read_table(folder: &EvaluatorFolder) -> Result<toml::Table, Vec<Mistake>> {
    let Some(text) = folder.file(DEFINITION) else {
        return Err(vec![folder.mistake(DEFINITION, "the file is missing", "write it, or remove the folder")]);
    };
    text.parse::<toml::Table>().map_err(|error| {
        let line = error.span().map(|span| line_of_offset(text, span.start));
        let problem = error.message().replace('\n', " ");
        vec![Mistake { line, ..folder.mistake(DEFINITION, problem.trim(), "correct the TOML") }]
    })
}

fn kind_of(folder: &EvaluatorFolder, table: &toml::Table) -> Result<&'static Kind, Vec<Mistake>> {
    let remedy = || format!("set kind to one of {}", KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", "));
    let Some(name) = table.get("kind").and_then(toml::Value::as_str) else {
        return Err(vec![folder.mistake_at_key("kind", "kind is missing", &remedy())]);
    };
    Kind::named(name)
        .ok_or_else(|| vec![folder.mistake_at_key("kind", &format!("there is no kind {name:?}"), &remedy())])
}

fn unknown_keys(folder: &EvaluatorFolder, table: &toml::Table, kind: &Kind) -> Vec<Mistake> {
    let mistake = |(key, value): (&String, &toml::Value)| match key.as_str() {
        own if own == kind.name && !value.is_table() => {
            Some(folder.mistake_at_key(key, &format!("{key} is not a table"), &format!("write it as [{key}]")))
        }
        key if KEYS.contains(&key) || key == kind.name => None,
        key => {
            let remedy = format!("remove it; keys are {} and the table [{}]", KEYS.join(", "), kind.name);
            Some(folder.mistake_at_key(key, &format!("unknown key {key:?}"), &remedy))
        }
    };
    table.iter().filter_map(mistake).collect()
}

fn name_mistakes(folder: &EvaluatorFolder) -> Vec<Mistake> {
    let is_word = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.len() <= 64
            && name
                .chars()
                .all(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_')
    };
    let (problem, remedy) = if !is_word(&folder.name) {
        (
            "no evaluator name",
            "name the folder with lower-case letters, digits and _, beginning with a letter, at most 64",
        )
    } else if folder.name == NOT_EVALUABLE || SERIES.iter().any(|series| series.name == folder.name) {
        ("the name of a measured series", "name the folder otherwise: an evaluator's scores are a series of its name")
    } else {
        return Vec::new();
    };
    vec![folder.mistake(DEFINITION, &format!("{:?} is {problem}", folder.name), remedy)]
}

impl EvaluatorFolder {
    /// One of the folder's files.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    pub(super) fn mistake(&self, file: &str, problem: &str, remedy: &str) -> Mistake {
        let file = format!("{}/{file}", self.place);
        Mistake { file, line: None, problem: problem.to_owned(), remedy: remedy.to_owned() }
    }

    pub(super) fn mistake_at(&self, file: &str, line: usize, problem: &str, remedy: &str) -> Mistake {
        Mistake { line: Some(line), ..self.mistake(file, problem, remedy) }
    }

    fn mistake_at_key(&self, key: &str, problem: &str, remedy: &str) -> Mistake {
        let line = self.file(DEFINITION).and_then(|text| line_of_key(text, key));
        Mistake { line, ..self.mistake(DEFINITION, problem, remedy) }
    }
}

/// Reads the evaluator folders inside a directory: their text files of at most a megabyte; other files beside the
/// folders are left alone.
///
/// # Errors
/// Every folder or file that cannot be read.
pub fn load_directory(directory: &Path) -> Result<Vec<EvaluatorFolder>, InvalidEvaluators> {
    let mut folders = Vec::new();
    let mut mistakes = Vec::new();
    for path in entries(directory).map_err(|mistake| InvalidEvaluators(vec![mistake]))? {
        let is_folder = path.is_dir() && !file_name(&path).starts_with('.');
        match is_folder.then(|| load_folder(&path)) {
            Some(Ok(folder)) => folders.push(folder),
            Some(Err(wrong)) => mistakes.extend(wrong),
            None => {}
        }
    }
    if mistakes.is_empty() { Ok(folders) } else { Err(InvalidEvaluators(mistakes)) }
}

/// Reads one evaluator's folder.
///
/// # Errors
/// Every file that cannot be read.
pub fn load_folder(path: &Path) -> Result<EvaluatorFolder, Vec<Mistake>> {
    let mut files = BTreeMap::new();
    let mut mistakes = Vec::new();
    for file in entries(path).map_err(|mistake| vec![mistake])?.iter().filter(|file| file.is_file()) {
        match read_text(file) {
            Ok(text) => drop(files.insert(file_name(file), text)),
            Err(mistake) => mistakes.push(mistake),
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    Ok(EvaluatorFolder { name: file_name(path), place: path.display().to_string(), files })
}

fn entries(directory: &Path) -> Result<Vec<std::path::PathBuf>, Mistake> {
    let read = || std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = read().map_err(|error| unreadable(directory, &error))?;
    paths.sort();
    Ok(paths)
}

fn read_text(file: &Path) -> Result<String, Mistake> {
    let size = std::fs::metadata(file).map_err(|error| unreadable(file, &error))?.len();
    if size > LARGEST_FILE {
        let problem = format!("{size} bytes are more than an evaluator's file may have");
        let remedy = format!("shorten it to at most {LARGEST_FILE} bytes, or move it out of the folder");
        return Err(Mistake { file: file.display().to_string(), line: None, problem, remedy });
    }
    let bytes = std::fs::read(file).map_err(|error| unreadable(file, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        Mistake {
            file: file.display().to_string(),
            line: Some(line),
            problem: format!("not UTF-8 (byte {})", good + 1),
            remedy: "save it as UTF-8 text, or move it out of the folder".to_owned(),
        }
    })
}

fn unreadable(path: &Path, error: &std::io::Error) -> Mistake {
    Mistake {
        file: path.display().to_string(),
        line: None,
        problem: format!("cannot be read: {error}"),
        remedy: "make it readable, or remove it".to_owned(),
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
