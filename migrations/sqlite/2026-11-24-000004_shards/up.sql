-- One primary for a whole virtual storage: its history, and the epochs of foreign writers.

CREATE TABLE shard_changes (
    epoch INTEGER PRIMARY KEY NOT NULL,
    virtual_storage TEXT NOT NULL,
    previous TEXT,
    current TEXT,
    decision TEXT,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX shard_changes_by_virtual_storage ON shard_changes (virtual_storage, epoch);
CREATE INDEX shard_changes_by_decision ON shard_changes (decision) WHERE decision IS NOT NULL;

-- As before, and now with history and word to the pollers: re-read all of this virtual storage.
DROP TRIGGER foreign_shard_primary_insert;
DROP TRIGGER foreign_shard_primary_update;
CREATE TRIGGER foreign_shard_primary_insert AFTER INSERT ON shard_primaries
WHEN NEW.epoch IS NULL
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE shard_primaries SET epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE id = NEW.id;
    INSERT INTO shard_changes (epoch, virtual_storage, previous, current, decision, at)
        SELECT epoch, shard_name, NULL, CASE WHEN demoted = 0 THEN node_name END, NULL,
            CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM shard_primaries WHERE id = NEW.id;
    INSERT INTO changes (kind, key) VALUES ('primaries', json_object('virtual_storage', NEW.shard_name));
END;
CREATE TRIGGER foreign_shard_primary_update AFTER UPDATE OF node_name, demoted ON shard_primaries
WHEN (NEW.node_name IS NOT OLD.node_name OR NEW.demoted IS NOT OLD.demoted) AND NEW.epoch IS OLD.epoch
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE shard_primaries SET epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE id = NEW.id;
    INSERT INTO shard_changes (epoch, virtual_storage, previous, current, decision, at)
        SELECT epoch, shard_name, CASE WHEN OLD.demoted = 0 THEN OLD.node_name END,
            CASE WHEN demoted = 0 THEN node_name END, NULL, CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM shard_primaries WHERE id = NEW.id;
    INSERT INTO changes (kind, key) VALUES ('primaries', json_object('virtual_storage', NEW.shard_name));
END;
