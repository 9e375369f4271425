-- Who registered, so that a process finds its own registration again and one that lands late supersedes nobody; what
-- was left behind by those who have gone; and epochs for the primaries that a Praefect recorded before we came.

ALTER TABLE supervisors ADD COLUMN process text, ADD COLUMN attempt bigint;

-- Bounded, and over what nobody else is pruning: it may take no registration hostage.
CREATE OR REPLACE FUNCTION quorate_prune(keep text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < clock_timestamp() - interval '1 hour'
                                     ORDER BY at LIMIT 10000 FOR UPDATE SKIP LOCKED);
    DELETE FROM primary_changes WHERE epoch IN (
        SELECT epoch FROM primary_changes WHERE at < clock_timestamp() - interval '30 days'
        ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED);
    DELETE FROM decisions WHERE id IN (
        SELECT id FROM decisions d WHERE at < clock_timestamp() - interval '30 days'
          AND NOT EXISTS (SELECT FROM primary_changes c WHERE c.decision = d.id)
        ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED);
    DELETE FROM supervisors WHERE name IN (
        SELECT name FROM supervisors WHERE heartbeat_at < clock_timestamp() - interval '1 day' AND name <> keep
        ORDER BY name LIMIT 100 FOR UPDATE SKIP LOCKED);
    -- A row that no registered supervisor owns counts by its stamps alone, and without one within a day for nothing, by
    -- Praefect's rule neither: its writer has gone, or watches the node no longer. A live Praefect stamps every row of
    -- its own each second. One that has no end is none.
    DELETE FROM node_status WHERE id IN (
        SELECT id FROM node_status ns
        WHERE ns.praefect_name <> keep
          AND NOT EXISTS (SELECT FROM supervisors s WHERE s.name = ns.praefect_name)
          AND NOT coalesce(isfinite(last_contact_attempt_at)
                           AND last_contact_attempt_at >= clock_timestamp() - interval '1 day', false)
          AND NOT coalesce(isfinite(last_seen_active_at)
                           AND last_seen_active_at >= clock_timestamp() - interval '1 day', false)
        ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED);
END $$;

DROP FUNCTION quorate_supervisor_register(text, bigint, text, text, json);
CREATE FUNCTION quorate_supervisor_register(
    own_name text, previous bigint, own_address text, own_version text, nodes json,
    own_process text, own_attempt bigint
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held supervisors%ROWTYPE;
    own_place boolean;
    takeover boolean;
    own bigint;
    stamped timestamptz;
BEGIN
    -- The row may not exist yet, so the name itself is locked.
    PERFORM pg_advisory_xact_lock(hashtextextended('quorate:' || own_name, 0));
    SELECT * INTO held FROM supervisors WHERE name = own_name FOR UPDATE;
    own_place := coalesce(held.process = own_process OR held.incarnation = previous, false);
    -- A late registration of this process, or a process that somebody else has followed already, live or not.
    IF held.process = own_process AND held.attempt >= own_attempt OR NOT own_place AND previous < held.incarnation THEN
        RETURN json_build_object('outcome', 'superseded', 'by', held.incarnation);
    END IF;
    takeover := held.name IS NOT NULL AND NOT own_place
        AND quorate_is_within(held.heartbeat_at, (SELECT voter_ttl_ms FROM settings));
    IF takeover AND quorate_is_within(held.superseded_live_at, 60000) THEN
        RETURN json_build_object('outcome', 'name_in_use', 'held_by', held.incarnation);
    END IF;
    own := nextval('incarnations');
    DELETE FROM node_status ns WHERE ns.praefect_name = own_name AND NOT EXISTS (
        SELECT FROM json_to_recordset(nodes) AS n (virtual_storage text, storage text)
        WHERE n.virtual_storage = ns.shard_name AND n.storage = ns.node_name);
    INSERT INTO node_status (praefect_name, shard_name, node_name, verdict, incarnation)
    SELECT DISTINCT own_name, n.virtual_storage, n.storage, 'none', own
    FROM json_to_recordset(nodes) AS n (virtual_storage text, storage text)
    ORDER BY 2, 3
    ON CONFLICT DO NOTHING;
    PERFORM quorate_prune(own_name);
    INSERT INTO supervisors AS s (name, incarnation, registered_at, superseded_live_at, heartbeat_at, version, address,
                                  process, attempt)
    VALUES (own_name, own, clock_timestamp(), CASE WHEN takeover THEN clock_timestamp() END, clock_timestamp(),
            own_version, own_address, own_process, own_attempt)
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, registered_at = excluded.registered_at,
        -- Taking one's own place forgets no takeover.
        superseded_live_at = CASE WHEN own_place THEN s.superseded_live_at ELSE excluded.superseded_live_at END,
        recused_since = NULL, recused_reason = NULL, version = excluded.version, address = excluded.address,
        process = excluded.process, attempt = excluded.attempt,
        heartbeat_at = clock_timestamp()
    RETURNING s.heartbeat_at INTO stamped;
    PERFORM quorate_announce('votes', own_name);
    RETURN json_build_object('outcome', 'registered', 'incarnation', own, 'at', quorate_micros(stamped));
END $$;

CREATE OR REPLACE FUNCTION quorate_repository_create(
    storage_of text, path text, on_disk text, wanted_id bigint, replicas json, recorded text, assigned json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    own bigint;
    given bigint;
    ids regclass := pg_get_serial_sequence('repositories', 'repository_id');
    -- Read as a table: a function of sequences would keep a lock that two could only wait for each other to widen.
    given_last text := format('SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM %s', ids);
    last_id bigint;
BEGIN
    IF recorded IS NOT NULL THEN
        IF NOT quorate_era_holds() THEN
            RETURN json_build_object('outcome', 'era_changed');
        END IF;
        given := quorate_next_epoch();
    END IF;
    -- An id asked for is not given again. The sequence must not be set back by it, so nobody may take a number between
    -- the look and the move: what changes a sequence's rules waits for every transaction that took one, and they for it.
    -- Before anything is inserted, or two would wait for each other.
    IF wanted_id IS NOT NULL THEN
        EXECUTE given_last INTO last_id;
        IF wanted_id > last_id THEN
            EXECUTE format('ALTER SEQUENCE %s NO CYCLE', ids);
            EXECUTE given_last INTO last_id;
            PERFORM setval(ids, wanted_id) WHERE wanted_id > last_id;
        END IF;
    END IF;
    FOR attempt IN 1..100 LOOP -- An id of the sequence may have been taken by hand: try the next.
        INSERT INTO repositories (virtual_storage, relative_path, generation, "primary", repository_id, replica_path,
                                  primary_epoch)
        VALUES (storage_of, path, 0, recorded, coalesce(wanted_id, nextval(ids)), coalesce(on_disk, path), given)
        ON CONFLICT DO NOTHING RETURNING repository_id INTO own;
        EXIT WHEN own IS NOT NULL;
        IF EXISTS (SELECT FROM repositories WHERE virtual_storage = storage_of AND relative_path = path) THEN
            RETURN quorate_refused('path_taken');
        ELSIF wanted_id IS NOT NULL THEN
            RETURN quorate_refused('id_taken');
        END IF;
    END LOOP;
    IF own IS NULL THEN
        RETURN quorate_refused('id_taken');
    END IF;
    INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
    SELECT DISTINCT storage_of, path, storage, 0, own FROM json_array_elements_text(replicas) AS storage;
    INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
    SELECT DISTINCT storage_of, path, storage, own FROM json_array_elements_text(assigned) AS storage;
    RETURN json_build_object('outcome', 'done', 'repository', own, 'epoch', given);
END $$;

-- Without an epoch nothing could be acknowledged under such a primary until another is elected. Done in one statement
-- without the triggers: the listeners of a database that has just been adopted know nothing yet.
ALTER TABLE repositories DISABLE TRIGGER quorate_primaries_updated;
UPDATE repositories SET primary_epoch = quorate_next_epoch() WHERE "primary" IS NOT NULL AND primary_epoch IS NULL;
ALTER TABLE repositories ENABLE TRIGGER quorate_primaries_updated;
INSERT INTO primary_changes (epoch, repository_id, previous, current)
SELECT primary_epoch, repository_id, NULL, "primary" FROM repositories WHERE primary_epoch IS NOT NULL
ON CONFLICT (epoch) DO NOTHING;

-- A Praefect whose book is here reads along: its caches hear of changes from the first start on, until the settings are
-- changed, whatever the configuration of the first of us says.
CREATE FUNCTION quorate_keep_channels() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.praefect_notifications := NEW.praefect_notifications OR EXISTS (SELECT FROM schema_migrations);
    RETURN NEW;
END $$;
CREATE TRIGGER quorate_keep_channels BEFORE INSERT ON settings
    FOR EACH ROW EXECUTE FUNCTION quorate_keep_channels();
