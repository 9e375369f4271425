//! Drill 13 on a server.

use super::*;
use crate::restored::{Which, an_older_backup_is_restored};
use std::sync::Arc;

/// A copy of a database as it is now, sequences and all, on the same server and timeline.
async fn back_up(url: &str, to: &str) {
    let from = url::Url::parse(url).unwrap().path().trim_start_matches('/').to_owned();
    let admin = cluster().admin().await;
    for attempt in 0.. {
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{from}'");
        admin.batch_execute(&end).await.unwrap();
        match admin.batch_execute(&format!("CREATE DATABASE {to} TEMPLATE {from}")).await {
            Ok(()) => return,
            Err(error) => assert!(attempt < 100, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[actix::test]
async fn d13_an_older_backup_elects_and_acknowledges_nothing_until_it_is_repaired() {
    let original = cluster().database(true).await;
    let name = format!("backup_{}", std::process::id());
    let backup = cluster().url(&name);
    let open = async |which: Which| -> Arc<dyn Store> {
        let store = connect(if which == Which::Original { &original } else { &backup }).await;
        Arc::new(store) as Arc<dyn Store>
    };
    let era = an_older_backup_is_restored(open, async || back_up(&original, &name).await).await;
    let client = raw(&backup).await;
    let rows = client.query("SELECT era, reason FROM eras ORDER BY era", &[]).await.unwrap();
    let rows: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let repaired = (era.0, "repair by s1: an older backup was restored".to_owned());
    assert_eq!(rows, [(1, "the first start".to_owned()), repaired]);
    assert!(era > Era(400_000), "{era}: the calendar's minutes");
}

#[tokio::test]
async fn d13_a_backup_on_another_timeline_begins_its_era_when_it_is_compared() {
    let fixture = Fixture::new().await;
    let (_, epoch) = fixture.create("r", Some("g1")).await;
    let reported = Epoch::new(Era(1), epoch.unwrap().number() + 100).unwrap();
    let client = raw(&fixture.url).await;
    client.batch_execute("UPDATE eras SET timeline = '0000FFFF'").await.unwrap();
    let given = fixture.store.epochs_given().await.unwrap();
    assert!(given.reaches(reported) && given.era > Era(400_000), "{given}");
    assert_eq!(fixture.store.epochs_given().await.unwrap(), given, "once");
}
