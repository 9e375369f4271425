-- What is ours, beside Praefect's and never in its way.

CREATE TABLE settings (
    id INTEGER PRIMARY KEY NOT NULL DEFAULT 1 CHECK (id = 1),
    cluster_id TEXT NOT NULL,
    revision INTEGER NOT NULL DEFAULT 1,
    profile TEXT NOT NULL CHECK (profile IN ('default', 'lan', 'praefect')),
    policy TEXT NOT NULL CHECK (policy IN ('majority', 'half')),
    expected_supervisors INTEGER CHECK (expected_supervisors > 0),
    voter_ttl_ms INTEGER NOT NULL CHECK (voter_ttl_ms > 0),
    vote_ttl_ms INTEGER NOT NULL CHECK (vote_ttl_ms > 0),
    decision_ttl_ms INTEGER NOT NULL CHECK (decision_ttl_ms > 0),
    without_candidate TEXT NOT NULL CHECK (without_candidate IN ('keep', 'demote')),
    praefect_notifications INTEGER NOT NULL CHECK (praefect_notifications IN (0, 1))
) STRICT;

-- One row per sequence: SQLite has none. Raised in the transaction that uses the number.
CREATE TABLE counters (
    name TEXT PRIMARY KEY NOT NULL CHECK (name IN ('primary_epochs', 'incarnations')),
    value INTEGER NOT NULL CHECK (value >= 0 AND (name <> 'primary_epochs' OR value < 1 << 37))
) STRICT;
INSERT INTO counters (name, value) VALUES ('primary_epochs', 0), ('incarnations', 0);

CREATE TABLE supervisors (
    name TEXT PRIMARY KEY NOT NULL CHECK (length(name) <= 511),
    incarnation INTEGER NOT NULL UNIQUE,
    registered_at INTEGER NOT NULL,
    superseded_live_at INTEGER,
    heartbeat_at INTEGER NOT NULL,
    recused_since INTEGER,
    recused_reason TEXT,
    version TEXT,
    address TEXT,
    -- Who registered, so that a process finds its own registration again and one that lands late supersedes nobody.
    process TEXT,
    attempt INTEGER
) STRICT;

ALTER TABLE node_status ADD COLUMN verdict TEXT CHECK (verdict IN ('up', 'down', 'none', 'misconfigured'));
ALTER TABLE node_status ADD COLUMN incarnation INTEGER;
ALTER TABLE node_status ADD COLUMN vote_number INTEGER;

CREATE TABLE storages (
    virtual_storage TEXT NOT NULL,
    storage TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 100,
    draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1)),
    penalty_until INTEGER,
    penalty_reason TEXT,
    PRIMARY KEY (virtual_storage, storage)
) STRICT;

ALTER TABLE repositories ADD COLUMN primary_epoch INTEGER;
ALTER TABLE repositories ADD COLUMN facts_version INTEGER NOT NULL DEFAULT 0;
ALTER TABLE shard_primaries ADD COLUMN epoch INTEGER;

CREATE TABLE eras (
    era INTEGER PRIMARY KEY NOT NULL CHECK (era BETWEEN 1 AND (1 << 26) - 1),
    since INTEGER NOT NULL,
    system_identifier TEXT,
    timeline TEXT,
    reason TEXT NOT NULL
) STRICT;

CREATE TABLE decisions (
    id TEXT PRIMARY KEY NOT NULL,
    at INTEGER NOT NULL,
    supervisor TEXT,
    incarnation INTEGER,
    kind TEXT NOT NULL,
    why TEXT NOT NULL,
    evidence TEXT NOT NULL
) STRICT;
CREATE INDEX decisions_at ON decisions (at);

-- No foreign key to repositories: history outlives what it is about.
CREATE TABLE primary_changes (
    epoch INTEGER PRIMARY KEY NOT NULL,
    repository_id INTEGER NOT NULL,
    previous TEXT,
    current TEXT,
    decision TEXT,
    at INTEGER NOT NULL
) STRICT;
CREATE INDEX primary_changes_by_repository ON primary_changes (repository_id, epoch);
CREATE INDEX primary_changes_by_decision ON primary_changes (decision, repository_id) WHERE decision IS NOT NULL;
CREATE INDEX primary_changes_at ON primary_changes (at);

-- What pollers read instead of listening: who changed, never how. The key is a supervisor's name (votes) or a JSON
-- object (primaries, replicas): `virtual_storage`, with `relative_path` and `repository` if it is about one alone.
CREATE TABLE changes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('votes', 'primaries', 'replicas')),
    key TEXT NOT NULL,
    at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE INDEX changes_at ON changes (at);
