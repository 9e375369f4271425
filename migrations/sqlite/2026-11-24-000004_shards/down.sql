DROP TRIGGER foreign_shard_primary_update;
DROP TRIGGER foreign_shard_primary_insert;
DROP TABLE shard_changes;
CREATE TRIGGER foreign_shard_primary_insert AFTER INSERT ON shard_primaries
WHEN NEW.epoch IS NULL
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE shard_primaries SET epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE id = NEW.id;
END;
CREATE TRIGGER foreign_shard_primary_update AFTER UPDATE OF node_name, demoted ON shard_primaries
WHEN (NEW.node_name IS NOT OLD.node_name OR NEW.demoted IS NOT OLD.demoted) AND NEW.epoch IS OLD.epoch
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE shard_primaries SET epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE id = NEW.id;
END;
