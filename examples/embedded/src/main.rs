//! `cargo run -p quorate-embedded-example [CONFIG.toml [LISTEN]]`
//!
//! Without a file it watches three nodes that need not exist, on SQLite in a folder that is removed at the end:
//!
//! ```text
//! curl -i    http://127.0.0.1:8080/health
//! curl       http://127.0.0.1:8080/metrics
//! curl -N    http://127.0.0.1:8080/events
//! curl -X PUT http://127.0.0.1:8080/repository/default/group/project.git
//! curl -i    http://127.0.0.1:8080/primary/default/group/project.git
//! ```

use actix_web::{App, HttpServer};
use quorate::{
    Config, Supervisor,
    telemetry::{
        Meter,
        prometheus::{Prometheus, Registry},
    },
};
use quorate_embedded_example::app;
use std::{error::Error, process::ExitCode, sync::Arc, time::Duration};

/// How long open requests may take at shutdown; event streams never end by themselves.
const SHUTDOWN_SECS: u64 = 2;
/// How old the counts of repositories may be.
const COUNT_EVERY: Duration = Duration::from_secs(60);

#[actix_web::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = tempfile::tempdir()?;
    let text = match arguments.next() {
        Some(file) => std::fs::read_to_string(&file).map_err(|error| format!("{file}: {error}"))?,
        None => demonstration(&folder.path().join("quorate.db").display().to_string()),
    };
    let listen = arguments.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    // The application's own metrics could stand in the same registry.
    let mut registry = Registry::default();
    let meter = Meter::new(Prometheus::register(&mut registry));
    let supervisor = Supervisor::start_with(Config::from_toml(&text)?, meter, |transport| transport).await?;
    let counting = actix_web::rt::spawn(count(supervisor.clone()));
    // Whatever ends the server, the supervisor says goodbye: its votes go at once instead of lapsing.
    let served = serve(supervisor.clone(), Arc::new(registry), &listen).await;
    counting.abort();
    supervisor.stop().await;
    served.map_err(|error| format!("{listen}: {error}").into())
}

/// Keeps the counts of repositories on the page of metrics young. They read the whole table, so no scrape makes them.
async fn count(supervisor: Supervisor) {
    let mut due = actix_web::rt::time::interval(COUNT_EVERY);
    loop {
        due.tick().await;
        // A failure is logged and shows as missing numbers; the next minute tries again.
        let _ = supervisor.repositories_count().await;
    }
}

/// Serves until a signal; actix-web handles those, the supervisor never does.
async fn serve(supervisor: Supervisor, registry: Arc<Registry>, listen: &str) -> std::io::Result<()> {
    let server = HttpServer::new(move || {
        let (supervisor, registry) = (supervisor.clone(), registry.clone());
        App::new().configure(|config| app::routes(config, supervisor, registry))
    });
    let server = server.workers(2).shutdown_timeout(SHUTDOWN_SECS).bind(listen)?;
    println!("listening on http://{listen}");
    server.run().await
}

fn demonstration(database: &str) -> String {
    format!(
        r#"
name = "embedded"
profile = "lan"

[database]
url = "sqlite:{database}"

[[virtual_storage]]
name = "default"
node = [
  {{ storage = "gitaly-1", address = "tcp://127.0.0.1:9101" }},
  {{ storage = "gitaly-2", address = "tcp://127.0.0.1:9102" }},
  {{ storage = "gitaly-3", address = "tcp://127.0.0.1:9103" }},
]
"#
    )
}
