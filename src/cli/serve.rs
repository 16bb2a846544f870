//! `driftline serve`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use super::Context;
use super::failure::{Exit, Failure, chain};
use crate::app::service::{Role, Service, StartError};
use crate::telemetry::logs;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// What this process does; a fleet divides the roles.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROLE,...", default_values_t = Role::value_variants().to_vec())]
    roles: Vec<Role>,
    /// Folder for the embedded store, in place of `[store] url`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    logs::start("info");
    let mut settings = context.settings()?;
    if let Some(folder) = arguments.data_dir {
        settings.store.url = format!("sqlite://{}", folder.join("driftline.db").display());
    }
    let roles: BTreeSet<Role> = arguments.roles.into_iter().collect();
    let stop = stop_signal()?;
    let service = Service::start(&settings, &roles).await.map_err(|error| failure(&error))?;
    service.run_until(stop).await.map_err(|error| Failure::CouldNot(error.to_string()))?;
    Ok(Exit::Done)
}

pub(super) fn failure(error: &StartError) -> Failure {
    let message = chain(error);
    if error.is_usage() { Failure::Usage(message) } else { Failure::CouldNot(message) }
}

/// Ready at the first interrupt or termination signal.
pub(super) fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let listen = |kind| signal(kind).map_err(|error| Failure::could_not("listen for signals", &error));
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping: finishing what is under way");
    })
}
