//! Tells people and machines of alerts.
//!
//! Detectors, people and budgets change alerts in the store, and the store keeps each step. This stage follows the steps
//! of each alert, decides for each channel what there is to say (`plan`), and puts the messages into the outbox in the
//! transaction that notes what has been told: each step is told once, whoever dies in between. By the clock come
//! reminders, what a silence had held back, and alerts whose detector has fallen silent.
//!
//! Of alerts with one cause the parent alone is told, and its message names the others; one that gets louder than its
//! parent, or outlives it, is told by itself.
//!
//! A message holds the alert; what a channel makes of it (`format`) is decided when it is sent, so that no secret is
//! stored.

pub mod channel;
pub mod format;
pub mod message;

mod plan;

use std::collections::BTreeMap;
use std::time::Duration;

use super::Shared;
use super::crash_point::crash_point;
use super::invariant::{Invariant, are_legal};
use super::leadership::Leadership;
use crate::backends::store::{NewOutboxItem, Notice, NoticeCommit, Noticing, StoreError};
use crate::domain::alert::{Alert, AlertState, Amendment, Transition};
use crate::domain::silence::Silence;
use crate::domain::time::Timestamp;
use crate::limits::budget::AGENT_BUDGET;
use crate::telemetry::metrics::SeverityLabels;
use channel::Channel;
use message::{Links, Message, Reason};
use plan::{Telling, Told, news, overdue};

/// Name of `[alerts] webhook` in the outbox.
pub const WEBHOOK: &str = "webhook";
/// Name of the channel that is the process's own log.
pub const LOG: &str = "log";
/// The detector whose alerts are counted, and need no data to go on.
pub const JUDGE_BUDGET: &str = "judge_budget";
/// The detector of judges in doubt. Control questions come when there is traffic, and silence says nothing of the judge.
pub const JUDGE_CONTROL: &str = "judge_control";

const IDLE: Duration = Duration::from_millis(500);

/// How alerts are told.
#[derive(Debug, Clone)]
pub struct Notifying {
    /// Where to, besides the log.
    pub channels: Vec<Channel>,
    /// How long a detector may be silent about an alert before that is told.
    pub no_data_after: Duration,
    /// How often the log repeats what is open.
    pub remind_after: Duration,
    /// Where people look further.
    pub links: Links,
}

/// Tells of alerts until the process is to end.
pub async fn notify(shared: Shared, notifying: Notifying) {
    let mut leadership = Leadership::of("notify");
    while !shared.is_stopping() {
        let step = leadership.lead(&shared, notifying.step(&shared)).await;
        shared.rest("notify", IDLE, step).await;
    }
}

/// What each channel knows of an alert, by the channel's name.
type Ledger = BTreeMap<String, Told>;

/// What there is to say of one alert at a moment.
struct Plan {
    commit: NoticeCommit,
    /// What goes to the log when the rest is committed.
    log: Vec<Message>,
}

impl Notifying {
    /// Tells what there is to tell; whether there was something.
    ///
    /// # Errors
    /// The store failed; what was told stays so.
    pub async fn step(&self, shared: &Shared) -> Result<bool, StoreError> {
        let now = shared.now();
        let silences = shared.store.silences(now).await?;
        let mut was_busy = false;
        let all = shared.store.noticing().await?;
        for noticing in &all {
            let around = Around::of(noticing, &all, &silences, now);
            was_busy |= self.tell(shared, noticing, &around).await?;
        }
        Ok(was_busy)
    }

    async fn tell(&self, shared: &Shared, noticing: &Noticing, around: &Around<'_>) -> Result<bool, StoreError> {
        let (alert, now) = (&noticing.alert, around.now);
        let mut was_busy = false;
        if let Some(plan) = self.plan(noticing, around) {
            crash_point("notify.commit");
            was_busy = shared.store.commit_notice(&plan.commit, now).await?;
            if was_busy {
                plan.log.iter().for_each(log);
                count_raised(shared, noticing);
                let holds = are_legal(noticing.considered.as_ref(), &noticing.events);
                Invariant::AlertStepsAreLegal.check(&shared.metrics, holds);
            }
        }
        if alert.state == AlertState::Pending {
            shared.store.amend_alert(&alert.fingerprint, &Amendment::Tell, now).await?;
        } else if self.is_without_data(noticing, now) {
            shared.store.amend_alert(&alert.fingerprint, &Amendment::NoData, now).await?;
        }
        Ok(was_busy)
    }

    fn is_without_data(&self, noticing: &Noticing, now: Timestamp) -> bool {
        let Noticing { alert, confirmed_at, .. } = noticing;
        let is_counted = [JUDGE_BUDGET, AGENT_BUDGET, JUDGE_CONTROL].contains(&alert.detector.as_str());
        let needs_data = !is_counted && alert.state.is_open() && alert.no_data_since.is_none();
        needs_data && confirmed_at.is_some_and(|at| at.plus(self.no_data_after) <= now)
    }

    /// What has to be committed; `None` when nothing changes.
    fn plan(&self, noticing: &Noticing, around: &Around<'_>) -> Option<Plan> {
        let Noticing { alert, events, notice, .. } = noticing;
        let before: Ledger =
            notice.as_ref().and_then(|notice| serde_json::from_str(&notice.told).ok()).unwrap_or_default();
        let log = self.log_channel();
        let (mut ledger, mut messages, mut logged) = (Ledger::new(), Vec::new(), Vec::new());
        for channel in self.channels.iter().chain([&log]) {
            let mut told = before.get(&channel.name).copied().unwrap_or_default();
            for (alert, telling) in tellings(channel, &mut told, noticing, around) {
                let message = self.links.message(&alert, &around.group, &telling);
                if channel.name == LOG {
                    logged.push(message);
                } else {
                    messages.extend(item(channel, &message, &telling, around.now));
                }
            }
            if told != Told::default() {
                ledger.insert(channel.name.clone(), told);
            }
        }
        let last_event = events.last().map(|event| event.id).or(notice.as_ref().map(|notice| notice.last_event));
        if ledger == before && events.is_empty() {
            return None;
        }
        let after = Notice {
            last_event: last_event.unwrap_or_default(),
            is_open: !ledger.is_empty(),
            told: serde_json::to_string(&ledger).ok()?,
        };
        let fingerprint = alert.fingerprint.clone();
        Some(Plan { commit: NoticeCommit { fingerprint, before: notice.clone(), after, messages }, log: logged })
    }

    fn log_channel(&self) -> Channel {
        Channel::of_everything(LOG, self.remind_after)
    }
}

/// What telling of an alert depends on beside its own steps.
struct Around<'a> {
    now: Timestamp,
    silences: &'a [Silence],
    /// Whether another alert speaks for it now.
    is_told_by_parent: bool,
    /// Those it speaks for.
    group: Vec<&'a Alert>,
}

impl<'a> Around<'a> {
    fn of(noticing: &Noticing, all: &'a [Noticing], silences: &'a [Silence], now: Timestamp) -> Self {
        let alert = &noticing.alert;
        // A parent that is silenced speaks for nobody.
        let is_heard = |parent: &Alert| alert.is_told_by(parent) && !is_silenced(parent, silences, now);
        let is_member = |other: &&Alert| other.state.is_open() && other.is_told_by(alert);
        Self {
            now,
            silences,
            is_told_by_parent: all.iter().any(|other| is_heard(&other.alert)),
            group: all.iter().map(|other| &other.alert).filter(is_member).collect(),
        }
    }
}

fn is_silenced(alert: &Alert, silences: &[Silence], now: Timestamp) -> bool {
    silences.iter().any(|silence| silence.holds(alert, now))
}

/// What there is to say to one channel, in order, each with the alert as it was then.
fn tellings(channel: &Channel, told: &mut Told, noticing: &Noticing, around: &Around<'_>) -> Vec<(Alert, Telling)> {
    let (now, mut tellings) = (around.now, Vec::new());
    if around.is_told_by_parent && told.is_untold() {
        return tellings;
    }
    let is_silenced = |alert: &Alert| is_silenced(alert, around.silences, now);
    for event in &noticing.events {
        let telling = news(channel, told, event, is_silenced(&event.alert), now);
        tellings.extend(telling.map(|telling| (event.alert.clone(), telling)));
    }
    let telling = overdue(channel, told, &noticing.alert, is_silenced(&noticing.alert), now);
    tellings.extend(telling.map(|telling| (noticing.alert.clone(), telling)));
    tellings
}

/// The message in the outbox. Of reminders only one waits at a time, however long the channel is away.
fn item(channel: &Channel, message: &Message, telling: &Telling, now: Timestamp) -> Option<NewOutboxItem> {
    let fingerprint = &message.alert.fingerprint;
    let key = match (telling.reason, telling.event) {
        (Reason::Reminder, _) => format!("{fingerprint}:{}:reminder", message.alert.raised_at.0),
        (reason, Some(event)) => format!("{fingerprint}:{event}:{}", reason.as_str()),
        (reason, None) => format!("{fingerprint}:at {}:{}", now.0, reason.as_str()),
    };
    let payload = serde_json::to_vec(message).ok()?;
    Some(NewOutboxItem { destination: channel.name.clone(), key, payload })
}

/// Tells of an alert in the log.
fn log(message: &Message) {
    let Message { alert: Alert { fingerprint, service, series, severity, summary, .. }, .. } = message;
    let reason = message.reason.as_str();
    if message.alert.state.is_open() {
        tracing::warn!(fingerprint, service, series, ?severity, reason, summary, "alert is open");
    } else {
        tracing::info!(fingerprint, service, series, summary, "alert is resolved");
    }
}

/// Counts alerts that were raised; one that got louder counts again at its new severity.
fn count_raised(shared: &Shared, noticing: &Noticing) {
    let is_raised = |transition| matches!(transition, Transition::Pending | Transition::Louder);
    for event in noticing.events.iter().filter(|event| is_raised(event.transition)) {
        let labels = SeverityLabels { severity: event.alert.severity.as_str().to_owned() };
        shared.metrics.alerts_raised.get_or_create(&labels).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::alert::{AlertEvent, Severity};

    fn raised(fingerprint: &str, parent: Option<&str>, severity: Severity) -> Noticing {
        let alert = Alert {
            fingerprint: fingerprint.to_owned(),
            series: format!("series {fingerprint}"),
            severity,
            parent: parent.map(str::to_owned),
            ..Alert::example()
        };
        let event = AlertEvent { id: 1, at: Timestamp(0), transition: Transition::Pending, alert: alert.clone() };
        Noticing { alert, confirmed_at: None, events: vec![event], considered: None, notice: None }
    }

    /// The messages about each alert, of a channel that hears everything.
    fn told(all: &[Noticing], silences: &[Silence]) -> Vec<Vec<Message>> {
        let channels = vec![Channel::of_everything("hook", Duration::from_hours(4))];
        let (no_data_after, remind_after) = (Duration::from_hours(1), Duration::from_hours(4));
        let notifying = Notifying { channels, no_data_after, remind_after, links: Links::default() };
        let messages = |noticing: &Noticing| {
            let around = Around::of(noticing, all, silences, Timestamp(10));
            let plan = notifying.plan(noticing, &around);
            let items = plan.map(|plan| plan.commit.messages).unwrap_or_default();
            items.iter().map(|item| serde_json::from_slice(&item.payload).unwrap()).collect()
        };
        all.iter().map(messages).collect()
    }

    fn group_of_five() -> Vec<Noticing> {
        let children = ["b", "c", "d", "e"].map(|name| raised(name, Some("a"), Severity::Warn));
        [raised("a", None, Severity::Warn)].into_iter().chain(children).collect()
    }

    fn silence(matcher: &str) -> Silence {
        Silence {
            id: "s".to_owned(),
            matcher: matcher.parse().unwrap(),
            by: "kim".to_owned(),
            reason: "deploy".to_owned(),
            created_at: Timestamp(0),
            ends_at: Timestamp(100),
            ended_by: None,
        }
    }

    #[test]
    fn alerts_of_one_cause_are_told_once_and_all_are_named() {
        let told = told(&group_of_five(), &[]);
        assert_eq!(told.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 0, 0, 0]);
        let message = &told[0][0];
        assert!(message.alert.summary.ends_with("and 4 more series: series b, series c, series d, series e"));
        let fingerprints: Vec<&str> = message.group.iter().map(|one| one.fingerprint.as_str()).collect();
        assert_eq!(fingerprints, ["b", "c", "d", "e"]);
    }

    #[test]
    fn a_child_is_told_when_it_is_louder_than_its_parent_or_outlives_it() {
        let mut louder = group_of_five();
        louder[1] = raised("b", Some("a"), Severity::Page);
        assert_eq!(told(&louder, &[]).iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0, 0, 0]);
        let mut alone = group_of_five();
        alone[0].alert.state = AlertState::Resolved;
        alone[0].events.clear();
        assert_eq!(told(&alone, &[]).iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_silence_of_the_parent_by_id_is_one_of_the_group_and_by_series_is_not() {
        let all = group_of_five();
        assert_eq!(told(&all, &[silence("fingerprint=a")]).iter().map(Vec::len).sum::<usize>(), 0);
        assert_eq!(told(&all, &[silence("series=series a")]).iter().map(Vec::len).collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
    }
}
