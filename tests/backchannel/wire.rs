//! A wire between an application and a node, which counts, listens in, stops and cuts.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Arc<Mutex<Heard>>,
    frozen: watch::Sender<bool>,
    cuts: watch::Sender<usize>,
    _listening: JoinSet<()>,
}

#[derive(Default)]
struct Heard {
    to_node: Vec<u8>,
    to_application: Vec<u8>,
}

#[derive(Clone, Copy)]
enum To {
    Node,
    Application,
}

impl Wire {
    pub(crate) async fn to(node: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let heard = Arc::new(Mutex::new(Heard::default()));
        let (frozen, cuts) = (watch::Sender::new(false), watch::Sender::new(0));
        let mut listening = JoinSet::new();
        let (count, hears, freezes, is_cut) = (connections.clone(), heard.clone(), frozen.clone(), cuts.clone());
        listening.spawn(async move {
            while let Ok((application, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let node = TcpStream::connect(node).await.unwrap();
                let (from_application, to_application) = application.into_split();
                let (from_node, to_node) = node.into_split();
                let mut cut = is_cut.subscribe();
                let there = relay(from_application, to_node, To::Node, hears.clone(), freezes.subscribe());
                let back = relay(from_node, to_application, To::Application, hears.clone(), freezes.subscribe());
                tokio::spawn(async move {
                    tokio::select! {
                        _ = async { tokio::join!(there, back) } => {}
                        _ = cut.changed() => {}
                    }
                });
            }
        });
        Self { address, connections, heard, frozen, cuts, _listening: listening }
    }

    /// How many were dialled, ever.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn went_to_node(&self, what: &[u8]) -> bool {
        contains(&self.heard.lock().unwrap().to_node, what)
    }

    pub(crate) fn went_to_application(&self, what: &[u8]) -> bool {
        contains(&self.heard.lock().unwrap().to_application, what)
    }

    /// Nothing passes any more; the connections stand.
    pub(crate) fn freeze(&self) {
        self.frozen.send_replace(true);
    }

    /// Ends all connections; new ones pass.
    pub(crate) fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

fn contains(heard: &[u8], what: &[u8]) -> bool {
    heard.windows(what.len()).any(|window| window == what)
}

async fn relay(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    direction: To,
    heard: Arc<Mutex<Heard>>,
    mut frozen: watch::Receiver<bool>,
) {
    let mut bytes = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut bytes).await {
        if read == 0 || frozen.wait_for(|frozen| !frozen).await.is_err() {
            break;
        }
        let bytes = &bytes[..read];
        {
            let mut heard = heard.lock().unwrap();
            match direction {
                To::Node => heard.to_node.extend_from_slice(bytes),
                To::Application => heard.to_application.extend_from_slice(bytes),
            }
        }
        if to.write_all(bytes).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}
