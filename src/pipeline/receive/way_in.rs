//! Where what was received goes: into the store of this process, or into the broker's queue.

use std::sync::Arc;

use crate::pipeline::intake::{Intake, NotStored, Received};
use crate::pipeline::publish::{Outgoing, Sent};
use crate::pipeline::redaction::Redaction;
use crate::pipeline::room::Room;

/// The way that a receiver hands things on.
#[derive(Clone)]
pub enum WayIn {
    /// Straight into the store.
    Store(Intake),
    /// Into the queue of a broker, whose workers store it.
    Queue(Outgoing),
}

impl From<Intake> for WayIn {
    fn from(intake: Intake) -> Self {
        Self::Store(intake)
    }
}

impl WayIn {
    /// Room, of which nothing is taken yet.
    pub(super) fn room(&self) -> Room {
        match self {
            Self::Store(intake) => intake.room(),
            Self::Queue(outgoing) => outgoing.rooms.room(),
        }
    }

    /// What has to be taken out of a body before it is handed on. The way into the store sees to that itself.
    pub(super) fn redaction(&self) -> Option<Arc<Redaction>> {
        match self {
            Self::Store(_) => None,
            Self::Queue(outgoing) => outgoing.redaction.clone(),
        }
    }

    /// Hands on a body and what was read of it, and returns when that is as durable as it gets.
    pub(super) async fn take(&self, received: Received, sent: Sent, room: Room) -> Result<(), NotStored> {
        match self {
            Self::Store(intake) => intake.store(received, room).await,
            // A body of which nothing can be used would only be read a second time.
            Self::Queue(_) if received.is_empty() => Ok(()),
            Self::Queue(outgoing) => outgoing.publish(sent).await,
        }
    }
}
