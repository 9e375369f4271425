DROP TRIGGER quorate_keep_channels ON settings;
DROP FUNCTION quorate_keep_channels();
CREATE OR REPLACE FUNCTION quorate_repository_create(
    storage_of text, path text, on_disk text, wanted_id bigint, replicas json, recorded text, assigned json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    own bigint;
    given bigint;
    ids regclass := pg_get_serial_sequence('repositories', 'repository_id');
BEGIN
    IF recorded IS NOT NULL THEN
        IF NOT quorate_era_holds() THEN
            RETURN json_build_object('outcome', 'era_changed');
        END IF;
        given := quorate_next_epoch();
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
    IF wanted_id IS NOT NULL AND wanted_id > coalesce(pg_sequence_last_value(ids), 0) THEN
        PERFORM pg_advisory_xact_lock(8175111497115);
        PERFORM setval(ids, greatest(wanted_id, coalesce(pg_sequence_last_value(ids), 0)));
    END IF;
    INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
    SELECT DISTINCT storage_of, path, storage, 0, own FROM json_array_elements_text(replicas) AS storage;
    INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
    SELECT DISTINCT storage_of, path, storage, own FROM json_array_elements_text(assigned) AS storage;
    RETURN json_build_object('outcome', 'done', 'repository', own, 'epoch', given);
END $$;

DROP FUNCTION quorate_supervisor_register(text, bigint, text, text, json, text, bigint);
CREATE FUNCTION quorate_supervisor_register(
    own_name text, previous bigint, own_address text, own_version text, nodes json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held supervisors%ROWTYPE;
    takeover boolean;
    own bigint;
    stamped timestamptz;
BEGIN
    -- The row may not exist yet, so the name itself is locked.
    PERFORM pg_advisory_xact_lock(hashtextextended('quorate:' || own_name, 0));
    SELECT * INTO held FROM supervisors WHERE name = own_name FOR UPDATE;
    takeover := FOUND AND held.incarnation IS DISTINCT FROM previous
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
    INSERT INTO supervisors AS s (name, incarnation, registered_at, superseded_live_at, heartbeat_at, version, address)
    VALUES (own_name, own, clock_timestamp(), CASE WHEN takeover THEN clock_timestamp() END, clock_timestamp(),
            own_version, own_address)
    ON CONFLICT (name) DO UPDATE SET incarnation = excluded.incarnation, registered_at = excluded.registered_at,
        -- Taking one's own place forgets no takeover.
        superseded_live_at = CASE WHEN s.incarnation = previous THEN s.superseded_live_at
                                  ELSE excluded.superseded_live_at END,
        recused_since = NULL, recused_reason = NULL, version = excluded.version, address = excluded.address,
        heartbeat_at = clock_timestamp()
    RETURNING s.heartbeat_at INTO stamped;
    PERFORM quorate_announce('votes', own_name);
    RETURN json_build_object('outcome', 'registered', 'incarnation', own, 'at', quorate_micros(stamped));
END $$;

CREATE OR REPLACE FUNCTION quorate_prune(keep text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone text[];
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
    WITH silent AS (
        SELECT name FROM supervisors WHERE heartbeat_at < clock_timestamp() - interval '1 day' AND name <> keep
        ORDER BY name LIMIT 100 FOR UPDATE SKIP LOCKED
    ), removed AS (
        DELETE FROM supervisors WHERE name IN (SELECT name FROM silent) RETURNING name
    )
    SELECT array_agg(name) INTO gone FROM removed;
    IF gone IS NOT NULL THEN
        DELETE FROM node_status WHERE praefect_name = ANY (gone);
    END IF;
END $$;

ALTER TABLE supervisors DROP COLUMN process, DROP COLUMN attempt;
