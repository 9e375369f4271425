-- One primary for a whole virtual storage: its epochs, its history, and its commits.

CREATE TABLE shard_changes (
    epoch bigint PRIMARY KEY,
    virtual_storage text NOT NULL,
    previous text,
    current text,
    decision text,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX shard_changes_virtual_storage ON shard_changes (virtual_storage, epoch);
CREATE INDEX shard_changes_decision ON shard_changes (decision);

-- A writer that changes the primary without an epoch (Praefect does not know epochs) is given one.
CREATE FUNCTION quorate_guard_shard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        NEW.epoch := coalesce(NEW.epoch, quorate_next_epoch());
    ELSIF (NEW.node_name, NEW.demoted) IS DISTINCT FROM (OLD.node_name, OLD.demoted)
          AND NEW.epoch IS NOT DISTINCT FROM OLD.epoch THEN
        NEW.epoch := quorate_next_epoch();
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER quorate_guard_shard BEFORE INSERT OR UPDATE ON shard_primaries
    FOR EACH ROW EXECUTE FUNCTION quorate_guard_shard();

-- History for every epoch, then word to the listeners: re-read all of this virtual storage.
CREATE FUNCTION quorate_shard_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.epoch IS NOT DISTINCT FROM OLD.epoch THEN
        RETURN NULL;
    END IF;
    INSERT INTO shard_changes (epoch, virtual_storage, previous, current)
    VALUES (NEW.epoch, NEW.shard_name,
            CASE WHEN TG_OP = 'UPDATE' AND NOT OLD.demoted THEN OLD.node_name END,
            CASE WHEN NOT NEW.demoted THEN NEW.node_name END);
    PERFORM quorate_announce('primaries', json_build_object('virtual_storage', NEW.shard_name)::text);
    RETURN NULL;
END $$;
CREATE TRIGGER quorate_shard_moved AFTER INSERT OR UPDATE ON shard_primaries
    FOR EACH ROW EXECUTE FUNCTION quorate_shard_moved();

CREATE FUNCTION quorate_shard_cas(
    proposed text, shard text, seen_epoch bigint, seen_era bigint, seen_at bigint,
    elected text, proposer text, own bigint, reason text, votes_and_candidates text
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    held shard_primaries%ROWTYPE;
    given bigint;
BEGIN
    -- The row may not exist yet, so the name itself is locked; a foreign writer locks the row alone.
    PERFORM pg_advisory_xact_lock(hashtextextended('quorate:shard:' || shard, 0));
    SELECT * INTO held FROM shard_primaries WHERE shard_name = shard FOR NO KEY UPDATE;
    -- A retry after a lost answer finds its own decision.
    SELECT epoch INTO given FROM shard_changes WHERE decision = proposed AND virtual_storage = shard;
    IF given IS NOT NULL THEN
        RETURN json_build_object('outcome', 'won', 'epoch', given);
    END IF;
    IF NOT quorate_era_holds() THEN
        RETURN json_build_object('outcome', 'era_changed');
    END IF;
    IF held.epoch IS DISTINCT FROM seen_epoch
       OR NOT quorate_may_commit(seen_era, seen_at, proposer, own)
    THEN
        RETURN json_build_object('outcome', 'lost');
    END IF;
    given := quorate_next_epoch();
    IF elected IS NULL THEN
        UPDATE shard_primaries SET demoted = true, epoch = given WHERE shard_name = shard;
    ELSE
        -- The column is narrower than a supervisor's name.
        INSERT INTO shard_primaries AS s (shard_name, node_name, elected_by_praefect, elected_at, demoted, epoch)
        VALUES (shard, elected, left(proposer, 255), clock_timestamp(), false, given)
        ON CONFLICT (shard_name) DO UPDATE SET node_name = excluded.node_name, demoted = false, epoch = excluded.epoch,
            elected_by_praefect = excluded.elected_by_praefect, elected_at = excluded.elected_at
        -- A row that a foreign writer made since it was looked for.
        WHERE s.epoch IS NOT DISTINCT FROM seen_epoch;
    END IF;
    IF NOT FOUND THEN
        RETURN json_build_object('outcome', 'lost');
    END IF;
    INSERT INTO decisions (id, supervisor, incarnation, kind, why, evidence)
    VALUES (proposed, proposer, own, CASE WHEN elected IS NULL THEN 'demote_shard' ELSE 'elect_shard' END, reason,
            votes_and_candidates)
    ON CONFLICT (id) DO NOTHING;
    UPDATE shard_changes SET decision = proposed WHERE epoch = given;
    -- A virtual storage changes its primary so seldom that whoever does clears away what is old.
    DELETE FROM shard_changes WHERE virtual_storage = shard AND at < clock_timestamp() - interval '30 days';
    RETURN json_build_object('outcome', 'won', 'epoch', given);
END $$;
