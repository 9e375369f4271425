//! A store that is measured hands suspicions on like everything else.

use crate::{
    recording::Recording,
    world::{LIMIT, World, ms},
};
use quorate::{
    core::settings::Profile,
    store::StoreOp,
    telemetry::{Meter, metrics as m},
    testing::wait,
};

#[actix::test]
async fn a_suspicion_passes_the_measured_store_and_is_measured() {
    let (mut world, recording) = (World::new(Profile::Default), Recording::default());
    world.meter = Meter::new(recording.clone());
    let _one = world.supervisor("s1").await;
    let told = || recording.value(&m::STORE_OPERATION, &["suspicion_tell"]);
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(told(), None, "at rest nobody suspects anybody");
    world.node("g1").takes(LIMIT);
    wait::until("it was told", LIMIT, || told().is_some()).await;
    assert!(world.store.activity()[&StoreOp::SuspicionTell].calls >= 1, "and it arrived");
    assert_eq!(world.store.activity()[&StoreOp::SuspicionTell].rows, 0);
}
