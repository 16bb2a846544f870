//! `driftline alerts show`: one alert with all that is behind it.

use super::Context;
use super::alerts::headline;
use super::drift_text::transition;
use super::failure::{Exit, Failure};
use super::output::{Output, counted};
use super::service::{Asked, Place, answer};
use super::table::{Table, clip, number};
use crate::app::channels::links;
use crate::backends::clock::{Clock as _, SystemClock};
use crate::domain::alert::{Alert, AlertEvent};
use crate::domain::explanation::{Contribution, Evidence, Explanation};
use crate::domain::report::Estimate;
use crate::queries::affected::{Affected, AffectedTrace, AlertDetail, MOST_AFFECTED, affected, alert_detail};

#[derive(Debug, clap::Args)]
pub(super) struct Show {
    /// The alert's id, as `alerts list` shows it.
    id: String,
    /// Every affected trace, not only the first; with --json that is so by itself.
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    place: Place,
}

impl Show {
    pub(super) async fn run(&self, context: &Context) -> Result<Exit, Failure> {
        let asked = self.place.open(context).await?;
        let mut detail = self.detail(&asked, context).await?;
        let mut output = Output::new();
        if context.json {
            while let Some(next) = detail.affected.next.take() {
                let page = self.page(&asked, next).await?;
                detail.affected.traces.extend(page.traces);
                detail.affected.next = page.next;
            }
            output.json(&detail)?;
        } else {
            self.print(detail, &asked, &mut output).await?;
        }
        output.finish()?;
        Ok(Exit::Done)
    }

    /// Page after page of the affected traces, so that no number of them fills the memory.
    async fn print(&self, mut detail: AlertDetail, asked: &Asked, output: &mut Output) -> Result<(), Failure> {
        print_alert(&detail, output)?;
        print_life(&detail, output)?;
        output.line(&format!(
            "{}; affected is {}",
            counted(detail.affected_traces, "affected trace"),
            detail.affected_are
        ))?;
        print_traces(&detail.affected.traces, output)?;
        while let Some(next) = detail.affected.next.take_if(|_| self.all) {
            detail.affected = self.page(asked, next).await?;
            print_traces(&detail.affected.traces, output)?;
        }
        match &detail.affected.next {
            Some(_) => output.line(&format!("{} are shown; all of them with --all", detail.affected.traces.len())),
            None => Ok(()),
        }
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

fn print_alert(detail: &AlertDetail, output: &mut Output) -> Result<(), Failure> {
    let alert = &detail.alert;
    output.line(&headline(alert))?;
    let measure = Some(&alert.evidence.measure).filter(|measure| !measure.is_empty());
    let mut facts = vec![("where", format!("{}, {}, {}", alert.service, alert.series, alert.segment))];
    facts.extend(measure.map(|measure| ("measure", measure.clone())));
    facts.extend([("since", format!("{}, raised {}", alert.since(), alert.raised_at))]);
    let estimates = [("baseline", &detail.baseline_estimate), ("now", &detail.current_estimate)];
    let estimates = estimates.into_iter().filter(|(_, estimate)| estimate.is_some());
    facts.extend(estimates.map(|(name, estimate)| (name, interval(estimate.as_ref()))));
    facts.extend([("guarantee", format!("{} ({})", alert.guarantee, alert.detector))]);
    facts.extend(alert.evidence.nearest_change.iter().map(|change| ("change", change.to_string())));
    facts.extend([("link", detail.link.clone()), ("runbook", detail.runbook_url.clone())]);
    facts.extend(hands(detail));
    facts.iter().try_for_each(|(name, fact)| output.line(&format!("  {name:<10} {fact}")))?;
    if !alert.trace_ids.is_empty() {
        output.line("most contributing traces:")?;
        alert.trace_ids.iter().try_for_each(|trace_id| output.line(&format!("  {trace_id}")))?;
    }
    print_origin(&alert.evidence, output)?;
    print_group(&detail.group, output)
}

/// Who has it, and what keeps it quiet.
fn hands(detail: &AlertDetail) -> Vec<(&'static str, String)> {
    let alert = &detail.alert;
    let mut facts = Vec::new();
    if let Some(taken) = &alert.acknowledgement {
        let note = taken.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
        facts.push(("taken by", format!("{} at {}{note}", taken.by, taken.at)));
    }
    facts.extend(alert.no_data_since.map(|since| ("no data", format!("since {since}"))));
    facts.extend(alert.parent.iter().map(|parent| ("cause", format!("one with alert {parent}"))));
    let silences = detail.silences.iter();
    facts.extend(silences.map(|it| ("silenced", format!("by {} until {}: {}", it.by, it.ends_at, it.reason))));
    facts
}

/// Where the change comes from: segments by what they contribute, and what moved inside the series.
fn print_origin(evidence: &Evidence, output: &mut Output) -> Result<(), Failure> {
    if let Some(explanation) = &evidence.explanation {
        let Explanation { dimension, mix, within, .. } = explanation;
        output.line(&format!("by {dimension}: {mix:+.3} is another mix, {within:+.3} is within"))?;
        let mut table = Table::new(&["segment", "traces", "baseline", "now", "contributes", "95 % interval"]);
        explanation.segments.iter().for_each(|segment| table.row(contribution(segment)));
        output.line(&table.to_string())?;
        if !explanation.new_versions.is_empty() {
            output.line(&format!("new since the baseline: {}", explanation.new_versions.join(", ")))?;
        }
    }
    if !evidence.transitions.is_empty() {
        output.line("moved most, as shares of all, with the change's 95 % interval:")?;
    }
    evidence.transitions.iter().try_for_each(|moved| output.line(&format!("  {}", transition(moved))))
}

fn contribution(of: &Contribution) -> [String; 6] {
    let Contribution { segment, traces, baseline, current, contribution, low, high } = of;
    let interval = format!("{low:+.3} to {high:+.3}");
    let (baseline, current) = (format!("{baseline:.3}"), format!("{current:.3}"));
    [segment.clone(), traces.to_string(), baseline, current, format!("{contribution:+.3}"), interval]
}

fn print_group(group: &[Alert], output: &mut Output) -> Result<(), Failure> {
    if !group.is_empty() {
        output.line(&format!("of the same cause, and {} more series:", group.len()))?;
    }
    group.iter().try_for_each(|alert| output.line(&format!("  {} {}", alert.fingerprint, headline(alert))))
}

fn print_life(detail: &AlertDetail, output: &mut Output) -> Result<(), Failure> {
    output.line("history:")?;
    detail.history.iter().try_for_each(|event| output.line(&format!("  {}", step(event))))
}

/// `0.71 (0.66 to 0.75), 300 traces`.
fn interval(estimate: Option<&Estimate>) -> String {
    let Some(Estimate { n, estimate: Some(value), low, high, .. }) = estimate else { return "not known".to_owned() };
    let range = low.zip(*high).map(|(low, high)| format!(" ({} to {}, 95 %)", number(low), number(high)));
    format!("{}{}, {}", number(*value), range.unwrap_or_default(), counted(*n, "trace"))
}

fn print_traces(traces: &[AffectedTrace], output: &mut Output) -> Result<(), Failure> {
    if traces.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["trace", "ended", "value", "conversation", "user", "ids"]);
    traces.iter().for_each(|trace| table.row(row(trace)));
    output.line(&table.to_string())
}

fn row(trace: &AffectedTrace) -> [String; 6] {
    let ids = trace.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let (conversation, user) = (text(&trace.conversation_id), text(&trace.user_id));
    let value = clip(&serde_json::json!(trace.value).to_string());
    [trace.trace_id.to_string(), trace.ended_at.to_string(), value, conversation, user, ids.join(" ")]
}

fn step(event: &AlertEvent) -> String {
    let AlertEvent { at, transition, alert, .. } = event;
    format!("{at} {} ({})", transition.as_str(), alert.severity.as_str())
}
