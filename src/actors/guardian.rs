//! Watches every actor's task and rebuilds what died from its spec.
//!
//! A panic ends an actix actor even under `actix::Supervisor`, which restarts only what stopped itself, and that in
//! the same broken state. The guardian looks at the `JoinHandle`, builds a new actor with nothing of the old one's
//! memory, counts it, and pauses longer each time. It holds no state that anybody needs.

use crate::{
    messages::control::{GetRestarts, StopAll},
    telemetry::{self, Meter},
};
use actix::prelude::*;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::Instant};

/// Pause before the first rebuild, and the longest one.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));
/// An actor that lived this long starts again with the shortest pause.
const CALM: Duration = Duration::from_secs(60);

/// How to build one actor.
pub struct ChildSpec {
    name: String,
    key: ChildKey,
    start: Box<dyn FnMut() -> JoinHandle<()> + Send>,
}

/// Which child: the key of one spec and no other, whatever their names.
#[derive(Debug, Clone)]
pub struct ChildKey(Arc<()>);

impl PartialEq for ChildKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// To the guardian: start these and end those for good, both at once. Bound: one per reload.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Change {
    /// To be started, and watched from now on.
    pub add: Vec<ChildSpec>,
    /// To be ended, and rebuilt no more.
    pub remove: Vec<ChildKey>,
}

impl ChildSpec {
    /// An actor by this name. `build` makes it anew; `publish` is handed its address each time, to put it in its
    /// predecessor's place.
    pub fn new<A>(
        name: impl Into<String>,
        mut build: impl FnMut() -> A + Send + 'static,
        publish: impl Fn(&Addr<A>) + Send + 'static,
    ) -> Self
    where
        A: Actor<Context = Context<A>>,
    {
        let start = move || {
            let context = Context::new();
            publish(&context.address());
            tokio::task::spawn_local(context.into_future(build()))
        };
        Self { name: name.into(), key: ChildKey(Arc::new(())), start: Box::new(start) }
    }

    /// By which it can be ended.
    #[must_use]
    pub fn key(&self) -> ChildKey {
        self.key.clone()
    }
}

struct Child {
    spec: ChildSpec,
    task: Option<tokio::task::AbortHandle>,
    started: Instant,
    pause: Duration,
    restarts: u64,
}

/// The actor.
pub struct Guardian {
    /// By number, which is never given twice: one that has gone may still be heard of.
    children: BTreeMap<u64, Child>,
    next: u64,
    stopping: bool,
    meter: Meter,
}

impl Guardian {
    /// A guardian that starts these, in this order.
    #[must_use]
    pub fn new(specs: Vec<ChildSpec>) -> Self {
        let mut guardian = Self { children: BTreeMap::new(), next: 0, stopping: false, meter: Meter::default() };
        for spec in specs {
            guardian.adopt(spec);
        }
        guardian
    }

    /// Rebuilds are counted there.
    #[must_use]
    pub fn metered(mut self, meter: Meter) -> Self {
        self.meter = meter;
        self
    }

    fn adopt(&mut self, spec: ChildSpec) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        let child = Child { spec, task: None, started: Instant::now(), pause: PAUSE.0, restarts: 0 };
        self.children.insert(number, child);
        number
    }

    fn start(&mut self, number: u64, ctx: &mut Context<Self>) {
        let Some(child) = self.children.get_mut(&number).filter(|_| !self.stopping) else { return };
        let task = (child.spec.start)();
        child.task = Some(task.abort_handle());
        child.started = Instant::now();
        ctx.spawn(task.into_actor(self).map(move |end, this: &mut Self, ctx| {
            this.ended(number, end.is_err_and(|error| error.is_panic()), ctx);
        }));
    }

    fn ended(&mut self, number: u64, panicked: bool, ctx: &mut Context<Self>) {
        let Some(child) = self.children.get_mut(&number).filter(|_| !self.stopping) else { return };
        if child.started.elapsed() >= CALM {
            child.pause = PAUSE.0;
        }
        let pause = child.pause;
        child.pause = pause.saturating_mul(2).min(PAUSE.1);
        child.restarts = child.restarts.saturating_add(1);
        self.meter.actor_restarted(&child.spec.name);
        telemetry::actor_died(&child.spec.name, panicked, child.restarts, pause);
        ctx.run_later(pause, move |this, ctx| this.start(number, ctx));
    }
}

impl Child {
    fn end(&self) {
        self.task.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

impl Actor for Guardian {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        let numbers: Vec<u64> = self.children.keys().copied().collect();
        numbers.into_iter().for_each(|number| self.start(number, ctx));
    }
}

impl Drop for Guardian {
    /// Whoever drops the guardian ends what it guards: nothing runs on unwatched.
    fn drop(&mut self) {
        self.children.values().for_each(Child::end);
    }
}

impl Handler<StopAll> for Guardian {
    type Result = ();
    fn handle(&mut self, _: StopAll, ctx: &mut Context<Self>) {
        self.stopping = true;
        ctx.stop();
    }
}

impl Handler<Change> for Guardian {
    type Result = ();
    fn handle(&mut self, change: Change, ctx: &mut Context<Self>) {
        self.children.retain(|_, child| {
            let stays = !change.remove.contains(&child.spec.key);
            if !stays {
                child.end();
            }
            stays
        });
        for spec in change.add {
            let number = self.adopt(spec);
            self.start(number, ctx);
        }
    }
}

impl Handler<GetRestarts> for Guardian {
    type Result = MessageResult<GetRestarts>;
    fn handle(&mut self, _: GetRestarts, _: &mut Context<Self>) -> Self::Result {
        let mut restarts = BTreeMap::<String, u64>::new();
        for child in self.children.values() {
            *restarts.entry(child.spec.name.clone()).or_default() += child.restarts;
        }
        MessageResult(restarts)
    }
}

impl std::fmt::Debug for Guardian {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.children.values().map(|child| child.spec.name.as_str()).collect();
        f.debug_struct("Guardian").field("children", &names).finish_non_exhaustive()
    }
}
impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChildSpec").field("name", &self.name).finish_non_exhaustive()
    }
}
