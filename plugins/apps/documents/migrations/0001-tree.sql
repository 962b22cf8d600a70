-- The tree of folders and documents. What is in the trash keeps its place, so that it can go back;
-- only names of what is not there must differ within a folder.
CREATE TABLE node (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    parent INTEGER REFERENCES node (id),
    kind TEXT NOT NULL CHECK (kind IN ('folder', 'document')),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    trashed INTEGER,
    current INTEGER REFERENCES version (id) DEFERRABLE INITIALLY DEFERRED
) STRICT;
CREATE UNIQUE INDEX node_name ON node (parent, name COLLATE NOCASE) WHERE trashed IS NULL;
CREATE INDEX node_parent ON node (parent);
CREATE INDEX node_trashed ON node (trashed) WHERE trashed IS NOT NULL;

CREATE TABLE version (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    blob TEXT NOT NULL,
    size INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    etag TEXT NOT NULL,
    author TEXT NOT NULL,
    author_name TEXT NOT NULL,
    created INTEGER NOT NULL,
    UNIQUE (document, number)
) STRICT;
CREATE INDEX version_blob ON version (blob);

CREATE TABLE event (
    id INTEGER PRIMARY KEY,
    node INTEGER NOT NULL REFERENCES node (id) ON DELETE CASCADE,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    who_name TEXT NOT NULL,
    what TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_node ON event (node, id);

-- Objects that no version refers to: on their way in, or on their way out. A row is written before
-- an object is put, and removed after it has been deleted, so that none is ever forgotten.
CREATE TABLE loose (
    blob TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    folder INTEGER,
    name TEXT,
    content_type TEXT
) STRICT;

CREATE VIRTUAL TABLE words USING fts5(name, body, tokenize = 'unicode61 remove_diacritics 2');

INSERT INTO node (id, kind, name, created, changed) VALUES (1, 'folder', '/', 0, 0);
