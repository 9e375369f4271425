-- What Praefect does not have. Every column here is additive, and everything that must not be forgotten (facts
-- versions, epochs, history, notifications) hangs on triggers, so that a foreign writer cannot forget it either.

CREATE TABLE settings (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    cluster_id text NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    profile text NOT NULL,
    policy text NOT NULL,
    expected_supervisors bigint,
    voter_ttl_ms bigint NOT NULL,
    vote_ttl_ms bigint NOT NULL,
    decision_ttl_ms bigint NOT NULL,
    without_candidate text NOT NULL,
    praefect_notifications boolean NOT NULL
);

CREATE TABLE supervisors (
    name text PRIMARY KEY,
    incarnation bigint NOT NULL,
    registered_at timestamptz NOT NULL,
    superseded_live_at timestamptz,
    heartbeat_at timestamptz NOT NULL,
    recused_since timestamptz,
    recused_reason text,
    version text NOT NULL,
    address text,
    -- Who registered, so that a process finds its own registration again and one that lands late supersedes nobody.
    process text,
    attempt bigint
);

CREATE TABLE storages (
    virtual_storage text NOT NULL,
    storage text NOT NULL,
    priority integer NOT NULL DEFAULT 100,
    draining boolean NOT NULL DEFAULT false,
    penalty_until timestamptz,
    penalty_reason text,
    PRIMARY KEY (virtual_storage, storage)
);

ALTER TABLE node_status ADD COLUMN verdict text CHECK (verdict IN ('up', 'down', 'none', 'misconfigured')),
    ADD COLUMN incarnation bigint, ADD COLUMN vote_number bigint;
-- Room for the new versions of rows: an election changes nothing that an index holds, so if its row stays on its page no index
-- is written to. Where a third of the rows changes at once, as when one of three nodes dies, a third is needed. Adoption, below,
-- moves each row that has a primary to such a page.
ALTER TABLE repositories ADD COLUMN primary_epoch bigint, ADD COLUMN facts_version bigint NOT NULL DEFAULT 0,
    SET (fillfactor = 70);
ALTER TABLE shard_primaries ADD COLUMN epoch bigint;

CREATE TABLE decisions (
    id text PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    supervisor text NOT NULL,
    incarnation bigint NOT NULL,
    kind text NOT NULL,
    why text NOT NULL,
    evidence text NOT NULL
);
CREATE INDEX decisions_at ON decisions (at);

-- No foreign key to repositories: history outlives what it is about.
CREATE TABLE primary_changes (
    epoch bigint PRIMARY KEY,
    repository_id bigint NOT NULL,
    previous text,
    current text,
    decision text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX primary_changes_repository ON primary_changes (repository_id, epoch);
CREATE INDEX primary_changes_decision ON primary_changes (decision);
CREATE INDEX primary_changes_at ON primary_changes (at);

CREATE TABLE eras (
    era bigint PRIMARY KEY CHECK (era BETWEEN 1 AND 67108863),
    since timestamptz NOT NULL DEFAULT clock_timestamp(),
    system_identifier text NOT NULL,
    timeline text NOT NULL,
    reason text NOT NULL
);

-- Ids commit out of order: a poller goes by xid and its snapshot's xmin, never by id alone.
CREATE TABLE changes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    xid xid8 NOT NULL DEFAULT pg_current_xact_id()
);
CREATE INDEX changes_at ON changes (at);

-- CACHE 1, or a session would hand out a number below one that another session has used already.
CREATE SEQUENCE primary_epochs MAXVALUE 137438953471 CACHE 1;
CREATE SEQUENCE incarnations CACHE 1;

-- "Is this replica to be deleted?" as an index lookup by repository and target.
CREATE INDEX quorate_marks ON replication_queue
    (((job ->> 'repository_id')::bigint), (job ->> 'target_node_storage'))
    WHERE state NOT IN ('completed', 'dead', 'cancelled') AND job ->> 'change' = 'delete_replica';

-- What reads or writes is plpgsql: a function in SQL that cannot be inlined is planned anew by each statement that calls it.
CREATE FUNCTION quorate_micros(span interval) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT (extract(epoch FROM span) * 1000000)::bigint
$$;
CREATE FUNCTION quorate_micros(moment timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT (extract(epoch FROM moment) * 1000000)::bigint
$$;

-- How long ago, as of the statement. An infinite stamp, which others may write, is no time at all.
CREATE FUNCTION quorate_age(stamp timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT quorate_micros(statement_timestamp() - CASE WHEN isfinite(stamp) THEN stamp END)
$$;

-- Era in the upper 26 bits, a number from the one sequence in the lower 37. Before the first era is recorded it is 1.
CREATE FUNCTION quorate_next_epoch() RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    RETURN (coalesce((SELECT max(era) FROM eras), 1) << 37) | nextval('primary_epochs');
END $$;

-- Tells listeners and pollers the same thing. The key is a supervisor's name (votes) or a JSON object (primaries).
CREATE FUNCTION quorate_announce(what text, about text) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    INSERT INTO changes (kind, key) VALUES (what, about);
    PERFORM pg_notify('quorate_' || what, about);
END $$;

-- One repository's key; too long a path becomes "re-read all of this virtual storage" instead of an error.
CREATE FUNCTION quorate_key(storage_of text, path text, id bigint) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    whole text := json_build_object('virtual_storage', storage_of, 'relative_path', path, 'repository', id);
BEGIN
    RETURN CASE WHEN octet_length(whole) <= 7000 THEN whole ELSE json_build_object('virtual_storage', storage_of)::text END;
END $$;

-- Facts versions ------------------------------------------------------------------------------------------------

-- Of these repositories, those whose recorded primary is behind, gone, to be deleted, or not assigned while others are. Called
-- once their rows are locked: what it sees still holds at commit.
CREATE FUNCTION quorate_announce_unfit(ids bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    PERFORM quorate_announce('primaries', key) FROM (
        SELECT DISTINCT CASE WHEN many THEN json_build_object('virtual_storage', vs)::text
            ELSE quorate_key(vs, path, id) END AS key
        FROM (SELECT r.virtual_storage AS vs, r.relative_path AS path, r.repository_id AS id,
                     count(*) OVER (PARTITION BY r.virtual_storage) > 64 AS many
              FROM repositories r
              WHERE r.repository_id = ANY (ids) AND r."primary" IS NOT NULL AND (
                  NOT EXISTS (SELECT FROM storage_repositories s WHERE s.repository_id = r.repository_id
                              AND s.storage = r."primary" AND s.generation = r.generation)
                  OR (EXISTS (SELECT FROM repository_assignments a WHERE a.repository_id = r.repository_id)
                      AND NOT EXISTS (SELECT FROM repository_assignments a WHERE a.repository_id = r.repository_id
                                      AND a.storage = r."primary"))
                  OR EXISTS (SELECT FROM replication_queue q
                             WHERE q.state NOT IN ('completed', 'dead', 'cancelled')
                               AND q.job ->> 'change' = 'delete_replica'
                               AND (q.job ->> 'repository_id')::bigint = r.repository_id
                               AND q.job ->> 'target_node_storage' = r."primary"))) each_one) keys;
END $$;

CREATE FUNCTION quorate_raise_facts(ids bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    -- In order of id, so that two bulk writers never wait for each other in a circle.
    PERFORM 1 FROM repositories WHERE repository_id = ANY (ids) ORDER BY repository_id FOR NO KEY UPDATE;
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = ANY (ids);
    -- An increment moves replicas first and their repository after them, and tells by itself what came of it.
    IF current_setting('quorate.quiet', true) IS DISTINCT FROM 'on' THEN
        PERFORM quorate_announce_unfit(ids);
    END IF;
END $$;

CREATE FUNCTION quorate_replicas_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ids := (SELECT array_agg(DISTINCT repository_id) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        ids := (SELECT array_agg(DISTINCT repository_id) FROM old_rows);
    ELSE -- A verification stamp is no fact of an election.
        ids := (SELECT array_agg(DISTINCT repository_id) FROM (
            (SELECT repository_id, storage, generation FROM new_rows
             EXCEPT SELECT repository_id, storage, generation FROM old_rows)
            UNION ALL
            (SELECT repository_id, storage, generation FROM old_rows
             EXCEPT SELECT repository_id, storage, generation FROM new_rows)) moved);
    END IF;
    IF ids IS NOT NULL THEN
        PERFORM quorate_raise_facts(ids);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_replicas_inserted AFTER INSERT ON storage_repositories
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_replicas_moved();
CREATE TRIGGER quorate_replicas_updated AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION quorate_replicas_moved();
CREATE TRIGGER quorate_replicas_deleted AFTER DELETE ON storage_repositories
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_replicas_moved();

-- Who empties a table at once names no repository: all have moved.
CREATE FUNCTION quorate_all_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM quorate_raise_facts(ARRAY(SELECT repository_id FROM repositories));
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_replicas_truncated AFTER TRUNCATE ON storage_repositories
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_all_moved();
CREATE TRIGGER quorate_assignments_truncated AFTER TRUNCATE ON repository_assignments
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_all_moved();
CREATE TRIGGER quorate_marks_truncated AFTER TRUNCATE ON replication_queue
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_all_moved();

CREATE FUNCTION quorate_assignments_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ids := (SELECT array_agg(DISTINCT repository_id) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        ids := (SELECT array_agg(DISTINCT repository_id) FROM old_rows);
    ELSE
        ids := (SELECT array_agg(DISTINCT repository_id) FROM (
            SELECT repository_id FROM new_rows UNION ALL SELECT repository_id FROM old_rows) moved);
    END IF;
    IF ids IS NOT NULL THEN
        PERFORM quorate_raise_facts(ids);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_assignments_inserted AFTER INSERT ON repository_assignments
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_assignments_moved();
CREATE TRIGGER quorate_assignments_updated AFTER UPDATE ON repository_assignments
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION quorate_assignments_moved();
CREATE TRIGGER quorate_assignments_deleted AFTER DELETE ON repository_assignments
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_assignments_moved();

CREATE FUNCTION quorate_marks_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        ids := (SELECT array_agg(DISTINCT (job ->> 'repository_id')::bigint) FROM new_rows
                WHERE job ->> 'change' = 'delete_replica' AND job ->> 'repository_id' IS NOT NULL);
    ELSIF TG_OP = 'DELETE' THEN
        ids := (SELECT array_agg(DISTINCT (job ->> 'repository_id')::bigint) FROM old_rows
                WHERE job ->> 'change' = 'delete_replica' AND job ->> 'repository_id' IS NOT NULL);
    ELSE
        ids := (SELECT array_agg(DISTINCT (job ->> 'repository_id')::bigint) FROM (
                    SELECT job FROM new_rows UNION ALL SELECT job FROM old_rows) moved
                WHERE job ->> 'change' = 'delete_replica' AND job ->> 'repository_id' IS NOT NULL);
    END IF;
    IF ids IS NOT NULL THEN
        PERFORM quorate_raise_facts(ids);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_marks_inserted AFTER INSERT ON replication_queue
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_marks_moved();
CREATE TRIGGER quorate_marks_updated AFTER UPDATE ON replication_queue
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION quorate_marks_moved();
CREATE TRIGGER quorate_marks_deleted AFTER DELETE ON replication_queue
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_marks_moved();

-- Epochs and history --------------------------------------------------------------------------------------------

-- A writer that changes "primary" without an epoch (Praefect does not know epochs) is given one.
CREATE FUNCTION quorate_guard_repository() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW."primary" IS NOT NULL AND NEW.primary_epoch IS NULL THEN
            NEW.primary_epoch := quorate_next_epoch();
        END IF;
        -- From the time, so that a repository made again under an id that it had before cannot come to a version that
        -- somebody still holds from its former life.
        IF NEW.facts_version = 0 THEN
            NEW.facts_version := quorate_micros(clock_timestamp());
        END IF;
        RETURN NEW;
    END IF;
    IF NEW."primary" IS DISTINCT FROM OLD."primary" AND NEW.primary_epoch IS NOT DISTINCT FROM OLD.primary_epoch THEN
        NEW.primary_epoch := quorate_next_epoch();
    END IF;
    IF NEW.generation IS DISTINCT FROM OLD.generation AND NEW.facts_version = OLD.facts_version THEN
        NEW.facts_version := OLD.facts_version + 1;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER quorate_guard_inserted BEFORE INSERT ON repositories
    FOR EACH ROW EXECUTE FUNCTION quorate_guard_repository();
CREATE TRIGGER quorate_guard_updated BEFORE UPDATE OF "primary", generation ON repositories FOR EACH ROW
    WHEN (NEW."primary" IS DISTINCT FROM OLD."primary" AND NEW.primary_epoch IS NOT DISTINCT FROM OLD.primary_epoch
          OR NEW.generation IS DISTINCT FROM OLD.generation AND NEW.facts_version = OLD.facts_version)
    EXECUTE FUNCTION quorate_guard_repository();

-- History for every epoch that has none yet, then word to the listeners: one per repository, or one per virtual storage if
-- a statement changed very many. Our own elections do both by themselves, beside the decision, and are quiet here.
CREATE FUNCTION quorate_primaries_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved jsonb;
BEGIN
    IF current_setting('quorate.quiet', true) = 'on' THEN RETURN NULL; END IF;
    IF TG_OP = 'INSERT' THEN
        INSERT INTO primary_changes (epoch, repository_id, previous, current)
        SELECT primary_epoch, repository_id, NULL, "primary" FROM new_rows WHERE primary_epoch IS NOT NULL
        ON CONFLICT (epoch) DO NOTHING;
        moved := (SELECT jsonb_agg(jsonb_build_array(virtual_storage, relative_path, repository_id))
                  FROM new_rows WHERE "primary" IS NOT NULL);
    ELSIF TG_OP = 'DELETE' THEN
        moved := (SELECT jsonb_agg(jsonb_build_array(virtual_storage, relative_path, repository_id)) FROM old_rows);
    ELSE
        INSERT INTO primary_changes (epoch, repository_id, previous, current)
        SELECT n.primary_epoch, n.repository_id, o."primary", n."primary"
        FROM new_rows n JOIN old_rows o USING (repository_id)
        WHERE n.primary_epoch IS DISTINCT FROM o.primary_epoch AND n.primary_epoch IS NOT NULL
        ON CONFLICT (epoch) DO NOTHING;
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(place.virtual_storage, place.relative_path, n.repository_id))
                  FROM new_rows n JOIN old_rows o USING (repository_id),
                       LATERAL (VALUES (n.virtual_storage, n.relative_path), (o.virtual_storage, o.relative_path))
                           AS place (virtual_storage, relative_path)
                  WHERE (n."primary", n.primary_epoch, n.virtual_storage, n.relative_path)
                     IS DISTINCT FROM (o."primary", o.primary_epoch, o.virtual_storage, o.relative_path));
    END IF;
    IF moved IS NOT NULL THEN
        PERFORM quorate_announce('primaries', key) FROM (
            SELECT DISTINCT CASE WHEN many THEN json_build_object('virtual_storage', vs)::text
                ELSE quorate_key(vs, path, id) END AS key
            FROM (SELECT m ->> 0 AS vs, m ->> 1 AS path, (m ->> 2)::bigint AS id,
                         count(*) OVER (PARTITION BY m ->> 0) > 64 AS many
                  FROM jsonb_array_elements(moved) AS m) each_one) keys;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_primaries_inserted AFTER INSERT ON repositories
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_primaries_moved();
CREATE TRIGGER quorate_primaries_updated AFTER UPDATE ON repositories
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION quorate_primaries_moved();
CREATE TRIGGER quorate_primaries_deleted AFTER DELETE ON repositories
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_primaries_moved();

-- A storage that drains, or may lead nothing any more, unfits all that it leads. A penalty unfits nobody.
CREATE FUNCTION quorate_storages_moved() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP <> 'DELETE' AND (TG_OP = 'INSERT'
        OR (NEW.virtual_storage, NEW.priority, NEW.draining) IS DISTINCT FROM (OLD.virtual_storage, OLD.priority, OLD.draining))
    THEN
        PERFORM quorate_announce('primaries', json_build_object('virtual_storage', NEW.virtual_storage)::text);
    END IF;
    IF TG_OP = 'DELETE' OR (TG_OP = 'UPDATE' AND NEW.virtual_storage <> OLD.virtual_storage) THEN
        PERFORM quorate_announce('primaries', json_build_object('virtual_storage', OLD.virtual_storage)::text);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_storages_moved AFTER INSERT OR UPDATE OR DELETE ON storages
    FOR EACH ROW EXECUTE FUNCTION quorate_storages_moved();
CREATE FUNCTION quorate_storages_emptied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    PERFORM quorate_announce('primaries', '{}');
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_storages_truncated AFTER TRUNCATE ON storages
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_storages_emptied();

-- Praefect's own channels ---------------------------------------------------------------------------------------

-- The payload is Praefect's, `[{"virtual_storage": .., "relative_paths": [..]}]`, but cut into pieces that fit: a payload
-- of 8000 bytes fails the whole statement. Silent unless the settings ask for it, for NOTIFY takes a lock at commit.
-- A Praefect's own, changed or not, is kept under another name for the way back.
DO $$ BEGIN
    IF to_regprocedure('notify_on_change()') IS NOT NULL THEN
        ALTER FUNCTION notify_on_change() RENAME TO praefect_notify_on_change;
    END IF;
END $$;
CREATE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved jsonb;
BEGIN
    IF NOT coalesce((SELECT praefect_notifications FROM settings), false) THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(virtual_storage, relative_path)) FROM new_val);
    ELSIF TG_OP = 'DELETE' THEN
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(virtual_storage, relative_path)) FROM old_val);
    ELSE
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(place.virtual_storage, place.relative_path))
                  FROM (SELECT virtual_storage, relative_path, storage, repository_id, generation FROM old_val
                        EXCEPT SELECT virtual_storage, relative_path, storage, repository_id, generation FROM new_val
                        UNION ALL
                        (SELECT virtual_storage, relative_path, storage, repository_id, generation FROM new_val
                         EXCEPT SELECT virtual_storage, relative_path, storage, repository_id, generation FROM old_val)
                       ) place);
    END IF;
    IF moved IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[0], json_build_array(json_build_object('virtual_storage', vs, 'relative_paths',
                    json_agg(path)))::text)
        FROM (SELECT vs, path, sum(octet_length(to_json(path)::text) + 2) OVER (PARTITION BY vs ORDER BY path) / 3000 AS piece
              FROM (SELECT m ->> 0 AS vs, m ->> 1 AS path FROM jsonb_array_elements(moved) AS m) pairs
              WHERE octet_length(to_json(path)::text) < 3500) cut
        GROUP BY vs, piece;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE TRIGGER notify_on_delete AFTER DELETE ON repositories
    REFERENCING OLD TABLE AS old_val FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('repositories_updates');
CREATE OR REPLACE TRIGGER notify_on_insert AFTER INSERT ON storage_repositories
    REFERENCING NEW TABLE AS new_val FOR EACH STATEMENT
    EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
CREATE OR REPLACE TRIGGER notify_on_update AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old_val NEW TABLE AS new_val FOR EACH STATEMENT
    EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
CREATE OR REPLACE TRIGGER notify_on_delete AFTER DELETE ON storage_repositories
    REFERENCING OLD TABLE AS old_val FOR EACH STATEMENT
    EXECUTE FUNCTION notify_on_change('storage_repositories_updates');

-- Settings and eras ---------------------------------------------------------------------------------------------

CREATE FUNCTION quorate_settings() RETURNS json LANGUAGE plpgsql STABLE AS $$ BEGIN
    RETURN (SELECT json_build_object('cluster', cluster_id, 'revision', revision, 'settings', json_build_object(
        'profile', profile, 'policy', policy, 'expected_supervisors', expected_supervisors,
        'voter_ttl', voter_ttl_ms, 'vote_ttl', vote_ttl_ms, 'decision_ttl', decision_ttl_ms,
        'without_candidate', without_candidate, 'praefect_notifications', praefect_notifications))
        FROM settings);
END $$;

-- Which server this is, and which life of it. A promoted standby has another timeline, a restored backup may have
-- another identifier; pg_control_checkpoint() would lag behind a promotion.
CREATE FUNCTION quorate_server(OUT server_id text, OUT line text) LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    server_id := (SELECT system_identifier FROM pg_control_system());
    line := substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8);
END $$;

-- Whether the recorded era is this server's. If not, raises it, in the same transaction that then changes nothing else.
CREATE FUNCTION quorate_era_holds() RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    here record;
BEGIN
    SELECT * INTO here FROM quorate_server();
    IF EXISTS (SELECT FROM eras e WHERE e.era = (SELECT max(era) FROM eras)
               AND e.system_identifier = here.server_id AND e.timeline = here.line) THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock(8175111497114);
    -- Minutes since the year began: two restores of one backup do not share an era.
    INSERT INTO eras (era, system_identifier, timeline, reason)
    SELECT greatest(coalesce(max(era), 0) + 1,
                    floor(extract(epoch FROM clock_timestamp() - timestamptz '2026-01-01 00:00:00+00') / 60)::bigint),
           here.server_id, here.line, 'another server or timeline'
    FROM eras
    HAVING NOT EXISTS (SELECT FROM eras e WHERE e.era = (SELECT max(era) FROM eras)
                       AND e.system_identifier = here.server_id AND e.timeline = here.line);
    RETURN false;
END $$;

CREATE FUNCTION quorate_settings_seed(wanted json) RETURNS json LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    INSERT INTO settings (cluster_id, profile, policy, expected_supervisors, voter_ttl_ms, vote_ttl_ms, decision_ttl_ms,
                          without_candidate, praefect_notifications)
    SELECT gen_random_uuid()::text, profile, policy, expected_supervisors, voter_ttl, vote_ttl, decision_ttl,
           without_candidate, praefect_notifications
    FROM json_to_record(wanted) AS w (profile text, policy text, expected_supervisors bigint, voter_ttl bigint,
                                      vote_ttl bigint, decision_ttl bigint, without_candidate text,
                                      praefect_notifications boolean)
    WHERE NOT EXISTS (SELECT FROM settings)
    ON CONFLICT DO NOTHING;
    INSERT INTO eras (era, system_identifier, timeline, reason)
    SELECT 1, server_id, line, 'the first start' FROM quorate_server() WHERE NOT EXISTS (SELECT FROM eras)
    ON CONFLICT DO NOTHING;
    RETURN quorate_settings();
END $$;

CREATE FUNCTION quorate_settings_update(wanted json) RETURNS json LANGUAGE plpgsql VOLATILE AS $$ BEGIN
    PERFORM quorate_settings_seed(wanted);
    UPDATE settings SET revision = revision + 1, profile = w.profile, policy = w.policy,
        expected_supervisors = w.expected_supervisors, voter_ttl_ms = w.voter_ttl, vote_ttl_ms = w.vote_ttl,
        decision_ttl_ms = w.decision_ttl, without_candidate = w.without_candidate, praefect_notifications = w.praefect_notifications
    FROM json_to_record(wanted) AS w (profile text, policy text, expected_supervisors bigint, voter_ttl bigint,
                                      vote_ttl bigint, decision_ttl bigint, without_candidate text,
                                      praefect_notifications boolean);
    PERFORM quorate_announce('votes', ''); -- Whoever reads votes again reads the settings beside them.
    RETURN quorate_settings();
END $$;

-- Adoption -------------------------------------------------------------------------------------------------------

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
CREATE FUNCTION quorate_keep_channels() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.praefect_notifications := NEW.praefect_notifications OR EXISTS (SELECT FROM schema_migrations);
    RETURN NEW;
END $$;
CREATE TRIGGER quorate_keep_channels BEFORE INSERT ON settings FOR EACH ROW EXECUTE FUNCTION quorate_keep_channels();
