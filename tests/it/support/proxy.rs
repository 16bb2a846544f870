//! Stands between a client and a server, and cuts what goes through it, or lets it go nowhere.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// A way to a server that can be cut.
pub(crate) struct Proxy {
    target: String,
    address: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    silence: Arc<Notify>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// A way to `target`, as `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let silence = Arc::<Notify>::default();
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (connections, silence, target) = (Arc::clone(&connections), Arc::clone(&silence), target.to_owned());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    connections.lock().unwrap().spawn(pass_through(client, target.clone(), Arc::clone(&silence)));
                }
            }
        });
        Self { target: target.to_owned(), address, connections, silence, _accepting: accepting }
    }

    /// The server's URL, but through here.
    pub(crate) fn instead_of(&self, url: &str) -> String {
        let through = url.replace(&self.target, &self.address);
        assert_ne!(through, url, "{url} does not lead to {}", self.target);
        through
    }

    /// Cuts every connection, in the middle of whatever goes through it; new ones are let through.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().abort_all();
    }

    /// From now on nothing goes through the connections that there are, which stay open, as after a failover that neither
    /// side was told of; new ones are let through.
    pub(crate) fn silence(&self) {
        self.silence.notify_waiters();
    }
}

async fn pass_through(mut client: TcpStream, target: String, silence: Arc<Notify>) {
    if let Ok(mut server) = TcpStream::connect(&target).await {
        tokio::select! {
            // An error here is one side hanging up.
            passed = tokio::io::copy_bidirectional(&mut client, &mut server) => drop(passed),
            () = silence.notified() => std::future::pending().await,
        }
    }
}
