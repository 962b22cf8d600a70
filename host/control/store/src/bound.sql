-- What driver instances have been told of who is bound to them, or are about to be: each is told of the
-- end as well. Before `not_before` that is for whoever made the binding to settle.
CREATE TABLE driver_told (
    driver TEXT NOT NULL REFERENCES driver (id) ON DELETE CASCADE,
    installation TEXT NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    app TEXT NOT NULL,
    attempts INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    PRIMARY KEY (driver, installation, key)
) STRICT, WITHOUT ROWID;
