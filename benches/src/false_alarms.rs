//! A healthy cluster in simulated time, and how often it is held to be anything else.
//!
//! Nothing is wrong with any node. Probes are dropped or delayed, one in a hundred; supervisors, nodes and whole machines
//! stall. Each supervisor's eye is the crate's own [`Prober`]; a verdict is a strict majority of eyes that are down at the
//! same time. What would lower the count further is left out: recusal, the time that votes take, and resumed streams.
//!
//! A million hours of a node are fourteen thousand million probes. Nearly all of them succeed while everything that is
//! known of the node says that it is up, and such a probe changes nothing: those are counted, not carried out.

use quorate::{
    config::HealthConfig,
    core::{
        consensus::Opinion,
        evidence::{Evidence, Soft},
        patience::Patience,
        prober::{Effect, Input, Prober},
        time::Timestamp,
        window::Thresholds,
    },
};
use serde::Serialize;
use std::time::Duration;

/// Microseconds.
type Us = u64;
const SECOND: Us = 1_000_000;
const HOUR: Us = 3_600 * SECOND;

/// Eyes on each node.
const SUPERVISORS: usize = 3;
/// How long an answer takes when nothing is wrong.
const ROUND_TRIP: Us = 1_000;
/// The part of probes that are lost, and of those that are late.
const LOST: f64 = 0.005;
/// See there.
const LATE: f64 = 0.005;
/// A late answer comes within this, evenly.
const LATE_WITHIN: Us = 2 * SECOND;

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// How a supervisor looks: the profile's values.
    pub thresholds: Thresholds,
    /// See there.
    pub patience: Patience,
    /// Between two probes; jittered by a tenth.
    pub interval: Duration,
    /// Stalls of one supervisor in an hour, of 20 ms to 10 s.
    pub supervisor_stalls: f64,
    /// Stalls of a node in an hour, of 20 ms to the longest.
    pub node_stalls: f64,
    /// The longest of them. One that is silent for as long as all its probes may take is not falsely held to be so.
    pub node_stall_max: Duration,
    /// Stalls of everything at once in an hour, of 20 ms to 10 s.
    pub machine_stalls: f64,
}

impl Model {
    /// A cluster that is probed like this, each part of which stalls now and then.
    #[must_use]
    pub fn of(health: &HealthConfig, node_stall_max: Duration) -> Model {
        Model {
            thresholds: health.thresholds,
            patience: health.patience(),
            interval: health.interval,
            supervisor_stalls: 6.0,
            node_stalls: 6.0,
            node_stall_max,
            machine_stalls: 1.0,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Alarms {
    /// Simulated.
    pub node_hours: f64,
    /// Probes that were sent.
    pub probes: u64,
    /// Probes that were not answered in time.
    pub missed: u64,
    /// Times that one supervisor held a node down.
    pub accusations: u64,
    /// Times that the quorum did.
    pub verdicts: u64,
}

impl Alarms {
    /// Both together.
    #[must_use]
    pub fn and(self, other: Alarms) -> Alarms {
        Alarms {
            node_hours: self.node_hours + other.node_hours,
            probes: self.probes + other.probes,
            missed: self.missed + other.missed,
            accusations: self.accusations + other.accusations,
            verdicts: self.verdicts + other.verdicts,
        }
    }
}

/// When somebody does nothing at all: in order, not touching.
struct Stalls(Vec<(Us, Us)>);

impl Stalls {
    /// So many in an hour, of a length that is spread evenly over its orders of magnitude.
    fn draw(rng: &mut fastrand::Rng, hours: u64, per_hour: f64, longest: Us) -> Stalls {
        let (mut at, mut stalls) = (0, Vec::new());
        loop {
            at += waiting(rng, per_hour / HOUR as f64);
            if at >= hours * HOUR {
                return Stalls(stalls);
            }
            let shortest = 20_000.0_f64;
            let length = shortest * (longest as f64 / shortest).powf(rng.f64());
            stalls.push((at, at + length as Us));
            at += length as Us;
        }
    }

    /// Both at once.
    fn and(&self, other: &Stalls) -> Stalls {
        let mut all: Vec<(Us, Us)> = self.0.iter().chain(&other.0).copied().collect();
        all.sort_unstable();
        let mut merged: Vec<(Us, Us)> = Vec::with_capacity(all.len());
        for (from, to) in all {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(_) | None => merged.push((from, to)),
            }
        }
        Stalls(merged)
    }

    /// The first that ends after this moment.
    fn next(&self, at: Us) -> Option<(Us, Us)> {
        self.0.get(self.0.partition_point(|(_, to)| *to <= at)).copied()
    }

    /// When something that is due at this moment is really done.
    fn done(&self, at: Us) -> Us {
        self.next(at).filter(|(from, _)| *from <= at).map_or(at, |(_, to)| to)
    }
}

fn at(us: Us) -> Timestamp {
    Timestamp(Duration::from_micros(us))
}

/// How long until the next of events that come at this rate.
fn waiting(rng: &mut fastrand::Rng, rate: f64) -> Us {
    if rate > 0.0 { (-(1.0 - rng.f64()).ln() / rate) as Us } else { Us::MAX / 4 }
}

/// One supervisor that looks at one node.
struct Eye<'a> {
    model: &'a Model,
    rng: fastrand::Rng,
    prober: Prober,
    own: &'a Stalls,
    node: &'a Stalls,
    alarms: Alarms,
    out_of_luck: bool,
    down: Vec<(Us, Us)>,
    down_since: Option<Us>,
}

impl Eye<'_> {
    fn interval(&mut self) -> Us {
        let interval = self.model.interval.as_micros() as f64;
        (interval * (0.9 + 0.2 * self.rng.f64())) as Us
    }

    /// Runs until this moment; answers when it held the node down.
    fn run(mut self, end: Us) -> (Vec<(Us, Us)>, Alarms) {
        let mut due = self.interval();
        while due < end {
            due = self.quiet(due);
            due = self.probe(due);
        }
        if let Some(since) = self.down_since {
            self.down.push((since, end));
        }
        (self.down, self.alarms)
    }

    /// Passes over probes that succeed and change nothing; answers when the first one is due that may do otherwise.
    fn quiet(&mut self, due: Us) -> Us {
        if self.prober.opinion() != Opinion::Up || self.prober.window().misses() > 0 {
            return due;
        }
        let interval = self.model.interval.as_micros() as Us;
        // Those may be passed over that would be given no less time if they were carried out.
        let Patience { timeout_floor, timeout, .. } = self.model.patience;
        if self.prober.timeout() > timeout_floor.min(timeout) {
            return due;
        }
        let stalled = [self.own, self.node].map(|stalls| stalls.next(due).map_or(Us::MAX, |(from, _)| from));
        let clear = stalled.into_iter().min().unwrap_or(Us::MAX).saturating_sub(due) / interval;
        let lucky = (1.0 - self.rng.f64()).ln() / (1.0 - LOST - LATE).ln();
        let passed = (lucky as u64).min(clear.saturating_sub(2));
        // The one after the lucky ones is not, if it comes to it.
        self.out_of_luck = passed == lucky as u64;
        self.alarms.probes += passed;
        due + passed * interval
    }

    /// One probe and whatever follows at once; answers when the next regular one is due.
    fn probe(&mut self, due: Us) -> Us {
        let mut now = self.own.done(due);
        let next = now + self.interval();
        let mut effects = self.prober.handle(at(now), Input::Due);
        while let Some(effect) = effects.pop() {
            let Effect::Probe { number, timeout, .. } = effect else { continue };
            let (evidence, handled) = self.outcome(now, timeout.as_micros() as Us);
            now = handled;
            let more = self.prober.handle(at(now), Input::Answer { number, evidence });
            for effect in &more {
                if let Effect::Report { opinion, .. } = effect {
                    self.think(now, *opinion);
                }
            }
            effects.extend(more);
        }
        next.max(now)
    }

    fn think(&mut self, now: Us, opinion: Opinion) {
        match (opinion == Opinion::Down, self.down_since) {
            (true, None) => {
                self.alarms.accusations += 1;
                self.down_since = Some(now);
            }
            (false, Some(since)) => {
                self.down.push((since, now));
                self.down_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// What a probe finds, and when its answer is handled.
    fn outcome(&mut self, started: Us, timeout: Us) -> (Evidence, Us) {
        self.alarms.probes += 1;
        let luck = self.rng.f64() * if std::mem::take(&mut self.out_of_luck) { LOST + LATE } else { 1.0 };
        let arrives = if luck < LOST {
            Us::MAX
        } else if luck < LOST + LATE {
            started + self.rng.u64(0..LATE_WITHIN)
        } else {
            started + ROUND_TRIP
        };
        let arrives = if arrives == Us::MAX { arrives } else { self.node.done(arrives) };
        let expires = started + timeout;
        let handled = self.own.done(arrives.min(expires));
        // Both may have happened by the time somebody looks, and then either may be seen first.
        let both = arrives <= handled && expires <= handled;
        if if both { self.rng.bool() } else { arrives <= handled } {
            return (Evidence::Serving, handled);
        }
        self.alarms.missed += 1;
        (Evidence::Soft(Soft::Timeout), handled)
    }
}

/// Simulates one node for some hours.
#[must_use]
pub fn simulate(model: &Model, seed: u64, hours: u64) -> Alarms {
    let mut rng = fastrand::Rng::with_seed(seed);
    let machine = Stalls::draw(&mut rng, hours, model.machine_stalls, 10 * SECOND);
    let node = Stalls::draw(&mut rng, hours, model.node_stalls, model.node_stall_max.as_micros() as Us).and(&machine);
    let mut alarms = Alarms { node_hours: hours as f64, ..Alarms::default() };
    let mut edges = Vec::new();
    for _ in 0..SUPERVISORS {
        let own = Stalls::draw(&mut rng, hours, model.supervisor_stalls, 10 * SECOND).and(&machine);
        let mut prober = Prober::new(model.thresholds, model.patience, None);
        // What a probe says of a node that nobody knows is no false alarm.
        for turn in 0..u64::from(model.thresholds.window) {
            prober.round(at(turn), Evidence::Serving);
        }
        let (own, node, rng) = (&own, &node, rng.fork());
        let (alarms_of_one, down) = (Alarms::default(), Vec::new());
        let eye =
            Eye { model, rng, prober, own, node, alarms: alarms_of_one, out_of_luck: false, down, down_since: None };
        let (down, counted) = eye.run(hours * HOUR);
        alarms = alarms.and(counted);
        edges.extend(down.into_iter().flat_map(|(from, to)| [(from, 1_i32), (to, -1)]));
    }
    // At the same moment the end of one comes before the beginning of another.
    edges.sort_unstable();
    let (mut accusers, mut held) = (0, false);
    for (_, change) in edges {
        accusers += change;
        let majority = usize::try_from(accusers).is_ok_and(|accusers| 2 * accusers > SUPERVISORS);
        alarms.verdicts += u64::from(majority && !held);
        held = majority;
    }
    alarms
}
