-- Who serves what: of installations, and of driver instances that build on others. The key is a WIT
-- package, an interface or one of the two under a label; no driver stands for the platform itself.
CREATE TABLE installation_binding (
    owner TEXT NOT NULL REFERENCES installation (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    driver TEXT REFERENCES driver (id),
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
INSERT INTO installation_binding SELECT installation, wit_package, driver FROM binding;
DROP TABLE binding;
CREATE INDEX installation_binding_driver ON installation_binding (driver);

CREATE TABLE driver_binding (
    owner TEXT NOT NULL REFERENCES driver (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    driver TEXT REFERENCES driver (id),
    PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX driver_binding_driver ON driver_binding (driver);

-- What a rollback of a driver instance returns to.
ALTER TABLE driver ADD COLUMN previous_version TEXT;
