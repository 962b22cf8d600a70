-- What came of the tests of a version, one record for each who says so.
CREATE TABLE version_badge (
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    source TEXT NOT NULL,
    document TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    PRIMARY KEY (publisher, package, version, source),
    FOREIGN KEY (publisher, package, version) REFERENCES version (publisher, package, version)
) STRICT, WITHOUT ROWID;
