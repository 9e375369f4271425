//! The one row of settings: seeded once, then the database wins.

use super::world::{World, ok};
use crate::core::settings::{Profile, Settings, WithoutCandidate};
use crate::store::{Change, ChangeKind, Heartbeat, Store};
use std::{sync::Arc, time::Duration};

/// The first configuration is stored and names the cluster; a later, different one changes nothing.
pub async fn first_start_seeds(store: Arc<dyn Store>) {
    let mut mine = Settings::of(Profile::Lan);
    mine.expected_supervisors = Some(3);
    mine.without_candidate = WithoutCandidate::Demote;
    mine.voter_ttl = Duration::from_millis(2_345);
    let first = ok("seed", store.settings_seed(&mine).await);
    assert_eq!(first.settings, mine, "what was seeded is not what was wanted");
    let second = ok("seed again", store.settings_seed(&Settings::of(Profile::Praefect)).await);
    assert_eq!(second, first, "a later start must find the stored settings");
    let read = ok("read", store.health_facts().await);
    assert_eq!(read.settings, first, "the facts must carry the settings in force");
}

/// An update replaces everything but the cluster's identity, and raises the revision.
pub async fn update_raises_the_revision(store: Arc<dyn Store>) {
    let first = ok("seed", store.settings_seed(&Settings::of(Profile::Default)).await);
    let wanted = Settings::of(Profile::Praefect);
    let second = ok("update", store.settings_update(&wanted).await);
    assert_eq!(second.settings, wanted);
    assert_eq!(second.cluster, first.cluster, "an update must not make another cluster");
    assert_eq!(second.revision, first.revision.next(), "an update raises the revision by one");
    let mut back = Settings::of(Profile::Default);
    back.expected_supervisors = None;
    let third = ok("update again", store.settings_update(&back).await);
    assert_eq!((third.settings, third.revision), (back, second.revision.next()));
}

/// Every heartbeat returns the revision, so that running supervisors follow.
pub async fn running_supervisors_learn_the_revision(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    world.set(|settings| settings.expected_supervisors = Some(5)).await;
    let stored = world.health().await.settings;
    match ok("heartbeat", world.store.supervisor_heartbeat(&s1).await) {
        Heartbeat::Alive { settings_revision, .. } => assert_eq!(settings_revision, stored.revision),
        other @ (Heartbeat::Lapsed | Heartbeat::Gone | Heartbeat::Superseded { .. }) => {
            panic!("a young heartbeat came to {other:?}")
        }
    }
}

/// An update is told as votes are, for who reads them again reads the settings, too: nobody waits for a heartbeat.
pub async fn an_update_is_told(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let begin = ok("begin to poll", world.store.changes_since(None).await).position;
    world.set(|settings| settings.expected_supervisors = Some(5)).await;
    let told = ok("poll", world.store.changes_since(Some(&begin)).await).changes;
    assert!(told.contains(&Change::everything(ChangeKind::Votes)), "{told:?}");
}
