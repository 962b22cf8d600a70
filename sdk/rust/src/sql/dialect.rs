//! Databases of other dialects, which drivers serve.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::{Database, Error, Statements};
use crate::params;

/// What a database understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// That of the platform's own databases.
    Sqlite,
    /// That of PostgreSQL.
    Postgres,
}

thread_local! {
    /// What is known of databases, by their names: a binding does not change while an instance lives.
    static KNOWN: RefCell<BTreeMap<String, Dialect>> = const { RefCell::new(BTreeMap::new()) };
    static MIGRATED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The table that notes which migrations have been applied.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS canopy_migration (\
     name TEXT PRIMARY KEY, statements TEXT NOT NULL)";

impl Database {
    /// The dialect of this database, which its binding decides. It is asked once for each instance.
    ///
    /// # Errors
    /// The database's; [`Error::Other`] if it is of none that is known here.
    pub fn dialect(&self) -> Result<Dialect, Error> {
        if let Some(known) = KNOWN.with_borrow(|known| known.get(&self.name).copied()) {
            return Ok(known);
        }
        let asked = self.row::<String>("SELECT sqlite_version()", params![]);
        let dialect = match asked {
            Ok(_) => Dialect::Sqlite,
            // It knows no such function.
            Err(Error::InvalidStatement(_)) => {
                let version: Option<String> = self.row("SELECT version()", params![])?;
                let version = version.unwrap_or_default();
                if !version.starts_with("PostgreSQL") {
                    return Err(Error::Other(format!("an unknown database: {version}")));
                }
                Dialect::Postgres
            }
            Err(error) => return Err(error),
        };
        KNOWN.with_borrow_mut(|known| known.insert(self.name.clone(), dialect));
        Ok(dialect)
    }

    /// Applies those of `migrations` that this database has not seen, in their order, all or none, if
    /// it is of `dialect`. They are pairs of a name and statements, each of which ends with a semicolon
    /// at the end of a line. It is done once for each instance.
    ///
    /// The platform applies the migrations that the manifest names to its own databases. It knows
    /// nothing of a driver's, which are migrated by this when the application first meets them.
    ///
    /// # Errors
    /// The database's; [`Error::Other`] if a migration was applied with other statements.
    pub fn migrate(&self, dialect: Dialect, migrations: &[(&str, &str)]) -> Result<(), Error> {
        if self.dialect()? != dialect || MIGRATED.with_borrow(|done| done.contains(&self.name)) {
            return Ok(());
        }
        // Most often there is nothing to do, and nobody to be kept waiting for it.
        let seen = self.rows::<(String, String)>(SEEN, params![]);
        if !seen.is_ok_and(|seen| is_all(&seen, migrations)) {
            self.transaction(|change| {
                change.execute(TABLE, params![])?;
                let seen: Vec<(String, String)> = change.rows(SEEN, params![])?;
                for (name, statements) in migrations {
                    match seen.iter().find(|(known, _)| known == name) {
                        Some((_, applied)) if applied == statements => {}
                        Some(_) => {
                            return Err(Error::Other(format!(
                                "the migration {name} was applied with other statements"
                            )));
                        }
                        None => {
                            for statement in split(statements) {
                                change.execute(statement, params![])?;
                            }
                            let noted =
                                "INSERT INTO canopy_migration (name, statements) VALUES (?, ?)";
                            change.execute(noted, params![*name, *statements])?;
                        }
                    }
                }
                Ok(())
            })?;
        }
        MIGRATED.with_borrow_mut(|done| done.push(self.name.clone()));
        Ok(())
    }
}

const SEEN: &str = "SELECT name, statements FROM canopy_migration";

fn is_all(seen: &[(String, String)], migrations: &[(&str, &str)]) -> bool {
    migrations.iter().all(|(name, statements)| {
        seen.iter()
            .any(|(known, applied)| known == name && applied == statements)
    })
}

/// The statements of a migration.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive(";\n")
        .map(str::trim)
        .filter(|statement| statement.lines().any(|line| !is_remark(line)))
}

fn is_remark(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with("--")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_cut_into_its_statements() {
        let text = "-- What it is; really.\nCREATE TABLE a (b TEXT DEFAULT ';');\n\nINSERT INTO a\nVALUES ('x');\n-- end\n";
        let statements: Vec<_> = split(text).collect();
        assert_eq!(statements.len(), 2, "{statements:?}");
        assert!(statements[0].ends_with("DEFAULT ';');"));
        assert_eq!(statements[1], "INSERT INTO a\nVALUES ('x');");
        assert_eq!(split("\n-- nothing\n").count(), 0);
    }

    #[test]
    fn what_was_applied_is_compared_by_its_text() {
        let seen = [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
        ];
        assert!(is_all(&seen, &[("a", "1")]));
        assert!(is_all(&seen, &[]));
        assert!(!is_all(&seen, &[("a", "2")]));
        assert!(!is_all(&seen, &[("a", "1"), ("c", "3")]));
    }
}
