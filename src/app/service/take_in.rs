//! How traces come in: receivers, the broker's queue from both ends, and the way into the store.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;

use super::{Checks, MIB, Role, Service, StartError};
use crate::app::listening::Listening;
use crate::app::settings::Settings;
use crate::backends::rabbitmq::{RabbitMqError, RabbitMqPublisher};
use crate::backends::store::CompletionPolicy;
use crate::pipeline::Shared;
use crate::pipeline::backlog::Backlog;
use crate::pipeline::consume::{QueueSource, consume};
use crate::pipeline::intake::Intake;
use crate::pipeline::publish::{Outgoing, QueueLimits};
use crate::pipeline::receive::{Receiver, WayIn, grpc_router, guarded, http_router};
use crate::pipeline::redaction::{Redaction, largest_redacted};
use crate::pipeline::writing::Writable;
use crate::web::{ReadinessCheck, STORE_WRITE};

impl Service {
    /// Receivers, the queue's consumer, and the ways into the store and the queue.
    pub(super) fn take_in(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        roles: &BTreeSet<Role>,
        (http, grpc): (Option<Listening>, Option<Listening>),
        redaction: Option<Redaction>,
    ) -> Result<Checks, StartError> {
        let mut checks = Checks::new();
        let max_waiting_bytes = settings.receive.max_waiting_mib.saturating_mul(MIB);
        let consumes = !settings.queue.is_embedded() && roles.contains(&Role::Evaluate);
        let stores = settings.queue.is_embedded() && http.is_some();
        let (intake, writing) = Intake::new(shared.clone(), completion(settings), max_waiting_bytes);
        let redaction = redaction.map(Arc::new);
        let intake = intake.with_redaction(redaction.clone());
        if consumes || stores {
            self.parts.spawn(writing);
            checks.push(Arc::new(WriterCheck { intake: intake.clone(), shared: shared.clone() }));
        }
        if consumes {
            checks.push(self.consume(settings, shared, intake.clone()));
        }
        let Some(http) = http else { return Ok(checks) };
        let way_in = if stores {
            let backlog = Backlog::default();
            self.parts.spawn(backlog.clone().watch(shared.clone(), settings.queue.max_waiting));
            WayIn::from(intake.with_backlog(backlog))
        } else {
            let (outgoing, check) = self.publish(settings, shared, max_waiting_bytes)?;
            checks.push(check);
            WayIn::Queue(outgoing.with_redaction(redaction))
        };
        self.receive(settings, shared, way_in, http, grpc);
        Ok(checks)
    }

    fn consume(&mut self, settings: &Settings, shared: &Shared, intake: Intake) -> Arc<dyn ReadinessCheck> {
        let source = QueueSource {
            url: settings.queue.url.clone(),
            name: settings.queue.name.clone(),
            prefetch: settings.queue.prefetch,
            max_body_bytes: largest_redacted(settings.receive.max_body_mib.saturating_mul(MIB)),
            attempts: settings.queue.attempts,
            retry_delay: settings.queue.retry_delay,
        };
        let is_connected = Arc::<AtomicBool>::default();
        self.parts.spawn(consume(shared.clone(), intake, source, Arc::clone(&is_connected)));
        Arc::new(ConsumerCheck { is_connected })
    }

    fn publish(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        max_waiting_bytes: usize,
    ) -> Result<(Outgoing, Arc<dyn ReadinessCheck>), StartError> {
        let publisher = Arc::new(RabbitMqPublisher::new(&settings.queue.url, &settings.queue.name)?);
        let limits = QueueLimits {
            max_waiting: settings.queue.max_waiting,
            max_message_bytes: settings.queue.max_message_mib.saturating_mul(MIB),
        };
        let check = Arc::new(PublisherCheck { publisher: Arc::clone(&publisher), limits });
        let (outgoing, connecting) = Outgoing::new(shared.clone(), publisher, limits, max_waiting_bytes);
        self.parts.spawn(connecting);
        Ok((outgoing, check))
    }

    fn receive(
        &mut self,
        settings: &Settings,
        shared: &Shared,
        way_in: WayIn,
        http: Listening,
        grpc: Option<Listening>,
    ) {
        let max_body_bytes = settings.receive.max_body_mib.saturating_mul(MIB);
        let receiver = Receiver::new(way_in, Arc::clone(&shared.metrics), max_body_bytes);
        tracing::info!(address = %http.address, "receiving OTLP/HTTP");
        let router = guarded(http_router(Arc::clone(&receiver)), http.access(shared));
        self.parts.spawn(http.serve(router, shared.stop.clone()));
        if let Some(grpc) = grpc {
            tracing::info!(address = %grpc.address, "receiving OTLP/gRPC");
            let router = guarded(grpc_router(receiver), grpc.access(shared));
            self.parts.spawn(grpc.serve(router, shared.stop.clone()));
        }
    }
}

/// When a trace is complete, as the settings want it.
const fn completion(settings: &Settings) -> CompletionPolicy {
    CompletionPolicy {
        root_grace: settings.complete.root_grace,
        quiet_period: settings.complete.quiet_period,
        max_age: settings.complete.max_age,
        max_trace_bytes: settings.complete.max_trace_mib.saturating_mul(MIB),
    }
}

const REFUSED: &str = "the store takes nothing that is written; the log says why";

/// Whether what comes in is stored.
struct WriterCheck {
    intake: Intake,
    shared: Shared,
}

impl WriterCheck {
    /// Writes something small, where no one else may write for a while: nobody sends to a process that is not ready.
    async fn attempt(&self) -> Result<(), String> {
        let (holder, now) = (&self.shared.worker, self.shared.now());
        let held = self.shared.store.hold_lease(STORE_WRITE, holder, now, Duration::ZERO).await;
        held.map(drop).map_err(|_| REFUSED.to_owned())
    }
}

#[async_trait]
impl ReadinessCheck for WriterCheck {
    fn name(&self) -> &str {
        STORE_WRITE
    }

    async fn check(&self) -> Result<(), String> {
        match self.intake.is_writable() {
            Writable::Yes => Ok(()),
            Writable::Slow => Err("what was received waits for a commit that takes long".to_owned()),
            Writable::No => Err(REFUSED.to_owned()),
            Writable::Unknown => self.attempt().await,
        }
    }
}

/// Whether the broker's messages come.
struct ConsumerCheck {
    is_connected: Arc<AtomicBool>,
}

#[async_trait]
impl ReadinessCheck for ConsumerCheck {
    fn name(&self) -> &str {
        "queue (consume)"
    }

    async fn check(&self) -> Result<(), String> {
        let is_connected = self.is_connected.load(Ordering::Relaxed);
        is_connected.then_some(()).ok_or_else(|| RabbitMqError::NotConnected.to_string())
    }
}

/// Whether the broker takes messages.
struct PublisherCheck {
    publisher: Arc<RabbitMqPublisher>,
    limits: QueueLimits,
}

#[async_trait]
impl ReadinessCheck for PublisherCheck {
    fn name(&self) -> &str {
        "queue (publish)"
    }

    async fn check(&self) -> Result<(), String> {
        let waiting = self.publisher.waiting().map_err(|error| error.to_string())?;
        let has_room = waiting < self.limits.max_waiting;
        has_room
            .then_some(())
            .ok_or_else(|| format!("{waiting} messages wait: the queue is full ([queue] max_waiting)"))
    }

    fn stands_before_store(&self) -> bool {
        true
    }
}
