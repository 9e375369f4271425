//! The state machine of one supervisor's eye on one node: when to probe, over which connection, and what to think.
//!
//! One probe is in flight at most; every answer carries its number, and an answer nobody waits for is dropped here.
//! Hard evidence is confirmed once on a fresh connection: a connection dropped while the port stays open is survived,
//! a refused port is a death at once. A miss is retried at once on a second connection, so that silence costs
//! `fall` timeouts and not `fall` intervals.
//!
//! What the node says by itself, over a stream that it keeps open, arrives here too. Hard evidence of that kind is
//! confirmed like any other, at once and whatever else is under way; that it serves again is only a reason to look. A
//! stream never counts for a node: a frozen one keeps its streams open, and goes down by the probes that it misses.
//!
//! Real traffic may overrule the window: while its errors keep the node out it is down, whatever probes say. The window
//! is kept all the same, so that the node is what probes found it to be once it is let back.

use super::{
    consensus::Opinion,
    error_tracker::{ErrorLimits, ErrorTracker, Traffic, TrafficHealth, Trips},
    evidence::{Evidence, Hard, Misconfigured, Ours},
    time::Timestamp,
    watching::{Watching, Word},
    window::{HealthWindow, Thresholds},
};
use std::time::Duration;

/// An answer handled later than its timeout plus this says more about us than about the node.
pub const STALL_TOLERANCE: Duration = Duration::from_millis(50);

/// Over which connection to probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The kept one, over which real traffic goes.
    Kept,
    /// A new one to the same address.
    Fresh,
}

/// What happens to a prober.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Input {
    /// A probe is due.
    Due,
    /// A probe ended.
    Answer {
        /// Its number.
        number: u64,
        /// What it says.
        evidence: Evidence,
    },
    /// The node said something by itself.
    Heard {
        /// The number of the stream.
        number: u64,
        /// What it says.
        word: Word,
        /// Drawn at random; spreads the next stream's opening.
        lot: u8,
    },
    /// Real calls failed.
    TrafficFailed {
        /// So many reads.
        reads: u32,
        /// So many writes.
        writes: u32,
    },
}

/// What a prober wants done.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Probe the node and feed the answer back.
    Probe {
        /// The probe's number.
        number: u64,
        /// Over which connection.
        via: Via,
        /// When to give up.
        timeout: Duration,
    },
    /// Tell what this supervisor thinks of the node now.
    Report {
        /// The opinion.
        opinion: Opinion,
        /// What the last probe said, or [`Evidence::ErrorRate`] if real traffic speaks against a node that serves.
        evidence: Evidence,
    },
    /// Replace the kept connection: a half-open one never heals by itself. A watch that goes over it is over.
    Reconnect,
    /// Open a stream of what the node says by itself, over the kept connection, and feed back each word.
    Watch {
        /// The stream's number.
        number: u64,
    },
    /// Close the stream: the node is gone, or so it seems, and one that stops politely would wait for us.
    Unwatch,
}

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
}

/// The prober of one node.
#[derive(Debug, Clone)]
pub struct Prober {
    window: HealthWindow,
    thresholds: Thresholds,
    timeout: Duration,
    next: u64,
    in_flight: Option<InFlight>,
    timeouts: u32,
    tracker: Option<ErrorTracker>,
    watching: Watching,
}

impl Prober {
    /// A prober that has seen nothing yet. `timeout` is one probe's; without `limits` failing traffic says nothing.
    #[must_use]
    pub fn new(thresholds: Thresholds, timeout: Duration, limits: Option<ErrorLimits>) -> Self {
        let (window, tracker) = (HealthWindow::new(thresholds), limits.map(ErrorTracker::new));
        let watching = Watching::new(false);
        Self { window, thresholds, timeout, next: 1, in_flight: None, timeouts: 0, tracker, watching }
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

    /// Takes other thresholds, another timeout and other limits. What is known of the node stays, but under other limits
    /// errors are counted afresh. If it `moved` to another address, nothing seen at the old one counts any more towards a
    /// change of mind, and an answer from there is dropped.
    pub fn reconfigure(&mut self, thresholds: Thresholds, timeout: Duration, limits: Option<ErrorLimits>, moved: bool) {
        (self.thresholds, self.timeout) = (thresholds, timeout);
        self.window.reconfigure(thresholds);
        if moved || self.tracker.as_ref().map(ErrorTracker::limits) != limits {
            self.tracker = limits.map(ErrorTracker::new);
        }
        if moved {
            (self.in_flight, self.timeouts) = (None, 0);
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
            Evidence::Hard(_) => self.confirm(now).into_iter().collect(),
            Evidence::Serving if self.window.opinion() != Opinion::Up => self.handle(now, Input::Due),
            Evidence::Graceful => vec![Effect::Reconnect],
            Evidence::Serving
            | Evidence::Soft(_)
            | Evidence::Ours(_)
            | Evidence::Misconfigured(_)
            | Evidence::ErrorRate(_) => Vec::new(),
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
        self.in_flight = Some(InFlight { number, started: now, purpose });
        Effect::Probe { number, via, timeout: self.timeout }
    }

    fn answered(&mut self, now: Timestamp, probe: InFlight, evidence: Evidence) -> Vec<Effect> {
        let late = now.since(probe.started) > self.timeout.saturating_add(STALL_TOLERANCE);
        let evidence = if late { Evidence::Ours(Ours::Stalled) } else { evidence };
        let mut effects = Vec::new();
        match evidence {
            Evidence::Serving => {
                self.timeouts = 0;
                self.served(now);
            }
            Evidence::Hard(_) if probe.purpose != Purpose::Confirm && self.window.opinion() != Opinion::Down => {
                self.watching.connection_lost(now);
                return vec![self.probe(now, Via::Fresh, Purpose::Confirm)];
            }
            Evidence::Hard(hard) => {
                self.timeouts = 0;
                self.window.down();
                // Whoever says that it does not serve is there, and will say when it does.
                if matches!(hard, Hard::Refused | Hard::Reset) && self.watching.forget(now) {
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
        effects.push(Effect::Report { opinion: self.opinion(), evidence: self.shown(evidence) });
        if evidence == Evidence::Serving {
            effects.extend(self.watching.served(now).map(|number| Effect::Watch { number }));
        }
        effects
    }

    fn reconnect(&mut self, now: Timestamp) -> Effect {
        self.watching.forget(now);
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
