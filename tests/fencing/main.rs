//! The storage node's fence: its memory, its layer in a real server, its announcements.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod announcing;
mod crash;
mod layer;
mod node;
mod store;

use quorate::{
    core::{
        election::Primary,
        epoch::{Epoch, Era},
        ids::{ClusterId, RelativePath, RepositoryId, Storage, VirtualStorage},
    },
    fencing::Claim,
};

fn epoch(number: i64) -> Epoch {
    Epoch::new(Era(1), number).unwrap()
}

fn storage(name: &str) -> Storage {
    Storage::new(name).unwrap()
}

fn primary(name: &str, number: i64) -> Primary {
    Primary {
        cluster: ClusterId::new("blue").unwrap(),
        repository: Some(RepositoryId(7)),
        virtual_storage: VirtualStorage::new("v").unwrap(),
        relative_path: RelativePath::new("a.git").unwrap(),
        storage: storage(name),
        epoch: Some(epoch(number)),
    }
}

fn claim(name: &str, number: i64) -> Claim {
    Claim::of(&primary(name, number)).unwrap()
}
