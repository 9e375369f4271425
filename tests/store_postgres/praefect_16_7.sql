-- A database as a Praefect of release 16.7 leaves it: keys and defaults come after the tables, as in a dump, and the book
-- of its migrations has its entries, ids as text.

CREATE TYPE replication_job_state AS ENUM ('ready', 'in_progress', 'completed', 'cancelled', 'failed', 'dead');

CREATE TABLE schema_migrations (id text NOT NULL, applied_at timestamp with time zone);
ALTER TABLE ONLY schema_migrations ADD CONSTRAINT schema_migrations_pkey PRIMARY KEY (id);

CREATE TABLE hello_world (id integer);

CREATE TABLE virtual_storages (virtual_storage text NOT NULL, repositories_imported boolean DEFAULT false NOT NULL);
ALTER TABLE ONLY virtual_storages ADD CONSTRAINT virtual_storages_pkey PRIMARY KEY (virtual_storage);

CREATE SEQUENCE node_status_id_seq;
CREATE TABLE node_status (
    id bigint NOT NULL DEFAULT nextval('node_status_id_seq'::regclass),
    praefect_name character varying(511) NOT NULL,
    shard_name character varying(255) NOT NULL,
    node_name character varying(255) NOT NULL,
    last_contact_attempt_at timestamp with time zone,
    last_seen_active_at timestamp with time zone
);
ALTER SEQUENCE node_status_id_seq OWNED BY node_status.id;
ALTER TABLE ONLY node_status ADD CONSTRAINT node_status_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX shard_node_names_on_node_status_idx ON node_status USING btree (praefect_name, shard_name, node_name);
CREATE INDEX shard_name_on_node_status_idx ON node_status USING btree (shard_name, node_name);

CREATE SEQUENCE shard_primaries_id_seq;
CREATE TABLE shard_primaries (
    id bigint NOT NULL DEFAULT nextval('shard_primaries_id_seq'::regclass),
    shard_name character varying(255) NOT NULL,
    node_name character varying(255) NOT NULL,
    elected_by_praefect character varying(255) NOT NULL,
    elected_at timestamp with time zone NOT NULL,
    read_only boolean DEFAULT false NOT NULL,
    demoted boolean DEFAULT false NOT NULL,
    previous_writable_primary text
);
ALTER SEQUENCE shard_primaries_id_seq OWNED BY shard_primaries.id;
ALTER TABLE ONLY shard_primaries ADD CONSTRAINT shard_primaries_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX shard_name_on_shard_primaries_idx ON shard_primaries USING btree (shard_name);

CREATE SEQUENCE repositories_repository_id_seq;
CREATE TABLE repositories (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    generation bigint,
    "primary" text,
    repository_id bigint NOT NULL DEFAULT nextval('repositories_repository_id_seq'::regclass),
    replica_path text
);
ALTER SEQUENCE repositories_repository_id_seq OWNED BY repositories.repository_id;
ALTER TABLE ONLY repositories ADD CONSTRAINT repositories_pkey PRIMARY KEY (repository_id);
CREATE UNIQUE INDEX repository_lookup_index ON repositories USING btree (virtual_storage, relative_path);
CREATE INDEX repository_replica_path_index ON repositories USING btree (replica_path, virtual_storage);

CREATE TABLE storage_repositories (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    storage text NOT NULL,
    generation bigint NOT NULL,
    repository_id bigint NOT NULL,
    verified_at timestamp with time zone,
    verification_leased_until timestamp with time zone
);
ALTER TABLE ONLY storage_repositories
    ADD CONSTRAINT storage_repositories_pkey PRIMARY KEY (virtual_storage, relative_path, storage);
CREATE UNIQUE INDEX storage_repositories_new_pkey ON storage_repositories USING btree (repository_id, storage);
CREATE INDEX verification_leases ON storage_repositories USING btree (verification_leased_until)
    WHERE (verification_leased_until IS NOT NULL);
CREATE INDEX verification_queue ON storage_repositories USING btree (verified_at NULLS FIRST)
    WHERE (verification_leased_until IS NULL);
ALTER TABLE ONLY storage_repositories ADD CONSTRAINT storage_repositories_repository_id_fkey
    FOREIGN KEY (repository_id) REFERENCES repositories(repository_id) ON DELETE CASCADE;

CREATE TABLE repository_assignments (
    virtual_storage text NOT NULL,
    relative_path text NOT NULL,
    storage text NOT NULL,
    repository_id bigint NOT NULL
);
ALTER TABLE ONLY repository_assignments
    ADD CONSTRAINT repository_assignments_pkey PRIMARY KEY (virtual_storage, relative_path, storage);
CREATE UNIQUE INDEX repository_assignments_new_pkey ON repository_assignments USING btree (repository_id, storage);
ALTER TABLE ONLY repository_assignments ADD CONSTRAINT repository_assignments_repository_id_fkey
    FOREIGN KEY (repository_id) REFERENCES repositories(repository_id) ON DELETE CASCADE;
ALTER TABLE ONLY repository_assignments ADD CONSTRAINT repository_assignments_virtual_storage_fkey
    FOREIGN KEY (virtual_storage, relative_path) REFERENCES repositories(virtual_storage, relative_path)
    ON UPDATE CASCADE ON DELETE CASCADE;

CREATE TABLE replication_queue_lock (id text NOT NULL, acquired boolean DEFAULT false NOT NULL);
ALTER TABLE ONLY replication_queue_lock ADD CONSTRAINT replication_queue_lock_pkey PRIMARY KEY (id);

CREATE SEQUENCE replication_queue_id_seq;
CREATE TABLE replication_queue (
    id bigint NOT NULL DEFAULT nextval('replication_queue_id_seq'::regclass),
    state replication_job_state DEFAULT 'ready'::replication_job_state NOT NULL,
    created_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL,
    updated_at timestamp without time zone,
    attempt integer DEFAULT 3 NOT NULL,
    lock_id text,
    job jsonb,
    meta jsonb
);
ALTER SEQUENCE replication_queue_id_seq OWNED BY replication_queue.id;
ALTER TABLE ONLY replication_queue ADD CONSTRAINT replication_queue_pkey PRIMARY KEY (id);
-- The same conditions as anywhere, written down in another order.
CREATE UNIQUE INDEX delete_replica_unique_index ON replication_queue USING btree
    ((job ->> 'virtual_storage'), (job ->> 'relative_path'))
    WHERE ((job ->> 'change') = 'delete_replica' AND state <> ALL (ARRAY['completed', 'cancelled', 'dead']::replication_job_state[]));
CREATE INDEX replication_queue_target_index ON replication_queue USING btree
    ((job ->> 'virtual_storage'), (job ->> 'relative_path'), (job ->> 'target_node_storage'), (job ->> 'change'))
    WHERE state <> ALL (ARRAY['completed', 'cancelled', 'dead']::replication_job_state[]);
CREATE INDEX virtual_target_on_replication_queue_idx ON replication_queue USING btree
    ((job ->> 'virtual_storage'), (job ->> 'target_node_storage'));

CREATE TABLE replication_queue_job_lock (
    job_id bigint NOT NULL,
    lock_id text NOT NULL,
    triggered_at timestamp without time zone DEFAULT (now() AT TIME ZONE 'UTC') NOT NULL
);
ALTER TABLE ONLY replication_queue_job_lock ADD CONSTRAINT replication_queue_job_lock_pk PRIMARY KEY (job_id, lock_id);
ALTER TABLE ONLY replication_queue_job_lock ADD CONSTRAINT replication_queue_job_lock_job_id_fkey
    FOREIGN KEY (job_id) REFERENCES replication_queue(id);
ALTER TABLE ONLY replication_queue_job_lock ADD CONSTRAINT replication_queue_job_lock_lock_id_fkey
    FOREIGN KEY (lock_id) REFERENCES replication_queue_lock(id);

CREATE TABLE storage_cleanups (
    virtual_storage text NOT NULL,
    storage text NOT NULL,
    last_run timestamp without time zone,
    triggered_at timestamp without time zone
);
ALTER TABLE ONLY storage_cleanups ADD CONSTRAINT storage_cleanups_pkey PRIMARY KEY (virtual_storage, storage);

CREATE VIEW healthy_storages AS
SELECT shard_name AS virtual_storage, node_name AS storage
FROM node_status seen
WHERE last_seen_active_at >= now() - interval '10 seconds'
GROUP BY shard_name, node_name
HAVING count(*) >= (SELECT ceil(count(DISTINCT praefect_name) / 2.0) FROM node_status tried
                    WHERE tried.shard_name = seen.shard_name
                      AND tried.last_contact_attempt_at >= now() - interval '60 seconds')
ORDER BY shard_name, node_name;

CREATE VIEW repository_generations AS
SELECT virtual_storage, relative_path, max(generation) AS generation
FROM storage_repositories GROUP BY virtual_storage, relative_path;

CREATE VIEW valid_primaries AS
WITH candidates AS (
    SELECT r.repository_id, r.virtual_storage, r.relative_path, sr.storage, ra.storage IS NOT NULL AS assigned
    FROM repositories r
    JOIN storage_repositories sr ON sr.repository_id = r.repository_id AND sr.generation = r.generation
    JOIN healthy_storages hs ON (hs.virtual_storage, hs.storage) = (r.virtual_storage, sr.storage)
    LEFT JOIN repository_assignments ra ON (ra.repository_id, ra.storage) = (r.repository_id, sr.storage)
    WHERE NOT EXISTS (SELECT FROM replication_queue WHERE state NOT IN ('completed', 'dead', 'cancelled')
                      AND job ->> 'change' = 'delete_replica'
                      AND (job ->> 'repository_id')::bigint = r.repository_id
                      AND job ->> 'target_node_storage' = sr.storage)
)
SELECT repository_id, virtual_storage, relative_path, storage
FROM candidates c
WHERE assigned OR NOT EXISTS (SELECT FROM candidates o WHERE o.repository_id = c.repository_id AND o.assigned);

CREATE FUNCTION notify_on_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text;
BEGIN
    CASE TG_OP
        WHEN 'INSERT' THEN
            SELECT json_agg(o)::text INTO told FROM (SELECT virtual_storage, array_agg(DISTINCT relative_path) AS relative_paths
                FROM new_val GROUP BY 1) o;
        WHEN 'DELETE' THEN
            SELECT json_agg(o)::text INTO told FROM (SELECT virtual_storage, array_agg(DISTINCT relative_path) AS relative_paths
                FROM old_val GROUP BY 1) o;
        ELSE
            SELECT json_agg(o)::text INTO told FROM (SELECT virtual_storage, array_agg(DISTINCT relative_path) AS relative_paths
                FROM (SELECT virtual_storage, relative_path FROM old_val UNION SELECT virtual_storage, relative_path FROM new_val) both_of
                GROUP BY 1) o;
    END CASE;
    IF told IS NOT NULL THEN
        PERFORM pg_notify(TG_ARGV[0], told);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER notify_on_delete AFTER DELETE ON repositories REFERENCING OLD TABLE AS old_val
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('repositories_updates');
CREATE TRIGGER notify_on_insert AFTER INSERT ON storage_repositories REFERENCING NEW TABLE AS new_val
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
CREATE TRIGGER notify_on_update AFTER UPDATE ON storage_repositories
    REFERENCING OLD TABLE AS old_val NEW TABLE AS new_val
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
CREATE TRIGGER notify_on_delete AFTER DELETE ON storage_repositories REFERENCING OLD TABLE AS old_val
    FOR EACH STATEMENT EXECUTE FUNCTION notify_on_change('storage_repositories_updates');
