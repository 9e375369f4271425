//! Whether a database that a Praefect made is one that our migrations fit.
//!
//! Our first migration creates nothing that is there already, so whatever is there must be what it would have created.
//! It is carried out in a schema of its own, what the catalogs say of the two is compared, and all of it is rolled back.
//! Compared is what statements depend on: tables, columns, types, defaults, keys, checks, indexes, triggers, and the
//! columns of views. Not compared are names of keys, the order of columns, and the text of expressions, which servers
//! write down differently; an index's condition is compared by the names and constants in it. Views are compared by what
//! they answer. The function that tells of changes is not: ours takes its place, on the triggers' own channels.

use super::connect::Session;
use super::migrations::ask;
use super::views;
use crate::store::{StoreError, StoreErrorKind, StoreOp, rows::decode, statement::Statement};
use diesel_async::SimpleAsyncConnection;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What a Praefect's database holds, as far as we use it.
const PRAEFECT: &str = include_str!("../../../migrations/postgres/2026-11-23-000001_praefect/up.sql");

/// Praefect's own channels. Our second migration replaces the function and keeps the triggers' names.
const CHANNELS: &str = "
CREATE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER notify_on_delete AFTER DELETE ON repositories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change();
CREATE TRIGGER notify_on_insert AFTER INSERT ON storage_repositories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change();
CREATE TRIGGER notify_on_update AFTER UPDATE ON storage_repositories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change();
CREATE TRIGGER notify_on_delete AFTER DELETE ON storage_repositories
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change();";

const OPEN: &str = "BEGIN; CREATE SCHEMA quorate_reference; SET LOCAL search_path TO quorate_reference";

/// Everything that matters of the schema `$1`, as `[{"of", "what", "is"}]`; `of` is the table, view or type.
const CATALOG: &str = r#"
WITH here AS (
    SELECT oid, quote_ident(nspname) || '.' AS prefix FROM pg_namespace WHERE nspname = $1
), rel AS (
    SELECT c.oid, c.relname AS name, c.relkind AS kind, here.prefix
    FROM pg_class c JOIN here ON c.relnamespace = here.oid
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relname <> '__diesel_schema_migrations'
), facts AS (
    SELECT name AS "of", 'itself' AS what,
        CASE kind WHEN 'r' THEN 'a table' WHEN 'v' THEN 'a view' ELSE 'a relation of kind ' || kind::text END AS "is"
    FROM rel
    UNION ALL
    SELECT name, 'column ' || attname,
        replace(format_type(atttypid, atttypmod), prefix, '')
        || CASE WHEN attnotnull THEN ', not null' ELSE '' END
        || CASE WHEN value IS NULL THEN ''
            WHEN value LIKE 'nextval(%' THEN ', default from a sequence'
            WHEN value LIKE '%(%' THEN ', default computed'
            ELSE ', default ' || regexp_replace(value, '::.*$', '') END
    FROM rel JOIN pg_attribute ON attrelid = rel.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN LATERAL (SELECT pg_get_expr(adbin, adrelid) AS value FROM pg_attrdef
                       WHERE adrelid = rel.oid AND adnum = attnum) given ON true
    UNION ALL
    SELECT rel.name, CASE WHEN i.indisprimary THEN 'primary key' ELSE 'index ' || ic.relname END,
        CASE WHEN i.indisunique THEN 'unique' ELSE 'plain' END
        || CASE WHEN i.indisvalid THEN '' ELSE ', invalid' END || ' ' || am.amname || ' '
        || (SELECT string_agg(
                replace(pg_get_indexdef(i.indexrelid, n, true), prefix, '')
                || CASE WHEN i.indoption[n - 1] & 2 <> 0 THEN ' nulls first' ELSE '' END
                || CASE WHEN i.indoption[n - 1] & 1 <> 0 THEN ' descending' ELSE '' END, ', ' ORDER BY n)
            FROM generate_series(1, i.indnkeyatts) AS n)
        || coalesce(', for ' || (SELECT string_agg(DISTINCT word[1], ' ' ORDER BY word[1])
            FROM regexp_matches(regexp_replace(replace(pg_get_expr(i.indpred, i.indrelid), prefix, ''),
                                               '::[a-z_]+(\[\])?', '', 'g'), '([a-z_]+|IS NOT NULL)', 'g') AS word), '')
    FROM rel JOIN pg_index i ON i.indrelid = rel.oid JOIN pg_class ic ON ic.oid = i.indexrelid
    JOIN pg_am am ON am.oid = ic.relam
    UNION ALL
    SELECT rel.name, CASE contype WHEN 'f' THEN 'foreign key' ELSE 'check' END || ' '
            || replace(pg_get_constraintdef(k.oid), prefix, ''), 'there'
    FROM rel JOIN pg_constraint k ON k.conrelid = rel.oid AND contype IN ('f', 'c', 'x')
    UNION ALL
    SELECT rel.name, 'trigger ' || tgname,
        CASE WHEN tgtype & 2 <> 0 THEN 'before' WHEN tgtype & 64 <> 0 THEN 'instead of' ELSE 'after' END
        || CASE WHEN tgtype & 4 <> 0 THEN ' insert' ELSE '' END || CASE WHEN tgtype & 8 <> 0 THEN ' delete' ELSE '' END
        || CASE WHEN tgtype & 16 <> 0 THEN ' update' ELSE '' END
        || CASE WHEN tgtype & 32 <> 0 THEN ' truncate' ELSE '' END
        || CASE WHEN tgtype & 1 <> 0 THEN ' of each row' ELSE '' END
        || CASE WHEN tgenabled = 'D' THEN ', disabled' ELSE '' END
    FROM rel JOIN pg_trigger ON tgrelid = rel.oid AND NOT tgisinternal
    UNION ALL
    SELECT typname, 'itself', 'an enumeration of '
        || (SELECT string_agg(enumlabel, ', ' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid)
    FROM pg_type t JOIN here ON typnamespace = here.oid AND typtype = 'e'
)
SELECT coalesce(json_agg(facts), '[]')::text AS document FROM facts"#;

#[derive(Deserialize)]
struct Fact {
    of: String,
    what: String,
    is: String,
}

/// What a schema consists of: by table, view or type, its parts.
type Catalog = BTreeMap<String, BTreeMap<String, String>>;

/// Refuses with `SchemaDiffers` a database that a Praefect made, but not release 16.7. One without any table of
/// Praefect's is none of that, and passes. Nothing is changed either way.
pub(super) async fn check(session: &mut Session) -> Result<(), StoreError> {
    let current = Statement::new("SELECT current_schema()::text AS document");
    // Without a schema there is nothing to adopt, and the migrations will say so.
    let Some(schema) = ask(session, current).await? else { return Ok(()) };
    let found = catalog(session, &schema).await?;
    if found.is_empty() {
        return Ok(());
    }
    let found_views = views::of(session, &schema).await?;
    for sql in [OPEN, PRAEFECT, CHANNELS] {
        if let Err(error) = session.connection.batch_execute(sql).await {
            // The session ends with the error, and the transaction with the session.
            return Err(StoreError::with_source(StoreOp::Migrate, StoreErrorKind::Other, error));
        }
    }
    let reference = catalog(session, "quorate_reference").await;
    let other_views = views::differences(session, &found_views).await;
    let closed = session.connection.batch_execute("ROLLBACK").await;
    closed.map_err(|error| StoreError::with_source(StoreOp::Migrate, StoreErrorKind::ConnectionLost, error))?;
    let (reference, other_views) = (reference?, other_views?);
    if !reference.keys().any(|name| found.contains_key(name)) {
        return Ok(());
    }
    let mut differences = differences(&reference, &found);
    differences.extend(other_views);
    differences.sort();
    if differences.is_empty() {
        return Ok(());
    }
    Err(StoreError::new(StoreOp::Migrate, StoreErrorKind::SchemaDiffers(differences)))
}

async fn catalog(session: &mut Session, schema: &str) -> Result<Catalog, StoreError> {
    let listed = ask(session, Statement::new(CATALOG).text(schema)).await?.unwrap_or_default();
    let mut catalog = Catalog::new();
    for Fact { of, what, is } in decode::<Vec<Fact>>(StoreOp::Migrate, &listed)? {
        catalog.entry(of).or_default().insert(what, is);
    }
    Ok(catalog)
}

/// One line a difference. Of what is missing altogether, or not known, the parts are not listed.
fn differences(reference: &Catalog, found: &Catalog) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, wanted) in reference {
        let Some(parts) = found.get(name) else {
            lines.push(format!("{name} is missing"));
            continue;
        };
        for (what, is) in wanted {
            match parts.get(what) {
                None => lines.push(format!("{name}: {what} is missing ({is})")),
                Some(other) if other != is => lines.push(format!("{name}: {what} is {other}, not {is}")),
                Some(_) => {}
            }
        }
        // An operator's index that forbids nothing is no difference.
        let extra = parts.iter().filter(|(what, is)| {
            !(wanted.contains_key(*what) || what.starts_with("index ") && is.starts_with("plain "))
        });
        lines.extend(extra.map(|(what, is)| format!("{name}: {what} is unknown ({is})")));
    }
    lines.extend(found.keys().filter(|name| !reference.contains_key(*name)).map(|name| format!("{name} is unknown")));
    lines
}
