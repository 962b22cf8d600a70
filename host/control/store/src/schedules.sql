-- The calls that a version asks to get at certain times.
CREATE TABLE version_schedule (
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    name TEXT NOT NULL,
    cron TEXT NOT NULL,
    timezone TEXT NOT NULL,
    method TEXT NOT NULL,
    path TEXT NOT NULL,
    overlap INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (publisher, package, version, name),
    FOREIGN KEY (publisher, package, version) REFERENCES version (publisher, package, version)
) STRICT, WITHOUT ROWID;

-- How far an installation is with each of them. Without `next_at` it has to be worked out.
CREATE TABLE schedule (
    installation TEXT NOT NULL REFERENCES installation (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    paused INTEGER NOT NULL,
    next_at INTEGER,
    skipped INTEGER NOT NULL,
    PRIMARY KEY (installation, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_next ON schedule (paused, next_at);

CREATE TABLE schedule_run (
    id TEXT PRIMARY KEY,
    installation TEXT NOT NULL,
    schedule TEXT NOT NULL,
    tenant TEXT NOT NULL,
    scheduled_at INTEGER NOT NULL,
    manual INTEGER NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    request_id TEXT,
    status INTEGER,
    error TEXT,
    FOREIGN KEY (installation, schedule) REFERENCES schedule (installation, name) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX schedule_run_state ON schedule_run (state, not_before);
CREATE INDEX schedule_run_of ON schedule_run (installation, schedule, id);
