//! A relay between a store and its PostgreSQL server that counts what passes.

use crate::Result;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What has passed since the start.
#[derive(Debug, Default)]
pub struct Passed {
    /// Bytes from store to server.
    pub sent: AtomicU64,
    /// Bytes from server to store.
    pub received: AtomicU64,
    /// Statements executed, of the extended protocol.
    pub executed: AtomicU64,
    /// Statements prepared.
    pub prepared: AtomicU64,
}

/// Bytes sent, bytes received, statements executed, statements prepared.
pub type Counts = [u64; 4];

impl Passed {
    /// The counts now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        [&self.sent, &self.received, &self.executed, &self.prepared].map(|count| count.load(Ordering::SeqCst))
    }
}

/// Listens before this database; answers the URL to use instead, and what passes.
///
/// # Errors
/// If nothing can listen, or the URL has no host.
pub async fn before(url: &str) -> Result<(String, Arc<Passed>)> {
    let mut url = url::Url::parse(url)?;
    let server = format!("{}:{}", url.host_str().ok_or("no host")?, url.port().unwrap_or(5_432));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    url.set_port(Some(listener.local_addr()?.port())).map_err(|()| "no port")?;
    url.set_host(Some("127.0.0.1"))?;
    let passed = Arc::new(Passed::default());
    let counted = Arc::clone(&passed);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let Ok(server) = TcpStream::connect(&server).await else { continue };
            if client.set_nodelay(true).and_then(|()| server.set_nodelay(true)).is_err() {
                continue;
            }
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            let (up, down) = (Arc::clone(&counted), Arc::clone(&counted));
            tokio::spawn(async move {
                let mut frames = Frames::default();
                relay(from_client, to_server, |bytes| {
                    up.sent.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                    frames.feed(bytes, &up);
                })
                .await
            });
            tokio::spawn(relay(from_server, to_client, move |bytes| {
                down.received.fetch_add(bytes.len() as u64, Ordering::SeqCst);
            }));
        }
    });
    Ok((url.to_string(), passed))
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut count: impl FnMut(&[u8]),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let read = from.read(&mut buffer).await?;
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() {
            return to.shutdown().await;
        }
        count(bytes);
        to.write_all(bytes).await?;
    }
}

/// The client's messages: the first has a length alone, each later one a letter and a length.
#[derive(Default)]
struct Frames {
    started: bool,
    header: Vec<u8>,
    left: usize,
}

impl Frames {
    fn feed(&mut self, bytes: &[u8], passed: &Passed) {
        for byte in bytes {
            if self.left > 0 {
                self.left -= 1;
                continue;
            }
            self.header.push(*byte);
            let (kind, length) = match (self.started, self.header.as_slice()) {
                (false, length) => (None, <[u8; 4]>::try_from(length)),
                (true, [kind, length @ ..]) => (Some(*kind), <[u8; 4]>::try_from(length)),
                (true, []) => continue,
            };
            let Ok(length) = length else { continue };
            self.left = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX).saturating_sub(4);
            (self.started, self.header) = (true, Vec::new());
            match kind {
                Some(b'E') => passed.executed.fetch_add(1, Ordering::SeqCst),
                Some(b'P') => passed.prepared.fetch_add(1, Ordering::SeqCst),
                _ => continue,
            };
        }
    }
}
