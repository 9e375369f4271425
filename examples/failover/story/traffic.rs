//! The load: one client that writes numbered objects without end, and one that reads them back.

use crate::cluster::{
    Failure,
    client::{Acknowledged, Client, stale},
};
use quorate::core::ids::Storage;
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tonic::{Code, Status};

/// Between two writes, and after one that failed.
const PACE: Duration = Duration::from_millis(10);
/// Between two reads.
const READ_PACE: Duration = Duration::from_millis(40);

/// The bytes of an object: whoever knows its number can tell whether they are right.
pub(crate) fn object(number: u64) -> Vec<u8> {
    let line = format!("object {number} ");
    let lines = usize::try_from(number % 17).unwrap_or(0).saturating_add(1);
    line.repeat(lines).into_bytes()
}

/// What the writer knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// In order of acknowledgement.
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Attempts that came to nothing and were made again.
    pub(crate) retried: u64,
    /// Those of them that were refused for their epoch.
    pub(crate) stale_refused: u64,
    pub(crate) last_error: String,
}

/// What the reader knows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reads {
    pub(crate) verified: u64,
    /// Answers that were given but wrong.
    pub(crate) wrong: Vec<String>,
}

type CaughtUp = oneshot::Sender<Result<u64, Failure>>;

/// The load, running.
pub(crate) struct Traffic {
    pub(crate) ledger: watch::Receiver<Ledger>,
    pub(crate) reads: watch::Receiver<Reads>,
    orders: mpsc::Sender<(Storage, CaughtUp)>,
    tasks: [JoinHandle<()>; 2],
}

impl Traffic {
    pub(crate) fn start(client: &Client) -> Self {
        let (publish, ledger) = watch::channel(Ledger::default());
        let (tell, reads) = watch::channel(Reads::default());
        let (orders, ordered) = mpsc::channel(8);
        let writer = tokio::spawn(write(client.clone(), ordered, publish));
        let reader = tokio::spawn(read(client.clone(), ledger.clone(), tell));
        Self { ledger, reads, orders, tasks: [writer, reader] }
    }

    /// Has a replica catch up between two writes, so that no write can come between its copy and its generation.
    pub(crate) async fn catch_up(&self, storage: &Storage) -> Result<u64, Failure> {
        let (answer, answered) = oneshot::channel();
        self.orders.send((storage.clone(), answer)).await.map_err(|_| "the writer has ended")?;
        answered.await.map_err(|_| "the writer has ended")?
    }

    /// Ends the load; what was acknowledged until then stands in the ledger.
    pub(crate) async fn stop(&mut self) -> (Ledger, Reads) {
        for task in &mut self.tasks {
            task.abort();
            let _ = task.await;
        }
        (self.ledger.borrow().clone(), self.reads.borrow().clone())
    }
}

async fn write(client: Client, mut orders: mpsc::Receiver<(Storage, CaughtUp)>, ledger: watch::Sender<Ledger>) {
    let mut announced = None;
    for number in 1.. {
        // The same number until it counts: what a failed attempt left behind has the same bytes.
        loop {
            while let Ok((storage, answer)) = orders.try_recv() {
                let _ = answer.send(client.catch_up(&storage).await);
            }
            match one(&client, number, &mut announced).await {
                Ok(done) => {
                    ledger.send_modify(|ledger| ledger.acknowledged.push(done));
                    break;
                }
                Err(error) => ledger.send_modify(|ledger| {
                    ledger.retried += 1;
                    ledger.stale_refused += u64::from(stale(&error).is_some());
                    ledger.last_error = error.to_string();
                }),
            }
            tokio::time::sleep(PACE).await;
        }
        tokio::time::sleep(PACE).await;
    }
}

async fn one(
    client: &Client,
    number: u64,
    announced: &mut Option<quorate::core::epoch::Epoch>,
) -> Result<Acknowledged, Failure> {
    let elected = client.primary().await?;
    if *announced != elected.primary.epoch {
        client.announce(&elected).await?;
        *announced = elected.primary.epoch;
    }
    client.write(&elected, number, object(number)).await
}

async fn read(client: Client, ledger: watch::Receiver<Ledger>, reads: watch::Sender<Reads>) {
    for turn in 1usize.. {
        tokio::time::sleep(READ_PACE).await;
        // Chosen before anybody is asked where to read: whoever is named then must have it.
        let number = {
            let known = &ledger.borrow().acknowledged;
            turn.wrapping_mul(7919).checked_rem(known.len()).and_then(|at| known.get(at)).map(|done| done.number)
        };
        let Some(number) = number else { continue };
        match client.read(number).await {
            Ok(data) if data == object(number) => reads.send_modify(|reads| reads.verified += 1),
            Ok(_) => {
                let wrong = format!("object {number} came back with other bytes");
                reads.send_modify(|reads| reads.wrong.push(wrong));
            }
            Err(error) => {
                // Whatever else goes wrong is a node that is dying or has to adopt first: the next read finds another.
                let missing = error.downcast_ref().is_some_and(|status: &Status| status.code() == Code::NotFound);
                if missing {
                    reads.send_modify(|reads| reads.wrong.push(format!("object {number} was not found")));
                }
            }
        }
    }
}
