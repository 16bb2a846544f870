//! `driftline alerts show`: one alert with all that is behind it.

use super::Context;
use super::failure::{Exit, Failure};
use super::output::{Output, counted};
use super::service::{Asked, Place, answer};
use super::table::{Table, number};
use crate::app::channels::links;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::alert::AlertEvent;
use crate::domain::report::Estimate;
use crate::queries::affected::{Affected, AffectedTrace, AlertDetail, MOST_AFFECTED, affected, alert_detail};

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The alert's id, as `alerts list` shows it.
    id: String,
    /// Every affected trace, not only the first.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let asked = self.place.open(context).await?;
        let mut detail = self.detail(&asked, context).await?;
        while let Some(next) = detail.affected.next.take_if(|_| self.all) {
            let page = self.page(&asked, next).await?;
            detail.affected.traces.extend(page.traces);
            detail.affected.next = page.next;
        }
        let mut output = Output::new();
        if context.json {
            output.json(&detail)?
        } else {
            print(&detail, &mut output)?
        }
        output.finish()?;
        Ok(Exit::Done)
    }

    async fn detail(&self, asked: &Asked, context: &Context) -> Result<AlertDetail, Failure> {
        match asked {
            Asked::Store(store) => {
                let settings = context.settings()?;
                let (watched, web) = (&settings.watch.baseline, links(&settings).web);
                answer(alert_detail(store, &self.id, watched, &web, SystemClock.now()).await)
            }
            Asked::Service(service) => service.get(&["api", "v1", "alerts", &self.id], &[]).await,
        }
    }

    async fn page(&self, asked: &Asked, after: String) -> Result<Affected, Failure> {
        match asked {
            Asked::Store(store) => answer(affected(store, &self.id, Some(&after), MOST_AFFECTED).await),
            Asked::Service(service) => {
                let parameters = [("after".to_owned(), after), ("limit".to_owned(), MOST_AFFECTED.to_string())];
                service.get(&["api", "v1", "alerts", &self.id, "traces"], &parameters).await
            }
        }
    }
}

fn print(detail: &AlertDetail, output: &mut Output) -> Result<(), Failure> {
    let alert = &detail.alert;
    let state = format!("{:?}", alert.state).to_lowercase();
    output.line(&format!("{} {state}: {}", alert.severity.as_str().to_uppercase(), alert.summary))?;
    let mut facts = vec![
        ("where", format!("{}, {}, {}", alert.service, alert.series, alert.segment)),
        ("since", format!("{}, raised {}", alert.onset_at, alert.raised_at)),
        ("baseline", interval(detail.baseline_estimate.as_ref())),
        ("now", interval(detail.current_estimate.as_ref())),
        ("guarantee", format!("{} ({})", alert.guarantee, alert.detector)),
        ("link", detail.link.clone()),
        ("runbook", detail.runbook_url.clone()),
    ];
    if let Some(taken) = &alert.acknowledgement {
        let note = taken.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        facts.push(("taken by", format!("{} at {}{note}", taken.by, taken.at)));
    }
    facts.extend(alert.no_data_since.map(|since| ("no data", format!("since {since}"))));
    let silences = detail.silences.iter();
    facts.extend(silences.map(|it| ("silenced", format!("by {} until {}: {}", it.by, it.ends_at, it.reason))));
    facts.iter().try_for_each(|(name, fact)| output.line(&format!("  {name:<10} {fact}")))?;
    print_affected(detail, output)?;
    output.line("history:")?;
    detail.history.iter().try_for_each(|event| output.line(&format!("  {}", step(event))))
}

/// `0.71 (0.66 to 0.75), 300 traces`.
fn interval(estimate: Option<&Estimate>) -> String {
    let Some(Estimate { n, estimate: Some(value), low, high, .. }) = estimate else { return "not known".to_owned() };
    let range = low.zip(*high).map(|(low, high)| format!(" ({} to {}, 95 %)", number(low), number(high)));
    format!("{}{}, {}", number(*value), range.unwrap_or_default(), counted(*n, "trace"))
}

fn print_affected(detail: &AlertDetail, output: &mut Output) -> Result<(), Failure> {
    let (all, shown) = (detail.affected_traces, &detail.affected);
    output.line(&format!("{}:", counted(all, "affected trace")))?;
    let mut table = Table::new(&["trace", "ended", "conversation", "user", "ids"]);
    shown.traces.iter().for_each(|trace| table.row(row(trace)));
    if !shown.traces.is_empty() {
        output.line(&table.to_string())?;
    }
    match &shown.next {
        Some(_) => output.line(&format!("{} are shown; all of them with --all", shown.traces.len())),
        None => Ok(()),
    }
}

fn row(trace: &AffectedTrace) -> [String; 5] {
    let ids = trace.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (conversation, user) = (text(&trace.conversation_id), text(&trace.user_id));
    [trace.trace_id.to_string(), trace.ended_at.to_string(), conversation, user, ids.join(" ")]
}

fn step(event: &AlertEvent) -> String {
    let AlertEvent { at, transition, alert, .. } = event;
    format!("{at} {} ({})", transition.as_str(), alert.severity.as_str())
}
