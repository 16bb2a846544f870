//! Addresses that the service listens on.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::service::StartError;
use crate::backends::access::Access;
use crate::pipeline::Shared;

/// A port that is ours.
#[derive(Debug)]
pub(super) struct Listening {
    pub(super) section: &'static str,
    pub(super) key: &'static str,
    listener: TcpListener,
    pub(super) address: SocketAddr,
}

impl Listening {
    /// Listens on an address of the settings, if that is wanted.
    pub(super) async fn bind(
        section: &'static str,
        key: &'static str,
        address: &str,
        wanted: bool,
    ) -> Result<Option<Self>, StartError> {
        if !wanted {
            return Ok(None);
        }
        let failed = |source| StartError::Listen { section, key, address: address.to_owned(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        Ok(Some(Self { section, key, listener, address: bound }))
    }

    /// Whether only this machine can reach it.
    pub(super) fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// The guard of what senders reach here.
    pub(super) fn access(&self, shared: &Shared) -> Access {
        Access::new(shared.store.clone(), Arc::clone(&shared.clock), self.is_loopback())
    }

    /// Serves until the process is to end.
    pub(super) async fn serve(self, router: Router, stop: CancellationToken) {
        let serving = axum::serve(self.listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = serving.await {
            tracing::error!(%error, address = %self.address, "server failed");
        }
    }
}
