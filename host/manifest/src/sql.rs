//! The SQL databases of a package, and the migrations that bring them to its version.

use toml::Table;

use crate::error::Fault;
use crate::reader::Reader;

/// Bytes of all migrations of a version.
pub const MAX_MIGRATIONS_BYTES: usize = 4 << 20;

/// The database that is there without a word.
const DEFAULT: &str = "default";
const MAX_REASON: usize = 400;
/// Migrations of one database.
const MAX_MIGRATIONS: usize = 500;
const MAX_PATH: usize = 200;

/// A SQL database that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlAsked {
    /// What the component opens it by.
    pub database: String,
    /// What it is for, for whoever installs the package to read; empty for `default`.
    pub reason: String,
    /// Files with its migrations, relative to the manifest, in the order in which they run.
    pub migrations: Vec<String>,
}

pub(crate) fn read(tables: Vec<(String, Table)>, faults: &mut Vec<Fault>) -> Vec<SqlAsked> {
    let mut asked: Vec<SqlAsked> = Vec::with_capacity(tables.len());
    for (path, table) in tables {
        let mut reader = Reader::new(path, table, faults);
        let database = reader
            .required_parsed::<canopy_ids::Label>("database")
            .map(|label| label.to_string())
            .unwrap_or_default();
        let reason = match database == DEFAULT {
            true => reader.short_text("reason", MAX_REASON).unwrap_or_default(),
            false => reader.required_text("reason", MAX_REASON),
        };
        let migrations = reader.texts("migrations", MAX_MIGRATIONS);
        let mut last = None;
        for (index, file) in migrations.iter().enumerate() {
            let number = number(file);
            let fault = if !is_below(file) {
                Some("must be a path below the manifest's folder")
            } else if number.is_none() {
                Some("must be a file like `migrations/0001-init.sql`: a number, and `.sql`")
            } else if number <= last {
                Some("must have a higher number than the file before")
            } else {
                None
            };
            if let Some(fault) = fault {
                reader.fault(&format!("migrations[{index}]"), fault);
            }
            last = number.or(last);
        }
        if asked.iter().any(|other| other.database == database) {
            reader.fault("database", format!("`{database}` is named twice"));
        } else if database == DEFAULT && migrations.is_empty() {
            reader.fault(
                "database",
                "`default` is always there; remove this table, or name its migrations",
            );
        }
        reader.finish();
        asked.push(SqlAsked {
            database,
            reason,
            migrations,
        });
    }
    asked
}

fn is_below(path: &str) -> bool {
    let well_formed = |part: &str| !part.is_empty() && part != "." && part != "..";
    path.len() <= MAX_PATH
        && !path.contains('\\')
        && !path.chars().any(char::is_control)
        && path.split('/').all(well_formed)
}

/// The number that the name of the file begins with.
fn number(path: &str) -> Option<u64> {
    let name = path.rsplit('/').next()?.strip_suffix(".sql")?;
    let end = name
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(name.len());
    name[..end].parse().ok()
}
