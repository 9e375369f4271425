//! The state machine of one supervisor's eye on one node: when to probe, over which connection, and what to think.
//!
//! One probe is in flight at most; every answer carries its number, and an answer nobody waits for is dropped here.
//! Hard evidence is confirmed once on a fresh connection: a connection dropped while the port stays open is survived,
//! a refused port is a death at once. A miss is retried at once on a second connection, so that silence costs
//! `fall` timeouts and not `fall` intervals. How long is waited, for an answer and for a restart, is [`Patience`]'s.
//!
//! What the node says by itself, over a stream that it keeps open, arrives here too. Hard evidence of that kind is
//! confirmed like any other, at once and whatever else is under way; that it serves again is only a reason to look. A
//! stream never counts for a node: a frozen one keeps its streams open, and goes down by the probes that it misses.
//!
//! Real traffic may overrule the window: while its errors keep the node out it is down, whatever probes say. The window
//! is kept all the same, so that the node is what probes found it to be once it is let back.

mod io;

pub use io::{Effect, Input, Via};

use super::{
    consensus::Opinion,
    error_tracker::{ErrorLimits, ErrorTracker, Traffic, TrafficHealth, Trips},
    evidence::{Evidence, Hard, Misconfigured, Ours},
    patience::{Patience, Restart},
    round_trips::RoundTrips,
    time::Timestamp,
    watching::{Watching, Word},
    window::{HealthWindow, Thresholds},
};
use std::time::Duration;

/// An answer handled later than its timeout plus this says more about us than about the node.
pub const STALL_TOLERANCE: Duration = Duration::from_millis(50);

/// Why the probe in flight was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Regular,
    Retry,
    Confirm,
}

#[derive(Debug, Clone, Copy)]
struct InFlight {
    number: u64,
    started: Timestamp,
    purpose: Purpose,
    timeout: Duration,
}

/// The prober of one node.
#[derive(Debug, Clone)]
pub struct Prober {
    window: HealthWindow,
    thresholds: Thresholds,
    patience: Patience,
    next: u64,
    in_flight: Option<InFlight>,
    timeouts: u32,
    tracker: Option<ErrorTracker>,
    watching: Watching,
    round_trips: RoundTrips,
    restart: Restart,
}

impl Prober {
    /// A prober that has seen nothing yet. A mere time is each probe's; without `limits` failing traffic says nothing.
    #[must_use]
    pub fn new(thresholds: Thresholds, patience: impl Into<Patience>, limits: Option<ErrorLimits>) -> Self {
        Self {
            window: HealthWindow::new(thresholds),
            thresholds,
            patience: patience.into(),
            next: 1,
            in_flight: None,
            timeouts: 0,
            tracker: limits.map(ErrorTracker::new),
            watching: Watching::new(false),
            round_trips: RoundTrips::default(),
            restart: Restart::default(),
        }
    }

    /// The same, listening to what the node says by itself. Default not.
    #[must_use]
    pub fn watching(self, wanted: bool) -> Self {
        Self { watching: Watching::new(wanted), ..self }
    }

    /// Whether a stream is open by which the node says how it is.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        self.watching.listens()
    }

    /// A prober that takes over from another what real traffic has led to; the times are of the same clock.
    #[must_use]
    pub fn resumed(mut self, trips: Trips) -> Self {
        self.tracker = self.tracker.map(|tracker| tracker.resumed(trips));
        self
    }

    /// What has to outlive this prober.
    #[must_use]
    pub fn trips(&self) -> Trips {
        self.tracker.as_ref().map(ErrorTracker::trips).unwrap_or_default()
    }

    /// The window, for those who ask.
    #[must_use]
    pub fn window(&self) -> &HealthWindow {
        &self.window
    }

    /// What is known of real traffic; `None` if it is not counted.
    #[must_use]
    pub fn traffic(&self, now: Timestamp) -> Option<TrafficHealth> {
        self.tracker.as_ref().map(|tracker| tracker.health(now))
    }

    /// Which kind of real traffic keeps the node out.
    #[must_use]
    pub fn tripped(&self) -> Option<Traffic> {
        self.tracker.as_ref().and_then(ErrorTracker::tripped)
    }

    /// The window's opinion, unless real traffic overrules it.
    #[must_use]
    pub fn opinion(&self) -> Opinion {
        match (self.window.opinion(), self.tripped()) {
            // Counts as down, too, and says more.
            (Opinion::Misconfigured, _) => Opinion::Misconfigured,
            (_, Some(_)) => Opinion::Down,
            (opinion, None) => opinion,
        }
    }

    /// The outcome of a probe that belongs to a round, and what follows from it. A round knows no retries, no
    /// confirmation and no trouble of our own: whatever is not SERVING was not seen (Praefect's rule).
    pub fn round(&mut self, now: Timestamp, evidence: Evidence) -> (Opinion, Evidence) {
        if evidence == Evidence::Serving {
            self.served(now);
        } else {
            self.window.miss();
        }
        (self.opinion(), self.shown(evidence))
    }

    /// How long the next probe over the kept connection may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.round_trips.timeout(self.patience.timeout_floor, self.patience.timeout)
    }

    /// Takes other thresholds, another patience and other limits. What is known of the node stays, but under other limits
    /// errors are counted afresh. If it `moved` to another address, nothing seen at the old one counts any more towards a
    /// change of mind, and an answer from there is dropped.
    pub fn reconfigure(
        &mut self,
        thresholds: Thresholds,
        patience: impl Into<Patience>,
        limits: Option<ErrorLimits>,
        moved: bool,
    ) {
        (self.thresholds, self.patience) = (thresholds, patience.into());
        self.window.reconfigure(thresholds);
        if moved || self.tracker.as_ref().map(ErrorTracker::limits) != limits {
            self.tracker = limits.map(ErrorTracker::new);
        }
        if moved {
            (self.in_flight, self.timeouts) = (None, 0);
            (self.round_trips, self.restart) = (RoundTrips::default(), Restart::default());
            self.window.start_over();
        }
    }

    /// Listens from now on, or no more; to a node that `moved`, anew. Answers whether a stream is to be closed.
    pub fn rewatch(&mut self, now: Timestamp, wanted: bool, moved: bool) -> bool {
        self.watching.reconfigure(now, wanted, moved)
    }

    /// The only door: one input in, effects out.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Vec<Effect> {
        match input {
            // The probe in flight is the answer to this one too.
            Input::Due if self.in_flight.is_some() => Vec::new(),
            // It was found gone already: what is new is only known over a fresh connection.
            Input::Due if self.restart.is_under_way() => vec![self.probe(now, Via::Fresh, Purpose::Confirm)],
            Input::Due => vec![self.probe(now, Via::Kept, Purpose::Regular)],
            Input::Answer { number, evidence } => match self.in_flight.take_if(|probe| probe.number == number) {
                Some(probe) => self.answered(now, probe, evidence),
                None => Vec::new(),
            },
            Input::Heard { number, word, lot } if self.watching.is_open(number) => self.heard(now, word, lot),
            Input::Heard { .. } => Vec::new(),
            Input::TrafficFailed { reads, writes } => self.traffic_failed(now, reads, writes),
        }
    }

    fn heard(&mut self, now: Timestamp, word: Word, lot: u8) -> Vec<Effect> {
        let evidence = match word {
            Word::Says(evidence) => evidence,
            Word::Ended(evidence) => {
                let offered = evidence != Evidence::Misconfigured(Misconfigured::Unimplemented);
                self.watching.ended(now, offered, lot);
                evidence
            }
        };
        match evidence {
            Evidence::Hard(hard) => {
                let confirmation = self.confirm(now);
                if confirmation.is_some() {
                    self.gone(now, hard);
                }
                confirmation.into_iter().collect()
            }
            Evidence::Serving if self.window.opinion() != Opinion::Up => self.handle(now, Input::Due),
            Evidence::Graceful => vec![Effect::Reconnect],
            Evidence::Serving
            | Evidence::Soft(_)
            | Evidence::Ours(_)
            | Evidence::Misconfigured(_)
            | Evidence::ErrorRate(_) => Vec::new(),
        }
    }

    /// The first time that it may be a restart, unless the node is counted as down already.
    fn gone(&mut self, now: Timestamp, hard: Hard) {
        if hard.is_gone() && !matches!(self.window.opinion(), Opinion::Down | Opinion::Misconfigured) {
            self.restart.began(now, self.patience.restart_grace);
        }
    }

    /// Asks again over a fresh connection, unless that is being done or would change nothing. A probe that is under way
    /// is answered by it: its own answer, which may take a whole timeout, is nothing that anybody waits for.
    fn confirm(&mut self, now: Timestamp) -> Option<Effect> {
        let confirming = self.in_flight.is_some_and(|probe| probe.purpose == Purpose::Confirm);
        (!confirming && self.window.opinion() != Opinion::Down).then(|| self.probe(now, Via::Fresh, Purpose::Confirm))
    }

    fn traffic_failed(&mut self, now: Timestamp, reads: u32, writes: u32) -> Vec<Effect> {
        let Some(tracker) = &mut self.tracker else { return Vec::new() };
        let before = tracker.tripped();
        tracker.failed(now, Traffic::Read, reads);
        tracker.failed(now, Traffic::Write, writes);
        match tracker.tripped() {
            Some(kind) if before.is_none() => {
                vec![Effect::Report { opinion: self.opinion(), evidence: Evidence::ErrorRate(kind) }]
            }
            Some(_) | None => Vec::new(),
        }
    }

    fn served(&mut self, now: Timestamp) {
        self.window.success();
        if let Some(tracker) = &mut self.tracker {
            tracker.served(now);
        }
    }

    /// What to tell besides the opinion: a probe's success is no reason for being down.
    fn shown(&self, evidence: Evidence) -> Evidence {
        match (evidence, self.tripped()) {
            (Evidence::Serving, Some(kind)) => Evidence::ErrorRate(kind),
            (evidence, _) => evidence,
        }
    }

    fn probe(&mut self, now: Timestamp, via: Via, purpose: Purpose) -> Effect {
        let number = self.next;
        self.next = self.next.saturating_add(1);
        let timeout = match purpose {
            Purpose::Regular => self.timeout(),
            Purpose::Retry | Purpose::Confirm => self.patience.timeout,
        };
        self.in_flight = Some(InFlight { number, started: now, purpose, timeout });
        Effect::Probe { number, via, timeout }
    }

    fn answered(&mut self, now: Timestamp, probe: InFlight, evidence: Evidence) -> Vec<Effect> {
        let took = now.since(probe.started);
        let late = took > probe.timeout.saturating_add(STALL_TOLERANCE);
        let evidence = if late { Evidence::Ours(Ours::Stalled) } else { evidence };
        let grace = self.patience.restart_grace;
        let mut effects = Vec::new();
        match (probe.purpose, evidence) {
            (Purpose::Regular, Evidence::Serving) => self.round_trips.answered(took),
            (Purpose::Regular, _) => self.round_trips.doubt(),
            (Purpose::Retry | Purpose::Confirm, _) => {}
        }
        match evidence {
            Evidence::Serving => {
                self.timeouts = 0;
                self.restart.ended();
                self.served(now);
            }
            Evidence::Hard(hard) if probe.purpose != Purpose::Confirm && self.window.opinion() != Opinion::Down => {
                self.watching.connection_lost(now);
                self.gone(now, hard);
                return vec![self.probe(now, Via::Fresh, Purpose::Confirm)];
            }
            Evidence::Hard(hard) => {
                self.timeouts = 0;
                if !hard.is_gone() || !self.restart.is_within(now, grace) {
                    self.window.down();
                }
                // Whoever says that it does not serve is there, and will say when it does.
                if hard.is_gone() && self.watching.forget(now) {
                    effects.push(Effect::Unwatch);
                }
            }
            Evidence::Graceful if probe.purpose == Purpose::Regular => {
                effects.push(self.reconnect(now));
                effects.push(self.probe(now, Via::Fresh, Purpose::Retry));
                return effects;
            }
            Evidence::Soft(_) | Evidence::Graceful => self.missed(now, &mut effects),
            Evidence::Misconfigured(_) => self.window.misconfigured(),
            Evidence::Ours(_) | Evidence::ErrorRate(_) => {}
        }
        if matches!(self.window.opinion(), Opinion::Down | Opinion::Misconfigured) {
            self.restart.ended();
        }
        effects.push(Effect::Report { opinion: self.opinion(), evidence: self.shown(evidence) });
        if self.in_flight.is_none() {
            effects.extend(self.restart.pause(now, grace).map(|after| Effect::LookAgain { after }));
        }
        if evidence == Evidence::Serving {
            effects.extend(self.watching.served(now).map(|number| Effect::Watch { number }));
        }
        effects
    }

    fn reconnect(&mut self, now: Timestamp) -> Effect {
        self.watching.forget(now);
        self.round_trips.doubt();
        Effect::Reconnect
    }

    /// Silence: count it, try again at once while it could still change the opinion, and renew the connection once
    /// as many timeouts came in a row as make a verdict.
    fn missed(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let before = self.window.opinion();
        self.window.miss();
        self.timeouts = self.timeouts.saturating_add(1);
        if self.timeouts >= self.thresholds.fall {
            self.timeouts = 0;
            effects.push(self.reconnect(now));
        }
        if before != Opinion::Down && self.window.opinion() != Opinion::Down {
            effects.push(self.probe(now, Via::Fresh, Purpose::Retry));
        }
    }
}

#[cfg(test)]
#[path = "prober_tests.rs"]
mod tests;

#[cfg(test)]
mod patience_tests;
