//! What a repository's primaries have been, and why.

use super::world::{World, done, ok, storage, supervisor};
use crate::store::Store;
use std::sync::Arc;

/// Newest first, at most as many as asked for, of this repository only.
pub async fn newest_first_and_no_more_than_asked(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let other = world.repository("b").await;
    for to in [Some("g2"), Some("g3"), None, Some("g1")] {
        world.elect(id, to, &s1).await;
        world.elect(other, Some("g3"), &s1).await;
    }
    let history = ok("history", world.store.primary_history(id, 1_000).await);
    let currents: Vec<_> = history.iter().map(|change| change.current.clone()).collect();
    let expected = [Some("g1"), None, Some("g3"), Some("g2"), Some("g1")].map(|name| name.map(storage));
    assert_eq!(currents, expected, "newest first, the creation last");
    let (newer, older) = (history.iter(), history.iter().skip(1));
    for (newer, older) in newer.zip(older) {
        assert!(newer.epoch > older.epoch && newer.age <= older.age, "{newer:?} after {older:?}");
        assert_eq!(newer.previous, older.current, "each begins where the one before ended");
    }
    let two = ok("history", world.store.primary_history(id, 2).await);
    assert_eq!(
        two.iter().map(|c| c.epoch).collect::<Vec<_>>(),
        history.iter().take(2).map(|c| c.epoch).collect::<Vec<_>>()
    );
    assert_eq!(history.first().map(|change| change.epoch), world.facts(id).await.epoch, "the first is in force");
}

/// An election says who proposed it, why, and on which evidence.
pub async fn it_says_who_and_why(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let s1 = world.voter("s1").await;
    let id = world.repository("a").await;
    let mut proposal = world.proposal(&world.facts(id).await, Some("g2"), &s1);
    proposal.why = "outdated".to_owned();
    proposal.evidence = r#"{"votes": [], "name": "O'Brien \u00e9 \"quoted\""}"#.to_owned();
    world.cas(&proposal).await;
    let history = ok("history", world.store.primary_history(id, 1).await);
    let Some(change) = history.first() else { panic!("an election leaves a row of history") };
    assert_eq!(change.supervisor, Some(supervisor("s1")));
    assert_eq!(change.why.as_deref(), Some("outdated"));
    let parsed = |text: Option<&str>| text.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let stored = parsed(change.evidence.as_deref());
    assert_eq!(stored, parsed(Some(&proposal.evidence)), "the evidence is kept, as JSON");
    assert!(change.age.0 >= 0, "{change:?}");
}

/// A primary recorded at creation is a change like any other: it has an epoch.
pub async fn a_creation_is_in_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let id = world.repository("a").await;
    let history = ok("history", world.store.primary_history(id, 10).await);
    let rows: Vec<_> = history.iter().map(|c| (Some(c.epoch), c.previous.clone(), c.current.clone())).collect();
    assert_eq!(rows, [(world.facts(id).await.epoch, None, Some(storage("g1")))]);
    let without = world.repository_with("b", None).await;
    assert!(ok("history", world.store.primary_history(without, 10).await).is_empty(), "there was no primary yet");
}

/// An operator's decision names the operator.
pub async fn an_operator_is_in_it(store: Arc<dyn Store>) {
    let world = World::new(store).await;
    let operator = world.voter("operator").await;
    let id = world.repository("a").await;
    let at = world.facts(id).await.facts_version;
    let epoch = done("authoritative", world.store.authoritative_set(id, &storage("g2"), at, &operator).await);
    let history = ok("history", world.store.primary_history(id, 1).await);
    let Some(change) = history.first() else { panic!("an operator's word leaves a row of history") };
    assert_eq!((change.epoch, change.current.clone()), (epoch, Some(storage("g2"))));
    assert_eq!(change.supervisor, Some(supervisor("operator")));
    assert!(change.why.is_some(), "{change:?}");
}
