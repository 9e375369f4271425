DROP TRIGGER quorate_storages_truncated ON storages;
DROP TRIGGER quorate_storages_moved ON storages;
DROP FUNCTION quorate_storages_emptied();
DROP FUNCTION quorate_storages_moved();
CREATE OR REPLACE FUNCTION quorate_storage_update(storage_of text, place text, new_priority integer, new_draining boolean)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    INSERT INTO storages AS s (virtual_storage, storage, priority, draining)
    VALUES (storage_of, place, coalesce(new_priority, 100), coalesce(new_draining, false))
    ON CONFLICT (virtual_storage, storage) DO UPDATE
        SET priority = coalesce(new_priority, s.priority), draining = coalesce(new_draining, s.draining);
    PERFORM quorate_announce('primaries', json_build_object('virtual_storage', storage_of)::text);
    RETURN json_build_object('outcome', 'done');
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
    END IF;
    RETURN json_build_object('outcome', 'done', 'generation', held.generation + 1);
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
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION quorate_raise_facts(ids bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    -- In order of id, so that two bulk writers never wait for each other in a circle.
    PERFORM 1 FROM repositories WHERE repository_id = ANY (ids) ORDER BY repository_id FOR NO KEY UPDATE;
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = ANY (ids);
END $$;

DROP FUNCTION quorate_announce_unfit(bigint[]);
