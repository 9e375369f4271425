//! The application over scripted nodes and the memory store, on a paused clock.

use actix_web::{
    App,
    body::MessageBody,
    http::{StatusCode, header},
    test,
};
use quorate::{
    Config, Ports, Supervisor,
    config::{NodeConfig, VirtualStorageConfig},
    core::{
        evidence::{Evidence, Hard},
        ids::{NodeId, Storage, VirtualStorage},
        quorum::Verdict,
        settings::Profile,
    },
    messages::consensus::ConsensusChanged,
    store::memory::MemoryStore,
    telemetry::{
        Meter,
        prometheus::{CONTENT_TYPE, Prometheus, Registry},
    },
    testing::{probe::ScriptedTransport, wait},
};
use quorate_embedded_example::{app, events::Client};
use serde_json::Value;
use std::{pin::Pin, sync::Arc, time::Duration};

const LIMIT: Duration = Duration::from_secs(60);

struct World {
    store: Arc<MemoryStore>,
    transport: ScriptedTransport,
    registry: Arc<Registry>,
    supervisor: Supervisor<u64>,
}

fn node(name: &str) -> NodeId {
    NodeId::new(VirtualStorage::new("v").unwrap(), Storage::new(name).unwrap())
}

async fn supervisor(store: &Arc<MemoryStore>, transport: &ScriptedTransport, meter: Meter) -> Supervisor<u64> {
    let mut config = Config::new(Profile::Default, "sqlite:unused");
    config.name = Some("embedded".parse().unwrap());
    let nodes = ["g1", "g2"].map(|name| NodeConfig::new(node(name).storage, format!("tcp://{name}:1")));
    config.virtual_storages = vec![VirtualStorageConfig { name: node("g1").virtual_storage, nodes: nodes.into() }];
    Supervisor::assemble(config, Ports::new(store.clone(), transport.clone()).metered(meter)).await.unwrap()
}

impl World {
    async fn new() -> World {
        tokio::time::pause();
        let (store, transport) = (Arc::new(MemoryStore::default()), ScriptedTransport::default());
        let mut registry = Registry::default();
        let meter = Meter::new(Prometheus::register(&mut registry));
        let supervisor = supervisor(&store, &transport, meter).await;
        World { store, transport, registry: Arc::new(registry), supervisor }
    }
    fn dies(&self, name: &str) {
        self.transport.node(&format!("tcp://{name}:1")).answers(Evidence::Hard(Hard::Refused));
    }
    async fn is(&self, name: &str, verdict: Verdict) {
        let holds = || self.supervisor.health_consensus().is_some_and(|known| known.verdict(&node(name)) == verdict);
        wait::until(&format!("{name} is {verdict:?}"), LIMIT, holds).await;
    }
}

/// The application around a world's supervisor.
macro_rules! app {
    ($world:expr) => {{
        let (supervisor, registry) = ($world.supervisor.clone(), $world.registry.clone());
        test::init_service(App::new().configure(|config| app::routes(config, supervisor, registry))).await
    }};
}

/// One request; its status, its `Retry-After`, its body.
macro_rules! ask {
    ($app:expr, $method:ident, $path:literal) => {{
        let request = test::TestRequest::$method().uri($path).to_request();
        let response = test::call_service(&$app, request).await;
        let retry = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body: Value = test::read_body_json(response).await;
        (status, retry, body)
    }};
}

#[actix_web::test]
async fn a_repository_that_was_created_has_a_primary_with_an_epoch() {
    let world = World::new().await;
    let app = app!(world);
    let (status, _, created) = ask!(app, put, "/repository/v/group/a.git");
    assert_eq!((status, &created["storages"]), (StatusCode::CREATED, &serde_json::json!(["g1", "g2"])));
    let (status, _, primary) = ask!(app, get, "/primary/v/group/a.git");
    assert_eq!(status, StatusCode::OK);
    assert_eq!(primary["repository"], created["repository"]);
    assert!(["g1", "g2"].contains(&primary["storage"].as_str().unwrap()));
    assert!(primary["epoch"].as_str().unwrap().contains('.'), "{primary}");
    let (status, retry, refused) = ask!(app, put, "/repository/v/group/a.git");
    assert_eq!((status, retry, &refused["retryable"]), (StatusCode::CONFLICT, None, &Value::Bool(false)));
}

#[actix_web::test]
async fn what_does_not_exist_is_not_worth_asking_again() {
    let world = World::new().await;
    let app = app!(world);
    let (status, retry, body) = ask!(app, get, "/primary/v/unknown.git");
    assert_eq!((status, retry), (StatusCode::NOT_FOUND, None));
    assert_eq!(body, serde_json::json!({"error": "repository not found", "retryable": false}));
    assert_eq!(ask!(app, get, "/primary/w/unknown.git").0, StatusCode::BAD_REQUEST);
    assert_eq!(ask!(app, put, "/repository/w/unknown.git").0, StatusCode::BAD_REQUEST);
    assert_eq!(ask!(app, get, "/primary/v/").0, StatusCode::BAD_REQUEST);
}

#[actix_web::test]
async fn without_a_healthy_node_the_client_is_told_when_to_come_back() {
    let world = World::new().await;
    let app = app!(world);
    ask!(app, put, "/repository/v/a.git");
    for name in ["g1", "g2"] {
        world.dies(name);
        world.is(name, Verdict::Unhealthy).await;
    }
    let (status, retry, body) = ask!(app, get, "/primary/v/a.git");
    assert_eq!((status, retry.as_deref()), (StatusCode::SERVICE_UNAVAILABLE, Some("1")), "{body}");
    assert_eq!(body["retryable"], true);
}

#[actix_web::test]
async fn health_shows_both_views_until_a_newer_process_has_the_name() {
    let world = World::new().await;
    let app = app!(world);
    world.dies("g2");
    world.is("g2", Verdict::Unhealthy).await;
    let (status, _, health) = ask!(app, get, "/health");
    assert_eq!((status, &health["local"]), (StatusCode::OK, &serde_json::json!({"v": ["g1"]})));
    assert_eq!(health["consensus"]["revision"], world.supervisor.health_consensus().unwrap().revision.0);
    let g1 = health["consensus"]["nodes"].as_array().unwrap().iter().find(|node| node["storage"] == "g1").unwrap();
    assert_eq!((&g1["verdict"], &g1["tally"]["up"]), (&Value::from("healthy"), &Value::from(1)));

    let newer = supervisor(&world.store, &world.transport, Meter::default()).await;
    wait::until("superseded", LIMIT, || world.supervisor.voter().is_none()).await;
    let (status, _, health) = ask!(app, get, "/health");
    assert_eq!((status, &health["ready"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::Bool(false)));
    let (status, ..) = ask!(app, get, "/primary/v/a.git");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    newer.stop().await;
}

#[actix_web::test]
async fn a_scrape_shows_nodes_votes_and_elections_and_asks_no_database() {
    let world = World::new().await;
    let app = app!(world);
    ask!(app, put, "/repository/v/group/a.git");
    ask!(app, get, "/primary/v/group/a.git");
    world.dies("g2");
    world.is("g2", Verdict::Unhealthy).await;
    // Whatever the database does now, a scrape does not wait for it.
    world.store.delay(LIMIT);
    let began = tokio::time::Instant::now();
    let response = test::call_service(&app, test::TestRequest::get().uri("/metrics").to_request()).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), CONTENT_TYPE);
    let body = test::read_body(response).await;
    let page = std::str::from_utf8(&body).unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    for line in [
        r#"gitaly_praefect_node_last_healthcheck_up{virtual_storage="v",gitaly_storage="g1"} 1.0"#,
        r#"gitaly_praefect_node_last_healthcheck_up{virtual_storage="v",gitaly_storage="g2"} 0.0"#,
        r#"quorate_node_votes{virtual_storage="v",storage="g2",vote="down"} 1.0"#,
        r#"quorate_elections_total{virtual_storage="default",outcome="elected",reason="none_recorded"} 1"#,
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing:\n{page}");
    }
    assert!(!page.contains("a.git"), "no repository is a label:\n{page}");
}

/// The next event of a stream, comments passed over: its id and its data.
async fn event(body: &mut Pin<Box<impl MessageBody>>) -> (u64, Value) {
    loop {
        let next = std::future::poll_fn(|context| body.as_mut().poll_next(context));
        let chunk = wait::within("an event", LIMIT, next).await.unwrap().ok().unwrap();
        let text = std::str::from_utf8(&chunk).unwrap();
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
            return (id.parse().unwrap(), serde_json::from_str(data).unwrap());
        }
    }
}

fn verdict(consensus: &Value, name: &str) -> Value {
    let nodes = consensus["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["storage"] == name).unwrap()["verdict"].clone()
}

#[actix_web::test]
async fn an_event_stream_begins_with_the_present_and_tells_of_a_death() {
    let world = World::new().await;
    let app = app!(world);
    let response = test::call_service(&app, test::TestRequest::get().uri("/events").to_request()).await;
    assert_eq!(response.headers().get(header::CONTENT_TYPE).unwrap(), "text/event-stream");
    let mut body = Box::pin(response.into_body());
    let (first, present) = event(&mut body).await;
    assert_eq!((verdict(&present, "g1"), verdict(&present, "g2")), ("healthy".into(), "healthy".into()));
    world.dies("g1");
    let (mut last, mut changed) = event(&mut body).await;
    while verdict(&changed, "g1") != "unhealthy" {
        (last, changed) = event(&mut body).await;
    }
    assert!(last > first);
    assert_eq!(verdict(&changed, "g2"), "healthy");
}

#[actix_web::test]
async fn a_slow_client_skips_to_the_latest_and_a_gone_one_ends_its_actor() {
    let world = World::new().await;
    let (client, mut latest) = Client::start();
    let consensus = world.supervisor.health_consensus().unwrap();
    for _ in 0..3 {
        client.send(ConsensusChanged(consensus.clone())).await.unwrap();
    }
    let mut newest = (*consensus).clone();
    newest.revision = newest.revision.next();
    client.send(ConsensusChanged(Arc::new(newest.clone()))).await.unwrap();
    latest.changed().await.unwrap();
    assert_eq!(latest.borrow_and_update().as_deref(), Some(&newest));
    assert!(!latest.has_changed().unwrap(), "what came between is not kept");
    drop(latest);
    wait::until("the actor ends", LIMIT, || !client.connected()).await;
}
