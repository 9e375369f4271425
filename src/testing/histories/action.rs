//! What can happen in a history, read from one number.

use crate::core::consensus::Opinion;

/// Which fence an operation shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceKind {
    /// The repository's current one.
    Current,
    /// The first it ever had.
    Oldest,
    /// The current epoch with another primary.
    WrongPrimary,
    /// None.
    Missing,
}

/// How a proposal departs from the facts that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tampering {
    /// Not at all.
    Honest,
    /// It expects an older facts version.
    Version,
    /// It expects no epoch where there is one.
    Epoch,
    /// It expects another era.
    Era,
    /// Its facts are from the future.
    Future,
}

/// What one supervisor says of one node, and how the write comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Which supervisor.
    pub by: usize,
    /// About which storage.
    pub about: usize,
    /// The opinion.
    pub opinion: Opinion,
    /// Whether the batch was overtaken by the one before.
    pub late: bool,
    /// Whether an older process of the name sends it.
    pub stale: bool,
}

/// One thing that happens. Indexes that are out of range wrap; what has nothing to act on does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are indexes and flags, named after the ports' arguments")]
pub enum Action {
    /// A supervisor registers: as itself come back, or as a new process of the name.
    Register { by: usize, as_itself: bool, watched: u8 },
    /// A heartbeat, perhaps of an older process.
    Heartbeat { by: usize, stale: bool },
    /// Everybody is silent for longer than `voter_ttl`; then one of them sends a heartbeat, proposes or registers.
    Lapse { by: usize, then: u8 },
    /// A supervisor stops, or an older process of its name does.
    Stop { by: usize, stale: bool },
    /// A vote.
    Vote(Said),
    /// A supervisor votes on every storage; `None`: all of them alike, which is how quorums come about.
    Sweep { by: Option<usize>, up: u8 },
    /// A repository is made; `primary` is one of its replicas or none.
    Create { path: usize, replicas: u8, primary: Option<usize>, assignments: u8 },
    /// A repository is deleted.
    Delete { repository: usize, fence: FenceKind },
    /// A repository gets another path.
    Rename { repository: usize, fence: FenceKind, path: usize },
    /// A write is acknowledged.
    Increment { repository: usize, fence: FenceKind, acknowledged: u8 },
    /// A replica is set to a generation.
    SetGeneration { repository: usize, fence: FenceKind, storage: usize, generation: i64 },
    /// A replica is marked for deletion.
    Mark { repository: usize, storage: usize },
    /// A replica is deleted.
    RemoveReplica { repository: usize, fence: FenceKind, storage: usize },
    /// An operator makes a replica the truth, perhaps on facts that have moved.
    Authoritative { repository: usize, storage: usize, outdated: bool },
    /// The assignments are replaced, perhaps on facts that have moved.
    Assign { repository: usize, assignments: u8, outdated: bool },
    /// Operators change what they say of a storage.
    UpdateStorage { storage: usize, priority: Option<i32>, draining: Option<bool> },
    /// A supervisor looks at a repository, decides, and commits what it decided. If nothing is due, `force` proposes a
    /// replica all the same: a store must not judge a decision, only whether it still holds.
    Elect { repository: usize, by: usize, stale: bool, seed: u64, tampering: Tampering, force: bool },
    /// The last proposal is sent once more.
    Retry,
}

/// Reads small choices off one number, the cheapest first.
struct Digits(u64);

impl Digits {
    fn pick(&mut self, of: u64) -> u64 {
        let of = of.max(1);
        let digit = self.0 % of;
        self.0 /= of;
        digit
    }
    fn index(&mut self, of: u64) -> usize {
        usize::try_from(self.pick(of)).unwrap_or(0)
    }
    fn set(&mut self) -> u8 {
        u8::try_from(self.pick(16)).unwrap_or(0)
    }
    fn one_in(&mut self, of: u64) -> bool {
        self.pick(of) == of.saturating_sub(1)
    }
    fn fence(&mut self) -> FenceKind {
        match self.pick(10) {
            7 => FenceKind::Oldest,
            8 => FenceKind::WrongPrimary,
            9 => FenceKind::Missing,
            _ => FenceKind::Current,
        }
    }
}

impl Action {
    /// The action of a number. Weighted: votes, writes and elections are what a cluster mostly sees.
    #[must_use]
    pub fn of(word: u64) -> Action {
        let digits = &mut Digits(word);
        match digits.pick(64) {
            0..=2 => Action::Create {
                path: digits.index(3),
                primary: Some(digits.index(8)).filter(|n| *n < 6),
                replicas: 15 ^ digits.set() & digits.set(),
                assignments: digits.set() & digits.set(),
            },
            3..=8 => Action::Register {
                by: digits.index(3),
                as_itself: !digits.one_in(2),
                watched: 15 ^ digits.set() & digits.set() & digits.set(),
            },
            9..=17 => {
                Action::Sweep { by: Some(digits.index(6)).filter(|by| *by < 3), up: 15 ^ digits.set() & digits.set() }
            }
            18..=24 => Action::Vote(digits.said()),
            25..=39 => Action::Elect {
                repository: digits.index(4),
                by: digits.index(3),
                seed: digits.pick(4),
                stale: digits.one_in(8),
                force: digits.one_in(3),
                tampering: match digits.pick(12) {
                    8 => Tampering::Version,
                    9 => Tampering::Epoch,
                    10 => Tampering::Era,
                    11 => Tampering::Future,
                    _ => Tampering::Honest,
                },
            },
            40..=45 => Action::Increment {
                repository: digits.index(4),
                fence: digits.fence(),
                acknowledged: 15 ^ digits.set() & digits.set(),
            },
            46..=48 => Action::SetGeneration {
                repository: digits.index(4),
                fence: digits.fence(),
                storage: digits.index(4),
                generation: i64::try_from(digits.pick(5)).unwrap_or(0),
            },
            49..=50 => {
                Action::Assign { repository: digits.index(4), assignments: digits.set(), outdated: digits.one_in(6) }
            }
            51..=52 => Action::Mark { repository: digits.index(4), storage: digits.index(4) },
            53..=54 => {
                Action::RemoveReplica { repository: digits.index(4), fence: digits.fence(), storage: digits.index(4) }
            }
            55 => Action::Authoritative {
                repository: digits.index(4),
                storage: digits.index(4),
                outdated: digits.one_in(4),
            },
            56..=57 => Action::UpdateStorage {
                storage: digits.index(4),
                priority: [None, Some(0), Some(50), Some(200)].get(digits.index(4)).copied().flatten(),
                draining: [None, Some(true), Some(false)].get(digits.index(3)).copied().flatten(),
            },
            58 => Action::Rename { repository: digits.index(4), fence: digits.fence(), path: digits.index(3) },
            59 => Action::Delete { repository: digits.index(4), fence: digits.fence() },
            60 => Action::Heartbeat { by: digits.index(3), stale: digits.one_in(3) },
            61 => Action::Lapse { by: digits.index(3), then: digits.set() % 3 },
            62 => Action::Stop { by: digits.index(3), stale: digits.one_in(2) },
            _ => Action::Retry,
        }
    }
}

impl Digits {
    fn said(&mut self) -> Said {
        let opinions = [Opinion::Down, Opinion::Up, Opinion::None, Opinion::Misconfigured];
        Said {
            by: self.index(3),
            about: self.index(4),
            opinion: opinions.get(self.index(4)).copied().unwrap_or(Opinion::Down),
            late: self.one_in(6),
            stale: self.one_in(6),
        }
    }
}
