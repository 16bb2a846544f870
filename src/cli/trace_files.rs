//! Traces from files: what `evaluate`, `inspect` and every `file:` source read.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::failure::{Failure, chain};
use super::output::{counted, warn};
use super::problems::Problems;
use super::progress;
use super::trace_window::Window;
use crate::app::settings::Settings;
use crate::domain::ids::TraceId;
use crate::domain::trace::Trace;
use crate::normalize::normalize_priced;
use crate::otlp::{RawTrace, ResourceSpans, TraceReader, split_by_trace};

/// What a person can do about input in which no trace is found.
const EXPECTED: &str = "expected OTLP/JSON, one ExportTraceServiceRequest a line, or OTLP protobuf, plain, .gz or .zst";

/// The files that paths and glob patterns name, each once, in order; `-` is standard input.
///
/// # Errors
/// A path or pattern that names no file.
pub(super) fn expand(patterns: &[String]) -> Result<Vec<PathBuf>, Failure> {
    let mut seen = BTreeSet::new();
    let mut files = Vec::new();
    for pattern in patterns {
        files.extend(expand_one(pattern)?.into_iter().filter(|file| seen.insert(file.clone())));
    }
    Ok(files)
}

fn expand_one(pattern: &str) -> Result<Vec<PathBuf>, Failure> {
    let path = Path::new(pattern);
    if path.is_dir() {
        let message =
            format!("{pattern} is a directory; name its files, for example {}", path.join("*.jsonl").display());
        return Err(Failure::CouldNot(message));
    }
    // A file may be named like a pattern.
    if pattern == "-" || path.exists() {
        return Ok(vec![path.to_owned()]);
    }
    let matches = glob::glob(pattern)
        .map_err(|error| Failure::Usage(format!("{pattern} is no file and no glob pattern: {error}")))?;
    let files: Vec<PathBuf> = matches.filter_map(Result::ok).filter(|file| file.is_file()).collect();
    if files.is_empty() {
        let what = if pattern.contains(['*', '?', '[']) { "no file matches" } else { "there is no file" };
        return Err(Failure::CouldNot(format!("{what} {pattern}; check the path")));
    }
    Ok(files)
}

/// Reads the traces of files one by one. What cannot be read is collected in `problems` and stops nothing else.
pub(super) struct TraceFiles<'a> {
    settings: &'a Settings,
    files: std::vec::IntoIter<PathBuf>,
    reader: Option<(PathBuf, TraceReader)>,
    window: Window,
    ready: VecDeque<Trace>,
    traces: u64,
    own_spans: u64,
    /// Of the file that is read.
    late: Option<Late>,
    problems: Problems,
    progress: ProgressBar,
    /// Stored bytes of the files that are read to their end.
    bytes_before: u64,
}

/// Pieces in one file of traces that were complete before: from an earlier line or file.
struct Late {
    pieces: u64,
    /// Of the first.
    line: u64,
    /// Of the first.
    trace_id: TraceId,
}

impl Late {
    fn note(&self, file: &Path) -> String {
        let Self { pieces, line, trace_id } = self;
        let (what, verb) = (counted(*pieces, "piece"), if *pieces == 1 { "is" } else { "are" });
        let file = file.display();
        format!(
            "{file}: {what} of traces that were read already, from an earlier line or file, {verb} left out; the first \
             is on line {line}, of trace {trace_id}"
        )
    }
}

impl<'a> TraceFiles<'a> {
    pub(super) fn new(files: Vec<PathBuf>, settings: &'a Settings) -> Self {
        let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |metadata| metadata.len());
        Self {
            settings,
            progress: progress::bytes(files.iter().map(size).sum(), "read"),
            files: files.into_iter(),
            reader: None,
            window: Window::default(),
            ready: VecDeque::new(),
            traces: 0,
            own_spans: 0,
            late: None,
            problems: Problems::default(),
            bytes_before: 0,
        }
    }

    /// The number of traces, and what could not be read.
    ///
    /// # Errors
    /// There was no trace at all.
    pub(super) fn finish(self) -> Result<(u64, Problems), Failure> {
        self.progress.finish_and_clear();
        if self.own_spans > 0 {
            let spans = counted(self.own_spans, "span");
            warn(&format!("left out: {spans} of driftline's own evaluations, which are never evaluated"));
        }
        if self.traces == 0 {
            self.problems.report();
            return Err(Failure::CouldNot(format!("there is no trace to read; {EXPECTED}")));
        }
        Ok((self.traces, self.problems))
    }

    /// Reads on until a trace is ready; false when everything is read.
    fn read_on(&mut self) -> bool {
        let Some((file, mut reader)) = self.reader.take() else { return self.open_next() };
        let Some(read) = reader.next() else {
            self.bytes_before += reader.bytes_read();
            if let Some(late) = self.late.take() {
                self.problems.note(late.note(&file));
            }
            return true;
        };
        match read {
            Ok(resource_spans) => self.take(resource_spans, &file, reader.line()),
            Err(error) => self.problems.add(chain(&error)),
        }
        self.progress.set_position(self.bytes_before + reader.bytes_read());
        self.reader = Some((file, reader));
        true
    }

    /// The next of the traces that are open when everything is read.
    fn close_next(&mut self) -> Option<Trace> {
        std::iter::from_fn(|| self.window.close_oldest()).find_map(|raw| read(&raw, self.settings))
    }

    fn open_next(&mut self) -> bool {
        let Some(file) = self.files.next() else { return false };
        match TraceReader::open(&file) {
            Ok(reader) if reader.is_empty() => self.problems.add(format!("{} is empty", file.display())),
            Ok(reader) => self.reader = Some((file, reader)),
            Err(error) => self.problems.add(format!("cannot read {}: {error}", file.display())),
        }
        true
    }

    fn take(&mut self, resource_spans: Vec<ResourceSpans>, file: &Path, line: u64) {
        let split = split_by_trace(resource_spans);
        self.own_spans += split.own_spans as u64;
        let place = || format!("{} line {line}", file.display());
        for rejection in split.rejected {
            self.problems.add(format!("{}: a span is left out: {rejection}", place()));
        }
        for piece in split.traces {
            let trace_id = piece.trace_id;
            if self.window.add(piece).is_err() {
                self.late.get_or_insert(Late { pieces: 0, line, trace_id }).pieces += 1;
            }
        }
        while let Some(raw) = self.window.close_due() {
            self.ready.extend(read(&raw, self.settings));
        }
    }
}

fn read(raw: &RawTrace, settings: &Settings) -> Option<Trace> {
    normalize_priced(raw, &settings.attributes, &settings.prices)
}

impl Iterator for TraceFiles<'_> {
    type Item = Trace;

    fn next(&mut self) -> Option<Trace> {
        while self.ready.is_empty() && self.read_on() {}
        let trace = self.ready.pop_front().or_else(|| self.close_next())?;
        self.traces += 1;
        Some(trace)
    }
}
