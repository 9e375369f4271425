//! One primary for each repository, elected when somebody asks and the recorded one may not stay.
//!
//! What is remembered and may be believed is answered on the spot. Else each lookup is its own bounded future, not a turn
//! of the actor: one slow repository delays no other, and no lookup waits behind a health report. It rests on facts read
//! from the database at that moment, or on a memory that asks the cells itself, never on what arrived in its mailbox
//! before, so a flooded elector still acts on the newest consensus (D18).

use super::{
    super::primaries::{Leading, Looked, PrimaryTable},
    asked::{BehindCell, ConfiguredNodes, MAILBOX, Places, ROUNDS_MAX, found, proposer, seed},
    repository::settle,
};
use crate::{
    core::{
        election::{Incumbent, Target, decide, standing, stands_alone},
        ids::{SupervisorName, VirtualStorage, Voter},
        lookup::Freshness,
        shard::Shard,
    },
    error::Error,
    messages::election::{GetPrimary, GetShard, PrimaryAnswer},
    store::{ElectionStore, StoreError, StoreErrorKind, StoreOp},
};
use actix::{
    dev::{MessageResponse, OneshotSender},
    prelude::*,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::watch;

/// Pause before a lookup whose connection ended reads again, doubled each time, and the longest: a third of a second in all. By
/// then the change feed has found out whether the database is down.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(160));

/// What an elector is built from, as often as need be.
#[derive(Clone)]
pub struct ElectorConfig {
    /// The database.
    pub store: Arc<dyn ElectionStore>,
    /// The supervisor's name, under which it proposes.
    pub name: SupervisorName,
    /// The registration that may act, published by the HealthManager.
    pub voter: watch::Receiver<Option<Voter>>,
    /// What nodes know that the database does not, published by the [`EraKeeper`](super::super::EraKeeper): nobody is elected
    /// meanwhile.
    pub behind: BehindCell,
    /// The virtual storages that are configured here; `None`: any.
    pub virtual_storages: Option<ConfiguredNodes>,
    /// What is remembered of who is primary; `None`: each question is a read.
    pub memory: Option<Arc<PrimaryTable>>,
    /// How long one lookup may take, retries included.
    pub timeout: Duration,
    /// Draws the seed that breaks ties, and the identity of a decision.
    pub lot: fn() -> u128,
}

impl ElectorConfig {
    /// A lot drawn from the system's randomness.
    #[must_use]
    pub fn random_lot() -> u128 {
        uuid::Uuid::new_v4().as_u128()
    }
}

/// The actor: one primary per repository, elected when somebody asks and the recorded one may not stay.
pub struct PerRepositoryElector {
    config: Arc<ElectorConfig>,
    places: Places,
    /// Whether a recorded primary may be changed.
    elects: bool,
}

impl PerRepositoryElector {
    /// An elector without any state of its own.
    #[must_use]
    pub fn new(config: ElectorConfig) -> Self {
        Self { config: Arc::new(config), places: Places::new(), elects: true }
    }

    /// An elector that never elects (`failover.enabled = false`): it answers the recorded primary while that is fit, and
    /// else what is true of it. Primaries come from a repository's creation and from operators.
    #[must_use]
    pub fn frozen(config: ElectorConfig) -> Self {
        Self { elects: false, ..Self::new(config) }
    }
}

impl Actor for PerRepositoryElector {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<GetPrimary> for PerRepositoryElector {
    type Result = Reply;
    fn handle(&mut self, GetPrimary { target, freshness }: GetPrimary, _: &mut Context<Self>) -> Reply {
        let looked = match (&self.config.memory, freshness) {
            (Some(memory), Freshness::Cached) => memory.look(&target),
            (None, _) | (_, Freshness::Latest) => Looked::Bypass,
        };
        let looked = match looked {
            Looked::Hit(answer) => return Reply::Now(Ok(answer)),
            Looked::Down => return Reply::Now(Err(database_is_down())),
            asked @ (Looked::Lead(_) | Looked::Join(_) | Looked::Bypass) => asked,
        };
        let (config, places, elects) = (Arc::clone(&self.config), self.places.clone(), self.elects);
        Reply::Later(Box::pin(async move {
            let found = places.run(config.timeout, config.find_out(&target, elects, freshness, looked)).await;
            // Known down meanwhile: what was last known is all there is.
            match (&config.memory, freshness, found) {
                (Some(memory), Freshness::Cached, Err(error @ (Error::StoreUnavailable(_) | Error::Timeout(_)))) => {
                    memory.now(&target).ok_or(error)
                }
                (_, _, found) => found,
            }
        }))
    }
}

/// An answer from memory is sent within the turn of the actor, without a future.
pub enum Reply {
    /// It is known.
    Now(Result<PrimaryAnswer, Error>),
    /// It has to be found out.
    Later(ResponseFuture<Result<PrimaryAnswer, Error>>),
}

impl MessageResponse<PerRepositoryElector, GetPrimary> for Reply {
    fn handle(
        self,
        ctx: &mut Context<PerRepositoryElector>,
        asker: Option<OneshotSender<Result<PrimaryAnswer, Error>>>,
    ) {
        match (self, asker) {
            (Reply::Now(answer), Some(asker)) => {
                // Nobody waits any more: it was no trouble.
                let _ = asker.send(answer);
            }
            (Reply::Now(_), None) => {}
            (Reply::Later(found), asker) => {
                MessageResponse::<PerRepositoryElector, GetPrimary>::handle(found, ctx, asker);
            }
        }
    }
}

fn has_ended(error: &StoreError) -> bool {
    matches!(error.kind(), StoreErrorKind::ConnectionLost | StoreErrorKind::Unreachable)
}

fn database_is_down() -> Error {
    let known = "it was asked again and again since, and did not answer";
    Error::StoreUnavailable(StoreError::with_source(StoreOp::ElectionFacts, StoreErrorKind::Unreachable, known))
}

impl Handler<GetShard> for PerRepositoryElector {
    type Result = Result<Shard, Error>;
    fn handle(&mut self, GetShard(virtual_storage): GetShard, _: &mut Context<Self>) -> Self::Result {
        Err(if self.config.knows(&virtual_storage) {
            Error::PrimaryPerRepository(virtual_storage)
        } else {
            Error::VirtualStorageNotFound(virtual_storage)
        })
    }
}

impl ElectorConfig {
    fn knows(&self, virtual_storage: &VirtualStorage) -> bool {
        self.virtual_storages.as_ref().is_none_or(|known| known.has(virtual_storage))
    }

    /// As often as it takes until a database whose connections have just ended is back, or known to be down: whoever asks
    /// in between would hear of a failure, those after them an answer.
    async fn find_out(
        &self,
        target: &Target,
        elects: bool,
        freshness: Freshness,
        mut looked: Looked,
    ) -> Result<PrimaryAnswer, Error> {
        let mut pause = ASK_AGAIN.0;
        loop {
            let failed = match self.answer(target, elects, looked).await {
                Err(Error::StoreUnavailable(error)) if has_ended(&error) => error,
                found => return found,
            };
            let Some(memory) = self.memory.as_ref().filter(|_| freshness == Freshness::Cached && pause <= ASK_AGAIN.1)
            else {
                return Err(failed.into());
            };
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            looked = match memory.look(target) {
                Looked::Down => return Err(failed.into()),
                looked @ (Looked::Hit(_) | Looked::Lead(_) | Looked::Join(_) | Looked::Bypass) => looked,
            };
        }
    }

    /// One read for all who ask at the same time, where that may be shared.
    async fn answer(&self, target: &Target, elects: bool, looked: Looked) -> Result<PrimaryAnswer, Error> {
        match looked {
            Looked::Lead(leading) => {
                let (found, stands_alone) = match self.incumbent(target, &leading).await? {
                    Some(stands) => (stands, true),
                    None => self.primary(target, elects).await?,
                };
                leading.land(&found, stands_alone && self.knows(&found.virtual_storage));
                Ok(found)
            }
            Looked::Join(mut landed) => {
                let found = landed.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
                match found {
                    Some(found) => Ok(found),
                    // Whoever read for all failed or went away: its error was its own.
                    None => Ok(self.primary(target, elects).await?.0),
                }
            }
            Looked::Hit(known) => Ok(known),
            Looked::Bypass | Looked::Down => {
                let (found, _) = self.primary(target, elects).await?;
                if let Some(memory) = &self.memory {
                    memory.compare(&found.primary);
                }
                Ok(found)
            }
        }
    }

    /// The recorded primary, where nobody else can change that it stays: most of the time, and for half of the work.
    async fn incumbent(&self, target: &Target, leading: &Leading) -> Result<Option<PrimaryAnswer>, Error> {
        let read = self.store.incumbent(target).await?.filter(Incumbent::is_fit);
        let stands = read.map(|read| read.primary).filter(|primary| leading.lets_stand(primary));
        Ok(stands.map(|primary| found(primary, &self.behind)))
    }

    /// Reads, and decides if that is due. Also whether the answer may be remembered.
    async fn primary(&self, target: &Target, elects: bool) -> Result<(PrimaryAnswer, bool), Error> {
        if let Target::Path(virtual_storage, _) = target
            && !self.knows(virtual_storage)
        {
            return Err(Error::VirtualStorageNotFound(virtual_storage.clone()));
        }
        for _ in 0..ROUNDS_MAX {
            let Some(read) = self.store.election_facts(target).await? else { return Err(Error::RepositoryNotFound) };
            let (facts, settings) = (read.facts, read.settings.settings);
            let proposer = proposer(&self.voter, &self.name);
            let lot = (self.lot)();
            let decision =
                if elects { decide(&facts, &settings, &proposer, seed(lot)) } else { standing(&facts, &settings) };
            let settled = settle(&*self.store, &facts, &settings, (proposer, &self.behind), lot, decision).await?;
            if let Some(primary) = settled {
                let stands_alone = stands_alone(&facts, &settings, &primary.storage);
                return Ok((found(primary, &self.behind), stands_alone));
            }
        }
        Err(Error::Contended)
    }
}

impl std::fmt::Debug for PerRepositoryElector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PerRepositoryElector").field("name", &self.config.name).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for ElectorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ElectorConfig").field("name", &self.name).finish_non_exhaustive()
    }
}
