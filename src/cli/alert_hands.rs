//! `driftline alerts ack`, `silence`, `silences`, `unsilence`: what people do about alerts.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::Output;
use super::service::{Asked, Place, answer, open_for_writing};
use super::table::Table;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::alert::Alert;
use crate::domain::silence;
use crate::queries::alerts::{self, AckRequest, SilenceRequest, UnsilenceRequest, acknowledge, silences, unsilence};

/// Who does it.
#[derive(Debug, clap::Args)]
struct Person {
    /// Your name.
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Ack {
    /// The alert's id, as `alerts list` shows it.
    id: String,
    #[command(flatten)]
    person: Person,
    /// What others should know.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Silence {
    /// An alert's id, or key=value[,key=value] with * for any text: fingerprint, service, series, segment, severity,
    /// direction, detector, runbook.
    matcher: String,
    /// For how long, for example 2h.
    #[arg(long = "for", value_name = "DURATION")]
    duration: String,
    #[command(flatten)]
    person: Person,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Silences {
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, clap::Args)]
pub(super) struct Unsilence {
    /// The silence's id, as `alerts silences` shows it.
    id: String,
    #[command(flatten)]
    person: Person,
    #[command(flatten)]
    place: Place,
}

impl Ack {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let asked = AckRequest { by: self.person.by, note: self.note };
        let alert: Alert = match self.place.service()? {
            Some(service) => service.post(&["api", "v1", "alerts", &self.id, "ack"], &asked).await?,
            None => {
                let store = open_for_writing(context).await?;
                answer(acknowledge(&store, &self.id, asked, SystemClock.now()).await)?
            }
        };
        said(context, &alert, &format!("{} is acknowledged: {}", alert.fingerprint, alert.summary))
    }
}

impl Silence {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let Self { matcher, duration, person, reason, place } = self;
        let asked = SilenceRequest { matcher, duration, by: person.by, reason };
        let silence: silence::Silence = match place.service()? {
            Some(service) => service.post(&["api", "v1", "alerts", "silences"], &asked).await?,
            None => answer(alerts::silence(&open_for_writing(context).await?, &asked, SystemClock.now()).await)?,
        };
        let silence::Silence { id, matcher, ends_at, .. } = &silence;
        said(context, &silence, &format!("silence {id}: {matcher} until {ends_at}"))
    }
}

impl Silences {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let found = match self.place.open(context).await? {
            Asked::Store(store) => answer(silences(&store, SystemClock.now()).await)?,
            Asked::Service(service) => service.get(&["api", "v1", "alerts", "silences"], &[]).await?,
        };
        let mut output = Output::new();
        if context.json {
            found.silences.iter().try_for_each(|silence| output.json(silence))?;
        } else if found.silences.is_empty() {
            output.line("nothing is silenced")?;
        } else {
            let mut table = Table::new(&["id", "until", "alerts", "by", "reason"]);
            for silence::Silence { id, ends_at, matcher, by, reason, .. } in found.silences {
                table.row([id, ends_at.to_string(), matcher.to_string(), by, reason]);
            }
            output.line(&table.to_string())?;
        }
        output.finish()?;
        Ok(Exit::Done)
    }
}

impl Unsilence {
    pub(super) async fn run(self, context: &Context) -> Result<Exit, Failure> {
        let asked = UnsilenceRequest { by: self.person.by };
        let silence: silence::Silence = match self.place.service()? {
            Some(service) => service.post(&["api", "v1", "alerts", "silences", &self.id, "end"], &asked).await?,
            None => {
                let store = open_for_writing(context).await?;
                answer(unsilence(&store, &self.id, &asked, SystemClock.now()).await)?
            }
        };
        said(context, &silence, &format!("silence {} has ended; what still goes on is told", silence.id))
    }
}

fn said(context: &Context, answer: &impl serde::Serialize, text: &str) -> Result<Exit, Failure> {
    let mut output = Output::new();
    if context.json {
        output.json(answer)?
    } else {
        output.line(text)?
    }
    output.finish()?;
    Ok(Exit::Done)
}
