-- The writes of the store, each one round trip and one transaction. They are VOLATILE, so that under READ COMMITTED each
-- statement inside takes a fresh snapshot: what is checked after waiting for a lock is what is there after the wait.
-- Each answers the JSON document that the store decodes.

-- Supervisors and votes -----------------------------------------------------------------------------------------

-- Younger than the limit, and not from a clock that was set back.
CREATE FUNCTION quorate_is_within(stamp timestamptz, limit_ms bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    age interval := clock_timestamp() - stamp;
BEGIN
    RETURN coalesce(age < limit_ms * interval '1 millisecond' AND age >= interval '-1 second', false);
END $$;

-- Bounded, and over what nobody else is pruning: it may take no registration or heartbeat hostage. The moment is taken once, for
-- a comparison with the clock itself goes by no index: it would read all that is young.
CREATE FUNCTION quorate_prune(keep text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    moment timestamptz := clock_timestamp();
BEGIN
    DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < moment - interval '1 hour'
                                     ORDER BY at LIMIT 10000 FOR UPDATE SKIP LOCKED);
    DELETE FROM primary_changes WHERE epoch IN (
        SELECT epoch FROM primary_changes WHERE at < moment - interval '30 days'
        ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED);
    DELETE FROM decisions WHERE id IN (
        SELECT id FROM decisions d WHERE at < moment - interval '30 days'
          AND NOT EXISTS (SELECT FROM primary_changes c WHERE c.decision = d.id)
        ORDER BY at LIMIT 1000 FOR UPDATE SKIP LOCKED);
    DELETE FROM supervisors WHERE name IN (
        SELECT name FROM supervisors WHERE heartbeat_at < moment - interval '1 day' AND name <> keep
        ORDER BY name LIMIT 100 FOR UPDATE SKIP LOCKED);
    -- A row that no registered supervisor owns counts by its stamps alone, and without one within a day for nothing, by
    -- Praefect's rule neither: its writer has gone, or watches the node no longer. A live Praefect stamps every row of
    -- its own each second. One that has no end is none.
    DELETE FROM node_status WHERE id IN (
        SELECT id FROM node_status ns
        WHERE ns.praefect_name <> keep
          AND NOT EXISTS (SELECT FROM supervisors s WHERE s.name = ns.praefect_name)
          AND NOT coalesce(isfinite(last_contact_attempt_at)
                           AND last_contact_attempt_at >= moment - interval '1 day', false)
          AND NOT coalesce(isfinite(last_seen_active_at)
                           AND last_seen_active_at >= moment - interval '1 day', false)
        ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED);
END $$;

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

CREATE FUNCTION quorate_supervisor_heartbeat(own_name text, own bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held supervisors%ROWTYPE;
    rules settings%ROWTYPE;
    stamped timestamptz;
BEGIN
    SELECT * INTO held FROM supervisors WHERE name = own_name FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'gone');
    ELSIF held.incarnation <> own THEN
        RETURN json_build_object('outcome', 'superseded', 'by', held.incarnation);
    END IF;
    SELECT * INTO rules FROM settings;
    IF NOT quorate_is_within(held.heartbeat_at, rules.voter_ttl_ms) THEN
        RETURN json_build_object('outcome', 'lapsed');
    END IF;
    UPDATE supervisors SET heartbeat_at = clock_timestamp() WHERE name = own_name RETURNING heartbeat_at INTO stamped;
    -- The first heartbeat of a minute clears away: what only registrations did would not be done for months.
    IF date_trunc('minute', held.heartbeat_at) < date_trunc('minute', stamped) THEN
        PERFORM quorate_prune(own_name);
    END IF;
    RETURN json_build_object('outcome', 'alive', 'at', quorate_micros(stamped), 'settings_revision', rules.revision);
END $$;

CREATE FUNCTION quorate_supervisor_remove(own_name text, own bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM supervisors WHERE name = own_name AND incarnation = own FOR UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('removed', false);
    END IF;
    DELETE FROM node_status WHERE praefect_name = own_name;
    DELETE FROM supervisors WHERE name = own_name;
    PERFORM quorate_announce('votes', own_name);
    RETURN json_build_object('removed', true);
END $$;

CREATE FUNCTION quorate_votes_write(own_name text, own bigint, number bigint, votes json)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    changed bigint;
BEGIN
    -- Shared: a registration of a newer incarnation waits, or has happened. Two batches of one voter do not exclude
    -- each other here; their numbers order them.
    PERFORM 1 FROM supervisors WHERE name = own_name AND incarnation = own FOR SHARE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'not_mine');
    END IF;
    INSERT INTO node_status (praefect_name, shard_name, node_name, verdict)
    SELECT own_name, v.virtual_storage, v.storage, 'none'
    FROM json_to_recordset(votes) AS v (virtual_storage text, storage text)
    WHERE NOT EXISTS (SELECT FROM node_status ns WHERE ns.praefect_name = own_name
                      AND ns.shard_name = v.virtual_storage AND ns.node_name = v.storage)
    ORDER BY 2, 3
    ON CONFLICT DO NOTHING;
    -- Lock in one order, then look again: what an overtaking batch has stored meanwhile is seen below.
    PERFORM 1 FROM node_status ns
    JOIN json_to_recordset(votes) AS v (virtual_storage text, storage text)
      ON ns.shard_name = v.virtual_storage AND ns.node_name = v.storage
    WHERE ns.praefect_name = own_name
    ORDER BY ns.shard_name, ns.node_name FOR UPDATE OF ns;
    WITH newer AS (
        SELECT ns.id, v.opinion,
            -- The vote of an older incarnation has died with it: it counts as none.
            CASE WHEN ns.incarnation = own THEN ns.verdict ELSE 'none' END IS DISTINCT FROM v.opinion AS differs
        FROM node_status ns
        JOIN json_to_recordset(votes) AS v (virtual_storage text, storage text, opinion text)
          ON ns.shard_name = v.virtual_storage AND ns.node_name = v.storage
        WHERE ns.praefect_name = own_name
          AND (ns.incarnation IS NULL OR ns.incarnation < own
               OR (ns.incarnation = own AND (ns.vote_number IS NULL OR ns.vote_number < number)))
    ), stored AS (
        UPDATE node_status ns SET verdict = newer.opinion, incarnation = own, vote_number = number,
            last_contact_attempt_at = CASE WHEN newer.opinion = 'none' THEN ns.last_contact_attempt_at
                                           ELSE clock_timestamp() END,
            last_seen_active_at = CASE WHEN newer.opinion = 'up' THEN clock_timestamp() ELSE ns.last_seen_active_at END
        FROM newer WHERE ns.id = newer.id
        RETURNING newer.differs
    )
    SELECT count(*) FILTER (WHERE differs) INTO changed FROM stored;
    IF changed > 0 THEN
        PERFORM quorate_announce('votes', own_name);
    END IF;
    RETURN json_build_object('outcome', 'written', 'changed', changed);
END $$;

-- Elections -----------------------------------------------------------------------------------------------------

-- What every decision rests on, looked at again under the lock: the era is the one seen, the facts are young, and not from a
-- clock that was set back, and who proposes is still its incarnation, live and not recused.
CREATE FUNCTION quorate_may_commit(seen_era bigint, seen_at bigint, proposer text, own bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    rules settings%ROWTYPE;
    facts_age bigint := quorate_micros(clock_timestamp()) - seen_at;
BEGIN
    SELECT * INTO rules FROM settings;
    RETURN seen_era = (SELECT max(era) FROM eras)
       AND facts_age >= 0 AND facts_age < rules.decision_ttl_ms * 1000
       AND (rules.policy = 'half' OR EXISTS (
            SELECT FROM supervisors WHERE name = proposer AND incarnation = own AND recused_since IS NULL
              AND quorate_is_within(heartbeat_at, rules.voter_ttl_ms)));
END $$;

CREATE FUNCTION quorate_primary_cas(
    proposed text, repository bigint, seen_epoch bigint, seen_era bigint, seen_facts bigint, seen_at bigint,
    elected text, proposer text, own bigint, reason text, votes_and_candidates text
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    given bigint;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    -- A retry after a lost answer finds its own decision.
    SELECT epoch INTO given FROM primary_changes WHERE decision = proposed AND repository_id = repository;
    IF given IS NOT NULL THEN
        RETURN json_build_object('outcome', 'won', 'epoch', given);
    END IF;
    IF held.repository_id IS NULL THEN
        RETURN json_build_object('outcome', 'lost');
    END IF;
    IF NOT quorate_era_holds() THEN
        RETURN json_build_object('outcome', 'era_changed');
    END IF;
    IF held.facts_version <> seen_facts
       OR held.primary_epoch IS DISTINCT FROM seen_epoch
       OR NOT quorate_may_commit(seen_era, seen_at, proposer, own)
    THEN
        RETURN json_build_object('outcome', 'lost');
    END IF;
    given := quorate_next_epoch();
    INSERT INTO decisions (id, supervisor, incarnation, kind, why, evidence)
    VALUES (proposed, proposer, own, CASE WHEN elected IS NULL THEN 'demote' ELSE 'elect' END, reason, votes_and_candidates)
    ON CONFLICT (id) DO NOTHING;
    INSERT INTO primary_changes (epoch, repository_id, previous, current, decision)
    VALUES (given, repository, held."primary", elected, proposed);
    PERFORM set_config('quorate.quiet', 'on', true);
    UPDATE repositories SET "primary" = elected, primary_epoch = given WHERE repository_id = repository;
    PERFORM set_config('quorate.quiet', 'off', true);
    RETURN json_build_object('outcome', 'won', 'epoch', given, 'tell', json_build_array(
        quorate_elected(quorate_key(held.virtual_storage, held.relative_path, repository))));
END $$;

-- Repositories --------------------------------------------------------------------------------------------------

CREATE FUNCTION quorate_refused(why text) RETURNS json LANGUAGE sql IMMUTABLE AS $$
    SELECT json_build_object('outcome', 'refused', 'why', why)
$$;

-- NULL if the caller may go on. Called after the row was locked, so that what it says still holds at commit.
CREATE FUNCTION quorate_fence(held repositories, own_epoch bigint, own_primary text) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF held.repository_id IS NULL THEN
        RETURN json_build_object('outcome', 'not_found');
    ELSIF own_epoch IS NULL THEN
        IF (SELECT profile FROM settings) IS DISTINCT FROM 'praefect' THEN
            RETURN quorate_refused('fence_required');
        END IF;
    ELSIF held.primary_epoch IS DISTINCT FROM own_epoch OR held."primary" IS DISTINCT FROM own_primary THEN
        RETURN json_build_object('outcome', 'stale', 'epoch', held.primary_epoch, 'primary', held."primary");
    END IF;
    IF NOT quorate_era_holds() THEN
        RETURN json_build_object('outcome', 'era_changed');
    END IF;
    RETURN NULL;
END $$;

-- Ends the marks of one replica, or of all (storage NULL).
CREATE FUNCTION quorate_end_marks(repository bigint, target text, ended replication_job_state) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    UPDATE replication_queue SET state = ended, updated_at = timezone('UTC', clock_timestamp())
    WHERE state NOT IN ('completed', 'dead', 'cancelled') AND job ->> 'change' = 'delete_replica'
      AND (job ->> 'repository_id')::bigint = repository
      AND (target IS NULL OR job ->> 'target_node_storage' = target);
END $$;

CREATE FUNCTION quorate_repository_create(
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

CREATE FUNCTION quorate_repository_delete(repository bigint, own_epoch bigint, own_primary text) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
    places json;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR UPDATE;
    answer := quorate_fence(held, own_epoch, own_primary);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    places := (SELECT coalesce(json_agg(storage ORDER BY storage COLLATE "C"), '[]'::json)
               FROM storage_repositories WHERE repository_id = repository);
    PERFORM quorate_end_marks(repository, NULL, 'cancelled');
    DELETE FROM repositories WHERE repository_id = repository;
    RETURN json_build_object('outcome', 'done', 'replica_path', held.replica_path, 'storages', places);
END $$;

CREATE FUNCTION quorate_repository_rename(repository bigint, own_epoch bigint, own_primary text, wanted text)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR UPDATE;
    answer := quorate_fence(held, own_epoch, own_primary);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    BEGIN -- Assignments follow by their foreign key.
        UPDATE repositories SET relative_path = wanted, facts_version = facts_version + 1
        WHERE repository_id = repository;
        UPDATE storage_repositories SET relative_path = wanted WHERE repository_id = repository;
        UPDATE replication_queue SET job = jsonb_set(job, '{relative_path}', to_jsonb(wanted))
        WHERE state NOT IN ('completed', 'dead', 'cancelled') AND job ->> 'change' = 'delete_replica'
          AND (job ->> 'repository_id')::bigint = repository;
    EXCEPTION WHEN unique_violation THEN
        RETURN quorate_refused('path_taken');
    END;
    RETURN json_build_object('outcome', 'done');
END $$;

CREATE FUNCTION quorate_generation_set(
    repository bigint, own_epoch bigint, own_primary text, place text, wanted bigint
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    answer := quorate_fence(held, own_epoch, own_primary);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
    VALUES (held.virtual_storage, held.relative_path, place, wanted, repository)
    ON CONFLICT (repository_id, storage) DO UPDATE
        SET generation = excluded.generation, relative_path = excluded.relative_path;
    UPDATE repositories SET generation = wanted WHERE repository_id = repository AND coalesce(generation, -1) < wanted;
    RETURN json_build_object('outcome', 'done');
END $$;

CREATE FUNCTION quorate_replica_mark(repository bigint, place text) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    pending text;
    queue text;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'not_found');
    ELSIF NOT EXISTS (SELECT FROM storage_repositories WHERE repository_id = repository AND storage = place) THEN
        RETURN quorate_refused('replica_not_found');
    ELSIF held."primary" IS NOT DISTINCT FROM place THEN
        RETURN quorate_refused('is_primary');
    END IF;
    SELECT job ->> 'target_node_storage' INTO pending FROM replication_queue
    WHERE state NOT IN ('completed', 'dead', 'cancelled') AND job ->> 'change' = 'delete_replica'
      AND (job ->> 'repository_id')::bigint = repository;
    IF pending IS NOT NULL THEN
        RETURN CASE WHEN pending = place THEN json_build_object('outcome', 'done')
                    ELSE quorate_refused('deletion_pending') END;
    END IF;
    queue := held.virtual_storage || '|' || place || '|' || held.relative_path;
    INSERT INTO replication_queue_lock (id) VALUES (queue) ON CONFLICT DO NOTHING;
    INSERT INTO replication_queue (lock_id, job) VALUES (queue, jsonb_build_object(
        'change', 'delete_replica', 'repository_id', repository, 'virtual_storage', held.virtual_storage,
        'relative_path', held.relative_path, 'replica_path', held.replica_path, 'target_node_storage', place,
        'source_node_storage', '', 'params', NULL));
    RETURN json_build_object('outcome', 'done');
END $$;

CREATE FUNCTION quorate_replica_delete(repository bigint, own_epoch bigint, own_primary text, place text)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    answer := quorate_fence(held, own_epoch, own_primary);
    IF answer IS NOT NULL THEN
        RETURN answer;
    ELSIF held."primary" IS NOT DISTINCT FROM place THEN
        RETURN quorate_refused('is_primary');
    END IF;
    DELETE FROM storage_repositories WHERE repository_id = repository AND storage = place;
    IF NOT FOUND THEN
        RETURN quorate_refused('replica_not_found');
    END IF;
    PERFORM quorate_end_marks(repository, place, 'completed');
    RETURN json_build_object('outcome', 'done');
END $$;

CREATE FUNCTION quorate_authoritative_set(repository bigint, place text, seen_facts bigint, operator text, own bigint)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    raised bigint;
    given bigint;
    decided text := gen_random_uuid()::text;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'not_found');
    ELSIF held.facts_version <> seen_facts THEN
        RETURN quorate_refused('facts_moved');
    ELSIF NOT quorate_era_holds() THEN
        RETURN json_build_object('outcome', 'era_changed');
    END IF;
    -- Above every replica even if a foreign writer left the repository without a generation.
    raised := greatest(held.generation, -1,
        (SELECT max(generation) FROM storage_repositories WHERE repository_id = repository)) + 1;
    given := quorate_next_epoch();
    -- What an operator calls the truth is not about to be deleted.
    PERFORM quorate_end_marks(repository, place, 'cancelled');
    INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id)
    VALUES (held.virtual_storage, held.relative_path, place, raised, repository)
    ON CONFLICT (repository_id, storage) DO UPDATE
        SET generation = excluded.generation, relative_path = excluded.relative_path;
    INSERT INTO decisions (id, supervisor, incarnation, kind, why, evidence)
    VALUES (decided, operator, own, 'authoritative', 'authoritative', '{}');
    INSERT INTO primary_changes (epoch, repository_id, previous, current, decision)
    VALUES (given, repository, held."primary", place, decided);
    UPDATE repositories SET generation = raised, "primary" = place, primary_epoch = given
    WHERE repository_id = repository;
    RETURN json_build_object('outcome', 'done', 'epoch', given);
END $$;

CREATE FUNCTION quorate_assignments_replace(repository bigint, seen_facts bigint, wanted json) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    who text[] := ARRAY(SELECT json_array_elements_text(wanted));
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'not_found');
    ELSIF held.facts_version <> seen_facts THEN
        RETURN quorate_refused('facts_moved');
    END IF;
    DELETE FROM repository_assignments WHERE repository_id = repository AND NOT storage = ANY (who);
    INSERT INTO repository_assignments (virtual_storage, relative_path, storage, repository_id)
    SELECT held.virtual_storage, held.relative_path, unnest(who), repository
    ON CONFLICT DO NOTHING;
    RETURN json_build_object('outcome', 'done');
END $$;

CREATE FUNCTION quorate_storage_update(storage_of text, place text, new_priority integer, new_draining boolean)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO storages AS s (virtual_storage, storage, priority, draining)
    VALUES (storage_of, place, coalesce(new_priority, 100), coalesce(new_draining, false))
    ON CONFLICT (virtual_storage, storage) DO UPDATE
        SET priority = coalesce(new_priority, s.priority), draining = coalesce(new_draining, s.draining);
    RETURN json_build_object('outcome', 'done');
END $$;
