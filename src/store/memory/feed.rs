//! Who is up to date, and the word to those who keep it in mind.
//!
//! After each transaction, what it touched is compared with what was told last, so that no writer can forget to tell.

use super::{MemoryStore, state::State};
use crate::core::{
    epoch::Epoch,
    ids::{RelativePath, RepositoryId, Storage, VirtualStorage},
    monitor::Suspicion,
    synced::Scope,
};
use crate::store::{
    Answer, Change, ChangeFeed, ChangeKind, FeedPosition, Listener, Polled, StoreError, StoreOp, Target, UpToDate,
    feed::listener_lost,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch;

/// Lines kept for pollers. Whoever is further behind is told that everything may have changed.
const KEPT: usize = 1_000;

/// What was told last of one repository.
#[derive(Clone, PartialEq, Eq)]
struct Told {
    virtual_storage: VirtualStorage,
    relative_path: RelativePath,
    up_to_date: BTreeSet<Storage>,
    primary: Option<Storage>,
    epoch: Option<Epoch>,
    /// Whether the primary's replica is one that may lead.
    fit: bool,
}

/// The lines, and what they were drawn from.
#[derive(Default)]
pub(super) struct Feed {
    told: BTreeMap<RepositoryId, Told>,
    lines: Lines<Change>,
    /// Heard by those who listen, and read by no poller.
    suspicions: Lines<Suspicion>,
}

/// The last of what was said, in order.
struct Lines<T> {
    kept: Vec<T>,
    /// Lines that are kept no more.
    dropped: usize,
}

impl<T> Default for Lines<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), dropped: 0 }
    }
}

impl<T: Clone> Lines<T> {
    fn end(&self) -> usize {
        self.dropped.saturating_add(self.kept.len())
    }
    fn add(&mut self, line: T) {
        self.kept.push(line);
        if self.kept.len() > KEPT {
            self.kept.remove(0);
            self.dropped = self.dropped.saturating_add(1);
        }
    }
    /// The lines after the first `position` ones; `None` if some of them are gone, or there never were as many.
    fn since(&self, position: usize) -> Option<Vec<T>> {
        self.kept.get(position.checked_sub(self.dropped)?..).map(<[T]>::to_vec)
    }
}

impl Feed {
    fn end(&self) -> usize {
        self.lines.end()
    }
    pub(super) fn add(&mut self, change: Change) {
        self.lines.add(change);
    }
    fn since(&self, position: usize) -> Option<Vec<Change>> {
        self.lines.since(position)
    }
    /// Says it to those who listen; answers how often that has been done.
    pub(super) fn suspect(&mut self, suspicion: &Suspicion) -> usize {
        self.suspicions.add(suspicion.clone());
        self.suspicions.end()
    }
}

impl State {
    /// Tells what the transaction changed; answers how many lines there are now.
    pub(super) fn tell(&mut self) -> usize {
        if std::mem::take(&mut self.votes_moved) {
            self.feed.add(Change::everything(ChangeKind::Votes));
        }
        for id in std::mem::take(&mut self.touched_ids) {
            let now = self.repositories.get(&id).map(|row| Told {
                virtual_storage: row.virtual_storage.clone(),
                relative_path: row.relative_path.clone(),
                up_to_date: row.up_to_date(),
                primary: row.primary.clone(),
                epoch: row.epoch,
                fit: row.primary.as_ref().is_some_and(|primary| row.may_lead(primary)),
            });
            let was = match &now {
                Some(now) => self.feed.told.insert(id, now.clone()),
                None => self.feed.told.remove(&id),
            };
            let place = |told: &Told| (told.virtual_storage.clone(), told.relative_path.clone());
            let moved = was.as_ref().map(place) != now.as_ref().map(place);
            let differs = |kind| match (&was, &now) {
                (Some(was), Some(now)) if kind == ChangeKind::Replicas => was.up_to_date != now.up_to_date,
                (Some(was), Some(now)) => {
                    (&was.primary, was.epoch) != (&now.primary, now.epoch) || (was.fit && !now.fit)
                }
                (None, None) => false,
                (Some(_), None) | (None, Some(_)) => true,
            };
            for kind in [ChangeKind::Primaries, ChangeKind::Replicas] {
                if moved || differs(kind) {
                    // Under both names, if it was renamed.
                    let places: BTreeSet<_> = was.iter().chain(&now).map(place).collect();
                    for (virtual_storage, path) in places {
                        self.feed.add(Change { kind, scope: Scope::Repository(virtual_storage, path) });
                    }
                }
            }
        }
        self.feed.end()
    }

    fn up_to_date(&self, target: &Target) -> Option<UpToDate> {
        let id = self.find(target)?;
        let row = self.repositories.get(&id)?;
        Some(UpToDate {
            repository: id,
            virtual_storage: row.virtual_storage.clone(),
            relative_path: row.relative_path.clone(),
            replica_path: Some(row.replica_path.clone()),
            storages: std::sync::Arc::new(row.up_to_date()),
        })
    }

    fn polled(&self, since: Option<&FeedPosition>) -> Polled {
        let position = FeedPosition(self.feed.end().to_string());
        let everything =
            || [ChangeKind::Votes, ChangeKind::Primaries, ChangeKind::Replicas].map(Change::everything).into();
        let changes = since.map_or_else(Vec::new, |since| {
            since.0.parse().ok().and_then(|since| self.feed.since(since)).unwrap_or_else(everything)
        });
        Polled { position, changes }
    }
}

/// What listeners hear: how many lines there are, and a number that changes when all of them are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Bell {
    lines: usize,
    suspicions: usize,
    cut: u64,
    deaf: bool,
}

/// One listener. It reads the lines when the bell rings.
struct Ear {
    state: std::sync::Arc<std::sync::Mutex<State>>,
    bell: watch::Receiver<Bell>,
    faults: std::sync::Arc<super::faults::Faults>,
    heard: usize,
    heard_suspicions: usize,
    suspicions: Vec<Suspicion>,
    cut: u64,
}

impl Ear {
    fn read(&mut self) -> Result<Vec<Change>, StoreError> {
        if self.bell.borrow_and_update().cut != self.cut {
            return Err(listener_lost());
        }
        let state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let suspicions = std::mem::replace(&mut self.heard_suspicions, state.feed.suspicions.end());
        self.suspicions = state.feed.suspicions.since(suspicions).unwrap_or_default();
        let since = std::mem::replace(&mut self.heard, state.feed.end());
        state.feed.since(since).ok_or_else(listener_lost)
    }
}

impl Listener for Ear {
    fn next(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            loop {
                if !self.bell.borrow().deaf {
                    let told = self.read()?;
                    if !told.is_empty() || !self.suspicions.is_empty() {
                        return Ok(told);
                    }
                }
                self.bell.changed().await.map_err(|_| listener_lost())?;
            }
        })
    }
    fn check(&mut self) -> Answer<'_, Vec<Change>> {
        Box::pin(async move {
            self.faults.before(StoreOp::ChangesListen).await?;
            self.read()
        })
    }
    fn suspicions(&mut self) -> Vec<Suspicion> {
        std::mem::take(&mut self.suspicions)
    }
}

impl ChangeFeed for MemoryStore {
    fn up_to_date<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<UpToDate>> {
        self.call(StoreOp::UpToDate, move |state| state.up_to_date(target))
    }

    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>> {
        Box::pin(async move {
            self.faults.before(StoreOp::ChangesListen).await?;
            if self.is_mute() {
                return Ok(None);
            }
            let bell = self.bell.subscribe();
            let cut = bell.borrow().cut;
            let (heard, heard_suspicions) = {
                let state = self.locked();
                (state.feed.end(), state.feed.suspicions.end())
            };
            let (state, faults) = (std::sync::Arc::clone(&self.state), std::sync::Arc::clone(&self.faults));
            Ok(Some(Box::new(Ear { state, bell, faults, heard, heard_suspicions, suspicions: Vec::new(), cut })
                as Box<dyn Listener>))
        })
    }

    fn changes_since<'a>(&'a self, since: Option<&'a FeedPosition>) -> Answer<'a, Polled> {
        self.call(StoreOp::ChangesSince, move |state| state.polled(since))
    }
}

/// The feed, as a test may order it.
impl MemoryStore {
    /// Ends every listener, as a server that restarts does. New ones may be opened. A listener whose server has gone
    /// silent is ordered with [`MemoryStore::hold`] of [`StoreOp::ChangesListen`]: its checks are not answered.
    pub fn cut_listeners(&self) {
        self.bell.send_modify(|bell| bell.cut = bell.cut.saturating_add(1));
    }
    /// From now on listeners hear nothing, though nothing fails either, or hear again.
    pub fn deafen_listeners(&self, deaf: bool) {
        self.bell.send_modify(|bell| bell.deaf = deaf);
    }
    /// From now on this store cannot speak first, as a database behind a pooler, or can again.
    pub fn mute(&self, mute: bool) {
        self.mute.store(mute, std::sync::atomic::Ordering::SeqCst);
    }
    pub(super) fn is_mute(&self) -> bool {
        self.mute.load(std::sync::atomic::Ordering::SeqCst)
    }
    /// Tells what changed behind the ports' back.
    pub(super) fn tell(&self) {
        let lines = self.locked().tell();
        self.ring(lines);
    }
    /// Wakes those who listen: so many suspicions have been told.
    pub(super) fn whisper(&self, suspicions: usize) {
        self.bell.send_modify(|bell| bell.suspicions = suspicions);
    }
    pub(super) fn ring(&self, lines: usize) {
        self.bell.send_if_modified(|bell| {
            let rings = bell.lines != lines;
            bell.lines = lines;
            rings
        });
    }
}
