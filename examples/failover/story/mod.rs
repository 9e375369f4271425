//! The plot: a cluster at work loses its primary twice, gets its nodes back, and is held to account.

mod acts;
mod report;
mod traffic;
mod verify;

use crate::{
    args,
    cluster::{
        Failure,
        clock::now_us,
        world::{Plan, World},
    },
};
use quorate::core::settings::Profile;
use report::Report;
use std::path::PathBuf;

/// The whole run takes about fifteen seconds; this is for a machine that is busy with other things.
const WHOLE_RUN: std::time::Duration = std::time::Duration::from_secs(120);

/// Tells the story; answers whether everything went as it must.
pub(crate) async fn run(story: args::Story) -> Result<bool, Failure> {
    let folder = Folder::new()?;
    let database = story.database.clone();
    let kind = if database.as_ref().is_some_and(|url| url.starts_with("postgres")) { "postgres" } else { "sqlite" };
    let mut report = Report::new(now_us(), kind, story.supervisors, story.json);
    // A path of its own, for a database that outlives the run.
    let repository = format!("demo-{}-{}.git", std::process::id(), now_us());
    report.say("story", format!("three storage nodes and {} supervisors on {kind} begin", story.supervisors));
    let plan = Plan {
        program: std::env::current_exe()?,
        folder: folder.0.clone(),
        supervisors: story.supervisors,
        database,
        profile: if story.profile == Profile::Lan { "lan" } else { "default" },
        repository: &repository,
        primary: None,
        namespace: None,
        faults: &[],
    };
    let mut world = World::start(plan).await?;
    let told = crate::cluster::within(WHOLE_RUN, "the story comes to its end", acts::play(&mut world, &mut report));
    if let Err(error) = told.await.and_then(|played| played) {
        let complaints = world.complaints().await;
        report.broke(&error, &complaints);
    }
    report.finish()
}

/// A folder that goes when the story ends, however it ends.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("quorate-failover-{}-{}", std::process::id(), now_us()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
