//! A supervisor in a process of its own, seen from outside: questions, answers, and what it says unasked.

use super::{
    Failure,
    child::Child,
    wire::{Answer, Event, Line, NodeSpec, Op, Outcome, Refusal, Request, View, What},
    within,
};
use quorate::core::{
    ids::Storage,
    quorum::{Tally, Verdict},
};
use serde::de::DeserializeOwned;
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::{oneshot, watch};

/// A start takes as long as it takes to look at every node, and a busy machine takes longer.
const READY_WITHIN: Duration = Duration::from_secs(20);

type Pending = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>;

/// How a supervisor process is started.
#[derive(Debug, Clone)]
pub(crate) struct Spec {
    pub(crate) name: String,
    pub(crate) database: String,
    pub(crate) profile: String,
    pub(crate) nodes: Vec<NodeSpec>,
}

/// The handle.
pub(crate) struct SupervisorProcess {
    pub(crate) name: String,
    pub(crate) child: tokio::sync::Mutex<Child>,
    pending: Pending,
    next: std::sync::atomic::AtomicU64,
    /// Everything that it said unasked, oldest first; grows by one with each.
    events: watch::Receiver<Vec<Event>>,
}

impl SupervisorProcess {
    /// Starts it; it may not be ready yet.
    pub(crate) fn spawn(program: &Path, spec: &Spec) -> Result<Self, Failure> {
        let mut arguments = vec!["supervisor".to_owned(), "--name".into(), spec.name.clone()];
        arguments.extend(["--database".into(), spec.database.clone(), "--profile".into(), spec.profile.clone()]);
        for node in &spec.nodes {
            arguments.extend(["--node".into(), node.to_string()]);
        }
        let (child, mut said) = Child::spawn(program, &spec.name, arguments)?;
        let pending = Pending::default();
        let waiting = Arc::clone(&pending);
        let (publish, events) = watch::channel(Vec::new());
        tokio::spawn(async move {
            while let Some(line) = said.recv().await {
                match line {
                    Line::Answer(answer) => {
                        let asked = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&answer.id);
                        if let Some(asked) = asked {
                            let _ = asked.send(answer);
                        }
                    }
                    Line::Event(event) => publish.send_modify(|events| events.push(event)),
                }
            }
            // It is gone: whoever waits for an answer hears so at once.
            waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        let child = tokio::sync::Mutex::new(child);
        Ok(Self { name: spec.name.clone(), child, pending, next: 1.into(), events })
    }

    /// Waits until it has looked at the nodes, or says why it ended.
    pub(crate) async fn ready(&self) -> Result<(), Failure> {
        let event = self.event(READY_WITHIN, "to be ready or to end", |what| match what {
            What::Ready => Some(Ok(())),
            What::Ended { reason, message } => Some(Err(format!("{message} ({reason})"))),
            What::Consensus { .. } | What::Held { .. } => None,
        });
        let (_, outcome) = event.await?;
        match outcome {
            Ok(()) => Ok(()),
            Err(why) => Err(format!("{} did not start: {why}; {}", self.name, self.complaints().await).into()),
        }
    }

    /// Asks; the error is a [`Refusal`] if the supervisor answered with one.
    pub(crate) async fn ask<T: DeserializeOwned>(&self, limit: Duration, op: Op) -> Result<T, Failure> {
        Ok(self.ask_timed(limit, op).await?.1)
    }

    /// The same, with the moment at which the supervisor answered.
    pub(crate) async fn ask_timed<T: DeserializeOwned>(&self, limit: Duration, op: Op) -> Result<(u64, T), Failure> {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        let what = format!("{} answers {op:?}", self.name);
        let asked = async {
            self.child.lock().await.say(&Request { id, op }).await?;
            answered.await.map_err(|_| Failure::from("it ended instead"))
        };
        let answer = within(limit, &what, asked).await;
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        let Answer { at_us, outcome, .. } = match answer {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) | Err(error) => return Err(format!("{error}; {}", self.complaints().await).into()),
        };
        match outcome {
            Outcome::Ok(value) => Ok((at_us, serde_json::from_value(value)?)),
            Outcome::Error(refusal) => Err(refusal.into()),
        }
    }

    /// The first thing it said unasked, ever, that is looked for; waits for it if need be.
    pub(crate) async fn event<T>(
        &self,
        limit: Duration,
        what: &str,
        find: impl Fn(&What) -> Option<T>,
    ) -> Result<(u64, T), Failure> {
        self.event_since(0, limit, what, find).await
    }

    /// The same, among what it said at or after a moment.
    pub(crate) async fn event_since<T>(
        &self,
        since_us: u64,
        limit: Duration,
        what: &str,
        find: impl Fn(&What) -> Option<T>,
    ) -> Result<(u64, T), Failure> {
        let mut events = self.events.clone();
        let mut found = None;
        let search = events.wait_for(|events| {
            let mut late = events.iter().filter(|event| event.at_us >= since_us);
            found = late.find_map(|event| find(&event.what).map(|found| (event.at_us, found)));
            found.is_some()
        });
        let ended = within(limit, &format!("{} {what}", self.name), search).await.map(|seen| seen.is_err());
        match (ended, found) {
            (_, Some(found)) => Ok(found),
            (Ok(_), None) => {
                Err(format!("{} ended while waited {what}; {}", self.name, self.complaints().await).into())
            }
            (Err(error), None) => {
                let last = self.events().into_iter().next_back();
                Err(format!("{error}; the last it told was {last:?}; {}", self.complaints().await).into())
            }
        }
    }

    /// Waits until the quorum's view of a node, as this supervisor read it back after a moment, is this.
    pub(crate) async fn verdict(
        &self,
        since_us: u64,
        limit: Duration,
        about: &Storage,
        verdict: Verdict,
    ) -> Result<(u64, Tally), Failure> {
        self.event_since(since_us, limit, &format!("to hold {about} to be {verdict:?}"), |what| match what {
            What::Consensus { nodes, .. } => {
                nodes.get(about).filter(|view| view.verdict == verdict).map(|view| view.tally)
            }
            What::Ready | What::Ended { .. } | What::Held { .. } => None,
        })
        .await
    }

    /// Everything it said unasked until now.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }

    /// The last view of the nodes that it told of.
    pub(crate) fn view(&self) -> BTreeMap<Storage, View> {
        view_of(&self.events.borrow())
    }

    /// Whether it told, last of all, that the quorum holds this node to be down.
    pub(crate) fn sees_down(&self, about: &Storage) -> bool {
        is_down(&self.events.borrow(), about)
    }

    /// Resolves when this supervisor tells that the quorum holds a node to be down; never, if it ends before.
    pub(crate) async fn holds_down(&self, about: &Storage) {
        let mut events = self.events.clone();
        if events.wait_for(|events| is_down(events, about)).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(crate) async fn complaints(&self) -> String {
        self.child.lock().await.complaints()
    }
}

fn view_of(events: &[Event]) -> BTreeMap<Storage, View> {
    let mut newest = events.iter().rev().filter_map(|event| match &event.what {
        What::Consensus { nodes, .. } => Some(nodes.clone()),
        What::Ready | What::Ended { .. } | What::Held { .. } => None,
    });
    newest.next().unwrap_or_default()
}

fn is_down(events: &[Event], about: &Storage) -> bool {
    view_of(events).get(about).is_some_and(|view| view.verdict == Verdict::Unhealthy)
}

/// What a supervisor refused, if that is what went wrong.
pub(crate) fn refusal(error: &Failure) -> Option<&Refusal> {
    error.downcast_ref()
}
