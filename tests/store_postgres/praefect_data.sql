-- What a Praefect that has run for a while has written: repositories of every kind, jobs, votes of those who have gone.

INSERT INTO schema_migrations (id, applied_at) VALUES
    ('20200109161404_first', '2020-02-01 10:00:00+00'), ('20211105140000_later', '2021-12-01 10:00:00+00'),
    ('20231005000000_last', '2023-11-01 10:00:00+00');
INSERT INTO hello_world VALUES (1);
INSERT INTO virtual_storages VALUES ('v', true);
INSERT INTO storage_cleanups VALUES ('v', 'g1', '2024-01-01', NULL);
INSERT INTO shard_primaries (shard_name, node_name, elected_by_praefect, elected_at) VALUES ('v', 'g1', 'p1', '2021-01-01');

INSERT INTO repositories (virtual_storage, relative_path, generation, "primary", replica_path) VALUES
    ('v', 'led', 3, 'g1', '@cluster/repositories/6b/86/1'),
    ('v', 'never elected', 0, NULL, 'never elected'),
    ('v', 'without a generation', NULL, 'g2', NULL),
    ('v', 'assigned', 7, 'g3', 'assigned');
INSERT INTO storage_repositories (virtual_storage, relative_path, storage, generation, repository_id, verified_at)
SELECT 'v', relative_path, storage, coalesce(generation, 0), repository_id, '2024-01-01'
FROM repositories, (VALUES ('g1'), ('g2'), ('g3')) AS s (storage);
UPDATE storage_repositories SET generation = 2 WHERE relative_path = 'led' AND storage = 'g3';
INSERT INTO repository_assignments SELECT 'v', 'assigned', storage, repository_id
FROM repositories, (VALUES ('g2'), ('g3')) AS s (storage) WHERE relative_path = 'assigned';

INSERT INTO replication_queue_lock VALUES ('v|g3|led', true), ('v|g1|old', false);
INSERT INTO replication_queue (state, lock_id, job, meta) VALUES
    ('in_progress', 'v|g3|led', '{"change": "update", "virtual_storage": "v", "relative_path": "led", "repository_id": 1,
        "target_node_storage": "g3", "source_node_storage": "g1", "params": null}', '{"correlation_id": "c"}'),
    ('ready', 'v|g1|old', '{"change": "delete_replica", "virtual_storage": "v", "relative_path": "assigned", "repository_id": 4,
        "target_node_storage": "g1", "params": null}', '{}'),
    ('dead', 'v|g1|old', '{"change": "gc", "virtual_storage": "v", "relative_path": "old", "target_node_storage": "g1"}', NULL);
INSERT INTO replication_queue_job_lock (job_id, lock_id) VALUES (1, 'v|g3|led');

INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at, last_seen_active_at)
SELECT praefect, 'v', storage, now() - age, now() - age
FROM (VALUES ('p1', interval '0'), ('gone', interval '3 years')) AS p (praefect, age), (VALUES ('g1'), ('g2'), ('g3')) AS s (storage);
INSERT INTO node_status (praefect_name, shard_name, node_name, last_contact_attempt_at) VALUES ('p2', 'v', 'g1', now());
