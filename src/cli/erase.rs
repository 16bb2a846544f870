//! `driftline erase`: what someone left behind is removed.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, counted};
use super::service::{Place, answer, open_for_writing};
use crate::backends::clock::{Clock as _, SystemClock};
use crate::queries::erasure::{Erasure, ErasureRequest, erase};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Of this user.
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    /// Of this conversation.
    #[arg(long, value_name = "ID")]
    conversation: Option<String>,
    /// Of traces of which this holds: key=value[,key=value], for example order.id=A-17.
    #[arg(long = "where", value_name = "CONDITIONS")]
    conditions: Option<String>,
    #[command(flatten)]
    place: Place,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { user, conversation, conditions, place } = arguments;
    let asked = ErasureRequest { user, conversation, conditions };
    let erasure = match place.service()? {
        Some(service) => service.post(&["api", "v1", "erase"], &asked).await?,
        None => {
            let store = open_for_writing(context).await?;
            let erased = erase(&store, &asked, &context.settings()?.attributes, SystemClock.now()).await;
            store.close().await;
            answer(erased)?
        }
    };
    let mut output = Output::new();
    if context.json {
        output.json(&erasure)?
    } else {
        show(&erasure, &mut output)?
    }
    output.finish()?;
    Ok(Exit::Done)
}

fn show(erasure: &Erasure, output: &mut Output) -> Result<(), Failure> {
    let removed = &erasure.removed;
    output.line(&format!("{} erased; what was counted of them stays", counted(removed.traces, "trace")))?;
    let parts = [
        (removed.pieces, "stored piece"),
        (removed.archived, "archived trace"),
        (removed.explanations, "reason of an evaluator"),
        (removed.verdicts, "remembered verdict"),
        (removed.feedback, "text of feedback"),
        (removed.notes, "note beside a label"),
        (removed.waiting, "thing that waited"),
    ];
    for (count, what) in parts.into_iter().filter(|(count, _)| *count > 0) {
        output.line(&format!("  {count} × {what}"))?;
    }
    if erasure.not_looked_at > 0 {
        let waiting = counted(erasure.not_looked_at, "trace");
        output.line(&format!("{waiting} not evaluated yet, so it is not known whose: erase again in a few minutes"))?;
    }
    Ok(())
}
