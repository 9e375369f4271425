//! Round robin over the machines that a `dns:` name stands for.
//!
//! Every machine has a channel of its own. A call takes the next one that is connected; those that are not are tried in
//! the background, with pauses, so a dead machine delays nobody. Only while none is connected does a call wait, until
//! the first is, or until the last has failed. The name is looked up again when its answer has grown old, and once in a
//! second while a machine is not reached. Nothing runs while nobody calls.
//!
//! tonic's own balancer was rejected: it chooses by load, takes no connector of ours, and hands calls to machines that
//! it has not reached.

use super::{
    connection::failed,
    connector::{ConnectFailure, Connector},
};
use crate::transport::DialOptions;
use std::{
    error::Error,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::Instant};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};

/// How long a name is not looked up again although a machine is not reached.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// The machines of one name. Clones are the same.
#[derive(Clone)]
pub(super) struct RoundRobin(Arc<Inner>);

struct Inner {
    endpoint: Endpoint,
    /// Knows the name; each machine's own is made from it.
    connector: Connector,
    options: DialOptions,
    state: Mutex<State>,
    /// Raised whenever an attempt or a lookup ended.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    machines: Vec<Machine>,
    /// Where the next call's search begins.
    turn: usize,
    looked_up: Option<Instant>,
    looking_up: bool,
    failure: Option<ConnectFailure>,
}

struct Machine {
    peer: SocketAddr,
    connector: Connector,
    link: Link,
}

enum Link {
    /// Not tried yet, or lost, or failed: the pace knows.
    Down,
    Connecting,
    Up(Channel),
}

/// What a call finds.
enum Found {
    Machine(Channel, Connector),
    Wait,
    Nothing(ConnectFailure),
}

impl RoundRobin {
    pub(super) fn new(endpoint: Endpoint, connector: Connector, options: DialOptions) -> Self {
        let (state, changed) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { endpoint, connector, options, state, changed }))
    }

    /// The machine whose turn it is. Every attempt that is waited for has a deadline of its own.
    pub(super) async fn pick(&self) -> Result<(Channel, Connector), Status> {
        let mut changed = self.0.changed.subscribe();
        loop {
            match Inner::find(&self.0) {
                Found::Machine(channel, connector) => return Ok((channel, connector)),
                Found::Nothing(failure) => return Err(failed(tonic::ConnectError(Box::new(failure)))),
                // The sender is ours, so this ends only with a change.
                Found::Wait => drop(changed.changed().await),
            }
        }
    }

    /// Lets every machine be tried at once, and a name that led nowhere be looked up.
    pub(super) fn cut_pause(&self) {
        let mut state = self.0.state();
        state.machines.iter().for_each(|machine| machine.connector.pace().cut());
        if state.failure.is_some() {
            state.looked_up = None;
        }
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(this: &Arc<Self>) -> Found {
        let now = Instant::now();
        let mut state = this.state();
        let state = &mut *state;
        for machine in &mut state.machines {
            if matches!(machine.link, Link::Up(_)) && !machine.connector.is_open() {
                machine.link = Link::Down;
            }
            if matches!(machine.link, Link::Down) && machine.connector.pace().due(now) {
                machine.link = Link::Connecting;
                tokio::spawn(connect(Arc::clone(this), machine.peer, machine.connector.clone()));
            }
        }
        if !state.looking_up && state.lookup_due(now, this.options.dns_refresh) {
            state.looking_up = true;
            tokio::spawn(look_up(Arc::clone(this)));
        }
        state.found()
    }
}

impl State {
    fn lookup_due(&self, now: Instant, refresh: Duration) -> bool {
        let whole = self.failure.is_none() && self.machines.iter().all(|machine| matches!(machine.link, Link::Up(_)));
        let pause = if whole { refresh } else { refresh.min(LOOKUP_PAUSE) };
        self.looked_up.is_none_or(|at| now.saturating_duration_since(at) >= pause)
    }

    fn found(&mut self) -> Found {
        let count = self.machines.len();
        for step in 0..count {
            let turn = self.turn.wrapping_add(step) % count;
            if let Some(Machine { link: Link::Up(channel), connector, .. }) = self.machines.get(turn) {
                self.turn = turn.wrapping_add(1);
                return Found::Machine(channel.clone(), connector.clone());
            }
        }
        if self.looking_up || self.machines.iter().any(|machine| matches!(machine.link, Link::Connecting)) {
            return Found::Wait;
        }
        // One that may still live says more than one that is surely dead.
        let failures = self.machines.iter().filter_map(|machine| machine.connector.pace().last());
        let doubtful = failures.max_by_key(ConnectFailure::doubt);
        Found::Nothing(doubtful.or_else(|| self.failure.clone()).unwrap_or(ConnectFailure::Paused))
    }

    /// Keeps the machines that are still named, in the answer's order.
    fn named(&mut self, peers: Vec<SocketAddr>, connector: &Connector, options: &DialOptions) {
        let mut before = std::mem::take(&mut self.machines);
        for peer in peers {
            if self.machines.iter().any(|machine| machine.peer == peer) {
                continue;
            }
            let known = before.iter().position(|machine| machine.peer == peer);
            self.machines.push(match known {
                Some(at) => before.swap_remove(at),
                None => Machine { peer, connector: connector.toward(peer, options), link: Link::Down },
            });
        }
    }
}

/// Bounded by the resolver's deadline.
async fn look_up(this: Arc<Inner>) {
    let answer = this.connector.resolve().await;
    let mut state = this.state();
    state.looking_up = false;
    state.looked_up = Some(Instant::now());
    match answer {
        Ok(peers) => {
            state.failure = None;
            state.named(peers, &this.connector, &this.options);
        }
        // An old answer is better than none.
        Err(failure) => state.failure = Some(failure),
    }
    drop(state);
    this.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
}

/// Bounded by the connector's limits.
async fn connect(this: Arc<Inner>, peer: SocketAddr, connector: Connector) {
    let connected = this.endpoint.connect_with_connector(connector.clone()).await;
    if let Err(error) = &connected {
        connector.pace().failed(&cause(error));
    }
    let mut state = this.state();
    if let Some(machine) = state.machines.iter_mut().find(|machine| machine.peer == peer) {
        machine.link = connected.map_or(Link::Down, Link::Up);
    }
    drop(state);
    this.changed.send_modify(|changes| *changes = changes.wrapping_add(1));
}

/// Why our connector failed; if it did not, the machine hung up on HTTP/2's first words.
fn cause(error: &tonic::transport::Error) -> ConnectFailure {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(failure) = error.downcast_ref::<ConnectFailure>() {
            return failure.clone();
        }
        next = error.source();
    }
    ConnectFailure::Socket(Arc::new(io::ErrorKind::ConnectionReset.into()))
}
