//! The question for a primary: from memory where that will do, else of the elector.

use super::Supervisor;
use crate::{
    core::{
        election::{Primary, Target},
        epoch::Epoch,
        lookup::Freshness,
    },
    error::Error,
    messages::election::{GetPrimary, PrimaryAnswer},
};
use std::{pin::pin, time::Duration};
use tokio::time::{Instant, sleep, timeout_at};

/// Callers that may wait for a primary at once. More would only be woken together to be told the same.
pub(super) const WAITING_MAX: usize = 4_096;
/// The longest wait for a primary. A caller that has no answer by then should ask somebody else.
const PATIENCE_MAX: Duration = Duration::from_secs(300);
/// Pause before a waiting caller asks again though nothing changed, and the longest one: an election that is due happens
/// when somebody asks.
const ASK_AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl<C: Clone + Send + Sync + 'static> Supervisor<C> {
    /// Who is primary? If a change is due, it is made first. As [`Supervisor::lookup`] of whatever freshness, without the age
    /// and the source of the answer. Errors: as there.
    pub async fn primary(&self, target: &Target) -> Result<Primary, Error> {
        self.lookup(target, Freshness::Cached).await.map(PrimaryAnswer::into_primary)
    }

    /// Who is primary, how old that knowledge is, and where it comes from? With [`Freshness::Cached`] what is remembered will
    /// do, while changes are heard of, and what was last known while the database is down; else it is read, and if a change
    /// is due, it is made first. Only primaries of repositories are remembered: under other strategies than `per_repository`
    /// each question is found out.
    ///
    /// Errors: see [`GetPrimary`]; also [`Error::Superseded`] once a newer process has the name, and [`Error::Stopped`].
    pub async fn lookup(&self, target: &Target, freshness: Freshness) -> Result<PrimaryAnswer, Error> {
        let began = Instant::now();
        let answer = self.ask_elector(target, freshness).await;
        let outcome = answer.as_ref().map_or_else(|error| error.grpc_code().as_str(), |_| "ok");
        self.inner.meter.lookup(outcome, began.elapsed());
        if let Ok(answer) = &answer {
            self.inner.meter.answered(answer.source);
        }
        answer
    }

    async fn ask_elector(&self, target: &Target, freshness: Freshness) -> Result<PrimaryAnswer, Error> {
        if let Some(end) = self.ended() {
            return Err(end);
        }
        let Some(_inside) = self.inner.gate.enter() else { return Err(Error::Stopped) };
        // Without a message, for this may be another thread, and to wake the elector's costs hundreds of answers.
        if freshness == Freshness::Cached
            && let Some(known) = self.primary_now(target)
        {
            return Ok(known);
        }
        self.asked(self.inner.elector.send(GetPrimary { target: target.clone(), freshness })).await
    }

    /// Who is primary, as far as it is remembered and may be believed this moment: without a message, from any thread, without
    /// waiting for anybody or reading the database. Told to no meter. `None`: not known, or not believed;
    /// [`Supervisor::lookup`] finds out.
    #[must_use]
    pub fn primary_now(&self, target: &Target) -> Option<PrimaryAnswer> {
        self.inner.primaries.now(target)
    }

    /// Waits until the repository has a primary of `min_epoch` or later (`None`: any), for as long as an election takes or
    /// `patience` lasts, at most 5 minutes. It is woken when something changes, and asks by itself every second at most.
    ///
    /// Errors: at once those that waiting does not mend; [`Error::Busy`] with 4,096 who wait already; when `patience` ends the
    /// last error, or [`Error::Timeout`] if the primary was still an earlier one.
    pub async fn await_primary(
        &self,
        target: &Target,
        min_epoch: Option<Epoch>,
        patience: Duration,
    ) -> Result<PrimaryAnswer, Error> {
        let _place = self.inner.waiting.try_acquire().map_err(|_| Error::Busy)?;
        let patience = patience.min(PATIENCE_MAX);
        let mut last = Error::Timeout(patience);
        let waiting = self.until_led(target, min_epoch, &mut last);
        let led = timeout_at(Instant::now() + patience, waiting).await;
        led.unwrap_or(Err(last))
    }

    async fn until_led(
        &self,
        target: &Target,
        min_epoch: Option<Epoch>,
        last: &mut Error,
    ) -> Result<PrimaryAnswer, Error> {
        let mut consensus = self.consensus();
        let mut pause = ASK_AGAIN.0;
        loop {
            // What changes from here on wakes, though it be before the answer is there.
            let mut change = pin!(self.inner.primaries.next_change(target));
            change.as_mut().enable();
            consensus.mark_unchanged();
            match self.recent_enough(target, min_epoch).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) if error.is_retryable() && self.ended().is_none() => *last = error,
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = change => {}
                Ok(()) = consensus.changed() => {}
                () = sleep(pause) => {}
            }
            pause = pause.saturating_mul(2).min(ASK_AGAIN.1);
        }
    }

    /// What is remembered, and if that is too old for the caller what is.
    async fn recent_enough(&self, target: &Target, min_epoch: Option<Epoch>) -> Result<Option<PrimaryAnswer>, Error> {
        let will_do = |answer: &PrimaryAnswer| min_epoch.is_none_or(|least| answer.epoch >= Some(least));
        let known = self.lookup(target, Freshness::Cached).await?;
        if will_do(&known) {
            return Ok(Some(known));
        }
        let found = self.lookup(target, Freshness::Latest).await?;
        Ok(will_do(&found).then_some(found))
    }
}
