DROP VIEW IF EXISTS valid_primaries, repository_generations, healthy_storages;
DROP TABLE IF EXISTS storage_cleanups, replication_queue_job_lock, replication_queue, replication_queue_lock,
    repository_assignments, storage_repositories, repositories, shard_primaries, node_status, virtual_storages,
    hello_world, schema_migrations;
DROP TYPE IF EXISTS replication_job_state;
