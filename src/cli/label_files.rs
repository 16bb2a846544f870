//! Files of people's labels and of judges' rows, as JSON lines.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::problems::Problems;
use crate::domain::evaluation::{AnnotatorKind, Evaluation, Outcome};
use crate::domain::label::Judgement;
use crate::domain::time::Timestamp;
use crate::queries::review::GivenLabel;

/// Longest line.
const LONGEST_LINE: u64 = 1024 * 1024;

/// The labels of files. What cannot be read is named in `problems`, line by line, and stops nothing else.
///
/// # Errors
/// A file cannot be read.
pub(super) fn labels(files: &[PathBuf], problems: &mut Problems) -> Result<Vec<GivenLabel>, Failure> {
    each_line(files, problems, GivenLabel::parse)
}

/// The verdicts among rows that `driftline evaluate` wrote: of one evaluator, or of every judge.
///
/// # Errors
/// A file cannot be read.
pub(super) fn judgements(
    files: &[PathBuf],
    evaluator: Option<&str>,
    problems: &mut Problems,
) -> Result<Vec<Judgement>, Failure> {
    let parse = |line: &str| {
        serde_json::from_str::<Evaluation>(line).map_err(|error| format!("not a row of driftline evaluate: {error}"))
    };
    let is_meant = |row: &Evaluation| match evaluator {
        Some(name) => row.evaluator == name,
        None => row.annotator_kind == AnnotatorKind::Llm,
    };
    let rows = each_line(files, problems, parse)?;
    let scored = rows.into_iter().filter(|row| row.outcome == Outcome::Scored && is_meant(row));
    Ok(scored.filter_map(judgement).collect())
}

fn judgement(row: Evaluation) -> Option<Judgement> {
    Some(Judgement {
        trace_id: row.trace_id,
        passed: row.value? >= 0.5,
        evaluator: row.evaluator,
        revision: row.revision,
        reason: row.explanation,
        judged_at: Timestamp(0),
        // Offline, everything is judged.
        weight: 1.0,
        // Rows do not say, and neither does the report.
        is_upstream_known: true,
        draw: None,
    })
}

fn each_line<T>(
    files: &[PathBuf],
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for path in files {
        let mut reader = BufReader::new(File::open(path).map_err(|error| unreadable(path, &error))?);
        for number in 1_u64.. {
            let mut line = Vec::new();
            let read = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line);
            if read.map_err(|error| unreadable(path, &error))? == 0 {
                break;
            }
            let text = std::str::from_utf8(&line).map_err(|_| "not UTF-8".to_owned());
            if text.as_ref().is_ok_and(|text| text.trim().is_empty()) {
                continue;
            }
            match text.and_then(&parse) {
                Ok(one) => found.push(one),
                Err(problem) => problems.add(format!("{} line {number}: {problem}", path.display())),
            }
        }
    }
    Ok(found)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::could_not(format_args!("read {}", path.display()), error)
}
