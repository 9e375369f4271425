//! Hears of changes and makes the memories, of who is up to date and of who is primary, forget what changed.
//!
//! It listens, on a connection of the store's own (a PostgreSQL that notifies, a reader that watches SQLite's file), and asks
//! over that connection every `check` whether it is heard still: what the answer proves is only as old as the question. Where
//! nobody can be listened to, or nothing answers, it polls; to be back at listening is then tried with growing pauses. Between the two,
//! and whenever changes may have been missed, everything is forgotten. So the memory is never wrong for longer than a
//! notification or a poll takes, and not believed for longer than `ttl` after either stopped.
//!
//! It also says when the database is down: nobody can be listened to, and a poll over the pool failed, too. Primaries are
//! then kept in mind, for what was last known is all there is; they are forgotten as soon as the database speaks again.
//!
//! All that it keeps stands in the [`SyncedTable`] and the [`PrimaryTable`]. It has no mailbox to speak of: the database is
//! its only neighbour.

use super::{
    primaries::PrimaryTable,
    relay::Relay,
    synced::{FeedStatus, SyncedTable},
};
use crate::{
    config::FeedConfig,
    core::synced::Scope,
    messages::health::{Suspected, VotesChanged},
    store::{Change, ChangeFeed, ChangeKind, FeedPosition, Listener, StoreError},
    telemetry,
};
use actix::prelude::*;
use futures_util::future::{Either, pending, select};
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Pause before the next attempt to listen, and the longest one. Praefect waits 5 s each time.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// What a follower is built from, as often as need be.
#[derive(Clone)]
pub struct FollowerConfig {
    /// The database.
    pub feed: Arc<dyn ChangeFeed>,
    /// What it keeps fresh: who is up to date.
    pub table: Arc<SyncedTable>,
    /// And who is primary.
    pub primaries: Option<Arc<PrimaryTable>>,
    /// How long the database may take to answer a check or a poll. The table's own limit is no shorter.
    pub ttl: Duration,
    /// Time between two checks of the listener.
    pub check: Duration,
    /// Time between two polls where nobody can be listened to.
    pub poll: Duration,
    /// How long an attempt to listen may take.
    pub connect: Duration,
    /// Who reads votes again when they changed.
    pub votes: Relay<VotesChanged>,
    /// Who looks at nodes that missed somebody's probe.
    pub suspicions: Relay<Suspected>,
}

impl FollowerConfig {
    /// This database and this table, no memory of primaries and nobody who reads votes, with the defaults of [`FeedConfig`]
    /// and 5 s to connect.
    #[must_use]
    pub fn new(feed: Arc<dyn ChangeFeed>, table: Arc<SyncedTable>) -> Self {
        let FeedConfig { ttl, check, poll, .. } = FeedConfig::default();
        let (primaries, votes, suspicions) = (None, Relay::vacant(), Relay::vacant());
        Self { feed, table, primaries, ttl, check, poll, connect: Duration::from_secs(5), votes, suspicions }
    }
}

/// The actor.
pub struct Follower {
    config: FollowerConfig,
}

impl Follower {
    /// A follower in the place of whichever kept the table before.
    #[must_use]
    pub fn new(config: FollowerConfig) -> Self {
        Self { config }
    }
}

impl Actor for Follower {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        // What the one before it heard last is unknown.
        self.config.doubt("not connected yet".to_owned());
        let config = self.config.clone();
        ctx.spawn(async move { config.follow().await }.into_actor(self));
    }
}

impl FollowerConfig {
    async fn follow(&self) {
        let mut attempt = self.listen().await;
        loop {
            attempt = match attempt {
                Ok(Some(listener)) => {
                    let error = self.hear(listener).await;
                    self.table.meter().listener("disconnected");
                    telemetry::listening_interrupted(&error);
                    self.poll(Some(telemetry::Causes(&error).to_string())).await
                }
                Ok(None) => self.poll(None).await,
                Err(why) => self.poll(Some(why)).await,
            };
        }
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, String> {
        match timeout(self.connect, self.feed.listen()).await {
            Ok(Ok(listener)) => Ok(listener),
            Ok(Err(error)) => Err(telemetry::Causes(&error).to_string()),
            Err(_) => Err(format!("no answer within {:?}", self.connect)),
        }
    }

    /// Listens until that fails; answers why it did.
    async fn hear(&self, mut listener: Box<dyn Listener>) -> StoreError {
        self.table.lose(FeedStatus::Listening);
        self.forget_everything();
        self.table.meter().listener("connected");
        telemetry::listening();
        let mut due = Instant::now();
        loop {
            let next = match select(pin!(sleep_until(due)), listener.next()).await {
                Either::Left(_) => None,
                Either::Right((told, _)) => Some(told),
            };
            match next {
                Some(Ok(changes)) => {
                    self.heed(changes);
                    self.heed_suspicions(&mut *listener);
                }
                Some(Err(error)) => return error,
                None => {
                    let asked = Instant::now();
                    match timeout(self.ttl, listener.check()).await {
                        Ok(Ok(changes)) => {
                            self.heed(changes);
                            self.heed_suspicions(&mut *listener);
                            self.proven(asked);
                        }
                        Ok(Err(error)) => return error,
                        Err(elapsed) => return silent(elapsed),
                    }
                    due = Instant::now() + self.check;
                }
            }
        }
    }

    fn heed(&self, changes: Vec<Change>) {
        if changes.iter().any(|change| change.kind == ChangeKind::Votes) {
            // What does not fit is made good by the next heartbeat.
            self.votes.try_send(VotesChanged);
        }
        if let Some(primaries) = &self.primaries {
            let moved = changes.iter().filter(|change| change.kind == ChangeKind::Primaries);
            primaries.forget(moved.map(|change| change.scope.clone()));
        }
        // A repository that goes, or is renamed, tells of its primary too.
        let concerned = |change: &Change| matches!(change.kind, ChangeKind::Primaries | ChangeKind::Replicas);
        self.table.forget(changes.into_iter().filter(concerned).map(|change| change.scope));
    }

    /// Hands on what was heard of nodes that missed a probe. What does not fit was only a hint.
    fn heed_suspicions(&self, listener: &mut dyn Listener) {
        for suspicion in listener.suspicions() {
            self.suspicions.try_send(Suspected(suspicion));
        }
    }

    /// All that is remembered, of either kind.
    fn forget_everything(&self) {
        self.table.forget([Scope::Everything]);
        if let Some(primaries) = &self.primaries {
            primaries.forget([Scope::Everything]);
        }
    }

    /// Everything that the database committed before this moment has been heeded.
    fn proven(&self, at: Instant) {
        self.table.proven(at);
        if let Some(primaries) = &self.primaries {
            primaries.prove(at);
        }
    }

    /// The database does not answer.
    fn lost(&self) {
        if let Some(primaries) = &self.primaries {
            primaries.lost();
        }
    }

    /// Nothing is heard of changes from now on.
    fn doubt(&self, why: String) {
        self.table.lose(FeedStatus::Deaf { why });
        if let Some(primaries) = &self.primaries {
            primaries.doubt();
        }
    }

    /// Polls until it can be listened again; `None`: for ever.
    async fn poll(&self, why_not: Option<String>) -> Result<Option<Box<dyn Listener>>, String> {
        let why = why_not.clone().unwrap_or_else(|| "this database cannot notify".to_owned());
        self.doubt(why.clone());
        let attempts = async {
            if why_not.is_none() {
                return pending().await;
            }
            let mut pause = RETRY.0;
            loop {
                sleep(pause).await;
                if let Ok(listening) = self.listen().await {
                    return Ok(listening);
                }
                pause = pause.saturating_mul(2).min(RETRY.1);
            }
        };
        let asking = async {
            let mut position = None;
            loop {
                position = self.ask(position, &why).await;
                sleep(self.poll).await;
            }
        };
        match select(pin!(attempts), pin!(asking)).await {
            Either::Left((attempt, _)) => attempt,
            Either::Right((never, _)) => never,
        }
    }

    /// One poll; answers where to go on from.
    async fn ask(&self, since: Option<FeedPosition>, why: &str) -> Option<FeedPosition> {
        // What came before a long silence may be kept no more: begin anew.
        let since = since.filter(|_| self.table.is_live());
        let asked = Instant::now();
        match timeout(self.ttl, self.feed.changes_since(since.as_ref())).await {
            Ok(Ok(polled)) => {
                if since.is_none() {
                    self.forget_everything();
                }
                self.heed(polled.changes);
                self.proven(asked);
                if self.table.set_status(FeedStatus::Polling { why: why.to_owned() }) {
                    telemetry::polling(why, self.poll);
                }
                Some(polled.position)
            }
            // The position still holds; what is remembered lapses by itself. What it cannot say is another trouble than that
            // it says nothing.
            Ok(Err(error)) if !error.is_transient() => since,
            Ok(Err(_)) | Err(_) => {
                self.lost();
                since
            }
        }
    }
}

fn silent(elapsed: tokio::time::error::Elapsed) -> StoreError {
    StoreError::with_source(crate::store::StoreOp::ChangesListen, crate::store::StoreErrorKind::Timeout, elapsed)
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").field("table", &self.config.table).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for FollowerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FollowerConfig").field("table", &self.table).finish_non_exhaustive()
    }
}
