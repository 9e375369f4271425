//! Drill 13 on a file.

use crate::{
    restored::{Which, an_older_backup_is_restored},
    support::{Database, options},
};
use quorate::store::{Store, sqlite::SqliteStore};
use std::sync::Arc;

#[actix::test]
async fn d13_an_older_backup_elects_and_acknowledges_nothing_until_it_is_repaired() {
    let (original, backup) = (Database::new(), Database::new());
    let open = async |which: Which| -> Arc<dyn Store> {
        let database = if which == Which::Original { &original } else { &backup };
        Arc::new(SqliteStore::open(&database.url(), options()).await.unwrap()) as Arc<dyn Store>
    };
    let copy = format!("VACUUM INTO '{}'", backup.path().display());
    let era = an_older_backup_is_restored(open, async || original.hand().run(&copy)).await;
    let mut hand = backup.hand();
    assert_eq!(hand.ask("SELECT max(era) FROM eras"), era.to_string());
    assert_eq!(hand.ask("SELECT count(*) FROM eras"), "2");
    let why = hand.ask("SELECT reason FROM eras ORDER BY era DESC LIMIT 1");
    assert_eq!(why, "repair by s1: an older backup was restored");
    let minutes = "unixepoch() / 60 - unixepoch('2026-01-01') / 60";
    assert_eq!(hand.ask(&format!("SELECT {minutes} - max(era) BETWEEN 0 AND 2 FROM eras")), "1", "the calendar's");
}
