//! `driftline calibrate`: judges against people.

use std::path::PathBuf;

use super::Context;
use super::calibrate_html;
use super::calibrate_text;
use super::failure::{Exit, Failure};
use super::label_files;
use super::output::Output;
use super::output_file::write_text;
use super::problems::Problems;
use super::service::{Asked, Place, answer, shown};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::backends::store::Store;
use crate::domain::label::{Label, Origin};
use crate::queries::calibration::{CalibrationReport, DEFAULT_SINCE, calibration, report};
use crate::queries::review::GivenLabel;
use crate::queries::selection::instant;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// This judge only.
    #[arg(value_name = "JUDGE")]
    judge: Option<String>,
    /// Estimates from judgements made since a time, or within an age such as 7d. All labels say whether a judge is calibrated.
    #[arg(long, default_value = DEFAULT_SINCE, value_name = "TIME")]
    since: String,
    /// Read verdicts from what driftline evaluate wrote, instead of from a store; repeat it for more.
    #[arg(long, value_name = "FILE")]
    scores: Vec<PathBuf>,
    /// With --scores: read labels from these files, as review import does, instead of from the store.
    #[arg(long, value_name = "FILE", requires = "scores")]
    labels_file: Vec<PathBuf>,
    /// Write the report as one HTML file too.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let mut problems = Problems::default();
    let found = if arguments.scores.is_empty() {
        arguments.ask(context).await?
    } else {
        arguments.read(context, &mut problems).await?
    };
    if let Some(path) = &arguments.html {
        write_text(path, &calibrate_html::page(&found))?;
    }
    let mut output = Output::new();
    if context.json {
        output.json(&found)?;
    } else {
        output.line(&calibrate_text::text(&found))?;
    }
    output.finish()?;
    problems.report();
    if !problems.is_empty() {
        return Err(Failure::CouldNot(format!("{} with the files; everything else is used", problems.counted())));
    }
    let has_labels = found.judges.iter().any(|judge| judge.calibration.n > 0);
    Ok(if has_labels { Exit::Done } else { Exit::NotEnough })
}

impl Arguments {
    async fn ask(&self, context: &Context) -> Result<CalibrationReport, Failure> {
        match self.place.open(context).await? {
            Asked::Store(store) => {
                let since = answer(instant("since", &self.since, SystemClock.now()).map_err(Into::into))?;
                let found = answer(calibration(&store, self.judge.as_deref(), since).await)?;
                shown(&store, &found.quoted(usize::MAX)).await?;
                Ok(found)
            }
            Asked::Service(service) => {
                let mut parameters = vec![("since".to_owned(), self.since.clone())];
                parameters.extend(self.judge.iter().map(|judge| ("judge".to_owned(), judge.clone())));
                service.get(&["api", "v1", "calibration"], &parameters).await
            }
        }
    }

    /// Verdicts from files, labels from files or from the configured store.
    async fn read(&self, context: &Context, problems: &mut Problems) -> Result<CalibrationReport, Failure> {
        let judgements = label_files::judgements(&self.scores, self.judge.as_deref(), problems)?;
        let labels = if self.labels_file.is_empty() {
            match self.place.open(context).await? {
                Asked::Store(store) => stored(&store).await?,
                Asked::Service(_) => {
                    return Err(Failure::Usage("--scores: name --labels-file too, or leave out --url".to_owned()));
                }
            }
        } else {
            let given = label_files::labels(&self.labels_file, problems)?;
            given.into_iter().filter_map(|given| self.label(given)).collect()
        };
        Ok(report(&judgements, Vec::new(), &labels, &[]))
    }

    /// A label that names no judge is about the one that was asked for.
    fn label(&self, given: GivenLabel) -> Option<Label> {
        let evaluator = given.evaluator.clone().or_else(|| self.judge.clone())?;
        Some(given.into_label(evaluator, Origin::Import, SystemClock.now()))
    }
}

async fn stored(store: &Store) -> Result<Vec<Label>, Failure> {
    answer(store.labels(None).await.map_err(Into::into))
}
