//! Which rows of the table belong to whom, and the statements that reach them.
//!
//! Threat: applications of many tenants may share one table, and each chooses its buckets' and
//! keys' names freely. So every statement names tenant, installation and bucket by parameters, the
//! first two from what the platform says of the caller, and no text of an application ever becomes
//! part of a statement. Keys are bytes to the server, for text there holds no zero.

use buckets::{is_bucket, is_sound};

use crate::session::Value;

/// Keys in one batch.
pub const MAX_BATCH: usize = 1000;

/// Keys of one page of a listing.
pub const PAGE: usize = 500;

/// The rows of one bucket of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    tenant: String,
    pub installation: String,
    bucket: String,
}

impl Owner {
    /// The owner of the rows of `bucket`, or nothing if that is no name of a bucket. `tenant` and
    /// `installation` are identifiers that the platform gave.
    pub fn of(tenant: &str, installation: &str, bucket: &str) -> Option<Self> {
        (is_bucket(bucket) && is_sound(tenant) && is_sound(installation)).then(|| Self {
            tenant: tenant.to_owned(),
            installation: installation.to_owned(),
            bucket: bucket.to_owned(),
        })
    }

    /// The parameters of a statement: whose rows, then `further`.
    pub fn with<'a>(&'a self, further: impl IntoIterator<Item = Value<'a>>) -> Vec<Value<'a>> {
        [&self.tenant, &self.installation, &self.bucket]
            .map(|text| Value::Text(text))
            .into_iter()
            .chain(further)
            .collect()
    }
}

/// What is done to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statement {
    Get,
    Set,
    Delete,
    Exists,
    List,
    Increment,
    /// Writes what is not there.
    Add,
    /// Writes in the place of one value.
    Replace,
    GetMany,
    SetMany,
    DeleteMany,
    /// Whether there is a table of the name that is the one parameter.
    HasTable,
}

/// What every statement says of whose rows it means.
const OWN: &str = "tenant = $1 AND installation = $2 AND bucket = $3";

/// What becomes of a row that is there already.
const REPLACE: &str =
    "ON CONFLICT (tenant, installation, bucket, key) DO UPDATE SET value = excluded.value";

impl Statement {
    /// Its name on a connection that has prepared it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "canopy_get",
            Self::Set => "canopy_set",
            Self::Delete => "canopy_delete",
            Self::Exists => "canopy_exists",
            Self::List => "canopy_list",
            Self::Increment => "canopy_increment",
            Self::Add => "canopy_add",
            Self::Replace => "canopy_replace",
            Self::GetMany => "canopy_get_many",
            Self::SetMany => "canopy_set_many",
            Self::DeleteMany => "canopy_delete_many",
            Self::HasTable => "canopy_has_table",
        }
    }

    /// Its text for `table`, which is [`quoted`].
    ///
    /// A number is kept as its decimal text, so that `get` reads what `increment` wrote, on every
    /// engine alike. What is no number becomes null, which the column refuses; what is beyond 64
    /// bits the cast refuses. Rows of a batch are written in the order of their keys, so that two
    /// batches do not wait for each other in a circle.
    pub fn text(self, table: &str) -> String {
        match self {
            Self::Get => format!("SELECT value FROM {table} WHERE {OWN} AND key = $4"),
            Self::Set => format!(
                "INSERT INTO {table} (tenant, installation, bucket, key, value) \
                 VALUES ($1, $2, $3, $4, $5) {REPLACE}"
            ),
            Self::Delete => format!("DELETE FROM {table} WHERE {OWN} AND key = $4"),
            Self::Exists => format!("SELECT 1 FROM {table} WHERE {OWN} AND key = $4"),
            Self::List => format!(
                "SELECT id, key FROM {table} WHERE {OWN} AND id > $4 ORDER BY id LIMIT {PAGE}"
            ),
            Self::Increment => format!(
                "INSERT INTO {table} AS kept (tenant, installation, bucket, key, value) \
                 VALUES ($1, $2, $3, $4, convert_to($5::text, 'UTF8')) \
                 ON CONFLICT (tenant, installation, bucket, key) DO UPDATE SET value = \
                 CASE WHEN encode(kept.value, 'escape') ~ '^-?[0-9]+$' \
                 THEN convert_to((encode(kept.value, 'escape')::bigint + $5)::text, 'UTF8') END \
                 RETURNING value"
            ),
            Self::Add => format!(
                "INSERT INTO {table} (tenant, installation, bucket, key, value) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING RETURNING 1"
            ),
            Self::Replace => format!(
                "UPDATE {table} SET value = $6 WHERE {OWN} AND key = $4 AND value = $5 RETURNING 1"
            ),
            Self::GetMany => {
                format!("SELECT key, value FROM {table} WHERE {OWN} AND key = ANY($4)")
            }
            Self::SetMany => format!(
                "INSERT INTO {table} (tenant, installation, bucket, key, value) \
                 SELECT $1, $2, $3, k, v FROM unnest($4, $5) AS given (k, v) ORDER BY k {REPLACE}"
            ),
            Self::DeleteMany => format!("DELETE FROM {table} WHERE {OWN} AND key = ANY($4)"),
            Self::HasTable => "SELECT 1 WHERE to_regclass($1) IS NOT NULL".to_owned(),
        }
    }
}

/// Makes the table. `id` tells in which order keys came, for listings that go on where they
/// stopped.
pub fn creation(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (\
         tenant text COLLATE \"C\" NOT NULL, \
         installation text COLLATE \"C\" NOT NULL, \
         bucket text COLLATE \"C\" NOT NULL, \
         key bytea NOT NULL, \
         value bytea NOT NULL, \
         id bigint GENERATED ALWAYS AS IDENTITY, \
         PRIMARY KEY (tenant, installation, bucket, key), \
         UNIQUE (tenant, installation, bucket, id))"
    )
}

/// The name of a table, perhaps with its schema, as it stands in a statement. Whatever it contains,
/// it remains one name.
pub fn quoted(table: &str) -> String {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    table.split('.').map(quote).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Statement; 11] = [
        Statement::Get,
        Statement::Set,
        Statement::Delete,
        Statement::Exists,
        Statement::List,
        Statement::Increment,
        Statement::Add,
        Statement::Replace,
        Statement::GetMany,
        Statement::SetMany,
        Statement::DeleteMany,
    ];

    #[test]
    fn every_statement_names_whose_rows_it_means() {
        for statement in ALL {
            let text = statement.text("t");
            assert!(
                text.contains(OWN)
                    || text.contains("($1, $2, $3,")
                    || text.contains("SELECT $1, $2, $3,"),
                "{text}"
            );
        }
    }

    #[test]
    fn statements_have_names_of_their_own() {
        let names: std::collections::HashSet<_> = ALL.iter().map(|one| one.name()).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn the_parameters_begin_with_the_owner() {
        let owner = Owner::of("t1", "i1", "b").unwrap();
        assert_eq!(
            owner.with([Value::Bytes(b"k")]),
            [
                Value::Text("t1"),
                Value::Text("i1"),
                Value::Text("b"),
                Value::Bytes(b"k")
            ]
        );
    }

    #[test]
    fn names_that_are_none_are_no_buckets() {
        for bucket in ["", "a:b", "a/b", "a\0", "../x", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Owner::of("t", "i", bucket), None, "{bucket}");
        }
    }

    #[test]
    fn a_tables_name_remains_one_name() {
        assert_eq!(quoted("canopy_keyvalue"), "\"canopy_keyvalue\"");
        assert_eq!(quoted("shared.kv"), "\"shared\".\"kv\"");
        assert_eq!(quoted("x\"; DROP TABLE y"), "\"x\"\"; DROP TABLE y\"");
    }
}
