//! The command line.

use crate::faults::Fault;
use quorate::core::settings::Profile;
use quorate_benches::ground::Kind;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Measures failovers of real processes.

usage: failover [--trials N] [--slow-trials N] [--faults LIST] [--profiles LIST] [--supervisors LIST]
                [--databases LIST] [--repositories N] [--out FOLDER]

  --trials N         of each fault, under profiles default and lan; default 20
  --slow-trials N    of each fault, under profile praefect, where each takes ten seconds or more; default 3
  --faults LIST      of kill, freeze, not-serving, stop, drop, supervisor, database; default: all
                     drop needs to be root, and iproute2; database is for PostgreSQL alone
  --profiles LIST    of default, lan, praefect; default: all
  --supervisors LIST of numbers from 1 to 9; default 3
  --databases LIST   of postgresql, sqlite; default: both
  --repositories N   beside the one that is written to, on all nodes, each of which leads as many; default 10000
  --out FOLDER       where failover.json, failover.md and failover.svg are written; default: nowhere

Lists are separated by commas. Times count from just before the fault: `detect` until the first vote against the node was
read back, `verdict` until every supervisor had told that the quorum holds it down, `first` and `every` until the first and
the last supervisor answered another primary, `write` until the first write was acknowledged under that one.";

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) trials: u32,
    pub(crate) slow_trials: u32,
    pub(crate) faults: Vec<Fault>,
    pub(crate) profiles: Vec<Profile>,
    pub(crate) supervisors: Vec<u32>,
    pub(crate) databases: Vec<Kind>,
    pub(crate) repositories: u32,
    pub(crate) out: Option<PathBuf>,
    /// As it was given.
    pub(crate) words: String,
}

const PROFILES: [Profile; 3] = [Profile::Default, Profile::Lan, Profile::Praefect];

impl Options {
    /// Reads the words; `None` if help was asked for.
    pub(crate) fn parse(words: Vec<String>) -> Result<Option<Options>, String> {
        let mut options = Options {
            trials: 20,
            slow_trials: 3,
            faults: Fault::ALL.to_vec(),
            profiles: PROFILES.to_vec(),
            supervisors: vec![3],
            databases: Kind::ALL.to_vec(),
            repositories: 10_000,
            out: None,
            words: words.join(" "),
        };
        let mut words = words.into_iter();
        while let Some(key) = words.next() {
            if key == "--help" || key == "-h" {
                return Ok(None);
            }
            let value = words.next().ok_or_else(|| format!("{key} needs a value"))?;
            let number =
                || value.parse::<u32>().map_err(|_| format!("{key} {value:?} is not allowed: it must be a number"));
            match key.as_str() {
                "--trials" => options.trials = number()?,
                "--slow-trials" => options.slow_trials = number()?,
                "--repositories" => options.repositories = number()?,
                "--out" => options.out = Some(value.into()),
                "--faults" => options.faults = list(&key, &value, Fault::ALL, Fault::as_str)?,
                "--profiles" => options.profiles = list(&key, &value, PROFILES, Profile::as_str)?,
                "--databases" => options.databases = list(&key, &value, Kind::ALL, database)?,
                "--supervisors" => options.supervisors = list(&key, &value, 1..=9, |number| number.to_string())?,
                _ => return Err(format!("{key:?} is not known; --help tells what is")),
            }
        }
        Ok(Some(options))
    }

    /// How often a fault is made under a profile.
    pub(crate) fn trials(&self, profile: Profile) -> u32 {
        if profile == Profile::Praefect { self.slow_trials } else { self.trials }
    }
}

/// The name of a database, as it is written here.
pub(crate) fn database(kind: Kind) -> &'static str {
    match kind {
        Kind::PostgreSQL => "postgresql",
        Kind::SQLite => "sqlite",
    }
}

fn list<T: Copy, S: AsRef<str>>(
    key: &str,
    value: &str,
    allowed: impl IntoIterator<Item = T> + Clone,
    name: impl Fn(T) -> S,
) -> Result<Vec<T>, String> {
    let one = |word: &str| {
        let found = allowed.clone().into_iter().find(|&known| name(known).as_ref() == word);
        found.ok_or_else(|| {
            let names: Vec<String> = allowed.clone().into_iter().map(|known| name(known).as_ref().to_owned()).collect();
            format!("{key} {word:?} is not allowed: it must be of {}", names.join(", "))
        })
    };
    value.split(',').map(one).collect()
}
