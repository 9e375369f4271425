//! What changed, as far as readers that keep something in memory must know: who is up to date, who is primary.
//!
//! A change names what may have changed, never how: whoever kept it forgets it and reads again. So a change told twice,
//! or told for nothing, costs one read, and only a change that is never told would do harm. That is why both ways of
//! hearing of changes say when they cannot vouch for having heard all: a [`Listener`] fails, a poll answers
//! [`Scope::Everything`].

use super::{Answer, StoreError, StoreErrorKind, StoreOp};
use crate::core::{
    ids::{NodeId, RelativePath, RepositoryId, Storage, VirtualStorage},
    monitor::Suspicion,
    synced::Scope,
};
use serde::{Deserialize, Deserializer};
#[cfg(feature = "postgres")]
use std::collections::HashSet;
use std::{collections::BTreeSet, sync::Arc};

/// Changes that one poll answers one by one. More become [`Scope::Everything`]: reading again is cheaper than a list.
pub(super) const CHANGES_MAX: usize = 1_000;

/// Who holds the latest generation of one repository.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UpToDate {
    /// The repository.
    pub repository: RepositoryId,
    /// Its virtual storage.
    pub virtual_storage: VirtualStorage,
    /// The path that clients know.
    pub relative_path: RelativePath,
    /// Its path on disk; `None` in rows that early Praefects made.
    pub replica_path: Option<String>,
    /// The storages whose replica is on the repository's generation, configured here or not. May be empty. Shared, for very
    /// many repositories have the same.
    #[serde(deserialize_with = "shared")]
    pub storages: Arc<BTreeSet<Storage>>,
}

fn shared<'de, D: Deserializer<'de>>(storages: D) -> Result<Arc<BTreeSet<Storage>>, D::Error> {
    BTreeSet::deserialize(storages).map(Arc::new)
}

/// Which kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// A vote, or a supervisor's state.
    Votes,
    /// A primary, or whether it may stay.
    Primaries,
    /// The set of up-to-date replicas.
    Replicas,
}

/// Something may have changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// Which kind of thing.
    pub kind: ChangeKind,
    /// Of which repositories. Votes are nobody's: theirs is [`Scope::Everything`].
    pub scope: Scope,
}

impl Change {
    /// All of one kind may have changed.
    #[must_use]
    pub fn everything(kind: ChangeKind) -> Change {
        Change { kind, scope: Scope::Everything }
    }
}

/// Where a poller stands. Opaque: only the store that gave it can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPosition(pub(super) String);

/// What a poll found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Polled {
    /// Where to go on from.
    pub position: FeedPosition,
    /// What has changed since the position asked from, at least; empty if nothing has.
    pub changes: Vec<Change>,
}

/// A conversation in which the database speaks first.
pub trait Listener: Send {
    /// Waits, as long as it takes, until something changes. May be dropped and called again: nothing is lost by that.
    /// An error ends the listener; what changed since the last answer is then unknown.
    fn next(&mut self) -> Answer<'_, Vec<Change>>;
    /// Asks over the listener's own connection whether it is heard still. Answers what had been told before: once it is
    /// heeded, everything that the database committed before the question is. The caller owes the deadline.
    fn check(&mut self) -> Answer<'_, Vec<Change>>;
    /// What was heard, during the last call of the other two, of nodes that missed somebody's probe. They are no changes:
    /// nothing is stored, and nobody who did not listen finds them later. Default: nothing ever is.
    fn suspicions(&mut self) -> Vec<Suspicion> {
        Vec::new()
    }
}

/// Who is up to date, and how one learns that it changed.
pub trait ChangeFeed: Send + Sync {
    /// Who holds the latest generation; `None` if there is no such repository. Writes nothing, locks nothing.
    fn up_to_date<'a>(&'a self, target: &'a super::Target) -> Answer<'a, Option<UpToDate>>;
    /// Begins to listen, on a connection of its own: every change committed after the answer is told, at the latest by the
    /// check after it. `None`: this
    /// database cannot speak first, and has to be polled.
    fn listen(&self) -> Answer<'_, Option<Box<dyn Listener>>>;
    /// What changed since a position; without one only where to begin. A position of another database, or one too old
    /// for what is kept (an hour), answers that everything may have changed.
    fn changes_since<'a>(&'a self, since: Option<&'a FeedPosition>) -> Answer<'a, Polled>;
}

/// The key of a notice of ours: `{}`, or a virtual storage; with a path if it is about one repository alone, with a primary
/// if it is about all that this one led.
#[derive(Deserialize)]
struct Key {
    virtual_storage: Option<VirtualStorage>,
    relative_path: Option<RelativePath>,
    primary: Option<Storage>,
}

/// The line of `changes` that a notification is about, if it names one.
#[cfg(feature = "postgres")]
pub(super) fn line_of(key: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Told {
        change: i64,
    }
    serde_json::from_str(key).ok().map(|Told { change }| change)
}

/// One line of `changes`, or one notification of ours. What cannot be read is everything: nobody knows what it was about.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn ours(kind: &str, key: &str) -> Vec<Change> {
    let scope = || match serde_json::from_str(key) {
        Ok(Key { virtual_storage: Some(virtual_storage), relative_path: Some(relative_path), .. }) => {
            Scope::Repository(virtual_storage, relative_path)
        }
        Ok(Key { virtual_storage: Some(virtual_storage), relative_path: None, primary: Some(primary) }) => {
            Scope::LedBy(NodeId::new(virtual_storage, primary))
        }
        Ok(Key { virtual_storage: Some(virtual_storage), relative_path: None, primary: None }) => {
            Scope::VirtualStorage(virtual_storage)
        }
        Ok(Key { virtual_storage: None, .. }) | Err(_) => Scope::Everything,
    };
    match kind {
        "votes" => vec![Change::everything(ChangeKind::Votes)],
        "primaries" | "elected" => vec![Change { kind: ChangeKind::Primaries, scope: scope() }],
        "replicas" => vec![Change { kind: ChangeKind::Replicas, scope: scope() }],
        _ => [ChangeKind::Primaries, ChangeKind::Replicas].map(Change::everything).into(),
    }
}

/// One element of a notification of Praefect's.
#[cfg(feature = "postgres")]
#[derive(Deserialize)]
struct PraefectKey {
    virtual_storage: VirtualStorage,
    relative_paths: Vec<RelativePath>,
}

/// A notification on one of Praefect's channels: replicas came, went or moved. (Praefect itself stops caching until the
/// next reconnect when it cannot read one.)
#[cfg(feature = "postgres")]
pub(super) fn praefects(payload: &str) -> Vec<Change> {
    let Ok(keys) = serde_json::from_str::<Vec<PraefectKey>>(payload) else {
        return vec![Change::everything(ChangeKind::Replicas)];
    };
    let of = |key: PraefectKey| {
        let PraefectKey { virtual_storage, relative_paths } = key;
        relative_paths.into_iter().map(move |path| Scope::Repository(virtual_storage.clone(), path))
    };
    keys.into_iter().flat_map(of).map(|scope| Change { kind: ChangeKind::Replicas, scope }).collect()
}

/// The answer of a poll: `{"position", "reset", "changes": [{"kind","key","id"}]}`, one line more than [`CHANGES_MAX`] at most.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Deserialize)]
pub(super) struct PolledDoc {
    position: String,
    reset: bool,
    changes: Vec<Line>,
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[derive(Deserialize)]
struct Line {
    kind: String,
    key: String,
    #[cfg(feature = "postgres")]
    id: Option<i64>,
}

#[cfg(feature = "postgres")]
impl PolledDoc {
    /// What is left of at most `limit` lines without those that were heard of; nobody waits for these any longer. More lines
    /// were cut off, and what they were is unknown.
    pub(super) fn without(mut self, heard: &mut HashSet<i64>, limit: usize) -> PolledDoc {
        self.reset |= self.changes.len() > limit;
        if self.reset {
            heard.clear();
        }
        self.changes.retain(|line| !line.id.is_some_and(|id| heard.remove(&id)));
        self
    }
}

#[cfg(any(feature = "postgres", feature = "sqlite"))]
impl From<PolledDoc> for Polled {
    fn from(doc: PolledDoc) -> Polled {
        let changes = if doc.reset || doc.changes.len() > CHANGES_MAX {
            [ChangeKind::Votes, ChangeKind::Primaries, ChangeKind::Replicas].map(Change::everything).into()
        } else {
            doc.changes.iter().flat_map(|line| ours(&line.kind, &line.key)).collect()
        };
        Polled { position: FeedPosition(doc.position), changes }
    }
}

/// The error of a listener whose connection is gone.
pub(super) fn listener_lost() -> StoreError {
    StoreError::new(StoreOp::ChangesListen, StoreErrorKind::ConnectionLost)
}

#[cfg(feature = "postgres")]
#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Scope {
        let (storage, path) = text.split_once('/').unwrap();
        Scope::Repository(storage.parse().unwrap(), path.parse().unwrap())
    }

    #[test]
    fn a_notice_names_one_repository_a_virtual_storage_or_everything() {
        let read = |key: &str| ours("replicas", key).remove(0).scope;
        assert_eq!(read(r#"{"virtual_storage":"v","relative_path":"a","repository":7}"#), scope("v/a"));
        assert_eq!(read(r#"{"virtual_storage":"v"}"#), Scope::VirtualStorage("v".parse().unwrap()));
        let led = Scope::LedBy(NodeId::new("v".parse().unwrap(), "g1".parse().unwrap()));
        assert_eq!(read(r#"{"virtual_storage":"v","primary":"g1"}"#), led);
        assert_eq!(read("{}"), Scope::Everything);
    }

    #[test]
    fn what_cannot_be_read_is_everything() {
        assert_eq!(ours("primaries", "nonsense"), [Change::everything(ChangeKind::Primaries)]);
        assert_eq!(ours("novelty", "{}").len(), 2, "a newer version's notice may mean either");
        for payload in ["", "{}", r#"[{"virtual_storage":"v"}]"#, r#"[{"virtual_storage":"","relative_paths":[]}]"#] {
            assert_eq!(praefects(payload), [Change::everything(ChangeKind::Replicas)], "{payload}");
        }
    }

    #[test]
    fn a_check_tells_what_was_not_heard_and_everything_if_it_was_cut_off() {
        let polled = |lines: i64| {
            let line = |id| serde_json::json!({"kind": "elected", "key": format!(r#"{{"virtual_storage":"v{id}"}}"#), "id": id});
            let lines: Vec<_> = (1..=lines).map(line).collect();
            serde_json::from_value::<PolledDoc>(serde_json::json!({"position": "p", "reset": false, "changes": lines}))
                .unwrap()
        };
        let mut heard = HashSet::from([1, 3, 7]);
        let told: Polled = polled(3).without(&mut heard, 3).into();
        let missed = Change { kind: ChangeKind::Primaries, scope: Scope::VirtualStorage("v2".parse().unwrap()) };
        assert_eq!(told.changes, [missed]);
        assert_eq!(heard, HashSet::from([7]), "its line was not visible yet");
        let told: Polled = polled(4).without(&mut heard, 3).into();
        assert!(told.changes.contains(&Change::everything(ChangeKind::Primaries)), "{told:?}");
        assert!(heard.is_empty());
    }

    #[test]
    fn praefects_notifications_name_each_path() {
        let payload =
            r#"[{"virtual_storage":"v","relative_paths":["a","b"]},{"virtual_storage":"w","relative_paths":["a"]}]"#;
        let scopes: Vec<Scope> = praefects(payload).into_iter().map(|change| change.scope).collect();
        assert_eq!(scopes, ["v/a", "v/b", "w/a"].map(scope));
    }
}
