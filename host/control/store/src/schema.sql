CREATE TABLE counter (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL
) STRICT;
INSERT INTO counter VALUES (1, 0);

CREATE TABLE publisher (
    name TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE package (
    publisher TEXT NOT NULL REFERENCES publisher (name),
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    title TEXT NOT NULL,
    summary TEXT NOT NULL,
    categories TEXT NOT NULL,
    latest_version TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    PRIMARY KEY (publisher, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE version (
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    digest BLOB NOT NULL,
    size INTEGER NOT NULL,
    manifest TEXT NOT NULL,
    imports TEXT NOT NULL,
    exports TEXT NOT NULL,
    published_at INTEGER NOT NULL,
    sequence INTEGER NOT NULL UNIQUE,
    PRIMARY KEY (publisher, package, version),
    FOREIGN KEY (publisher, package) REFERENCES package (publisher, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX version_digest ON version (digest);

-- The SQL migrations of a version, by the file that its manifest names.
CREATE TABLE version_migration (
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    path TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (publisher, package, version, path),
    FOREIGN KEY (publisher, package, version) REFERENCES version (publisher, package, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE served (
    wit_package TEXT NOT NULL,
    interface TEXT NOT NULL,
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    PRIMARY KEY (wit_package, interface, publisher, package),
    FOREIGN KEY (publisher, package) REFERENCES package (publisher, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE plan (
    name TEXT PRIMARY KEY,
    display_name TEXT NOT NULL,
    limits TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- What tenants are on for which no other plan is named. It sets nothing, so all is the node's.
INSERT INTO plan VALUES ('standard', 'Standard', '{}', unixepoch() * 1000000, unixepoch() * 1000000, 0);

CREATE TABLE tenant (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    plan TEXT NOT NULL REFERENCES plan (name),
    region TEXT NOT NULL,
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenant_plan ON tenant (plan);

CREATE TABLE token (
    id TEXT PRIMARY KEY,
    tenant TEXT REFERENCES tenant (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    display_name TEXT NOT NULL,
    roles TEXT NOT NULL,
    access TEXT,
    hash BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX token_tenant ON token (tenant, id);

CREATE TABLE driver (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenant (id),
    name TEXT NOT NULL,
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    config TEXT NOT NULL,
    egress TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (tenant, name),
    FOREIGN KEY (publisher, package, version) REFERENCES version (publisher, package, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE installation (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL REFERENCES tenant (id),
    name TEXT NOT NULL,
    publisher TEXT NOT NULL,
    package TEXT NOT NULL,
    version TEXT NOT NULL,
    previous_version TEXT,
    config TEXT NOT NULL,
    egress TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    UNIQUE (tenant, name),
    FOREIGN KEY (publisher, package, version) REFERENCES version (publisher, package, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE binding (
    installation TEXT NOT NULL REFERENCES installation (id) ON DELETE CASCADE,
    wit_package TEXT NOT NULL,
    driver TEXT NOT NULL REFERENCES driver (id),
    PRIMARY KEY (installation, wit_package)
) STRICT, WITHOUT ROWID;
CREATE INDEX binding_driver ON binding (driver);

CREATE TABLE domain (
    domain TEXT PRIMARY KEY,
    installation TEXT NOT NULL REFERENCES installation (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX domain_installation ON domain (installation);

-- The owner is an installation or a driver instance; their identifiers never coincide.
CREATE TABLE secret (
    owner TEXT NOT NULL,
    key TEXT NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;

-- What is deleted here and has data elsewhere that must go too.
CREATE TABLE erasure (
    owner TEXT PRIMARY KEY,
    -- Of an installation, since its data is encrypted with its tenant's key; of a tenant, the owner.
    tenant TEXT,
    since INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    key BLOB PRIMARY KEY,
    fingerprint BLOB NOT NULL,
    sealed BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_age ON idempotency (created_at);
