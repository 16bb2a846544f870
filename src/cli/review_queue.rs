//! What people decide about the queue of `driftline review`, and how far they agree.

use super::Context;
use super::failure::Failure;
use super::output::{Output, counted};
use super::service::{Asked, Place, answer, open_for_writing};
use super::table::Table;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::reviewing::{self, AssignRequest, Assigned, RemoveRequest, Removed};
use crate::watch::reviewers::{ReviewerPair, Reviewers};

pub(super) async fn assign(
    asked: &AssignRequest,
    place: &Place,
    context: &Context,
    output: &mut Output,
) -> Result<(), Failure> {
    let done: Assigned = match place.service()? {
        Some(service) => service.post(&["api", "v1", "review", "assign"], asked).await?,
        None => answer(reviewing::assign(&open_for_writing(context).await?, asked, SystemClock.now()).await)?,
    };
    let text = format!("{} for {}", counted(done.assigned as u64, "case"), asked.assignee);
    if context.json { output.json(&done) } else { output.line(&text) }
}

pub(super) async fn remove(
    asked: &RemoveRequest,
    place: &Place,
    context: &Context,
    output: &mut Output,
) -> Result<(), Failure> {
    let done: Removed = match place.service()? {
        Some(service) => service.post(&["api", "v1", "review", "remove"], asked).await?,
        None => answer(reviewing::remove(&open_for_writing(context).await?, asked, SystemClock.now()).await)?,
    };
    let text = format!("{} of {} is not asked about any more", done.evaluator, done.trace_id);
    if context.json { output.json(&done) } else { output.line(&text) }
}

pub(super) async fn agreement(place: &Place, context: &Context, output: &mut Output) -> Result<(), Failure> {
    let found: Reviewers = match place.open(context).await? {
        Asked::Store(store) => answer(reviewing::agreement(&store).await)?,
        Asked::Service(service) => service.get(&["api", "v1", "review", "agreement"], &[]).await?,
    };
    if context.json { output.json(&found) } else { output.line(&in_words(&found)) }
}

fn in_words(found: &Reviewers) -> String {
    if found.pairs.is_empty() {
        return "no case has been answered by two people yet".to_owned();
    }
    let mut table = Table::new(&["question of", "people", "cases", "agree", "kappa, 95 %"]);
    found.pairs.iter().for_each(|pair| table.row(cells(pair)));
    format!("{table}\n\nthey differ on {}", counted(found.disagreements.len() as u64, "case"))
}

fn cells(pair: &ReviewerPair) -> [String; 5] {
    let agreed = (pair.confusion.true_pass + pair.confusion.true_fail) / pair.confusion.total();
    let kappa = pair.kappa.as_ref().map(|it| format!("{:.2} ({:.2} to {:.2}), {}", it.value, it.low, it.high, it.word));
    [
        pair.evaluator.clone(),
        format!("{} and {}", pair.first, pair.second),
        pair.n.to_string(),
        format!("{:.1} %", agreed * 100.0),
        kappa.unwrap_or_else(|| "cannot be told: no one ever varies".to_owned()),
    ]
}
