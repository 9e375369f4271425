//! The example as its users run it.

use crate::{
    cluster::until,
    stage::{ALONE, CHANGE, program},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{process::Output, time::Duration};
use tokio::process::Command;

/// A run takes ten seconds; this is for a machine that is busy with other things.
const RUN: Duration = Duration::from_secs(150);

async fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(arguments).kill_on_drop(true);
    tokio::time::timeout(RUN, command.output()).await.expect("the example ends in time").unwrap()
}

/// Runs the story and holds its summary to what was promised.
async fn tells_a_good_story(arguments: &[&str], database: &str, supervisors: u64) {
    let _alone = ALONE.lock().await;
    let output = run(arguments).await;
    let told = format!(
        "{}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{told}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {told}"));
    assert_eq!(summary["database"], database, "{told}");
    assert_eq!(summary["supervisors"], supervisors, "{told}");
    assert_eq!(summary["writes_lost"], 0, "{told}");
    assert_eq!(summary["stale_writes_acknowledged"], 0, "{told}");
    assert!(summary["stale_writes_refused"].as_u64() >= Some(1), "{told}");
    assert!(summary["writes_acknowledged"].as_u64() > Some(50), "{told}");
    assert_eq!(summary["replicas_verified"], 3, "{told}");
    assert_eq!(summary["failed"].as_array().map(Vec::len), Some(0), "{told}");
    let failovers = summary["failovers"].as_array().unwrap();
    let kinds: Vec<&str> = failovers.iter().filter_map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds, ["kill", "freeze"], "{told}");
    let mut last = None;
    for one in failovers {
        assert_ne!(one["from"], one["to"], "{told}");
        let epoch: quorate::core::epoch::Epoch = one["epoch"].as_str().unwrap().parse().unwrap();
        assert!(last < Some(epoch), "{told}");
        last = Some(epoch);
        let (detect, elect) = (one["detect_ms"].as_f64().unwrap(), one["elect_ms"].as_f64().unwrap());
        assert!(0.0 < detect && detect <= elect, "{told}");
        assert!(one["write_gap_ms"].as_f64().unwrap() > 0.0, "{told}");
    }
    assert_eq!(failovers[0]["to"], failovers[1]["from"], "{told}");
}

#[tokio::test]
async fn three_supervisors_on_sqlite_lose_nothing() {
    tells_a_good_story(&["--json"], "sqlite", 3).await;
}

#[tokio::test]
async fn five_supervisors_in_profile_lan_lose_nothing() {
    tells_a_good_story(&["--json", "--supervisors", "5", "--profile", "lan"], "sqlite", 5).await;
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn three_supervisors_on_postgresql_lose_nothing() {
    // An empty one, so that the supervisors race to migrate it, too.
    let url = crate::postgres::cluster().database(false).await;
    tells_a_good_story(&["--json", "--database", &url], "postgres", 3).await;
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name() {
    for (arguments, complaint) in [
        (&["--jason"][..], "\"--jason\" is not known"),
        (&["--supervisors"], "--supervisors needs a value"),
        (&["--supervisors", "0"], "--supervisors 0 is not allowed: it must be 1 to 9"),
        (&["--supervisors", "x"], "--supervisors \"x\" is not allowed"),
        (&["--profile", "wan"], "--profile \"wan\" is not allowed: it must be default or lan"),
        (&["--database", "mysql://user:secret@host"], "--database must begin with"),
    ] {
        let output = run(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(complaint) && !said.contains("secret"), "{said}");
    }
    let help = run(&["--help"]).await;
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--supervisors N"));
}

/// The kernel's list of a process's children.
fn children(of: u32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    list.split_whitespace().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn children_die_with_their_parent_even_if_they_are_frozen() {
    let _alone = ALONE.lock().await;
    let mut command = Command::new(program());
    command.arg("--json").stdout(std::process::Stdio::null()).kill_on_drop(true);
    let mut parent = command.spawn().unwrap();
    let id = parent.id().unwrap();
    let six = async || if children(id).len() == 6 { Ok(children(id)) } else { Err("not all run yet".into()) };
    let started = until(CHANGE, "three nodes and three supervisors run", six).await.unwrap();
    // What ties a child to its parent is the first thing that it does, not the kernel's doing.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill_process(Pid::from_raw(started[0]).unwrap(), Signal::STOP).unwrap();
    parent.kill().await.unwrap();
    let gone = async || {
        let left: Vec<_> = started.iter().filter(|id| is_running(**id)).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?} still run").into()) }
    };
    until(CHANGE, "all children are gone", gone).await.unwrap();
}

/// Whether a process runs: neither gone nor dead and waiting to be asked how it ended.
fn is_running(id: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
