CREATE TABLE job (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    tenant TEXT,
    request TEXT NOT NULL,
    requested_by TEXT NOT NULL,
    state TEXT NOT NULL,
    not_before INTEGER NOT NULL,
    step TEXT NOT NULL,
    bytes_done INTEGER NOT NULL,
    bytes_total INTEGER NOT NULL,
    items_done INTEGER NOT NULL,
    items_total INTEGER NOT NULL,
    scratch TEXT,
    result TEXT,
    error TEXT,
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX job_state ON job (state, not_before);

-- Archives of tenants that lie beside the database for a while: exports to be fetched, imports that
-- are being sent.
CREATE TABLE archive (
    id TEXT PRIMARY KEY,
    tenant TEXT,
    name TEXT NOT NULL,
    size INTEGER,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Tenants that answer no more and are erased when the job's time has come.
CREATE TABLE tombstone (
    tenant TEXT PRIMARY KEY REFERENCES tenant (id) ON DELETE CASCADE,
    job TEXT NOT NULL,
    erase_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE erasure_record (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    record TEXT NOT NULL,
    public_key TEXT NOT NULL,
    signature TEXT NOT NULL,
    erased_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The key with which this node signs records, sealed like a secret.
CREATE TABLE signing_key (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    sealed BLOB NOT NULL
) STRICT;
