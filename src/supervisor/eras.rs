//! A database that is behind its nodes, and what an operator does about it.

use super::Supervisor;
use crate::{
    core::{
        epoch::Era,
        reports::{Behind, Reported},
        synced::Scope,
    },
    error::Error,
    telemetry,
};
use std::sync::Arc;
use tokio::time::timeout;

/// Characters of the reason that are kept.
const WHY_MAX: usize = 500;

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// What nodes know that the database does not, if it is behind them: an older backup has taken its place. Until
    /// [`Supervisor::repair`] nothing is elected and no write acknowledged then ([`Error::DatabaseBehind`]), and answers say
    /// [`Source::Behind`](crate::core::lookup::Source::Behind). `None`: nothing is known to be missing.
    #[must_use]
    pub fn behind(&self) -> Option<Behind> {
        self.inner.cells.behind.borrow().clone()
    }

    /// The highest epoch that a node of this cluster has reported to this supervisor; `None`: none has a fence, or none
    /// accepted anything yet.
    #[must_use]
    pub fn reported(&self) -> Option<Reported> {
        self.inner.cells.reported.borrow().clone()
    }

    /// Begins a new era, which is answered: an operator's word that this database is the one to go on with, though it may
    /// know of less than its nodes. `why` is kept in the table `eras` with this supervisor's name, 500 characters of it.
    ///
    /// Every later epoch is above all that were recorded here or reported to this supervisor, so elections and writes go on,
    /// with every supervisor within a second. Recorded primaries stay, and keep their epochs: where a node knows of a later
    /// one it goes on refusing the recorded primary, and [`Supervisor::authoritative_set`] says who is the truth.
    /// What remains in memory of who is primary is forgotten everywhere.
    ///
    /// It is needed where the database is behind and of use only there, but refused nowhere: nodes that are down, or have no
    /// fence, cannot tell. Of those who call it at one time one begins the era, which the others answer. Errors: as those of
    /// lookups for a supervisor that ended; [`Error::StoreUnavailable`] and [`Error::Timeout`], after which it may have
    /// begun: ask again, one era more does no harm.
    pub async fn repair(&self, why: &str) -> Result<Era, Error> {
        if let Some(end) = self.ended() {
            return Err(end);
        }
        let Some(_inside) = self.inner.gate.enter() else { return Err(Error::Stopped) };
        let (store, cells) = (&self.inner.store, &self.inner.cells);
        let given = self.within(store.epochs_given()).await?;
        let reported = self.reported().map(|reported| reported.epoch);
        let why: String = format!("repair by {}: {why}", self.inner.name).chars().take(WHY_MAX).collect();
        let era = self.within(store.era_raise(given.era, reported, &why)).await?;
        telemetry::era_raised(given, era, &why);
        self.inner.primaries.forget([Scope::Everything]);
        let mut behind = cells.behind.subscribe();
        cells.repaired.notify_one();
        // Whoever asks next is not to hear of what is over; that it takes longer is no failure.
        let _ = timeout(self.inner.request_timeout, behind.wait_for(Option::is_none)).await;
        Ok(era)
    }

    /// Nothing rests on an epoch while the database is behind.
    pub(super) fn must_be_abreast(&self) -> Result<(), Error> {
        crate::actors::abreast(&self.inner.cells.behind.subscribe())
    }

    /// Waits until the database was compared with all that was reported so far.
    pub(super) async fn compared(&self) {
        let cells = Arc::clone(&self.inner.cells);
        let mut reached = cells.reached.subscribe();
        let done = |reached: &Option<crate::core::epoch::Epoch>| {
            let reported = cells.reported.borrow().as_ref().map(|reported| reported.epoch);
            *reached >= reported || cells.behind.borrow().is_some()
        };
        let _ = reached.wait_for(done).await;
    }
}
