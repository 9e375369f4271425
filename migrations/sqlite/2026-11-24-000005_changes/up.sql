-- Nothing: on SQLite every writer is ours and tells by itself whose replicas are up to date. On PostgreSQL this step adds
-- the triggers that tell it for others.
SELECT 1;
