//! Each migration can be taken back, and what stands then is what stood before it.

use super::*;
use std::{collections::BTreeMap, path::Path};

/// Everything that has a definition, by name; columns by name, for one that was added again comes last.
const SCHEMA: &str = "
SELECT 'column ' || c.oid::regclass || '.' || attname,
    concat_ws(' ', format_type(atttypid, atttypmod), attnotnull, attidentity, pg_get_expr(adbin, adrelid))
FROM pg_class c JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
LEFT JOIN pg_attrdef ON adrelid = c.oid AND adnum = attnum
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'v', 'S')
UNION ALL SELECT 'view ' || oid::regclass, pg_get_viewdef(oid) FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'v'
UNION ALL SELECT 'index ' || indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
JOIN pg_class ON oid = indexrelid WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT concat('constraint ', conrelid::regclass, '.', conname), pg_get_constraintdef(oid) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'function ' || oid::regprocedure, pg_get_functiondef(oid) FROM pg_proc
WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT concat('trigger ', tgrelid::regclass, '.', tgname), concat(tgenabled, pg_get_triggerdef(oid))
FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'sequence ' || seqrelid::regclass, concat_ws(' ', seqstart, seqmax, seqcache, seqcycle) FROM pg_sequence
UNION ALL SELECT 'value of ' || enumtypid::regtype || ' ' || enumlabel, enumsortorder::text FROM pg_enum";

async fn schema(client: &tokio_postgres::Client) -> BTreeMap<String, String> {
    client.query(SCHEMA, &[]).await.unwrap().iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[tokio::test]
async fn each_migration_taken_back_leaves_what_stood_before_it_and_runs_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut migrations: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    migrations.sort();
    let read = |migration: &Path, name: &str| std::fs::read_to_string(migration.join(name)).unwrap();
    let client = raw(&cluster().database(false).await).await;
    let mut stood = vec![schema(&client).await];
    assert_eq!(stood[0], BTreeMap::new());
    for migration in &migrations {
        client.batch_execute(&read(migration, "up.sql")).await.unwrap();
        stood.push(schema(&client).await);
    }
    assert!(stood.windows(2).all(|pair| pair[0].len() < pair[1].len()), "each brings something");
    for (number, migration) in migrations.iter().enumerate().rev() {
        client.batch_execute(&read(migration, "down.sql")).await.unwrap();
        assert_eq!(schema(&client).await, stood[number], "{} was taken back", migration.display());
    }
    for (number, migration) in migrations.iter().enumerate() {
        client.batch_execute(&read(migration, "up.sql")).await.unwrap();
        assert_eq!(schema(&client).await, stood[number + 1], "{} ran again", migration.display());
    }
}

#[tokio::test]
async fn the_way_back_gives_a_praefect_its_own_function_and_triggers_again() {
    let url = super::adoption::left_by_a_praefect().await;
    let client = raw(&url).await;
    let told = |schema: BTreeMap<String, String>| -> Vec<(String, String)> {
        schema.into_iter().filter(|(name, _)| name.starts_with("function ") || name.starts_with("trigger ")).collect()
    };
    let before = told(schema(&client).await);
    assert!(before.iter().any(|(name, _)| name == "function notify_on_change()"), "{before:?}");
    PostgresStore::connect(&url, PostgresOptions::default()).await.unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut ours: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    ours.sort();
    // All but the first, whose tables are the Praefect's.
    for migration in ours.iter().skip(1).rev() {
        client.batch_execute(&std::fs::read_to_string(migration.join("down.sql")).unwrap()).await.unwrap();
    }
    assert_eq!(told(schema(&client).await), before);
}
