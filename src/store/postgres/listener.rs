//! The listener's own connection.
//!
//! LISTEN seems to succeed through a pooler that hands out transactions, and is then heard by nobody. So the first thing a
//! listener does is to tell itself something; and each check asks the server process who it is, for behind such a pooler
//! it would change.
//!
//! An election is told after its commit, by whoever committed it, and not by the commit itself: that would hold NOTIFY's
//! lock while it waits for the disk, and elections would be committed one by one. Between the two its supervisor may die.
//! So each check also reads, over the same connection, what elections wrote down, and tells what was not heard: a check
//! proves as much as if all had notified in time, and what nobody told is late by no more than the time between two.
//!
//! Notifications reach the driver in the order of the wire, before the answer of whatever was asked after them. They are
//! handed over through a bounded queue; one that overflows is said to have been lost, and the reader starts over.

use super::{
    PostgresOptions,
    connect::{Address, Driver, Reached},
    feed::{BEGIN, Position, SINCE, deaf},
};
use crate::core::monitor::Suspicion;
use crate::store::{
    Answer, Change, Listener, Polled, StoreError, StoreErrorKind, StoreOp,
    feed::{PolledDoc, line_of, listener_lost, ours, praefects},
    rows,
};
use futures_util::future::try_join;
use std::{collections::HashSet, time::Duration};
use tokio::sync::mpsc::{self, error::TryRecvError};
use tokio_postgres::{Client, Row, SimpleQueryMessage, Statement, types::Type};

/// Notifications that may wait for a slow reader. One more, and everything is read again: that is no more work.
const QUEUE: usize = 4_096;
/// Elections of which one check reads: at most so many. More are read again altogether, as above.
const READ_MAX: usize = 10_000;
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
    since: Statement,
    /// What elections wrote down before it has been told.
    position: Position,
    /// Lines that were heard of and not read yet. At most [`READ_MAX`]: what is forgotten here is told twice.
    elected: HashSet<i64>,
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
    let types = [Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8, Type::TEXT];
    let since = client.prepare_typed(SINCE, &types).await.map_err(lost)?;
    let begun: Polled = document(&client.query_one(BEGIN, &[]).await.map_err(lost)?)?.into();
    let position = begun.position.read()?;
    let (suspicions, elected) = (Vec::new(), HashSet::new());
    Ok(Box::new(Ear { client, heard, suspicions, process, since, position, elected, driver }))
}

fn document(row: &Row) -> Result<PolledDoc, StoreError> {
    rows::decode(StoreOp::ChangesListen, row.try_get(0).map_err(lost)?)
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
            if self.elected.len() < READ_MAX {
                self.elected.extend(line_of(&told.1));
            }
            return read(told);
        }
        self.suspicions.extend(serde_json::from_str::<Suspicion>(&told.1));
        Vec::new()
    }
}

impl Ear {
    /// What elections have written down since the last check.
    async fn elections(&self) -> Result<PolledDoc, StoreError> {
        let Position { snapshot, server, line } = &self.position;
        let limit = i64::try_from(READ_MAX.saturating_add(1)).unwrap_or(i64::MAX);
        let row = self.client.query_one(&self.since, &[snapshot, server, line, &limit, &"elected"]).await;
        document(&row.map_err(lost)?)
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
            let (process, polled) = try_join(process(&self.client), self.elections()).await?;
            if process != self.process {
                return Err(deaf());
            }
            self.driver.in_use = false;
            let mut changes = Vec::new();
            loop {
                match self.heard.try_recv() {
                    Ok(told) => changes.extend(self.take(told)),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(listener_lost()),
                }
            }
            // Whoever was heard of up to here was committed, so their lines are among these or among the next ones.
            let Polled { position, changes: unheard } = polled.without(&mut self.elected, READ_MAX).into();
            self.position = position.read()?;
            changes.extend(unheard);
            Ok(changes)
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
