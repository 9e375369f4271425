//! The command line, read by hand: an example should not need more dependencies than the crate.

use crate::{
    cluster::wire::NodeSpec,
    roles::{replica::Faults, storage, supervisor},
};
use quorate::core::{
    ids::{Storage, SupervisorName},
    settings::Profile,
};
use std::{fmt::Display, net::SocketAddr, path::PathBuf, str::FromStr};

pub(crate) const HELP: &str = "\
A cluster of three storage nodes and some supervisors, in processes of their own, that loses its primary twice:
once by SIGKILL, once by SIGSTOP. Every write that was acknowledged must still be there at the end.

usage: failover [--supervisors N] [--database URL] [--profile default|lan] [--json]

  --supervisors N   how many supervisors vote, 1 to 9; default 3
  --database URL    `sqlite:PATH` or `postgres://…`; default: a SQLite file in a temporary folder
  --profile NAME    how eagerly nodes are probed: default, or lan (faster); default `default`
  --json            print one JSON summary instead of the story
  --help            print this

Times in the summary: detect_ms (the first supervisor tells that the quorum holds the primary to be down) and elect_ms
(the first answer that names the new primary) count from the fault; write_gap_ms is the time between the last
acknowledged write before the fault and the first one after it.";

/// What this process is to be.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    /// Prints the help.
    Help,
    /// Tells the story.
    Story(Story),
    /// Is a storage node of it.
    Storage(storage::Settings),
    /// Is a supervisor of it.
    Supervisor(supervisor::Settings),
}

/// What the story is told with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) supervisors: u32,
    pub(crate) database: Option<String>,
    pub(crate) profile: Profile,
    pub(crate) json: bool,
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Part, String> {
    let mut words = arguments.into_iter().peekable();
    match words.peek().map(String::as_str) {
        Some("storage") => storage(words.skip(1)),
        Some("supervisor") => supervisor(words.skip(1)),
        Some(_) | None => story(words),
    }
}

fn story(mut words: impl Iterator<Item = String>) -> Result<Part, String> {
    let mut story = Story { supervisors: 3, database: None, profile: Profile::Default, json: false };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Part::Help),
            "--json" => story.json = true,
            "--supervisors" => {
                story.supervisors = value(&word, &mut words)?;
                if !(1..=9).contains(&story.supervisors) {
                    return Err(format!("--supervisors {} is not allowed: it must be 1 to 9", story.supervisors));
                }
            }
            "--database" => {
                let url: String = value(&word, &mut words)?;
                // Never repeated in the error: it may hold a password.
                if !["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
                    return Err("--database must begin with sqlite:, postgres:// or postgresql://".into());
                }
                story.database = Some(url);
            }
            "--profile" => story.profile = profile(&word, &mut words, &[Profile::Default, Profile::Lan])?,
            _ => return Err(unknown(&word)),
        }
    }
    Ok(Part::Story(story))
}

fn storage(mut words: impl Iterator<Item = String>) -> Result<Part, String> {
    let (mut name, mut listen, mut data) = (None, None, None);
    let mut faults = Faults::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--name" => name = Some(value::<Storage>(&word, &mut words)?),
            "--listen" => listen = Some(value::<SocketAddr>(&word, &mut words)?),
            "--data" => data = Some(value::<PathBuf>(&word, &mut words)?),
            "--without-fence" => faults.no_fence = true,
            "--without-guard" => faults.no_guard = true,
            "--without-adoption" => faults.no_adoption = true,
            "--hold" => faults.hold = Some(value(&word, &mut words)?),
            _ => return Err(unknown(&word)),
        }
    }
    let name = name.ok_or("--name is missing")?;
    let listen = listen.ok_or("--listen is missing")?;
    let data = data.ok_or("--data is missing")?;
    Ok(Part::Storage(storage::Settings { name, listen, data, faults }))
}

fn supervisor(mut words: impl Iterator<Item = String>) -> Result<Part, String> {
    let (mut name, mut database, mut nodes) = (None, None, Vec::new());
    let mut chosen = Profile::Default;
    while let Some(word) = words.next() {
        match word.as_str() {
            "--name" => name = Some(value::<SupervisorName>(&word, &mut words)?),
            "--database" => database = Some(value::<String>(&word, &mut words)?),
            "--profile" => chosen = profile(&word, &mut words, &[Profile::Default, Profile::Lan, Profile::Praefect])?,
            "--node" => nodes.push(NodeSpec::parse(&value::<String>(&word, &mut words)?)?),
            _ => return Err(unknown(&word)),
        }
    }
    let name = name.ok_or("--name is missing")?;
    let database = database.ok_or("--database is missing")?;
    Ok(Part::Supervisor(supervisor::Settings { name, database, profile: chosen, nodes }))
}

fn profile(key: &str, words: &mut impl Iterator<Item = String>, allowed: &[Profile]) -> Result<Profile, String> {
    let name: String = value(key, words)?;
    let found = allowed.iter().find(|profile| profile.as_str() == name);
    found.copied().ok_or_else(|| {
        let allowed: Vec<&str> = allowed.iter().map(|profile| profile.as_str()).collect();
        format!("{key} {name:?} is not allowed: it must be {}", allowed.join(" or "))
    })
}

fn value<T: FromStr<Err: Display>>(key: &str, words: &mut impl Iterator<Item = String>) -> Result<T, String> {
    let text = words.next().ok_or_else(|| format!("{key} needs a value"))?;
    text.parse().map_err(|error| format!("{key} {text:?} is not allowed: {error}"))
}

fn unknown(word: &str) -> String {
    format!("{word:?} is not known; --help tells what is")
}
