//! The memory of who is primary: read by anybody, on any thread, kept fresh by the change feed, filled by the elector.
//!
//! A lookup takes no lock, waits for nobody and allocates nothing: it reads the clock, asks the cells whether they have
//! changed, and reads one shelf. One writer at a time, under a lock, changes what is published.
//!
//! Kept is only what nobody else's coming up could change ([`stands_alone`](crate::core::election::stands_alone)): the feed
//! tells when a primary ceases to be valid, and no feed tells when somebody better recovers.
//!
//! It outlives the actors around it: while nobody proves that changes are heard of, it lapses after `feed.ttl`.

mod names;
mod shelves;
mod view;

pub use view::Beliefs;

use super::clock::MonotonicClock;
use crate::{
    core::{
        election::{Primary, Target},
        flights::{Boarding, Flight, Flights},
        ids::{NodeId, RepositoryId},
        lookup::{Source, Trust},
        synced::Scope,
        time::Timestamp,
    },
    messages::election::PrimaryAnswer,
};
use arc_swap::ArcSwap;
use names::Names;
use shelves::Shelves;
use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, futures::Notified, watch},
    time::Instant,
};
use view::View;

/// Places at which callers wait for a primary to change. Two that share one wake each other for nothing.
const DOORBELLS: usize = 64;

/// What one read answered, for those who wait for it.
type Landed = watch::Receiver<Option<PrimaryAnswer>>;

/// The memory of one supervisor.
pub struct PrimaryTable {
    shelves: Shelves,
    view: ArcSwap<View>,
    writer: Mutex<Writer>,
    clock: MonotonicClock,
    trust: Trust,
    /// The last proof that changes are heard of, in nanoseconds of the clock, and one; 0: there was none.
    proven: AtomicU64,
    /// Whether nothing spoke against it since.
    heard: AtomicBool,
    /// Whether the database is known to be down.
    down: AtomicBool,
    doorbells: Box<[Notify]>,
}

/// What only one at a time changes.
#[derive(Default)]
struct Writer {
    capacity: usize,
    len: usize,
    names: Names,
    /// Nodes of which nothing that they led is remembered.
    bare: BTreeSet<NodeId>,
    flights: Flights<Landed>,
}

/// A look into the memory.
pub(super) enum Looked {
    Hit(PrimaryAnswer),
    Lead(Leading),
    Join(Landed),
    /// Nothing can be believed now: read, and tell nobody.
    Bypass,
    /// Nothing is remembered, and the database is known to be down.
    Down,
}

/// A read that others may wait for. Dropped without an answer, the next one reads.
pub(super) struct Leading {
    table: Arc<PrimaryTable>,
    flight: Flight,
    tell: watch::Sender<Option<PrimaryAnswer>>,
}

impl PrimaryTable {
    /// An empty table of at most `capacity` repositories (0 keeps nothing), some 400 bytes each, believed as `trust` and the
    /// cells say.
    #[must_use]
    pub fn new(capacity: usize, trust: Trust, beliefs: Beliefs) -> Arc<Self> {
        Arc::new(Self {
            shelves: Shelves::new(capacity),
            view: ArcSwap::from_pointee(View::of(beliefs)),
            writer: Mutex::new(Writer { capacity, ..Writer::default() }),
            clock: MonotonicClock::new(),
            trust,
            proven: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            down: AtomicBool::new(false),
            doorbells: (0..DOORBELLS).map(|_| Notify::new()).collect(),
        })
    }

    /// Who is primary, as far as it is remembered and may be believed now. From any thread; it waits for nobody.
    #[must_use]
    pub fn now(&self, target: &Target) -> Option<PrimaryAnswer> {
        let mut view = self.view.load();
        if view.is_outdated() {
            // Whoever changes the memory at this moment is not waited for.
            match self.writer.try_lock() {
                Ok(mut writer) => self.renew(&mut writer),
                Err(TryLockError::Poisoned(writer)) => self.renew(&mut writer.into_inner()),
                Err(TryLockError::WouldBlock) => return None,
            }
            view = self.view.load();
        }
        if !view.may_believe() {
            return None;
        }
        // Before the shelf is read: what it shows is no older than this.
        let (source, age) = self.believed()?;
        let primary = self.shelves.get(target)?;
        let may_serve = !view.holds_unhealthy(&primary) && (source == Source::Memory || view.sees_up(&primary));
        may_serve.then_some(PrimaryAnswer { primary, age, source })
    }

    /// As what answers are given now, and how old they are.
    fn believed(&self) -> Option<(Source, Duration)> {
        let proven = self.proven.load(Ordering::Acquire).checked_sub(1)?;
        let age = self.clock.now().since(Timestamp(Duration::from_nanos(proven)));
        let source = self.trust.source(age, self.heard.load(Ordering::Acquire), self.is_down())?;
        Some((source, age))
    }

    /// Whether this primary, just read, may stay by what is believed now: changes are heard of, and the published consensus does
    /// not hold it down. The same as is asked of one that is remembered.
    pub(super) fn lets_stand(&self, primary: &Primary) -> bool {
        if self.view.load().is_outdated() {
            self.renew(&mut self.writing());
        }
        self.is_live() && !self.view.load().holds_unhealthy(primary)
    }

    fn is_live(&self) -> bool {
        self.view.load().may_believe() && matches!(self.believed(), Some((Source::Memory, _)))
    }

    fn writing(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what stands in the cells now. Another registration, or a database that is found to be behind or no
    /// longer so, is another life: nothing of the former is kept.
    fn renew(&self, writer: &mut Writer) {
        let before = self.view.load();
        if !before.is_outdated() {
            return;
        }
        let now = before.renewed();
        let another_life = now.registered != before.registered || now.behind != before.behind;
        if another_life {
            self.forget_one(writer, &Scope::Everything);
        }
        self.view.store(Arc::new(now));
        // Whom the new consensus deposes is waited for by those who want a successor.
        self.ring_all();
    }

    pub(super) fn look(self: &Arc<Self>, target: &Target) -> Looked {
        if let Some(answer) = self.now(target) {
            return Looked::Hit(answer);
        }
        let mut writer = self.writing();
        self.renew(&mut writer);
        if self.is_down() {
            return Looked::Down;
        }
        if writer.capacity == 0 || !self.is_live() {
            return Looked::Bypass;
        }
        let mut tell = None;
        let wait = || {
            let (teller, landed) = watch::channel(None);
            tell = Some(teller);
            landed
        };
        match (writer.flights.board(target, wait), tell) {
            (Boarding::Lead(flight), Some(tell)) => Looked::Lead(Leading { table: Arc::clone(self), flight, tell }),
            (Boarding::Join(landed), _) => Looked::Join(landed),
            // Whoever leads was asked how others may wait.
            (Boarding::Lead(_), None) => Looked::Bypass,
        }
    }

    fn keep(&self, writer: &mut Writer, primary: &Primary) {
        let Some(number) = primary.repository else { return };
        let path = Target::Path(primary.virtual_storage.clone(), primary.relative_path.clone());
        for known in [path, Target::Id(number)] {
            self.drop_one(writer, &known);
        }
        if writer.len >= writer.capacity {
            // Whichever stands there: one that is asked for is back after one read.
            let Some(other) = self.shelves.neighbour(primary).and_then(|other| other.repository) else { return };
            self.drop_one(writer, &Target::Id(other));
        }
        if !writer.bare.is_empty() {
            writer.bare.remove(&NodeId::new(primary.virtual_storage.clone(), primary.storage.clone()));
        }
        let pushed_out = self.shelves.put(&writer.names.shared(primary));
        writer.len = writer.len.saturating_add(1).saturating_sub(pushed_out.len());
        pushed_out.iter().map(AsRef::as_ref).chain([primary]).for_each(|changed| self.ring(changed));
    }

    fn drop_one(&self, writer: &mut Writer, target: &Target) {
        if let Some(gone) = self.shelves.take(target) {
            writer.len = writer.len.saturating_sub(1);
            self.ring(&gone);
        }
    }

    fn forget_one(&self, writer: &mut Writer, scope: &Scope) {
        writer.flights.forget(scope);
        let gone = match scope {
            Scope::Repository(virtual_storage, path) => {
                self.drop_one(writer, &Target::Path(virtual_storage.clone(), path.clone()));
                self.doorbell(self.shelves.hash_path(virtual_storage, path)).notify_waiters();
                return;
            }
            // What a dead node led is told batch by batch, and none of it comes to be remembered: one look finds all.
            Scope::LedBy(node) if !writer.bare.insert(node.clone()) => 0,
            Scope::LedBy(NodeId { virtual_storage, storage }) => {
                self.shelves.retain(|one| (&one.storage, &one.virtual_storage) != (storage, virtual_storage))
            }
            Scope::VirtualStorage(virtual_storage) => {
                self.shelves.retain(|one| one.virtual_storage != *virtual_storage)
            }
            Scope::Everything => {
                (writer.names, writer.bare) = Default::default();
                self.shelves.retain(|_| false)
            }
        };
        writer.len = writer.len.saturating_sub(gone);
        self.ring_all();
    }

    /// This supervisor itself changed something about a repository.
    pub(crate) fn forget_repository(&self, number: RepositoryId) {
        let mut writer = self.writing();
        // Which of the reads under way are about it is not known.
        writer.flights.forget(&Scope::Everything);
        self.drop_one(&mut writer, &Target::Id(number));
    }

    /// What was read beside the memory: where that differs, the memory is late.
    pub(super) fn compare(&self, found: &Primary) {
        let Some(number) = found.repository else { return };
        if self.shelves.get(&Target::Id(number)).is_some_and(|known| *known != *found) {
            self.forget_repository(number);
        }
    }

    /// Changes were reported.
    pub(crate) fn forget(&self, scopes: impl IntoIterator<Item = Scope>) {
        let mut writer = self.writing();
        scopes.into_iter().for_each(|scope| self.forget_one(&mut writer, &scope));
    }

    /// All reports of changes before `at` have arrived, and were heeded.
    pub(super) fn prove(&self, at: Instant) {
        let nanos = u64::try_from(self.clock.at(at).0.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        self.proven.fetch_max(nanos, Ordering::AcqRel);
        self.heard.store(true, Ordering::Release);
        self.down.store(false, Ordering::Release);
    }

    /// Reports may be missed from now on. What is known is kept for a database that is down, and forgotten as soon as
    /// somebody listens again.
    pub(super) fn doubt(&self) {
        let mut writer = self.writing();
        self.heard.store(false, Ordering::Release);
        writer.flights.forget(&Scope::Everything);
    }

    /// The database does not answer.
    pub(super) fn lost(&self) {
        self.down.store(true, Ordering::Release);
    }

    /// Whether the database is known to be down.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.down.load(Ordering::Acquire)
    }

    /// How many repositories are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.writing().len
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Wakes whoever waits once something about this repository, or everything, changes after this was called.
    pub(crate) fn next_change(&self, target: &Target) -> Notified<'_> {
        let hash = match target {
            Target::Path(virtual_storage, path) => self.shelves.hash_path(virtual_storage, path),
            // By its number one waits where its path does, if that is known, and else where all are rung.
            Target::Id(_) => self
                .shelves
                .get(target)
                .map_or(0, |known| self.shelves.hash_path(&known.virtual_storage, &known.relative_path)),
        };
        self.doorbell(hash).notified()
    }

    fn doorbell(&self, hash: u64) -> &Notify {
        let place = usize::try_from(hash).unwrap_or(0) % DOORBELLS;
        &self.doorbells[place]
    }
    fn ring(&self, about: &Primary) {
        self.doorbell(self.shelves.hash_path(&about.virtual_storage, &about.relative_path)).notify_waiters();
    }
    fn ring_all(&self) {
        self.doorbells.iter().for_each(Notify::notify_waiters);
    }
}

/// The table without a database beneath it, for the benchmarks.
#[cfg(feature = "bench")]
impl PrimaryTable {
    /// Remembers a primary, in place of what was known of its repository, as when a read lands.
    pub fn put(&self, primary: &Primary) {
        self.keep(&mut self.writing(), primary);
    }
    /// Heeds a report about this repository.
    pub fn report(&self, primary: &Primary) {
        self.forget([Scope::Repository(primary.virtual_storage.clone(), primary.relative_path.clone())]);
    }
    /// Says that changes are heard of as of now.
    pub fn hear(&self) {
        self.prove(Instant::now());
    }
}

impl Leading {
    /// Whether this primary, just read, may stay by what is believed now: see [`PrimaryTable::lets_stand`].
    pub(super) fn lets_stand(&self, primary: &Primary) -> bool {
        self.table.lets_stand(primary)
    }

    /// Answers those who wait. Remembered if `keep` says that it may be and nothing was reported meanwhile.
    pub(super) fn land(self, found: &PrimaryAnswer, keep: bool) {
        let table = &self.table;
        let mut writer = table.writing();
        table.renew(&mut writer);
        let current = writer.flights.end(&self.flight);
        if current && keep {
            table.keep(&mut writer, &found.primary);
        }
        drop(writer);
        self.tell.send_replace(Some(found.clone()));
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        // After a landing there is nothing left to end.
        self.table.writing().flights.end(&self.flight);
    }
}

impl std::fmt::Debug for PrimaryTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrimaryTable").field("len", &self.len()).field("down", &self.is_down()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        actors::Cells,
        core::{
            epoch::Revision,
            monitor::SettingsInForce,
            settings::{Profile, Settings},
        },
    };

    fn led_by(storage: &str, number: i64) -> Primary {
        Primary {
            cluster: "c".parse().unwrap(),
            repository: Some(RepositoryId(number)),
            virtual_storage: "v".parse().unwrap(),
            relative_path: format!("r{number}").parse().unwrap(),
            storage: storage.parse().unwrap(),
            epoch: None,
        }
    }

    #[test]
    fn what_a_dead_node_led_is_forgotten_each_time_and_what_others_lead_is_not() {
        let cells = Cells::new(SettingsInForce { revision: Revision(1), settings: Settings::of(Profile::Default) });
        let beliefs = Beliefs::of(&cells);
        let trust = Trust { ttl: Duration::from_secs(2), failsafe_ttl: Duration::from_secs(60) };
        let table = PrimaryTable::new(10, trust, beliefs);
        table.keep(&mut table.writing(), &led_by("g2", 2));
        let dead = Scope::LedBy(NodeId::new("v".parse().unwrap(), "g1".parse().unwrap()));
        // It recovers and dies again: what is known of it by then is forgotten as well.
        for _death in 0..2 {
            table.keep(&mut table.writing(), &led_by("g1", 1));
            for _batch in 0..2 {
                table.forget([dead.clone()]);
                assert_eq!(table.shelves.get(&Target::Id(RepositoryId(1))), None);
                assert!(table.shelves.get(&Target::Id(RepositoryId(2))).is_some());
                assert_eq!(table.len(), 1);
            }
        }
    }
}
