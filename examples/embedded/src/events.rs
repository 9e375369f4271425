//! Server-sent events: every change of the consensus, pushed.
//!
//! Each client is an actor of its own, subscribed at the supervisor. Between it and the response stands a channel of
//! one place, in which the latest consensus replaces one that was not sent yet: a slow client skips revisions, holds
//! up nobody, and always gets the last.

use crate::app::Failure;
use actix::prelude::*;
use actix_web::{HttpResponse, http::header, web};
use futures_util::stream;
use quorate::{Supervisor, core::consensus::Consensus, messages::consensus::ConsensusChanged};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{sync::watch, time::timeout};

/// How often a quiet stream carries a comment: only a write tells that a client is gone without a word.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// The latest consensus that one client has to be told.
pub type Latest = watch::Receiver<Option<Arc<Consensus>>>;

/// One client. It ends when the other side of its channel is dropped, which is when the client disconnects.
#[derive(Debug)]
pub struct Client {
    latest: watch::Sender<Option<Arc<Consensus>>>,
}

impl Client {
    /// Starts one; answers how to send to it and what it has for its client.
    #[must_use]
    pub fn start() -> (Addr<Client>, Latest) {
        let (sender, latest) = watch::channel(None);
        (Actor::start(Client { latest: sender }), latest)
    }
}

impl Actor for Client {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Context<Self>) {
        let latest = self.latest.clone();
        let disconnected = async move { latest.closed().await };
        ctx.spawn(disconnected.into_actor(self).map(|(), _, ctx| ctx.stop()));
    }
}

impl Handler<ConsensusChanged> for Client {
    type Result = ();
    fn handle(&mut self, ConsensusChanged(consensus): ConsensusChanged, _: &mut Context<Self>) {
        self.latest.send_replace(Some(consensus));
    }
}

/// `GET /events`: the current consensus at once, then each change.
pub(crate) async fn stream<C: Clone + Send + Sync + 'static>(
    supervisor: web::Data<Supervisor<C>>,
) -> Result<HttpResponse, Failure> {
    let (client, latest) = Client::start();
    supervisor.subscribe(client.recipient()).await?;
    let body = stream::unfold(latest, |mut latest| async move {
        let chunk = match timeout(KEEPALIVE, latest.changed()).await {
            Ok(Ok(())) => latest.borrow_and_update().as_deref().map(event).unwrap_or_default(),
            // The actor is gone: so is the supervisor.
            Ok(Err(_)) => return None,
            Err(_) => ": nothing new\n\n".to_owned(),
        };
        Some((Ok::<_, Infallible>(web::Bytes::from(chunk)), latest))
    });
    let response = HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .streaming(body);
    Ok(response)
}

/// The revision is the event's id, so a browser that reconnects can tell what it had. JSON has no raw line ends.
fn event(consensus: &Consensus) -> String {
    match serde_json::to_string(consensus) {
        Ok(json) => format!("id: {}\nevent: consensus\ndata: {json}\n\n", consensus.revision.0),
        Err(error) => format!(": revision {} cannot be written: {error}\n\n", consensus.revision.0),
    }
}
