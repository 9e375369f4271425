CREATE OR REPLACE FUNCTION quorate_generation_increment(
    repository bigint, own_epoch bigint, own_primary text, acknowledged json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held repositories%ROWTYPE;
    answer json;
    who text[] := ARRAY(SELECT json_array_elements_text(acknowledged));
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
    UPDATE storage_repositories SET generation = generation + 1
    WHERE repository_id = repository AND storage = ANY (who) AND generation = held.generation;
    IF NOT FOUND THEN
        RETURN quorate_refused('outdated_nodes');
    END IF;
    UPDATE repositories SET generation = generation + 1 WHERE repository_id = repository;
    RETURN json_build_object('outcome', 'done', 'generation', held.generation + 1);
END $$;

DROP TRIGGER IF EXISTS quorate_synced_truncated ON storage_repositories;
DROP TRIGGER IF EXISTS quorate_generations_updated ON repositories;
DROP TRIGGER IF EXISTS quorate_synced_deleted ON storage_repositories;
DROP TRIGGER IF EXISTS quorate_synced_updated ON storage_repositories;
DROP TRIGGER IF EXISTS quorate_synced_inserted ON storage_repositories;
DROP FUNCTION IF EXISTS quorate_all_unsynced();
DROP FUNCTION IF EXISTS quorate_generations_moved();
DROP FUNCTION IF EXISTS quorate_synced_moved();
DROP FUNCTION IF EXISTS quorate_announce_replicas(jsonb);
DROP INDEX IF EXISTS changes_xid;
