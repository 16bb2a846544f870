//! `driftline replay`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use indicatif::ProgressBar;
use prost::Message as _;
use tokio::time::Instant;

use super::Context;
use super::failure::{Exit, Failure, chain};
use super::output::{Output, counted};
use super::problems::Problems;
use super::progress;
use crate::backends::clock::{Clock, SystemClock};
use crate::backends::http::{HttpSender, SendError};
use crate::domain::time::Timestamp;
use crate::otlp::{ExportTraceServiceRequest, ResourceSpans, TraceReader};

/// Requests under way at once.
const CONCURRENCY: usize = 8;
/// Encoded size at which lines are no longer joined into one request.
const REQUEST_BYTES: usize = 512 * 1024;
/// Attempts at one request, over about ten seconds.
const ATTEMPTS: u32 = 7;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Files of OTLP/JSON lines (plain, .gz, .zst), or - for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// OTLP/HTTP endpoint, for example http://127.0.0.1:4318.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Lines a second, one request each; as fast as it is taken without it.
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rate: Option<f64>,
    /// Move all times so that the last span ends at this time: `now`, or RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    as_of: Option<Timestamp>,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if rate > 0.0 && rate.is_finite() { Ok(rate) } else { Err("the rate must be above 0".to_owned()) }
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    if text == "now" {
        return Ok(SystemClock.now());
    }
    let instant = humantime::parse_rfc3339_weak(text).map_err(|error| format!("{text:?} is no time: {error}"))?;
    let since_epoch = instant.duration_since(std::time::UNIX_EPOCH).map_err(|_| "before 1970".to_owned())?;
    Ok(Timestamp(0).plus(since_epoch))
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let base = arguments.to.trim_end_matches('/').trim_end_matches("/v1/traces");
    let sender = HttpSender::new(base).map_err(|error| Failure::Usage(format!("--to: {}", chain(&error))))?;
    let shift_nanos = match arguments.as_of {
        Some(as_of) => as_of.0.saturating_sub(latest_end(&arguments.files)?),
        None => 0,
    };
    let mut recording = Recording::new(&arguments, shift_nanos);
    let sent = send_all(&sender, &mut recording, arguments.rate).await;
    recording.bar.finish_and_clear();
    let sent = sent?;
    recording.report(sent, context)
}

/// Sends every request, several at once; gives how many lines arrived.
async fn send_all(sender: &HttpSender, recording: &mut Recording, rate: Option<f64>) -> Result<u64, Failure> {
    let started = Instant::now();
    let mut sent = 0;
    let requests = stream::iter(std::iter::from_fn(|| recording.next_request()));
    let mut answers = requests
        .map(|request| async move {
            if let Some(rate) = rate {
                tokio::time::sleep_until(started + Duration::from_secs_f64(request.first_line as f64 / rate)).await;
            }
            send(sender, request).await
        })
        .buffer_unordered(CONCURRENCY);
    while let Some(lines) = answers.next().await {
        sent += lines?;
    }
    Ok(sent)
}

/// Sends one request; gives its number of lines.
async fn send(sender: &HttpSender, request: Request) -> Result<u64, Failure> {
    let body = ExportTraceServiceRequest { resource_spans: request.resource_spans }.encode_to_vec();
    match sender.insist("v1/traces", "application/x-protobuf", body, ATTEMPTS).await {
        Ok(()) => Ok(request.lines),
        Err(error @ SendError::Refused { .. }) => Err(Failure::could_not("replay", &error)),
        Err(error) => {
            let remedy = "is a receiver running there? start one with: driftline serve";
            Err(Failure::CouldNot(format!("cannot replay: {error}; {remedy}")))
        }
    }
}

struct Request {
    resource_spans: Vec<ResourceSpans>,
    /// Lines in it.
    lines: u64,
    /// Lines before it.
    first_line: u64,
}

/// The lines of all files as requests, and what could not be read.
struct Recording {
    files: std::vec::IntoIter<PathBuf>,
    reader: Option<TraceReader>,
    /// Whether each line is a request of its own.
    line_by_line: bool,
    shift_nanos: i64,
    lines: u64,
    problems: Problems,
    bar: ProgressBar,
    bytes_before: u64,
}

impl Recording {
    fn new(arguments: &Arguments, shift_nanos: i64) -> Self {
        let size = |file: &PathBuf| std::fs::metadata(file).map(|file| file.len()).unwrap_or_default();
        Self {
            files: arguments.files.clone().into_iter(),
            reader: None,
            line_by_line: arguments.rate.is_some(),
            shift_nanos,
            lines: 0,
            problems: Problems::default(),
            bar: progress::bytes(arguments.files.iter().map(size).sum(), "sent"),
            bytes_before: 0,
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        let mut request = Request { resource_spans: Vec::new(), lines: 0, first_line: self.lines };
        let mut bytes = 0;
        while bytes < REQUEST_BYTES && !(self.line_by_line && request.lines > 0) {
            let Some(mut line) = self.next_line() else { break };
            shift(&mut line, self.shift_nanos);
            bytes += line.iter().map(prost::Message::encoded_len).sum::<usize>();
            request.resource_spans.append(&mut line);
            request.lines += 1;
        }
        self.lines += request.lines;
        (request.lines > 0).then_some(request)
    }

    /// The next line that can be read, of whichever file.
    fn next_line(&mut self) -> Option<Vec<ResourceSpans>> {
        loop {
            let Some(reader) = &mut self.reader else {
                let file = self.files.next()?;
                match TraceReader::open(&file) {
                    Ok(reader) => self.reader = Some(reader),
                    Err(error) => self.problems.add(format!("cannot read {}: {error}", file.display())),
                }
                continue;
            };
            match reader.next() {
                Some(Ok(line)) => {
                    self.bar.set_position(self.bytes_before + reader.bytes_read());
                    return Some(line);
                }
                Some(Err(error)) => self.problems.add(chain(&error)),
                None => {
                    self.bytes_before += reader.bytes_read();
                    self.reader = None;
                }
            }
        }
    }

    fn report(self, sent: u64, context: &Context) -> Result<Exit, Failure> {
        self.problems.report();
        let mut output = Output::new();
        if context.json {
            output.json(&serde_json::json!({ "lines": sent, "read_everything": self.problems.is_empty() }))?;
        } else {
            output.line(&format!("sent {}", counted(sent, "line")))?;
        }
        output.finish()?;
        if !self.problems.is_empty() {
            let counted = self.problems.counted();
            return Err(Failure::CouldNot(format!("{counted} with the input; everything else was sent")));
        }
        if sent == 0 {
            return Err(Failure::CouldNot("there is no trace in what was given".to_owned()));
        }
        Ok(Exit::Done)
    }
}

/// End of the last span, in nanoseconds since 1970.
fn latest_end(files: &[PathBuf]) -> Result<i64, Failure> {
    let mut latest = 0;
    for file in files {
        if file == Path::new("-") {
            return Err(Failure::Usage(
                "--as-of reads its input twice, which standard input does not allow".to_owned(),
            ));
        }
        let reader = TraceReader::open(file)
            .map_err(|error| Failure::could_not(format_args!("read {}", file.display()), &error))?;
        let spans = reader.flatten().flatten().flat_map(|group| group.scope_spans).flat_map(|group| group.spans);
        latest = spans.map(|span| span.end_time_unix_nano).fold(latest, u64::max);
    }
    Ok(i64::try_from(latest).unwrap_or(i64::MAX))
}

fn shift(line: &mut [ResourceSpans], nanos: i64) {
    let spans = line.iter_mut().flat_map(|group| &mut group.scope_spans).flat_map(|group| &mut group.spans);
    for span in spans {
        let events = span.events.iter_mut().map(|event| &mut event.time_unix_nano);
        for time in events.chain([&mut span.start_time_unix_nano, &mut span.end_time_unix_nano]) {
            *time = time.saturating_add_signed(nanos);
        }
    }
}
