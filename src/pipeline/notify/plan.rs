//! What there is to say to one channel about one alert: pure.
//!
//! A channel is told each step of an alert that it wants to hear of, and the end of what it was told. While the alert is
//! silenced nothing is said; that something was held back is remembered, and said once when the silence ends.

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::message::Reason;
use crate::domain::alert::{Alert, AlertEvent, AlertState, Severity, Transition};
use crate::domain::time::Timestamp;

/// What a channel knows of an alert.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// The severity that it was told last, while it takes the alert for open.
    open: Option<Severity>,
    /// When it was told last.
    at: Timestamp,
    /// Whether a silence has held something back.
    is_held_back: bool,
}

/// Something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Telling {
    /// Why.
    pub(super) reason: Reason,
    /// The severity that was told before.
    pub(super) previous_severity: Option<Severity>,
    /// The step behind it; none when the time has come.
    pub(super) event: Option<i64>,
}

impl Told {
    /// Whether the channel knows nothing of the alert.
    pub(super) const fn is_untold(&self) -> bool {
        self.open.is_none()
    }

    fn say(&mut self, reason: Reason, alert: &Alert, now: Timestamp) -> Telling {
        let telling = Telling { reason, previous_severity: self.open, event: None };
        let open = (reason != Reason::Resolved).then_some(alert.severity);
        *self = if open.is_some() { Self { open, at: now, is_held_back: false } } else { Self::default() };
        telling
    }
}

/// What a step means to a channel.
pub(super) fn news(
    channel: &Channel,
    told: &mut Told,
    event: &AlertEvent,
    is_silenced: bool,
    now: Timestamp,
) -> Option<Telling> {
    let is_over = event.transition == Transition::Resolved;
    let concerns = if is_over { told.open.is_some() } else { channel.wants(&event.alert) };
    if is_over && !concerns {
        // It began and ended unheard.
        *told = Told::default();
    }
    if !concerns || event.transition == Transition::Firing {
        return None;
    }
    if is_silenced {
        told.is_held_back = true;
        return None;
    }
    let reason = match (event.transition, told.open) {
        (Transition::Resolved, _) => Reason::Resolved,
        (Transition::Pending, _) | (Transition::Louder, None) => Reason::Firing,
        (Transition::Louder, Some(_)) => Reason::Louder,
        (Transition::Acknowledged, Some(_)) => Reason::Acknowledged,
        (Transition::NoData, Some(_)) => Reason::NoData,
        (Transition::DataBack, Some(_)) => Reason::DataBack,
        // What it does not know of it is told as a whole.
        _ => return None,
    };
    Some(Telling { event: Some(event.id), ..told.say(reason, &event.alert, now) })
}

/// What a channel has to be told by now, all steps considered.
pub(super) fn overdue(
    channel: &Channel,
    told: &mut Told,
    alert: &Alert,
    is_silenced: bool,
    now: Timestamp,
) -> Option<Telling> {
    let (is_open, wants) = (alert.state.is_open(), channel.wants(alert));
    told.is_held_back |= is_silenced && is_open && wants;
    let has_ended = told.is_held_back && !is_silenced;
    match told.open {
        Some(_) if !is_open => (!is_silenced).then(|| told.say(Reason::Resolved, alert, now)),
        Some(_) if has_ended && wants => Some(told.say(Reason::SilenceEnded, alert, now)),
        Some(_) => is_reminded(channel, told, alert, is_silenced, now).then(|| {
            let telling = told.say(Reason::Reminder, alert, now);
            // That the one who forgets is told again ends no silence.
            told.is_held_back = is_silenced;
            telling
        }),
        None if !is_open || !wants => {
            told.is_held_back = false;
            None
        }
        None if is_silenced => None,
        None => Some(told.say(if has_ended { Reason::SilenceEnded } else { Reason::Firing }, alert, now)),
    }
}

fn is_reminded(channel: &Channel, told: &Told, alert: &Alert, is_silenced: bool, now: Timestamp) -> bool {
    let is_quiet = is_silenced || alert.state == AlertState::Acknowledged;
    (channel.forgets || !is_quiet) && told.at.plus(channel.remind_after) <= now
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const HOUR: i64 = Timestamp::NANOS_PER_HOUR;

    fn alert(state: AlertState, severity: Severity) -> Alert {
        Alert { state, severity, ..Alert::example() }
    }

    fn event(id: i64, transition: Transition, severity: Severity) -> AlertEvent {
        let state = match transition {
            Transition::Pending => AlertState::Pending,
            Transition::Acknowledged => AlertState::Acknowledged,
            Transition::Resolved => AlertState::Resolved,
            _ => AlertState::Firing,
        };
        AlertEvent { id, at: Timestamp(0), transition, alert: alert(state, severity) }
    }

    fn channel() -> Channel {
        Channel { severity: Severity::Warn, ..Channel::of_everything("on call", Duration::from_hours(4)) }
    }

    /// Hands steps and hours to a channel; a step is silenced or not.
    struct Ear {
        channel: Channel,
        told: Told,
    }

    impl Ear {
        fn new(channel: Channel) -> Self {
            Self { channel, told: Told::default() }
        }

        fn hears(&mut self, transition: Transition, severity: Severity, is_silenced: bool) -> Option<Reason> {
            let event = event(7, transition, severity);
            news(&self.channel, &mut self.told, &event, is_silenced, Timestamp(0)).map(|telling| telling.reason)
        }

        fn at(&mut self, hour: i64, state: AlertState, is_silenced: bool) -> Option<Reason> {
            let alert = alert(state, Severity::Warn);
            overdue(&self.channel, &mut self.told, &alert, is_silenced, Timestamp(hour * HOUR)).map(|it| it.reason)
        }
    }

    use AlertState::{Acknowledged, Firing as Open, Resolved as Over};
    use Severity::{Info, Page, Warn};

    #[test]
    fn each_step_is_told_and_the_end_only_of_what_was_told() {
        let mut ear = Ear::new(channel());
        assert_eq!(ear.hears(Transition::Pending, Info, false), None, "it is not loud enough");
        assert_eq!(ear.hears(Transition::Resolved, Info, false), None);
        assert_eq!(ear.hears(Transition::Pending, Info, false), None);
        assert_eq!(ear.hears(Transition::Louder, Warn, false), Some(Reason::Firing));
        assert_eq!(ear.hears(Transition::Firing, Warn, false), None, "that it was told is no news");
        assert_eq!(ear.hears(Transition::Louder, Page, false), Some(Reason::Louder));
        assert_eq!(ear.hears(Transition::Acknowledged, Page, false), Some(Reason::Acknowledged));
        assert_eq!(ear.hears(Transition::NoData, Page, false), Some(Reason::NoData));
        assert_eq!(ear.hears(Transition::Resolved, Page, false), Some(Reason::Resolved));
        assert_eq!(ear.told, Told::default());
    }

    #[test]
    fn an_open_alert_is_repeated_on_schedule_until_someone_has_it() {
        let mut ear = Ear::new(channel());
        ear.hears(Transition::Pending, Warn, false);
        let reminded: Vec<i64> = (1..10).filter(|hour| ear.at(*hour, Open, false).is_some()).collect();
        assert_eq!(reminded, [4, 8]);
        assert_eq!(ear.at(30, Acknowledged, false), None);
    }

    #[test]
    fn what_a_silence_held_back_is_told_once_when_it_ends_if_it_still_goes_on() {
        for first_is_silenced in [false, true] {
            let mut ear = Ear::new(channel());
            let first = ear.hears(Transition::Pending, Warn, first_is_silenced);
            assert_eq!(first.is_none(), first_is_silenced);
            assert_eq!(ear.at(20, Open, true), None, "no reminders either");
            assert_eq!(ear.at(21, Open, false), Some(Reason::SilenceEnded));
            assert_eq!(ear.at(22, Open, false), None);
        }
    }

    #[test]
    fn an_end_within_a_silence_is_told_after_it_to_those_who_knew_the_beginning() {
        let mut knows = Ear::new(channel());
        knows.hears(Transition::Pending, Warn, false);
        assert_eq!(knows.hears(Transition::Resolved, Warn, true), None);
        assert_eq!(knows.at(1, Over, true), None);
        assert_eq!(knows.at(2, Over, false), Some(Reason::Resolved));
        assert_eq!(knows.at(3, Over, false), None);
        let mut knows_not = Ear::new(channel());
        knows_not.hears(Transition::Pending, Warn, true);
        assert_eq!(knows_not.hears(Transition::Resolved, Warn, true), None);
        assert_eq!(knows_not.at(2, Over, false), None);
    }

    #[test]
    fn who_forgets_is_told_again_whatever_people_do_and_hears_nothing_new_in_a_silence() {
        let mut ear = Ear::new(Channel { forgets: true, remind_after: Duration::from_mins(1), ..channel() });
        assert_eq!(ear.hears(Transition::Pending, Warn, true), None);
        assert_eq!(ear.at(1, Open, true), None);
        assert_eq!(ear.at(2, Open, false), Some(Reason::SilenceEnded));
        assert_eq!(ear.at(3, Acknowledged, true), Some(Reason::Reminder));
        assert_eq!(ear.at(4, Acknowledged, false), Some(Reason::SilenceEnded));
        assert_eq!(ear.at(5, Acknowledged, false), Some(Reason::Reminder));
    }

    #[test]
    fn a_channel_that_is_new_hears_of_what_is_open() {
        let mut ear = Ear::new(channel());
        assert_eq!(ear.at(1, Open, false), Some(Reason::Firing));
        assert_eq!(ear.at(2, Open, false), None);
    }
}
