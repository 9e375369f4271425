-- Praefect's tables, columns, keys and views in the shape of its release 16.7, in SQLite's dialect.
-- Times are whole milliseconds since 1970, by the database's own clock. Ids are AUTOINCREMENT: none is given twice,
-- so that a client of a deleted row can never reach its successor.

CREATE TABLE schema_migrations (
    id TEXT PRIMARY KEY NOT NULL,
    applied_at INTEGER
) STRICT;

CREATE TABLE hello_world (
    id INTEGER
) STRICT;

CREATE TABLE virtual_storages (
    virtual_storage TEXT PRIMARY KEY NOT NULL,
    repositories_imported INTEGER NOT NULL DEFAULT 0 CHECK (repositories_imported IN (0, 1))
) STRICT;

CREATE TABLE storage_cleanups (
    virtual_storage TEXT NOT NULL,
    storage TEXT NOT NULL,
    last_run INTEGER,
    triggered_at INTEGER,
    PRIMARY KEY (virtual_storage, storage)
) STRICT;

CREATE TABLE node_status (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    praefect_name TEXT NOT NULL CHECK (length(praefect_name) <= 511),
    shard_name TEXT NOT NULL CHECK (length(shard_name) <= 255),
    node_name TEXT NOT NULL CHECK (length(node_name) <= 255),
    last_contact_attempt_at INTEGER,
    last_seen_active_at INTEGER
) STRICT;
CREATE UNIQUE INDEX shard_node_names_on_node_status_idx ON node_status (praefect_name, shard_name, node_name);
CREATE INDEX shard_name_on_node_status_idx ON node_status (shard_name, node_name);

CREATE TABLE shard_primaries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    shard_name TEXT NOT NULL CHECK (length(shard_name) <= 255),
    node_name TEXT NOT NULL CHECK (length(node_name) <= 255),
    elected_by_praefect TEXT NOT NULL CHECK (length(elected_by_praefect) <= 511),
    elected_at INTEGER NOT NULL,
    read_only INTEGER NOT NULL DEFAULT 0 CHECK (read_only IN (0, 1)),
    demoted INTEGER NOT NULL DEFAULT 0 CHECK (demoted IN (0, 1)),
    previous_writable_primary TEXT
) STRICT;
CREATE UNIQUE INDEX shard_name_on_shard_primaries_idx ON shard_primaries (shard_name);

CREATE TABLE repositories (
    virtual_storage TEXT NOT NULL,
    relative_path TEXT NOT NULL,
    generation INTEGER,
    "primary" TEXT,
    repository_id INTEGER PRIMARY KEY AUTOINCREMENT,
    replica_path TEXT
) STRICT;
CREATE UNIQUE INDEX repository_lookup_index ON repositories (virtual_storage, relative_path);
CREATE INDEX repository_replica_path_index ON repositories (replica_path, virtual_storage);

CREATE TABLE storage_repositories (
    virtual_storage TEXT NOT NULL,
    relative_path TEXT NOT NULL,
    storage TEXT NOT NULL,
    generation INTEGER NOT NULL,
    repository_id INTEGER NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    verified_at INTEGER,
    verification_leased_until INTEGER,
    PRIMARY KEY (virtual_storage, relative_path, storage)
) STRICT;
CREATE UNIQUE INDEX storage_repositories_new_pkey ON storage_repositories (repository_id, storage);
CREATE INDEX verification_queue ON storage_repositories (verified_at) WHERE verification_leased_until IS NULL;
CREATE INDEX verification_leases ON storage_repositories (verification_leased_until)
    WHERE verification_leased_until IS NOT NULL;

CREATE TABLE repository_assignments (
    virtual_storage TEXT NOT NULL,
    relative_path TEXT NOT NULL,
    storage TEXT NOT NULL,
    repository_id INTEGER NOT NULL REFERENCES repositories (repository_id) ON DELETE CASCADE,
    PRIMARY KEY (virtual_storage, relative_path, storage),
    FOREIGN KEY (virtual_storage, relative_path) REFERENCES repositories (virtual_storage, relative_path)
        ON UPDATE CASCADE ON DELETE CASCADE
) STRICT;
CREATE UNIQUE INDEX repository_assignments_new_pkey ON repository_assignments (repository_id, storage);

CREATE TABLE replication_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL DEFAULT 'ready'
        CHECK (state IN ('ready', 'in_progress', 'completed', 'cancelled', 'failed', 'dead')),
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    updated_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 3,
    lock_id TEXT,
    job TEXT CHECK (job IS NULL OR json_valid(job)),
    meta TEXT CHECK (meta IS NULL OR json_valid(meta))
) STRICT;
CREATE INDEX replication_queue_target_index ON replication_queue (
    json_extract(job, '$.virtual_storage'), json_extract(job, '$.relative_path'),
    json_extract(job, '$.target_node_storage'), json_extract(job, '$.change')
) WHERE state NOT IN ('completed', 'dead', 'cancelled');
CREATE UNIQUE INDEX delete_replica_unique_index ON replication_queue (
    json_extract(job, '$.virtual_storage'), json_extract(job, '$.relative_path')
) WHERE state NOT IN ('completed', 'dead', 'cancelled') AND json_extract(job, '$.change') = 'delete_replica';
CREATE INDEX virtual_target_on_replication_queue_idx ON replication_queue (
    json_extract(job, '$.virtual_storage'), json_extract(job, '$.target_node_storage')
);
-- Whether a replica is marked for deletion is asked for each replica in each election: it must be one index lookup.
CREATE INDEX delete_replica_by_repository_idx ON replication_queue (
    json_extract(job, '$.repository_id'), json_extract(job, '$.target_node_storage')
) WHERE state NOT IN ('completed', 'dead', 'cancelled') AND json_extract(job, '$.change') = 'delete_replica';

CREATE TABLE replication_queue_lock (
    id TEXT PRIMARY KEY NOT NULL,
    acquired INTEGER NOT NULL DEFAULT 0 CHECK (acquired IN (0, 1))
) STRICT;

CREATE TABLE replication_queue_job_lock (
    job_id INTEGER NOT NULL REFERENCES replication_queue (id),
    lock_id TEXT NOT NULL REFERENCES replication_queue_lock (id),
    triggered_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (job_id, lock_id)
) STRICT;

-- Exactly 10 s (60 s) old still counts. (n + 1) / 2 in whole numbers is ceil(n / 2).
CREATE VIEW healthy_storages (virtual_storage, storage) AS
SELECT ns.shard_name, ns.node_name
FROM node_status AS ns
WHERE ns.last_seen_active_at >= CAST(unixepoch('subsec') * 1000 AS INTEGER) - 10000
GROUP BY ns.shard_name, ns.node_name
HAVING COUNT(*) >= (
    SELECT (COUNT(DISTINCT voter.praefect_name) + 1) / 2
    FROM node_status AS voter
    WHERE voter.shard_name = ns.shard_name
    AND voter.last_contact_attempt_at >= CAST(unixepoch('subsec') * 1000 AS INTEGER) - 60000
)
ORDER BY ns.shard_name, ns.node_name;

CREATE VIEW repository_generations (virtual_storage, relative_path, generation) AS
SELECT virtual_storage, relative_path, MAX(generation)
FROM storage_repositories
GROUP BY virtual_storage, relative_path;

-- A candidate is eligible if it is assigned, or if no candidate of its repository is. The unary plus takes a column's
-- affinity away: with it, the index on an expression, which has none, could not be searched.
CREATE VIEW valid_primaries (repository_id, virtual_storage, relative_path, storage) AS
SELECT repository_id, virtual_storage, relative_path, storage
FROM (
    SELECT
        r.repository_id,
        r.virtual_storage,
        r.relative_path,
        s.storage,
        a.storage IS NOT NULL AS assigned,
        MAX(a.storage IS NOT NULL) OVER (PARTITION BY r.repository_id) AS somebody_is
    FROM storage_repositories AS s
    JOIN repositories AS r ON r.repository_id = s.repository_id
    JOIN healthy_storages AS h ON h.virtual_storage = r.virtual_storage AND h.storage = s.storage
    LEFT JOIN repository_assignments AS a ON a.repository_id = s.repository_id AND a.storage = s.storage
    WHERE s.generation = r.generation
    AND NOT EXISTS (
        SELECT 1
        FROM replication_queue AS q
        WHERE q.state NOT IN ('completed', 'dead', 'cancelled')
        AND json_extract(q.job, '$.change') = 'delete_replica'
        AND json_extract(q.job, '$.repository_id') = +r.repository_id
        AND json_extract(q.job, '$.target_node_storage') = +s.storage
    )
)
WHERE assigned OR NOT somebody_is;
