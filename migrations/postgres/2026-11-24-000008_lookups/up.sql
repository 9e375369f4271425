-- Word to the listeners whenever a recorded primary ceases to be valid, whoever made it so. A write that leaves the primary
-- what it is tells nobody.

-- Of these repositories, those whose recorded primary is behind, gone, to be deleted, or not assigned while others are. Called
-- once their rows are locked: what it sees still holds at commit.
CREATE FUNCTION quorate_announce_unfit(ids bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
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

-- As before, and tells of the primaries that are unfit now.
CREATE OR REPLACE FUNCTION quorate_raise_facts(ids bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- In order of id, so that two bulk writers never wait for each other in a circle.
    PERFORM 1 FROM repositories WHERE repository_id = ANY (ids) ORDER BY repository_id FOR NO KEY UPDATE;
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = ANY (ids);
    -- An increment moves replicas first and their repository after them, and tells by itself what came of it.
    IF current_setting('quorate.quiet', true) IS DISTINCT FROM 'on' THEN
        PERFORM quorate_announce_unfit(ids);
    END IF;
END $$;

CREATE OR REPLACE FUNCTION quorate_generations_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('quorate.quiet', true) = 'on' THEN
        RETURN NULL;
    END IF;
    PERFORM quorate_announce_replicas(
        (SELECT jsonb_agg(DISTINCT jsonb_build_array(place.virtual_storage, place.relative_path, n.repository_id))
         FROM new_rows n JOIN old_rows o USING (repository_id),
              LATERAL (VALUES (n.virtual_storage, n.relative_path), (o.virtual_storage, o.relative_path))
                  AS place (virtual_storage, relative_path)
         WHERE (n.generation, n.virtual_storage, n.relative_path, n.replica_path)
            IS DISTINCT FROM (o.generation, o.virtual_storage, o.relative_path, o.replica_path)));
    PERFORM quorate_announce_unfit(
        ARRAY(SELECT repository_id FROM new_rows n JOIN old_rows o USING (repository_id)
              WHERE n.generation IS DISTINCT FROM o.generation));
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION quorate_generation_increment(
    repository bigint, own_epoch bigint, own_primary text, acknowledged json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
    who text[] := ARRAY(SELECT json_array_elements_text(acknowledged));
    moved bigint;
BEGIN
    SELECT * INTO held FROM repositories WHERE repository_id = repository FOR NO KEY UPDATE;
    answer := quorate_fence(held, own_epoch, own_primary);
    IF answer IS NOT NULL THEN
        RETURN answer;
    END IF;
    IF own_epoch IS NOT NULL THEN
        IF NOT own_primary = ANY (who) THEN
            RETURN quorate_refused('primary_not_acknowledged');
        ELSIF NOT EXISTS (SELECT FROM storage_repositories WHERE repository_id = repository AND storage = own_primary
                          AND generation = held.generation) THEN
            RETURN quorate_refused('outdated_nodes');
        END IF;
    END IF;
    PERFORM set_config('quorate.quiet', 'on', true);
    UPDATE storage_repositories SET generation = generation + 1
    WHERE repository_id = repository AND storage = ANY (who) AND generation = held.generation;
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF moved > 0 THEN
        UPDATE repositories SET generation = generation + 1 WHERE repository_id = repository;
    END IF;
    PERFORM set_config('quorate.quiet', 'off', true);
    IF moved = 0 THEN
        RETURN quorate_refused('outdated_nodes');
    END IF;
    -- Somebody was left behind, or somebody whom others had put ahead is joined.
    IF EXISTS (SELECT FROM storage_repositories WHERE repository_id = repository AND generation = held.generation)
        OR moved <> (SELECT count(*) FROM storage_repositories
                     WHERE repository_id = repository AND generation = held.generation + 1) THEN
        PERFORM quorate_announce('replicas', quorate_key(held.virtual_storage, held.relative_path, repository));
        PERFORM quorate_announce_unfit(ARRAY[repository]);
    END IF;
    RETURN json_build_object('outcome', 'done', 'generation', held.generation + 1);
END $$;

-- A storage that drains, or may lead nothing any more, unfits all that it leads. A penalty unfits nobody.
CREATE FUNCTION quorate_storages_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
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
CREATE FUNCTION quorate_storages_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM quorate_announce('primaries', '{}');
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_storages_truncated AFTER TRUNCATE ON storages
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_storages_emptied();

-- The trigger tells.
CREATE OR REPLACE FUNCTION quorate_storage_update(storage_of text, place text, new_priority integer, new_draining boolean)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO storages AS s (virtual_storage, storage, priority, draining)
    VALUES (storage_of, place, coalesce(new_priority, 100), coalesce(new_draining, false))
    ON CONFLICT (virtual_storage, storage) DO UPDATE
        SET priority = coalesce(new_priority, s.priority), draining = coalesce(new_draining, s.draining);
    RETURN json_build_object('outcome', 'done');
END $$;
