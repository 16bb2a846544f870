//! Files of traces: lines of OTLP/JSON requests or of single spans, or binary messages as the Collector's file exporter writes them.
//!
//! Compression and encoding are found from the content, not the name. A binary file holds either one message or
//! messages that each follow their length in four bytes, big-endian; a length below 64 MiB starts with a byte of at
//! most 4, which no message does.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Compression, DecodeError, Encoding, ResourceSpans, decode_traces, flat_spans, json};

/// Longest line or binary message that is read: 64 MiB, the OTLP specification's bound for a request.
pub const MAX_LINE_BYTES: usize = 64 * 1024 * 1024;

/// Bytes looked at to tell text from binary.
const FORMAT_BYTES: usize = 64;

const MAX_LINE_BYTES_U64: u64 = MAX_LINE_BYTES as u64;

/// A line that could not be read, named so that a person finds it.
#[derive(Debug, thiserror::Error)]
#[error("{file} line {line}")]
pub struct LineError {
    /// The file as it was named.
    pub file: String,
    /// Counted from 1; in a binary file the number of the message.
    pub line: u64,
    /// What is wrong with it.
    #[source]
    pub problem: LineProblem,
}

/// What is wrong with a line.
#[derive(Debug, thiserror::Error)]
pub enum LineProblem {
    /// JSON that ends too early.
    #[error("line ends in the middle of a JSON value; was it cut in half?")]
    CutInHalf,
    /// Not JSON.
    #[error("not JSON; expected one OTLP/JSON ExportTraceServiceRequest a line")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but neither a trace request nor a span.
    #[error(
        "JSON without \"resourceSpans\" or the ids of a span; expected an OTLP/JSON ExportTraceServiceRequest in \
         lower camel case"
    )]
    NotOtlp,
    /// A trace request with a value of the wrong type.
    #[error("not a valid OTLP/JSON ExportTraceServiceRequest")]
    InvalidOtlp(#[source] serde_json::Error),
    /// A binary message that is not a trace request.
    #[error("not an OTLP protobuf ExportTraceServiceRequest")]
    NotProtobuf(#[source] DecodeError),
    /// Longer than [`MAX_LINE_BYTES`].
    #[error("longer than {} MiB", MAX_LINE_BYTES >> 20)]
    TooLong,
    /// The file or its compressed stream ends too early; nothing after can be read.
    #[error("file is cut off here; what was read before is good")]
    Truncated,
    /// Reading failed; nothing after can be read.
    #[error("cannot read on")]
    Io(#[source] io::Error),
}

/// Reads the requests of a file one by one, naming what it cannot read and going on after it.
pub struct TraceReader {
    file: String,
    input: BufReader<Box<dyn Read + Send>>,
    format: Format,
    line: u64,
    finished: bool,
    bytes_read: Arc<AtomicU64>,
    size_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Empty,
    Lines,
    OneMessage,
    Messages,
}

impl TraceReader {
    /// Opens a file, or standard input for `-`.
    ///
    /// # Errors
    /// The file cannot be opened, or its first bytes cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        if path == Path::new("-") {
            return Self::new("standard input", io::stdin());
        }
        let file = File::open(path)?;
        let size_bytes = file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len());
        Ok(Self { size_bytes, ..Self::new(&path.display().to_string(), file)? })
    }

    /// Reads from `input`, which errors call `file`.
    ///
    /// # Errors
    /// The first bytes cannot be read.
    pub fn new(file: &str, input: impl Read + Send + 'static) -> io::Result<Self> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let input = Counted { input: BufReader::new(input), bytes_read: Arc::clone(&bytes_read) };
        let (magic, input) = peek(input, Compression::MAGIC_BYTES)?;
        let (start, input) = peek(Compression::sniff(&magic).reader(input)?, FORMAT_BYTES)?;
        let input: Box<dyn Read + Send> = Box::new(input);
        let format = Format::sniff(&start);
        let finished = format == Format::Empty;
        let input = BufReader::new(input);
        Ok(Self { file: file.to_owned(), input, format, line: 0, finished, bytes_read, size_bytes: None })
    }

    /// Whether there was not a single byte to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.format == Format::Empty
    }

    /// Bytes taken from the file so far, as stored (compressed); for a progress bar.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The line that was read last, counted from 1; in a binary file the number of the message.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Size of the file as stored; `None` for standard input.
    #[must_use]
    pub const fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

impl Iterator for TraceReader {
    type Item = Result<Vec<ResourceSpans>, LineError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.finished {
            let message = match self.format {
                Format::Empty => Ok(None),
                Format::Lines => self.next_line(),
                Format::OneMessage => self.only_message(),
                Format::Messages => self.next_message(),
            };
            match message {
                Ok(None) => self.finished = true,
                Ok(Some(bytes)) if self.format == Format::Lines && bytes.trim_ascii().is_empty() => {}
                Ok(Some(bytes)) => return Some(self.decode(&bytes).map_err(|problem| self.error(problem))),
                Err(problem) => return Some(Err(self.error(problem))),
            }
        }
        None
    }
}

impl TraceReader {
    fn error(&self, problem: LineProblem) -> LineError {
        LineError { file: self.file.clone(), line: self.line, problem }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Vec<ResourceSpans>, LineProblem> {
        match self.format {
            // Without its line feed, so that a line cut inside a text is seen to end there.
            Format::Lines => decode_line(bytes.trim_ascii_end()),
            _ => decode_traces(bytes, Encoding::Protobuf).map_err(LineProblem::NotProtobuf),
        }
    }

    fn next_line(&mut self) -> Result<Option<Vec<u8>>, LineProblem> {
        self.line += 1;
        let mut line = Vec::new();
        let read = (&mut self.input).take(MAX_LINE_BYTES_U64 + 1).read_until(b'\n', &mut line);
        if read.map_err(|error| self.stop(error))? == 0 {
            return Ok(None);
        }
        if line.len() > MAX_LINE_BYTES {
            self.input.skip_until(b'\n').map_err(|error| self.stop(error))?;
            return Err(LineProblem::TooLong);
        }
        // One document over many lines, as pretty printers write it: its first line opens a bracket and ends.
        if self.line == 1 && line.trim_ascii_end().ends_with(b"{") {
            self.read_rest(&mut line)?;
        }
        Ok(Some(line))
    }

    fn only_message(&mut self) -> Result<Option<Vec<u8>>, LineProblem> {
        self.line = 1;
        self.finished = true;
        let mut message = Vec::new();
        self.read_rest(&mut message)?;
        Ok(Some(message))
    }

    fn read_rest(&mut self, message: &mut Vec<u8>) -> Result<(), LineProblem> {
        let read = (&mut self.input).take(MAX_LINE_BYTES_U64 + 1).read_to_end(message);
        read.map_err(|error| self.stop(error))?;
        if message.len() > MAX_LINE_BYTES { Err(LineProblem::TooLong) } else { Ok(()) }
    }

    fn next_message(&mut self) -> Result<Option<Vec<u8>>, LineProblem> {
        self.line += 1;
        let length = self.read_up_to(4)?;
        if length.is_empty() {
            return Ok(None);
        }
        let length = <[u8; 4]>::try_from(length).map_err(|_| self.stop(io::ErrorKind::UnexpectedEof.into()))?;
        let length = u64::from(u32::from_be_bytes(length));
        if length > MAX_LINE_BYTES_U64 {
            self.finished = true;
            return Err(LineProblem::TooLong);
        }
        let message = self.read_up_to(length)?;
        if (message.len() as u64) < length {
            return Err(self.stop(io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(Some(message))
    }

    fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>, LineProblem> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(limit).read_to_end(&mut bytes);
        read.map_err(|error| self.stop(error))?;
        Ok(bytes)
    }

    /// Ends the reading after an error that nothing can follow.
    fn stop(&mut self, error: io::Error) -> LineProblem {
        self.finished = true;
        match error.kind() {
            io::ErrorKind::UnexpectedEof => LineProblem::Truncated,
            _ => LineProblem::Io(error),
        }
    }
}

impl Format {
    fn sniff(start: &[u8]) -> Self {
        let binary = |byte: &u8| byte.is_ascii_control() && !byte.is_ascii_whitespace();
        match start {
            [] => Self::Empty,
            [0..=4, ..] => Self::Messages,
            [b'\n', rest @ ..] if Encoding::sniff(start) == Encoding::Protobuf && rest.iter().any(binary) => {
                Self::OneMessage
            }
            _ => Self::Lines,
        }
    }
}

fn decode_line(bytes: &[u8]) -> Result<Vec<ResourceSpans>, LineProblem> {
    use serde_json::error::Category;
    match json::decode(bytes) {
        Ok(Some(resource_spans)) => Ok(resource_spans),
        Ok(None) => flat_spans::decode(bytes).ok_or(LineProblem::NotOtlp),
        Err(error) => Err(match error.classify() {
            Category::Eof => LineProblem::CutInHalf,
            Category::Data => LineProblem::InvalidOtlp(error),
            Category::Syntax | Category::Io => LineProblem::NotJson(error),
        }),
    }
}

/// The first `count` bytes, or all there are, and a reader that still starts with them.
fn peek<R: Read>(mut input: R, count: usize) -> io::Result<(Vec<u8>, impl Read)> {
    let mut start = Vec::with_capacity(count);
    (&mut input).take(count as u64).read_to_end(&mut start)?;
    Ok((start.clone(), io::Cursor::new(start).chain(input)))
}

/// A reader that adds up the bytes taken through it.
struct Counted<R> {
    input: R,
    bytes_read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.bytes_read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const GOOD: &str = r#"{"resourceSpans":[{"schemaUrl":"good"}]}"#;

    fn read(bytes: impl Into<Vec<u8>>) -> Vec<String> {
        let reader = TraceReader::new("f.jsonl", io::Cursor::new(bytes.into())).unwrap();
        let outcome = |item: Result<Vec<ResourceSpans>, LineError>| match item {
            Ok(groups) => groups.into_iter().map(|group| group.schema_url).collect(),
            Err(error) => format!("{error}: {}", error.problem),
        };
        reader.map(outcome).collect()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn a_truncated_line_is_named_and_the_next_is_still_read() {
        let lines = read(format!("{GOOD}\n{}\n\n{GOOD}", &GOOD[..20]));
        assert_eq!(lines[0], "good");
        assert_eq!(lines[1], "f.jsonl line 2: line ends in the middle of a JSON value; was it cut in half?");
        assert_eq!(lines[2], "good");
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said() {
        let lines = read(format!("hello\n{{\"resource_spans\":[]}}\n{{\"resourceSpans\":5}}\n{GOOD}"));
        assert!(lines[0].contains("line 1: not JSON"));
        assert!(lines[1].contains("line 2: JSON without \"resourceSpans\""));
        assert!(lines[2].contains("line 3: not a valid OTLP/JSON"));
        assert_eq!(lines[3], "good");
    }

    #[test]
    fn lines_of_requests_and_of_single_spans_may_stand_in_one_file() {
        let span = r#"{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331","name":"flat"}"#;
        let file = format!("{GOOD}\n{span}\n{{\"span_id\":\"no trace\"}}");
        let reader = TraceReader::new("f.jsonl", io::Cursor::new(file)).unwrap();
        let names = |groups: Vec<ResourceSpans>| {
            let spans = groups.into_iter().flat_map(|group| group.scope_spans).flat_map(|scope| scope.spans);
            spans.map(|span| span.name).collect::<Vec<_>>()
        };
        let found: Vec<_> = reader.map(|line| line.map(names).map_err(|error| error.line)).collect();
        assert_eq!(found, [Ok(Vec::new()), Ok(vec!["flat".to_owned()]), Err(3)]);
    }

    #[test]
    fn a_truncated_gzip_gives_the_good_lines_and_then_one_error() {
        let line = |number| format!("{{\"resourceSpans\":[{{\"schemaUrl\":\"{}\"}}]}}\n", number * 7_919 % 104_729);
        let packed = gzip(&(0..2000).map(line).collect::<String>());
        let lines = read(&packed[..packed.len() / 2]);
        let errors = lines.iter().filter(|line| line.contains("cut off")).count();
        assert_eq!(errors, 1);
        assert!(lines.last().unwrap().contains("cut off"));
        assert!(lines.len() > 100);
    }

    #[test]
    fn compression_is_found_from_the_content() {
        assert_eq!(read(gzip(GOOD)), ["good"]);
        assert_eq!(read(zstd::encode_all(GOOD.as_bytes(), 1).unwrap()), ["good"]);
    }

    #[test]
    fn an_empty_file_is_told_apart_from_one_of_blank_lines() {
        let empty = TraceReader::new("f", io::empty()).unwrap();
        assert!(empty.is_empty());
        assert_eq!(empty.count(), 0);
        let blank = TraceReader::new("f", &b"\n\n  \n"[..]).unwrap();
        assert!(!blank.is_empty());
    }

    #[test]
    fn a_pretty_printed_document_is_one_request() {
        assert_eq!(read("{\n  \"resourceSpans\": [\n    {\"schemaUrl\": \"good\"}\n  ]\n}\n"), ["good"]);
    }

    #[test]
    fn a_line_beyond_the_bound_is_skipped_and_the_next_is_read() {
        let mut text = vec![b'x'; MAX_LINE_BYTES + 10];
        text.extend_from_slice(format!("\n{GOOD}").as_bytes());
        assert_eq!(read(text), ["f.jsonl line 1: longer than 64 MiB", "good"]);
    }

    #[test]
    fn binary_files_hold_one_message_or_messages_after_their_lengths() {
        use prost::Message as _;
        let group = ResourceSpans { schema_url: "good".to_owned(), ..Default::default() };
        let message = super::super::TracesData { resource_spans: vec![group] }.encode_to_vec();
        assert_eq!(read(message.clone()), ["good"]);
        let framed = [&(message.len() as u32).to_be_bytes(), message.as_slice()].concat().repeat(2);
        assert_eq!(read(framed.clone()), ["good", "good"]);
        let cut = read(&framed[..framed.len() - 1]);
        assert_eq!(cut[0], "good");
        assert!(cut[1].contains("line 2: file is cut off"));
    }

    #[test]
    fn progress_is_counted_in_bytes_of_the_file() {
        let mut reader = TraceReader::new("f", io::Cursor::new(gzip(GOOD))).unwrap();
        assert!(reader.next().unwrap().is_ok());
        assert!(reader.next().is_none());
        assert_eq!(reader.bytes_read(), gzip(GOOD).len() as u64);
    }
}
