-- Word to the listeners whenever the set of up-to-date replicas may have changed, whoever changed it.

-- Pollers read what their last snapshot did not see.
CREATE INDEX changes_xid ON changes (xid);

-- One notice per repository, or one per virtual storage if a statement touched very many.
CREATE FUNCTION quorate_announce_replicas(moved jsonb) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF moved IS NOT NULL THEN
        PERFORM quorate_announce('replicas', key) FROM (
            SELECT DISTINCT CASE WHEN many THEN json_build_object('virtual_storage', vs)::text
                ELSE quorate_key(vs, path, id) END AS key
            FROM (SELECT m ->> 0 AS vs, m ->> 1 AS path, (m ->> 2)::bigint AS id,
                         count(*) OVER (PARTITION BY m ->> 0) > 64 AS many
                  FROM jsonb_array_elements(moved) AS m) each_one) keys;
    END IF;
END $$;

-- Writes down that a primary was elected, and returns what its listeners are to be told. Whoever called tells them after the
-- commit: NOTIFY's lock is held through a commit's wait for the disk, so that elections which notify commit one by one. A
-- caller that dies before it tells is made good by the listeners, who read these lines at each of their checks.
CREATE FUNCTION quorate_elected(about text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    told text;
BEGIN
    INSERT INTO changes (kind, key) VALUES ('elected', about)
    RETURNING (key::jsonb || jsonb_build_object('change', id))::text INTO told;
    RETURN told;
END $$;

-- Whoever knows better what changed sets quorate.quiet within its transaction: an increment, above all. A write that every
-- replica acknowledged changes no set, and NOTIFY takes a lock at commit.
CREATE FUNCTION quorate_synced_moved() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    moved jsonb;
BEGIN
    IF current_setting('quorate.quiet', true) = 'on' THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'INSERT' THEN
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(virtual_storage, relative_path, repository_id)) FROM new_rows);
    ELSIF TG_OP = 'DELETE' THEN
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(virtual_storage, relative_path, repository_id)) FROM old_rows);
    ELSE
        moved := (SELECT jsonb_agg(DISTINCT jsonb_build_array(place.virtual_storage, place.relative_path, place.repository_id))
                  FROM (SELECT virtual_storage, relative_path, storage, repository_id, generation FROM old_rows
                        EXCEPT SELECT virtual_storage, relative_path, storage, repository_id, generation FROM new_rows
                        UNION ALL
                        (SELECT virtual_storage, relative_path, storage, repository_id, generation FROM new_rows
                         EXCEPT SELECT virtual_storage, relative_path, storage, repository_id, generation FROM old_rows)
                       ) place);
    END IF;
    PERFORM quorate_announce_replicas(moved);
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_synced_inserted AFTER INSERT ON storage_repositories
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_synced_moved();
CREATE TRIGGER quorate_synced_updated AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_synced_moved();
CREATE TRIGGER quorate_synced_deleted AFTER DELETE ON storage_repositories
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION quorate_synced_moved();

-- The repository's generation decides who is up to date, too.
CREATE FUNCTION quorate_generations_moved() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER quorate_generations_updated AFTER UPDATE ON repositories
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT
    EXECUTE FUNCTION quorate_generations_moved();

-- Transition tables do not see a TRUNCATE: everything may have changed.
CREATE FUNCTION quorate_all_unsynced() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM quorate_announce('replicas', '{}');
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_synced_truncated AFTER TRUNCATE ON storage_repositories
    FOR EACH STATEMENT EXECUTE FUNCTION quorate_all_unsynced();

-- Tells by itself whether it changed who is up to date.
CREATE FUNCTION quorate_generation_increment(
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
