//! A new primary tells its replicas, within its bounds.

use crate::{
    epoch,
    node::{Commit, connect, start},
    primary, storage,
};
use quorate::{
    core::{election::Primary, ids::RepositoryId},
    fencing::{AnnounceOptions, EpochStore, FenceRefusal, announce},
};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn replicas_learn_the_epoch_and_say_what_they_owe() {
    let node = start(Commit::Checks, false, |layer| layer).await;
    let replicas = [(storage("g1"), node.channel.clone())];
    let announced = announce(&primary("g2", 6), replicas.clone(), AnnounceOptions::default()).await.unwrap();
    let reached = announced.reached[&storage("g1")];
    assert_eq!((reached.epoch, reached.adoption_due), (epoch(6), true));
    assert!(announced.refused.is_empty() && announced.missed.is_empty());
    assert_eq!(node.store.record(RepositoryId(7)).unwrap().epoch, epoch(6));

    let late = announce(&primary("g3", 5), replicas.clone(), AnnounceOptions::default()).await.unwrap();
    assert!(matches!(late.refused[&storage("g1")], FenceRefusal::StaleEpoch { .. }));
    let none = Primary { epoch: None, ..primary("g2", 6) };
    assert!(announce(&none, replicas, AnnounceOptions::default()).await.is_err());
}

#[tokio::test]
async fn a_replica_that_hangs_is_missed_and_delays_nobody_beyond_the_deadline() {
    // It listens, so that connecting succeeds, and never answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = silent.local_addr().map(|address| (silent, address)).unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = start(Commit::Checks, false, |layer| layer).await;
    let replicas = [
        (storage("gone"), connect(free)),
        (storage("silent"), connect(silent.1)),
        (storage("g1"), node.channel.clone()),
    ];
    for max_in_flight in [16, 2, 0] {
        let deadline = Duration::from_millis(300);
        let started = Instant::now();
        let options = AnnounceOptions { max_in_flight, deadline };
        let announced = announce(&primary("g2", 6), replicas.clone(), options).await.unwrap();
        assert!(started.elapsed() < deadline + Duration::from_millis(200), "{:?}", started.elapsed());
        assert!(announced.missed.contains(&storage("silent")) && announced.missed.contains(&storage("gone")));
        // With one call at a time the silent one takes all the time there is: best effort.
        assert_eq!(announced.reached.contains_key(&storage("g1")), max_in_flight > 1, "{announced:?}");
    }
    assert_eq!(node.store.record(RepositoryId(7)).unwrap().primary, storage("g2"));
}
