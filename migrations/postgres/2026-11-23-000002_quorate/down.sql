DROP TRIGGER IF EXISTS quorate_keep_channels ON settings;
DROP FUNCTION IF EXISTS quorate_keep_channels();
DROP FUNCTION IF EXISTS quorate_settings_update(json);
DROP FUNCTION IF EXISTS quorate_settings_seed(json);
DROP FUNCTION IF EXISTS quorate_era_holds();
DROP FUNCTION IF EXISTS quorate_server();
DROP FUNCTION IF EXISTS quorate_settings();
DROP TRIGGER IF EXISTS notify_on_delete ON repositories;
DROP TRIGGER IF EXISTS notify_on_insert ON storage_repositories;
DROP TRIGGER IF EXISTS notify_on_update ON storage_repositories;
DROP TRIGGER IF EXISTS notify_on_delete ON storage_repositories;
DROP FUNCTION IF EXISTS notify_on_change();
DROP FUNCTION IF EXISTS quorate_storages_emptied() CASCADE;
DROP FUNCTION IF EXISTS quorate_storages_moved() CASCADE;
-- A database that was a Praefect's is one again.
DO $$ BEGIN
    IF to_regprocedure('praefect_notify_on_change()') IS NOT NULL THEN
        ALTER FUNCTION praefect_notify_on_change() RENAME TO notify_on_change;
        CREATE TRIGGER notify_on_delete AFTER DELETE ON repositories
            REFERENCING OLD TABLE AS old_val FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('repositories_updates');
        CREATE TRIGGER notify_on_insert AFTER INSERT ON storage_repositories
            REFERENCING NEW TABLE AS new_val FOR EACH STATEMENT
            EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
        CREATE TRIGGER notify_on_update AFTER UPDATE ON storage_repositories
            REFERENCING OLD TABLE AS old_val NEW TABLE AS new_val FOR EACH STATEMENT
            EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
        CREATE TRIGGER notify_on_delete AFTER DELETE ON storage_repositories
            REFERENCING OLD TABLE AS old_val FOR EACH STATEMENT
            EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
    END IF;
END $$;
DROP FUNCTION IF EXISTS quorate_primaries_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_guard_repository() CASCADE;
DROP FUNCTION IF EXISTS quorate_all_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_marks_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_assignments_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_replicas_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_raise_facts(bigint[]);
DROP FUNCTION IF EXISTS quorate_announce_unfit(bigint[]);
DROP FUNCTION IF EXISTS quorate_key(text, text, bigint);
DROP FUNCTION IF EXISTS quorate_announce(text, text);
DROP FUNCTION IF EXISTS quorate_next_epoch();
DROP FUNCTION IF EXISTS quorate_age(timestamptz);
DROP FUNCTION IF EXISTS quorate_micros(interval);
DROP FUNCTION IF EXISTS quorate_micros(timestamptz);
DROP INDEX IF EXISTS quorate_marks;
DROP SEQUENCE IF EXISTS primary_epochs, incarnations;
DROP TABLE IF EXISTS changes, eras, primary_changes, decisions, storages, supervisors, settings;
ALTER TABLE shard_primaries DROP COLUMN IF EXISTS epoch;
ALTER TABLE repositories DROP COLUMN IF EXISTS primary_epoch, DROP COLUMN IF EXISTS facts_version,
    RESET (fillfactor);
ALTER TABLE node_status DROP COLUMN IF EXISTS verdict, DROP COLUMN IF EXISTS incarnation,
    DROP COLUMN IF EXISTS vote_number;
