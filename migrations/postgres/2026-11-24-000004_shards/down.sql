DROP FUNCTION IF EXISTS quorate_shard_cas(text, text, bigint, bigint, bigint, text, text, bigint, text, text);
DROP FUNCTION IF EXISTS quorate_shard_moved() CASCADE;
DROP FUNCTION IF EXISTS quorate_guard_shard() CASCADE;
DROP TABLE IF EXISTS shard_changes;
