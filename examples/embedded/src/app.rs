//! The routes. They know a `Supervisor` and nothing of databases or gRPC, so a test runs them on scripted nodes.

use crate::events;
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
    web,
};
use quorate::{
    Supervisor,
    core::{
        consensus::Consensus,
        election::Target,
        ids::{InvalidName, RelativePath, RepositoryId, Storage, VirtualStorage},
    },
    error::GrpcCode,
    messages::health::HealthyNodes,
    store::NewRepository,
    telemetry::prometheus::{CONTENT_TYPE, Registry, render},
};
use serde::Serialize;
use std::{fmt, sync::Arc};

/// What a client that may ask again should wait, in seconds: longer than a failover takes.
const RETRY_AFTER_SECS: u64 = 1;

/// Adds the supervisor, the registry that its metrics go to, and the routes that ask them.
pub fn routes<C: Clone + Send + Sync + 'static>(
    config: &mut web::ServiceConfig,
    supervisor: Supervisor<C>,
    registry: Arc<Registry>,
) {
    config
        .app_data(web::Data::new(supervisor))
        .app_data(web::Data::from(registry))
        .route("/primary/{virtual_storage}/{path:.*}", web::get().to(primary::<C>))
        .route("/repository/{virtual_storage}/{path:.*}", web::put().to(create::<C>))
        .route("/health", web::get().to(health::<C>))
        .route("/metrics", web::get().to(metrics))
        .route("/events", web::get().to(events::stream::<C>));
}

#[derive(Serialize)]
struct PrimaryAnswer {
    storage: Storage,
    /// `era.number`: what a write has to name to count.
    epoch: Option<String>,
    repository: Option<RepositoryId>,
}

async fn primary<C: Clone + Send + Sync + 'static>(
    supervisor: web::Data<Supervisor<C>>,
    place: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (virtual_storage, path) = parsed(place.into_inner())?;
    let primary = supervisor.primary(&Target::Path(virtual_storage, path)).await?;
    Ok(HttpResponse::Ok().json(PrimaryAnswer {
        storage: primary.storage,
        epoch: primary.epoch.map(|epoch| epoch.to_string()),
        repository: primary.repository,
    }))
}

#[derive(Serialize)]
struct CreateAnswer {
    repository: RepositoryId,
    storages: Vec<Storage>,
}

/// Creates a repository with a replica on every configured storage.
async fn create<C: Clone + Send + Sync + 'static>(
    supervisor: web::Data<Supervisor<C>>,
    place: web::Path<(String, String)>,
) -> Result<HttpResponse, Failure> {
    let (virtual_storage, path) = parsed(place.into_inner())?;
    let here = supervisor.nodes().iter().map(quorate::actors::NodeHandle::node);
    let here = here.filter(|node| node.virtual_storage == virtual_storage);
    let storages: Vec<Storage> = here.map(|node| node.storage.clone()).collect();
    let created = supervisor.repository_create(&NewRepository::new(virtual_storage, path, storages.clone())).await?;
    Ok(HttpResponse::Created().json(CreateAnswer { repository: created.repository, storages }))
}

#[derive(Serialize)]
struct HealthAnswer<'a> {
    /// Whether this supervisor votes and has read a consensus back.
    ready: bool,
    /// Who is up, as this supervisor itself sees it: routing uses this.
    local: HealthyNodes,
    /// The quorum's view with its votes and its revision: election uses this.
    consensus: Option<&'a Consensus>,
}

/// 503 until the first consensus, and again once a newer process has this supervisor's name: then it has no vote.
async fn health<C: Clone + Send + Sync + 'static>(supervisor: web::Data<Supervisor<C>>) -> HttpResponse {
    let consensus = supervisor.health_consensus();
    let ready = supervisor.voter().is_some() && consensus.is_some();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponseBuilder::new(status).json(HealthAnswer {
        ready,
        local: supervisor.healthy_nodes(),
        consensus: consensus.as_deref(),
    })
}

/// What Prometheus scrapes. It reads memory only: no scrape slows a health check down, whatever the database does.
async fn metrics(registry: web::Data<Registry>) -> HttpResponse {
    match render(&registry) {
        Ok(page) => HttpResponse::Ok().content_type(CONTENT_TYPE).body(page),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

fn parsed((virtual_storage, path): (String, String)) -> Result<(VirtualStorage, RelativePath), InvalidName> {
    Ok((VirtualStorage::new(virtual_storage)?, RelativePath::new(path)?))
}

/// Why a request failed, as a client is told.
#[derive(Debug, Serialize)]
pub struct Failure {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    /// Whether the same request may succeed later without anybody changing anything.
    retryable: bool,
}

impl From<quorate::Error> for Failure {
    /// HTTP's word for each gRPC code, as gateways translate them; only a broken rule is a conflict, not a bad request.
    fn from(error: quorate::Error) -> Failure {
        let status = match error.grpc_code() {
            GrpcCode::InvalidArgument => StatusCode::BAD_REQUEST,
            GrpcCode::NotFound => StatusCode::NOT_FOUND,
            GrpcCode::Aborted | GrpcCode::FailedPrecondition => StatusCode::CONFLICT,
            GrpcCode::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            GrpcCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            GrpcCode::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            GrpcCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure { status, error: error.to_string(), retryable: error.is_retryable() }
    }
}

impl From<InvalidName> for Failure {
    fn from(error: InvalidName) -> Failure {
        Failure { status: StatusCode::BAD_REQUEST, error: error.to_string(), retryable: false }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.error)
    }
}

impl ResponseError for Failure {
    fn status_code(&self) -> StatusCode {
        self.status
    }
    fn error_response(&self) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status);
        if self.retryable {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER_SECS));
        }
        response.json(self)
    }
}
