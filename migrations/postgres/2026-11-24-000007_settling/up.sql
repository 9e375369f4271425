-- What a dead node led is settled in sets.

-- As quorate_primary_cas, for many repositories that are changed for one reason. One supervisor at a time settles a virtual
-- storage, and nobody is waited for: neither that supervisor nor whoever holds a repository's row.
CREATE FUNCTION quorate_settle_cas(
    proposed text, storage_of text, seen_era bigint, seen_at bigint, proposer text, own bigint, reason text,
    votes_and_counts text, wanted json
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    alone boolean := pg_try_advisory_xact_lock(hashtextextended('quorate settles ' || storage_of, 0));
    won json;
    held bigint[];
    told text[];
BEGIN
    -- A retry after a lost answer finds its own decision.
    won := (SELECT json_agg(json_build_array(repository_id, epoch)) FROM primary_changes WHERE decision = proposed);
    IF won IS NOT NULL THEN
        RETURN json_build_object('outcome', 'done', 'won', won);
    ELSIF NOT alone THEN
        RETURN json_build_object('outcome', 'busy');
    ELSIF NOT quorate_era_holds() THEN
        RETURN json_build_object('outcome', 'era_changed');
    END IF;
    -- In order of id, and without those that somebody else holds.
    held := ARRAY(SELECT repository_id FROM repositories
                  WHERE repository_id IN (SELECT id FROM json_to_recordset(wanted) AS w (id bigint))
                  ORDER BY repository_id FOR NO KEY UPDATE SKIP LOCKED);
    IF NOT quorate_may_commit(seen_era, seen_at, proposer, own) THEN
        RETURN json_build_object('outcome', 'done', 'won', '[]'::json);
    END IF;
    -- A fresh snapshot: what is compared here is what is there after the locks. History and word to the listeners are
    -- written here, quietly: the triggers on repositories would join all rows with all to find out what is known, by a plan
    -- that their session made once, for as few rows as it changed then. A session that had elected one took five times as long.
    PERFORM set_config('quorate.quiet', 'on', true);
    WITH given AS (
        INSERT INTO primary_changes (epoch, repository_id, previous, current, decision)
        SELECT (seen_era << 37) | nextval('primary_epochs'), r.repository_id, r."primary", w.elected, proposed
        FROM json_to_recordset(wanted) AS w (id bigint, epoch bigint, facts bigint, elected text)
        JOIN repositories r ON r.repository_id = w.id
        WHERE r.repository_id = ANY (held)
          AND r.facts_version = w.facts AND r.primary_epoch IS NOT DISTINCT FROM w.epoch
        RETURNING repository_id, epoch, current
    ), changed AS (
        UPDATE repositories r SET "primary" = g.current, primary_epoch = g.epoch
        FROM given g WHERE r.repository_id = g.repository_id
        RETURNING r.repository_id, r.primary_epoch
    )
    SELECT json_agg(json_build_array(repository_id, primary_epoch)), array_agg(repository_id) INTO won, held FROM changed;
    PERFORM set_config('quorate.quiet', 'off', true);
    IF won IS NULL THEN
        RETURN json_build_object('outcome', 'done', 'won', '[]'::json);
    END IF;
    INSERT INTO decisions (id, supervisor, incarnation, kind, why, evidence)
    VALUES (proposed, proposer, own, CASE WHEN wanted -> 0 ->> 'elected' IS NULL THEN 'demote' ELSE 'elect' END,
            reason, votes_and_counts);
    -- Many are told as all that their primary led: what others lead stays known to whoever remembers it.
    told := ARRAY(SELECT quorate_elected(key) FROM (
        SELECT json_build_object('virtual_storage', virtual_storage, 'primary', previous)::text AS key
        FROM (SELECT DISTINCT r.virtual_storage, c.previous FROM primary_changes c JOIN repositories r USING (repository_id)
              WHERE c.decision = proposed AND cardinality(held) > 64) many
        UNION
        SELECT quorate_key(virtual_storage, relative_path, repository_id) FROM repositories
        WHERE repository_id = ANY (held) AND cardinality(held) <= 64) keys);
    RETURN json_build_object('outcome', 'done', 'won', won, 'tell', told);
END $$;
