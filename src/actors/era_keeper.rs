//! Compares what nodes report with what the database has given, and says so while the database is behind.
//!
//! All rules are [`Reports`]'s. It hears of reports by their cell, into which probes put them before they answer, and
//! publishes into another one, which whoever elects or acknowledges asks. At rest it waits for the cells and asks the
//! database nothing; one that is built anew takes over what its predecessor found.

use super::cells::Cells;
use crate::{
    core::reports::{Next, Reports},
    store::{HealthStore, StoreError, StoreErrorKind, StoreOp},
    telemetry::{self, Meter},
};
use actix::prelude::*;
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// What an [`EraKeeper`] is built from, as often as need be.
#[derive(Clone)]
pub struct EraKeeperConfig {
    /// The database.
    pub store: Arc<dyn HealthStore>,
    /// Where reports come in, and where it says what it found.
    pub cells: Arc<Cells>,
    /// How long the database may take to answer.
    pub timeout: Duration,
    /// Who hears the metrics.
    pub meter: Meter,
}

/// The actor. It has a mailbox, but nobody writes to it.
pub struct EraKeeper {
    config: EraKeeperConfig,
}

impl EraKeeper {
    /// One in the place of whichever wrote the cells before.
    #[must_use]
    pub fn new(config: EraKeeperConfig) -> Self {
        Self { config }
    }
}

impl Actor for EraKeeper {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        let config = self.config.clone();
        ctx.spawn(async move { config.keep().await }.into_actor(self));
    }
}

impl EraKeeperConfig {
    async fn keep(&self) {
        let cells = &self.cells;
        let mut reports = Reports::resume(cells.behind.borrow().clone());
        self.meter.database_behind(reports.behind().is_some());
        let (mut reported, mut voter) = (cells.reported.subscribe(), cells.voter.subscribe());
        let mut complaint = cells.complaint.subscribe();
        let (mut registered, mut away) = (None, false);
        loop {
            let incarnation = voter.borrow_and_update().as_ref().map(|voter| voter.incarnation);
            let silent = complaint.borrow_and_update().is_some();
            if (incarnation.is_some() && incarnation != registered) || (away && !silent) {
                registered = incarnation.or(registered);
                reports.forget();
            }
            away = silent;
            reports.observe(reported.borrow_and_update().as_ref());
            match reports.next() {
                // The senders live in the cells, which the config keeps.
                Next::Rest => tokio::select! {
                    _ = reported.changed() => {}
                    _ = voter.changed() => {}
                    _ = complaint.changed() => {}
                },
                Next::Read { after } => {
                    // A repair by this supervisor's own handle need not be waited for.
                    tokio::select! {
                        () = sleep(after) => {}
                        () = cells.repaired.notified() => {}
                    }
                    // What was reported by now is what the answer is about.
                    reports.observe(reported.borrow_and_update().as_ref());
                    self.read(&mut reports).await;
                }
            }
        }
    }

    async fn read(&self, reports: &mut Reports) {
        let answer = timeout(self.timeout, self.store.epochs_given()).await.unwrap_or_else(|elapsed| {
            Err(StoreError::with_source(StoreOp::EpochsGiven, StoreErrorKind::Timeout, elapsed))
        });
        if let Err(error) = &answer {
            telemetry::store_failed(error);
        }
        if reports.read(answer.ok()) {
            telemetry::database_behind(reports.behind());
            self.meter.database_behind(reports.behind().is_some());
            self.cells.behind.send_replace(reports.behind().cloned());
        }
        self.cells.reached.send_if_modified(|reached| {
            let now = reports.reached();
            std::mem::replace(reached, now) != now
        });
    }
}

impl std::fmt::Debug for EraKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EraKeeper").finish_non_exhaustive()
    }
}
impl std::fmt::Debug for EraKeeperConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EraKeeperConfig").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}
