-- Names are bytes, so they are ordered as bytes and a prefix has an end. Times are milliseconds
-- since 1970. `total`, and `objects` and `bytes` of a container, follow every change.
CREATE TABLE total (
    bytes INTEGER NOT NULL,
    items INTEGER NOT NULL
) STRICT;
INSERT INTO total VALUES (0, 0);

CREATE TABLE container (
    id INTEGER PRIMARY KEY,
    name BLOB NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    objects INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE object (
    id INTEGER PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES container,
    name BLOB NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    content_type TEXT,
    metadata TEXT NOT NULL,
    created INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    UNIQUE (container, name)
) STRICT;

CREATE TABLE segment (
    id BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    hash BLOB NOT NULL,
    key_version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX segment_by_key ON segment (key_version);

CREATE TABLE object_segment (
    object INTEGER NOT NULL REFERENCES object,
    ordinal INTEGER NOT NULL,
    segment BLOB NOT NULL REFERENCES segment DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (object, ordinal)
) STRICT, WITHOUT ROWID;
CREATE INDEX object_by_segment ON object_segment (segment);

CREATE TABLE upload (
    id TEXT PRIMARY KEY,
    container INTEGER NOT NULL REFERENCES container,
    name BLOB NOT NULL,
    content_type TEXT,
    metadata TEXT NOT NULL,
    absent INTEGER NOT NULL,
    match TEXT,
    created INTEGER NOT NULL,
    touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_by_age ON upload (touched);

CREATE TABLE part (
    upload TEXT NOT NULL REFERENCES upload,
    number INTEGER NOT NULL,
    segment BLOB NOT NULL REFERENCES segment DEFERRABLE INITIALLY DEFERRED,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX part_by_segment ON part (segment);
