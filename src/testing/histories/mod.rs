//! Random histories of a cluster, lived by two stores at once and compared after every step.
//!
//! The suite of stories holds what somebody thought of; this holds the rest. A history is a list of numbers, so that
//! proptest can shrink it; each number is one [`Action`]. Both stores live it, and after every action everything that
//! a supervisor could read is compared: each repository's facts, votes, what the pure rule decides from them, and the
//! history of primaries. Ids, epochs and incarnations differ between stores by nature; they are compared by the order
//! in which they appeared, and must appear growing.
//!
//! One database serves any number of histories, one after the other: each has a virtual storage and supervisors of its
//! own names, and removes its supervisors at the end. The settings are the cluster's, so histories that share a
//! database must not run at once. Time is real (or tokio's, paused); a history is far shorter than any ttl but the
//! ones that its [`Action::Lapse`] makes short.

mod action;
mod observe;
mod side;

pub use action::{Action, FenceKind, Said, Tampering};

use crate::core::{
    ids::{InvalidName, RepositoryId, Storage, SupervisorName, VirtualStorage},
    quorum::QuorumPolicy,
    settings::{Profile, Settings, WithoutCandidate},
};
use crate::store::{Store, StoreError};
use futures_util::future::BoxFuture;
use side::Side;
use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

/// The settings of one history and what happens in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The cluster's settings.
    pub settings: Settings,
    /// Whether it begins with nothing; else with three supervisors who see every storage, and two repositories.
    pub from_nothing: bool,
    /// What happens, in order.
    pub actions: Vec<Action>,
}

impl History {
    /// Reads a history from numbers: the first is the settings, each other one an action. Smaller numbers make
    /// simpler histories, so a generator that shrinks numbers shrinks histories.
    #[must_use]
    pub fn of(words: &[u64]) -> History {
        let (first, rest) = words.split_first().map_or((0, words), |(first, rest)| (*first, rest));
        let actions = rest.iter().map(|word| Action::of(*word)).collect();
        History { settings: settings_of(first), from_nothing: first / 32 % 8 == 7, actions }
    }

    /// The history of a seed: `actions` random ones, the same for the same seed.
    #[must_use]
    pub fn random(seed: u64, actions: usize) -> History {
        let mut state = seed;
        let words: Vec<u64> = std::iter::repeat_with(|| splitmix(&mut state)).take(actions.saturating_add(1)).collect();
        History::of(&words)
    }
}

/// The next number of a sequence; Steele, Lea and Flood's splitmix64.
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// Settings under which nothing grows old by itself within a history; a quarter are Praefect's.
fn settings_of(word: u64) -> Settings {
    let mut settings = Settings::of(if word % 4 == 3 { Profile::Praefect } else { Profile::Default });
    if settings.policy == QuorumPolicy::Majority {
        settings.voter_ttl = Duration::from_secs(3_600);
        settings.vote_ttl = Duration::from_secs(3_600);
        settings.decision_ttl = Duration::from_secs(1_800);
        settings.expected_supervisors = (word / 8 % 4 == 3).then_some(2);
    } else {
        // The views have Praefect's times built in, so these stay; only the facts may take their time.
        settings.decision_ttl = Duration::from_secs(30);
    }
    if word / 4 % 2 == 1 {
        settings.without_candidate = WithoutCandidate::Demote;
    }
    settings
}

/// How many histories a test should live: the environment's `QUORATE_HISTORIES`, else `default`.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a knob of test runs, not of the product")]
pub fn count(default: u32) -> u32 {
    std::env::var("QUORATE_HISTORIES").ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What Praefect's views say of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ViewRows {
    /// The repository's rows of `valid_primaries`.
    pub valid_primaries: BTreeSet<Storage>,
    /// Its virtual storage's rows of `healthy_storages`.
    pub healthy_storages: BTreeSet<Storage>,
}

/// Reads the views of the database under test; asked after every step of a history under policy `half`.
pub type Views = dyn Fn(RepositoryId, VirtualStorage) -> BoxFuture<'static, ViewRows>;

/// Who and what is in a history, for somebody else who works on the same database.
#[derive(Debug, Clone)]
pub struct Scene {
    /// How many actions have been lived.
    pub step: usize,
    /// The history's own virtual storage.
    pub virtual_storage: VirtualStorage,
    /// Its storages.
    pub storages: Vec<Storage>,
    /// The repositories made so far, those that are gone included.
    pub repositories: Vec<RepositoryId>,
}

/// Somebody else acts between two actions, and answers what it found to be wrong, one line each.
pub type Neighbour = dyn Fn(Scene) -> BoxFuture<'static, Vec<String>>;

/// Where the two stores parted.
#[derive(Debug)]
pub struct Divergence {
    /// Which action, counted from 0; `None`: before the first or after the last.
    pub step: Option<usize>,
    /// What was done; `None`: the preparation or the clearing away.
    pub action: Option<Action>,
    /// What only the reference shows.
    pub expected: Vec<String>,
    /// What only the store under test shows.
    pub found: Vec<String>,
}

impl Divergence {
    fn failed(error: &StoreError) -> Divergence {
        let found = vec![format!("a store failed: {error} ({error:?})")];
        Divergence { step: None, action: None, expected: Vec::new(), found }
    }
    fn at(mut self, step: usize, action: &Action) -> Divergence {
        (self.step, self.action) = (Some(step), Some(action.clone()));
        self
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.step, &self.action) {
            (Some(step), Some(action)) => writeln!(f, "after action {step}, {action:?}, the stores differ")?,
            (_, _) => writeln!(f, "before or after the actions the stores differ")?,
        }
        self.expected.iter().try_for_each(|line| writeln!(f, "  reference:  {line}"))?;
        self.found.iter().try_for_each(|line| writeln!(f, "  under test: {line}"))
    }
}

impl std::error::Error for Divergence {}

/// The names of one history, used by nobody else on the same database.
pub(crate) struct Names {
    pub(crate) virtual_storage: VirtualStorage,
    pub(crate) supervisors: Vec<SupervisorName>,
    pub(crate) storages: Vec<Storage>,
}

impl Names {
    fn new() -> Result<Names, InvalidName> {
        let own = uuid::Uuid::new_v4().simple().to_string();
        Ok(Names {
            virtual_storage: VirtualStorage::new(format!("v-{own}"))?,
            supervisors: (1..=3).map(|n| SupervisorName::new(format!("s{n}-{own}"))).collect::<Result<_, _>>()?,
            storages: (1..=4).map(|n| Storage::new(format!("g{n}"))).collect::<Result<_, _>>()?,
        })
    }
}

/// Lives a history in two stores and answers where they part. `reference` should be a fresh memory store; `views`
/// reads the views of the database under test, where there are any.
pub async fn run_history(
    history: &History,
    under_test: Arc<dyn Store>,
    reference: Arc<dyn Store>,
    views: Option<&Views>,
) -> Result<(), Divergence> {
    let names = match Names::new() {
        Ok(names) => Arc::new(names),
        Err(error) => unreachable!("names of letters and digits are allowed: {error}"),
    };
    let mut expected = Side::new(reference, names.clone(), history.settings.clone());
    let mut found = Side::new(under_test, names, history.settings.clone());
    let lived = live(history, &mut expected, &mut found, views).await;
    // Whatever happened, the next history on this database must find nothing of this one.
    let (first, second) = (expected.clear_away().await, found.clear_away().await);
    lived?;
    first.and(second).map_err(|error| Divergence::failed(&error))
}

/// Lives a history in one store while somebody else changes the same database before every action. Under policy `half`
/// the rule and the views must agree throughout; what else must hold is the neighbour's to find out.
pub async fn run_beside(
    history: &History,
    store: Arc<dyn Store>,
    views: &Views,
    neighbour: &Neighbour,
) -> Result<(), Divergence> {
    let names = match Names::new() {
        Ok(names) => Arc::new(names),
        Err(error) => unreachable!("names of letters and digits are allowed: {error}"),
    };
    let mut side = Side::new(store, names, history.settings.clone());
    let lived = live_beside(history, &mut side, views, neighbour).await;
    let cleared = side.clear_away().await;
    lived?;
    cleared.map_err(|error| Divergence::failed(&error))
}

async fn live_beside(
    history: &History,
    side: &mut Side,
    views: &Views,
    neighbour: &Neighbour,
) -> Result<(), Divergence> {
    side.begin(history.from_nothing).await.map_err(|error| Divergence::failed(&error))?;
    for (step, action) in history.actions.iter().enumerate() {
        let failed = |error: StoreError| Divergence::failed(&error).at(step, action);
        let wrong = neighbour(side.scene(step)).await;
        compare(Vec::new(), wrong).map_err(|divergence| divergence.at(step, action))?;
        side.step(action).await.map_err(failed)?;
        if history.settings.policy == QuorumPolicy::Half {
            let (rule, rows) = side.compare_views(views).await.map_err(failed)?;
            compare(rule, rows).map_err(|divergence| divergence.at(step, action))?;
        }
    }
    Ok(())
}

async fn live(
    history: &History,
    expected: &mut Side,
    found: &mut Side,
    views: Option<&Views>,
) -> Result<(), Divergence> {
    for side in [&mut *expected, &mut *found] {
        side.begin(history.from_nothing).await.map_err(|error| Divergence::failed(&error))?;
    }
    for (step, action) in history.actions.iter().enumerate() {
        let failed = |error: StoreError| Divergence::failed(&error).at(step, action);
        let wanted = expected.step(action).await.map_err(failed)?;
        let got = found.step(action).await.map_err(failed)?;
        compare(wanted, got).map_err(|divergence| divergence.at(step, action))?;
        if let Some(views) = views.filter(|_| history.settings.policy == QuorumPolicy::Half) {
            let (rule, rows) = found.compare_views(views).await.map_err(failed)?;
            compare(rule, rows).map_err(|divergence| divergence.at(step, action))?;
        }
    }
    Ok(())
}

fn compare(expected: Vec<String>, found: Vec<String>) -> Result<(), Divergence> {
    if expected == found {
        return Ok(());
    }
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|line| !those.contains(line)).cloned().collect()
    };
    let (left, right) = (only(&expected, &found), only(&found, &expected));
    Err(Divergence { step: None, action: None, expected: left, found: right })
}
