//! The listener's own connection.
//!
//! LISTEN seems to succeed through a pooler that hands out transactions, and is then heard by nobody. So the first thing a
//! listener does is to tell itself something; and each check asks the server process who it is, for behind such a pooler
//! it would change.
//!
//! Notifications reach the driver in the order of the wire, before the answer of whatever was asked after them. They are
//! handed over through a bounded queue; one that overflows is said to have been lost, and the reader starts over.

use super::{
    PostgresOptions,
    connect::{Address, Driver, Reached},
    feed::deaf,
};
use crate::core::monitor::Suspicion;
use crate::store::{
    Answer, Change, Listener, StoreError, StoreErrorKind, StoreOp,
    feed::{listener_lost, ours, praefects},
};
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Notifications that may wait for a slow reader. One more, and everything is read again: that is no more work.
const QUEUE: usize = 4_096;
/// How long our own word may take to come back.
const ECHO: Duration = Duration::from_secs(2);
/// Of nodes that missed somebody's probe; it tells of no change.
const SUSPICIONS: &str = "quorate_suspicions";
/// Those that tell of changes: ours, then Praefect's.
const CHANNELS: [&str; 5] =
    ["quorate_votes", "quorate_primaries", "quorate_replicas", "storage_repositories_updates", "repositories_updates"];

/// A connection on which the server speaks first.
struct Ear {
    client: Client,
    heard: mpsc::Receiver<(String, String)>,
    suspicions: Vec<Suspicion>,
    process: String,
    /// Ends the connection with the listener, whatever state it is in.
    driver: Driver,
}

/// Connects, listens, and makes sure that it hears.
pub(super) async fn open(address: &Address, options: &PostgresOptions) -> Result<Box<dyn Listener>, StoreError> {
    let (tell, mut heard) = mpsc::channel(QUEUE);
    let Reached { client, driver, .. } = address.reach(options, Some(tell)).await?;
    let echo = format!("quorate_echo_{}", uuid::Uuid::new_v4().simple());
    let listen: String = CHANNELS.iter().map(|channel| format!("LISTEN {channel}; ")).collect();
    client.batch_execute(&format!("{listen}LISTEN {SUSPICIONS}; LISTEN {echo}")).await.map_err(lost)?;
    client.batch_execute(&format!("NOTIFY {echo}")).await.map_err(lost)?;
    // Whatever is told before our own word is older than this answer: the caller keeps nothing yet.
    let echoed = async {
        while let Some((channel, _)) = heard.recv().await {
            if channel == echo {
                return true;
            }
        }
        false
    };
    match tokio::time::timeout(ECHO, echoed).await {
        Ok(true) => {}
        Ok(false) => return Err(listener_lost()),
        Err(_) => return Err(deaf()),
    }
    client.batch_execute(&format!("UNLISTEN {echo}")).await.map_err(lost)?;
    let process = process(&client).await?;
    Ok(Box::new(Ear { client, heard, suspicions: Vec::new(), process, driver }))
}

fn lost(error: tokio_postgres::Error) -> StoreError {
    StoreError::with_source(StoreOp::ChangesListen, StoreErrorKind::ConnectionLost, error)
}

fn read((channel, payload): (String, String)) -> Vec<Change> {
    match channel.strip_prefix("quorate_") {
        Some(kind) => ours(kind, &payload),
        None => praefects(&payload),
    }
}

/// Which server process answers.
async fn process(client: &Client) -> Result<String, StoreError> {
    let answer = client.simple_query("SELECT pg_backend_pid()").await.map_err(lost)?;
    let pid = answer.iter().find_map(|message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        row.get(0).map(str::to_owned)
    });
    pid.ok_or_else(listener_lost)
}

impl Ear {
    /// What a notification means. A suspicion that cannot be read is none: it was a hint.
    fn take(&mut self, told: (String, String)) -> Vec<Change> {
        if told.0 != SUSPICIONS {
            return read(told);
        }
        self.suspicions.extend(serde_json::from_str::<Suspicion>(&told.1));
        Vec::new()
    }
}

impl Listener for Ear {
    fn next(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            let told = self.heard.recv().await.ok_or_else(listener_lost)?;
            Ok(self.take(told))
        })
    }

    fn suspicions(&mut self) -> Vec<Suspicion> {
        std::mem::take(&mut self.suspicions)
    }

    fn check(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            // A peer that never answers is not waited for when the listener goes.
            self.driver.in_use = true;
            if process(&self.client).await? != self.process {
                return Err(deaf());
            }
            self.driver.in_use = false;
            let mut changes = Vec::new();
            loop {
                match self.heard.try_recv() {
                    Ok(told) => changes.extend(self.take(told)),
                    Err(TryRecvError::Empty) => return Ok(changes),
                    Err(TryRecvError::Disconnected) => return Err(listener_lost()),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ChangeKind;

    #[test]
    fn every_channel_of_ours_is_a_kind_of_change() {
        let told: Vec<Vec<Change>> =
            CHANNELS.iter().take(3).map(|channel| read(((*channel).to_owned(), "{}".to_owned()))).collect();
        let kinds = [ChangeKind::Votes, ChangeKind::Primaries, ChangeKind::Replicas];
        assert_eq!(told, kinds.map(|kind| vec![Change::everything(kind)]));
    }
}
