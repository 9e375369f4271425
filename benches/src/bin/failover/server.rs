//! A PostgreSQL server of its own for one stage, which can be restarted.

use crate::cluster::{Failure, until};
use quorate_benches::postgres;
use std::{
    path::PathBuf,
    process::{Child, Command},
    time::Duration,
};

/// A server that has to replay nothing is back within a second.
const BACK_WITHIN: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    pub(crate) url: String,
    data: PathBuf,
    _shell: Option<Child>,
}

impl Server {
    /// Starts one, with fsync.
    pub(crate) async fn start() -> Result<Server, Failure> {
        let (url, shell) = tokio::task::spawn_blocking(|| postgres::launch(true)).await?;
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let data: String = client.query_one("SHOW data_directory", &[]).await?.get(0);
        Ok(Server { url, data: data.into(), _shell: shell })
    }

    /// Stops it at once, as a crash would, and starts it again with the same words. Returns when it lets people in.
    pub(crate) async fn restart(&self) -> Result<(), Failure> {
        let mut command = postgres::server_program("pg_ctl");
        let data = self.data.clone();
        let restarted = tokio::task::spawn_blocking(move || {
            // Into a file: a server that inherits a pipe of ours would keep it open for ever.
            let log = std::fs::File::create(data.join("restart.log"))?;
            command.current_dir(&data).args(["restart", "-s", "-w", "-t", "30", "-m", "immediate", "-D"]).arg(&data);
            command.stdin(std::process::Stdio::null()).stdout(log.try_clone()?).stderr(log).status()
        });
        let status = restarted.await??;
        if !status.success() {
            return Err(format!("pg_ctl restart: {status}").into());
        }
        until(BACK_WITHIN, "the server lets people in", || async {
            Ok(tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await.map(drop)?)
        })
        .await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // After a restart it is no longer the shell's child.
        let mut command: Command = postgres::server_program("pg_ctl");
        let _ = command.current_dir("/").args(["stop", "-s", "-m", "immediate", "-D"]).arg(&self.data).status();
    }
}
