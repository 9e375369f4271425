-- The tables, keys and views of Praefect 16.7, so that its own SQL runs unchanged on this database. Everything here is
-- IF NOT EXISTS: a database that Praefect made already has it. Its own book of migrations is never written to.

CREATE TABLE IF NOT EXISTS schema_migrations (
    id text PRIMARY KEY,
    applied_at timestamptz
);

CREATE TABLE IF NOT EXISTS hello_world (
    id integer
);

CREATE TABLE IF NOT EXISTS virtual_storages (
    virtual_storage text PRIMARY KEY,
    repositories_imported boolean NOT NULL DEFAULT false
);

-- One row per voter and node. The names are Praefect's: a shard is a virtual storage, a node is a storage.
CREATE TABLE IF NOT EXISTS node_status (
    id bigserial PRIMARY KEY,
    praefect_name varchar(511) NOT NULL,
    shard_name varchar(255) NOT NULL,
    node_name varchar(255) NOT NULL,
    last_contact_attempt_at timestamptz,
    last_seen_active_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS shard_node_names_on_node_status_idx
    ON node_status (praefect_name, shard_name, node_name);
CREATE INDEX IF NOT EXISTS shard_name_on_node_status_idx ON node_status (shard_name, node_name);

CREATE TABLE IF NOT EXISTS shard_primaries (
    id bigserial PRIMARY KEY,
    shard_name varchar(255) NOT NULL,
    node_name varchar(255) NOT NULL,
    elected_by_praefect varchar(255) NOT NULL,
    elected_at timestamptz NOT NULL,
    read_only boolean NOT NULL DEFAULT false,
    demoted boolean NOT NULL DEFAULT false,
    previous_writable_primary text
);
CREATE UNIQUE INDEX IF NOT EXISTS shard_name_on_shard_primaries_idx ON shard_primaries (shard_name);

CREATE TABLE IF NOT EXISTS repositories (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    generation bigint,
    "primary" text,
    repository_id bigserial PRIMARY KEY,
    replica_path text
);
CREATE UNIQUE INDEX IF NOT EXISTS repository_lookup_index ON repositories (virtual_storage, relative_path);
CREATE INDEX IF NOT EXISTS repository_replica_path_index ON repositories (replica_path, virtual_storage);

CREATE TABLE IF NOT EXISTS storage_repositories (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    storage text NOT NULL,
    generation bigint NOT NULL,
    repository_id bigint NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    verified_at timestamptz,
    verification_leased_until timestamptz,
    PRIMARY KEY (virtual_storage, relative_path, storage)
);
CREATE UNIQUE INDEX IF NOT EXISTS storage_repositories_new_pkey ON storage_repositories (repository_id, storage);
CREATE INDEX IF NOT EXISTS verification_queue ON storage_repositories (verified_at NULLS FIRST)
    WHERE verification_leased_until IS NULL;
CREATE INDEX IF NOT EXISTS verification_leases ON storage_repositories (verification_leased_until)
    WHERE verification_leased_until IS NOT NULL;

-- The order of the columns matters to those who insert by position.
CREATE TABLE IF NOT EXISTS repository_assignments (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    storage text NOT NULL,
    repository_id bigint NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    PRIMARY KEY (virtual_storage, relative_path, storage),
    FOREIGN KEY (virtual_storage, relative_path) REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE UNIQUE INDEX IF NOT EXISTS repository_assignments_new_pkey ON repository_assignments (repository_id, storage);

DO $$
BEGIN
    CREATE TYPE replication_job_state AS ENUM ('ready', 'in_progress', 'completed', 'cancelled', 'failed', 'dead');
EXCEPTION WHEN duplicate_object THEN
    NULL; -- Praefect's own.
END $$;

CREATE TABLE IF NOT EXISTS replication_queue_lock (
    id text PRIMARY KEY,
    acquired boolean NOT NULL DEFAULT false
);

CREATE TABLE IF NOT EXISTS replication_queue (
    id bigserial PRIMARY KEY,
    state replication_job_state NOT NULL DEFAULT 'ready',
    created_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
    updated_at timestamp,
    attempt integer NOT NULL DEFAULT 3,
    lock_id text,
    job jsonb,
    meta jsonb
);
CREATE INDEX IF NOT EXISTS replication_queue_target_index ON replication_queue
    ((job ->> 'virtual_storage'), (job ->> 'relative_path'), (job ->> 'target_node_storage'), (job ->> 'change'))
    WHERE state NOT IN ('completed', 'cancelled', 'dead');
CREATE UNIQUE INDEX IF NOT EXISTS delete_replica_unique_index ON replication_queue
    ((job ->> 'virtual_storage'), (job ->> 'relative_path'))
    WHERE state NOT IN ('completed', 'cancelled', 'dead') AND job ->> 'change' = 'delete_replica';
CREATE INDEX IF NOT EXISTS virtual_target_on_replication_queue_idx ON replication_queue
    ((job ->> 'virtual_storage'), (job ->> 'target_node_storage'));

CREATE TABLE IF NOT EXISTS replication_queue_job_lock (
    job_id bigint REFERENCES replication_queue (id),
    lock_id text REFERENCES replication_queue_lock (id),
    triggered_at timestamp NOT NULL DEFAULT timezone('UTC', now()),
    PRIMARY KEY (job_id, lock_id)
);

CREATE TABLE IF NOT EXISTS storage_cleanups (
    virtual_storage text NOT NULL,
    storage text NOT NULL,
    last_run timestamp,
    triggered_at timestamp,
    PRIMARY KEY (virtual_storage, storage)
);

-- Praefect's quorum: half of those who tried any node of the virtual storage within a minute saw this one within ten
-- seconds. The intervals are part of the view, as there.
CREATE OR REPLACE VIEW healthy_storages AS
SELECT ns.shard_name AS virtual_storage, ns.node_name AS storage
FROM node_status ns
WHERE ns.last_seen_active_at >= now() - interval '10 seconds'
GROUP BY ns.shard_name, ns.node_name
HAVING count(ns.praefect_name) >= (
    SELECT ceil(count(DISTINCT member.praefect_name) / 2.0)
    FROM node_status member
    WHERE member.shard_name = ns.shard_name
      AND member.last_contact_attempt_at >= now() - interval '60 seconds'
)
ORDER BY ns.shard_name, ns.node_name;

CREATE OR REPLACE VIEW repository_generations AS
SELECT virtual_storage, relative_path, max(generation) AS generation
FROM storage_repositories
GROUP BY virtual_storage, relative_path;

-- Who may be primary: healthy, on the expected generation, not about to be deleted; and assigned, unless nobody of
-- those is.
CREATE OR REPLACE VIEW valid_primaries AS
SELECT repository_id, virtual_storage, relative_path, storage
FROM (
    SELECT r.repository_id, r.virtual_storage, r.relative_path, sr.storage,
        ra.storage IS NOT NULL AS assigned,
        bool_and(ra.storage IS NULL) OVER (PARTITION BY r.repository_id) AS nobody_assigned
    FROM repositories r
    JOIN storage_repositories sr ON sr.repository_id = r.repository_id AND sr.generation = r.generation
    JOIN healthy_storages hs ON hs.virtual_storage = r.virtual_storage AND hs.storage = sr.storage
    LEFT JOIN repository_assignments ra ON ra.repository_id = r.repository_id AND ra.storage = sr.storage
    WHERE NOT EXISTS (
        SELECT FROM replication_queue rq
        WHERE rq.state NOT IN ('completed', 'dead', 'cancelled')
          AND rq.job ->> 'change' = 'delete_replica'
          AND (rq.job ->> 'repository_id')::bigint = r.repository_id
          AND rq.job ->> 'target_node_storage' = sr.storage
    )
) candidates
WHERE assigned OR nobody_assigned;
