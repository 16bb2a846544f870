//! Tells people and machines of alerts.
//!
//! Detectors, people and budgets change alerts in the store, and the store keeps each step. This stage follows the steps
//! of each alert, decides for each channel what there is to say (`plan`), and puts the messages into the outbox in the
//! transaction that notes what has been told: each step is told once, whoever dies in between. By the clock come
//! reminders, what a silence had held back, and alerts whose detector has fallen silent.
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
use super::leadership::Leadership;
use crate::backends::store::{NewOutboxItem, Notice, NoticeCommit, Noticing, StoreError};
use crate::domain::alert::{Alert, AlertState, Amendment, Transition};
use crate::domain::silence::Silence;
use crate::domain::time::Timestamp;
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
        for noticing in shared.store.noticing().await? {
            was_busy |= self.tell(shared, &noticing, &silences, now).await?;
        }
        Ok(was_busy)
    }

    async fn tell(
        &self,
        shared: &Shared,
        noticing: &Noticing,
        silences: &[Silence],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let alert = &noticing.alert;
        let mut was_busy = false;
        if let Some(plan) = self.plan(noticing, silences, now) {
            crash_point("notify.commit");
            was_busy = shared.store.commit_notice(&plan.commit, now).await?;
            crash_point("notify.committed");
            if was_busy {
                plan.log.iter().for_each(log);
                count_raised(shared, noticing);
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
        let needs_data = alert.detector != JUDGE_BUDGET && alert.state.is_open() && alert.no_data_since.is_none();
        needs_data && confirmed_at.is_some_and(|at| at.plus(self.no_data_after) <= now)
    }

    /// What has to be committed; `None` when nothing changes.
    fn plan(&self, noticing: &Noticing, silences: &[Silence], now: Timestamp) -> Option<Plan> {
        let Noticing { alert, events, notice, .. } = noticing;
        let before: Ledger =
            notice.as_ref().and_then(|notice| serde_json::from_str(&notice.told).ok()).unwrap_or_default();
        let log = self.log_channel();
        let (mut ledger, mut messages, mut logged) = (Ledger::new(), Vec::new(), Vec::new());
        for channel in self.channels.iter().chain([&log]) {
            let mut told = before.get(&channel.name).copied().unwrap_or_default();
            for (alert, telling) in tellings(channel, &mut told, noticing, silences, now) {
                let message = self.links.message(&alert, &telling);
                if channel.name == LOG {
                    logged.push(message);
                } else {
                    messages.extend(item(channel, &message, &telling, now));
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

/// What there is to say to one channel, in order, each with the alert as it was then.
fn tellings(
    channel: &Channel,
    told: &mut Told,
    noticing: &Noticing,
    silences: &[Silence],
    now: Timestamp,
) -> Vec<(Alert, Telling)> {
    let is_silenced = |alert: &Alert| silences.iter().any(|silence| silence.holds(alert, now));
    let mut tellings = Vec::new();
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
