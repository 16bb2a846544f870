//! Stands between a client and a server, and cuts what goes through it, holds it up, or lets it go nowhere.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};

/// What goes through, and how to cut each, the earliest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    cuts: Vec<AbortHandle>,
}

/// A way to a server that can be cut.
pub(crate) struct Proxy {
    target: String,
    address: String,
    connections: Arc<Mutex<Connections>>,
    silence: Arc<Notify>,
    is_partitioned: watch::Sender<bool>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// A way to `target`, as `host:port`.
    pub(crate) async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::<Mutex<Connections>>::default();
        let silence = Arc::<Notify>::default();
        let is_partitioned = watch::Sender::new(false);
        let mut accepting = JoinSet::new();
        accepting.spawn({
            let (connections, silence, target) = (Arc::clone(&connections), Arc::clone(&silence), target.to_owned());
            let partition = is_partitioned.subscribe();
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let passing = pass_through(client, target.clone(), Arc::clone(&silence), partition.clone());
                    let Connections { tasks, cuts } = &mut *connections.lock().unwrap();
                    cuts.push(tasks.spawn(passing));
                }
            }
        });
        Self { target: target.to_owned(), address, connections, silence, is_partitioned, _accepting: accepting }
    }

    /// The server's URL, but through here.
    pub(crate) fn instead_of(&self, url: &str) -> String {
        let through = url.replace(&self.target, &self.address);
        assert_ne!(through, url, "{url} does not lead to {}", self.target);
        through
    }

    /// Cuts every connection, in the middle of whatever goes through it; new ones are let through.
    pub(crate) fn cut(&self) {
        self.connections.lock().unwrap().tasks.abort_all();
    }

    /// Cuts the connection that was made first.
    pub(crate) fn cut_first(&self) {
        self.connections.lock().unwrap().cuts[0].abort();
    }

    /// From now on nothing goes through the connections that there are, which stay open, as after a failover that neither
    /// side was told of; new ones are let through.
    pub(crate) fn silence(&self) {
        self.silence.notify_waiters();
    }

    /// From now on nothing gets from one side to the other, old connections and new ones, and neither side is told: as
    /// when a network is partitioned.
    pub(crate) fn partition(&self) {
        self.is_partitioned.send_replace(true);
    }

    /// What the sides have sent meanwhile arrives, as it does by TCP's repeats: also that they have hung up.
    pub(crate) fn heal(&self) {
        self.is_partitioned.send_replace(false);
    }
}

async fn pass_through(mut client: TcpStream, target: String, silence: Arc<Notify>, partition: watch::Receiver<bool>) {
    healed(partition.clone()).await;
    if let Ok(mut server) = TcpStream::connect(&target).await {
        // Borrowed: in silence both stay open.
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let asked = carry(from_client, to_server, partition.clone());
        let answered = carry(from_server, to_client, partition);
        tokio::select! {
            // An error here is one side hanging up.
            passed = async { tokio::try_join!(asked, answered) } => drop(passed),
            () = silence.notified() => std::future::pending().await,
        }
    }
}

async fn carry(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    partition: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        healed(partition.clone()).await;
        match read? {
            0 => return to.shutdown().await,
            count => to.write_all(&bytes[..count]).await?,
        }
    }
}

async fn healed(mut partition: watch::Receiver<bool>) {
    // Without its proxy there is no partition any longer.
    drop(partition.wait_for(|is_partitioned| !is_partitioned).await);
}
