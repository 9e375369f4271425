-- What no writer may forget, whoever it is: the version of the facts, and an epoch for every change of a primary.
-- A trigger cannot change NEW here, so these are AFTER triggers that update; with recursive_triggers off (the
-- default) none fires itself. Statements that fire them must not use RETURNING, which would not see their work.

CREATE TRIGGER facts_version_storage_repositories_insert AFTER INSERT ON storage_repositories BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = NEW.repository_id;
END;
CREATE TRIGGER facts_version_storage_repositories_update
    AFTER UPDATE OF virtual_storage, relative_path, storage, generation, repository_id ON storage_repositories
WHEN NEW.generation IS NOT OLD.generation
    OR NEW.relative_path IS NOT OLD.relative_path
    OR NEW.storage IS NOT OLD.storage
    OR NEW.virtual_storage IS NOT OLD.virtual_storage
    OR NEW.repository_id IS NOT OLD.repository_id
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id IN (OLD.repository_id, NEW.repository_id);
END;
CREATE TRIGGER facts_version_storage_repositories_delete AFTER DELETE ON storage_repositories BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = OLD.repository_id;
END;

CREATE TRIGGER facts_version_repository_assignments_insert AFTER INSERT ON repository_assignments BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = NEW.repository_id;
END;
CREATE TRIGGER facts_version_repository_assignments_update AFTER UPDATE OF storage, repository_id ON repository_assignments
WHEN NEW.storage IS NOT OLD.storage
    OR NEW.repository_id IS NOT OLD.repository_id
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id IN (OLD.repository_id, NEW.repository_id);
END;
CREATE TRIGGER facts_version_repository_assignments_delete AFTER DELETE ON repository_assignments BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = OLD.repository_id;
END;

CREATE TRIGGER facts_version_mark_insert AFTER INSERT ON replication_queue
WHEN json_extract(NEW.job, '$.change') = 'delete_replica'
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = json_extract(NEW.job, '$.repository_id');
END;
CREATE TRIGGER facts_version_mark_update AFTER UPDATE OF state, job ON replication_queue
WHEN (NEW.state IS NOT OLD.state OR NEW.job IS NOT OLD.job)
    AND (json_extract(OLD.job, '$.change') = 'delete_replica' OR json_extract(NEW.job, '$.change') = 'delete_replica')
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id
        IN (json_extract(OLD.job, '$.repository_id'), json_extract(NEW.job, '$.repository_id'));
END;
CREATE TRIGGER facts_version_mark_delete AFTER DELETE ON replication_queue
WHEN json_extract(OLD.job, '$.change') = 'delete_replica'
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = json_extract(OLD.job, '$.repository_id');
END;

CREATE TRIGGER facts_version_repositories_update AFTER UPDATE OF virtual_storage, relative_path, generation ON repositories
WHEN NEW.generation IS NOT OLD.generation
    OR NEW.relative_path IS NOT OLD.relative_path
    OR NEW.virtual_storage IS NOT OLD.virtual_storage
BEGIN
    UPDATE repositories SET facts_version = facts_version + 1 WHERE repository_id = NEW.repository_id;
END;

-- It begins at the time, so that a repository made again under an id that it had before cannot come to a version that
-- somebody still holds from its former life.
CREATE TRIGGER facts_version_repositories_insert AFTER INSERT ON repositories
WHEN NEW.facts_version = 0
BEGIN
    UPDATE repositories SET facts_version = CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000
        WHERE repository_id = NEW.repository_id;
END;

-- A foreign writer changed the primary without an epoch. Before the first start there is no era yet: it will be 1.
CREATE TRIGGER foreign_primary_insert AFTER INSERT ON repositories
WHEN NEW."primary" IS NOT NULL AND NEW.primary_epoch IS NULL
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE repositories SET primary_epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE repository_id = NEW.repository_id;
    INSERT INTO primary_changes (repository_id, epoch, previous, current, decision, at)
        SELECT repository_id, primary_epoch, NULL, "primary", NULL, CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM repositories WHERE repository_id = NEW.repository_id;
    INSERT INTO changes (kind, key) VALUES ('primaries', json_object('virtual_storage', NEW.virtual_storage,
        'relative_path', NEW.relative_path, 'repository', NEW.repository_id));
END;
CREATE TRIGGER foreign_primary_update AFTER UPDATE OF "primary" ON repositories
WHEN NEW."primary" IS NOT OLD."primary" AND NEW.primary_epoch IS OLD.primary_epoch
BEGIN
    UPDATE counters SET value = value + 1 WHERE name = 'primary_epochs';
    UPDATE repositories SET primary_epoch = (COALESCE((SELECT MAX(era) FROM eras), 1) << 37)
        | (SELECT value FROM counters WHERE name = 'primary_epochs')
        WHERE repository_id = NEW.repository_id;
    INSERT INTO primary_changes (repository_id, epoch, previous, current, decision, at)
        SELECT repository_id, primary_epoch, OLD."primary", "primary", NULL, CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM repositories WHERE repository_id = NEW.repository_id;
    INSERT INTO changes (kind, key) VALUES ('primaries', json_object('virtual_storage', NEW.virtual_storage,
        'relative_path', NEW.relative_path, 'repository', NEW.repository_id));
END;

-- The same for the primary of a whole virtual storage.
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
