//! Stands between a client and a server, and cuts what goes through it.

use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A way to a server that can be cut.
pub(crate) struct Proxy {
    target: String,
    address: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// A way to `target`, as `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new(JoinSet::new()));
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (connections, target) = (Arc::clone(&connections), target.to_owned());
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    connections.lock().unwrap().spawn(pass_through(client, target.clone()));
                }
            }
        });
        Self { target: target.to_owned(), address, connections, _accepting: accepting }
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
}

async fn pass_through(mut client: TcpStream, target: String) {
    if let Ok(mut server) = TcpStream::connect(&target).await {
        // An error here is one side hanging up.
        drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
    }
}
