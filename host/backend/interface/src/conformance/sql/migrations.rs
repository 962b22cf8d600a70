//! Migrations: once, in order, and whole.

use std::sync::Arc;

use super::{number, run, scope};
use crate::sql::{
    DEFAULT_DATABASE, DatabaseMigrations, MigrateError, Migration, SqlError, SqlProvider,
};

/// Migrations of the default database.
pub fn migrations(files: &[(&str, &str)]) -> Vec<DatabaseMigrations> {
    let migrations = files.iter().map(|(name, text)| Migration {
        name: (*name).to_owned(),
        text: Arc::from(*text),
    });
    vec![DatabaseMigrations {
        database: DEFAULT_DATABASE.to_owned(),
        migrations: migrations.collect(),
    }]
}

const FIRST: (&str, &str) = (
    "0001-init.sql",
    "CREATE TABLE t (n INTEGER); -- one;\n INSERT INTO t VALUES (1);",
);
const SECOND: (&str, &str) = ("0002-more.sql", "INSERT INTO t SELECT n + 1 FROM t;");

/// What has run does not run again.
pub async fn migrations_run_once_and_in_order(provider: &dyn SqlProvider) {
    let scope = scope();
    let first = provider
        .migrate(scope, &migrations(&[FIRST]))
        .await
        .expect("migrated");
    assert_eq!(first[0].applied, [FIRST.0]);
    let both = migrations(&[FIRST, SECOND]);
    let second = provider.migrate(scope, &both).await.expect("migrated");
    assert_eq!(second[0].applied, [SECOND.0]);
    let third = provider.migrate(scope, &both).await.expect("migrated");
    assert!(third[0].applied.is_empty());
    let database = provider
        .open(scope, DEFAULT_DATABASE)
        .await
        .expect("opened");
    assert_eq!(number(&*database, "SELECT sum(n) FROM t").await, 3);
}

/// Of several databases, files and statements, one failing undoes all.
pub async fn a_failed_migration_leaves_nothing(provider: &dyn SqlProvider) {
    let scope = scope();
    let mut wanted = migrations(&[
        FIRST,
        ("0002-bad.sql", "SELECT 1; INSERT INTO nowhere VALUES (1)"),
    ]);
    wanted.push(DatabaseMigrations {
        database: "another".into(),
        migrations: migrations(&[FIRST])[0].migrations.clone(),
    });
    match provider.migrate(scope, &wanted).await {
        Err(MigrateError::Statement {
            migration,
            index,
            statement,
            error,
        }) => {
            assert_eq!((migration.as_str(), index), ("0002-bad.sql", 2));
            assert_eq!(statement, "INSERT INTO nowhere VALUES (1)");
            assert!(error.to_string().contains("nowhere"), "{error}");
        }
        other => panic!("{other:?}"),
    }
    for name in [DEFAULT_DATABASE, "another"] {
        let database = provider.open(scope, name).await.expect("opened");
        let result = run(&*database, "SELECT * FROM t").await;
        assert!(
            matches!(result, Err(SqlError::Invalid(_))),
            "{name}: {result:?}"
        );
    }
    let first = provider
        .migrate(scope, &migrations(&[FIRST]))
        .await
        .expect("migrated");
    assert_eq!(first[0].applied, [FIRST.0]);
}

/// History is not rewritten.
pub async fn a_changed_migration_is_refused(provider: &dyn SqlProvider) {
    let scope = scope();
    provider
        .migrate(scope, &migrations(&[FIRST]))
        .await
        .expect("migrated");
    let changed = migrations(&[(FIRST.0, "CREATE TABLE other (n INTEGER)"), SECOND]);
    let refused = provider.migrate(scope, &changed).await;
    assert!(
        matches!(&refused, Err(MigrateError::Changed { migration, .. }) if migration == FIRST.0),
        "{refused:?}"
    );
    let database = provider
        .open(scope, DEFAULT_DATABASE)
        .await
        .expect("opened");
    assert_eq!(number(&*database, "SELECT sum(n) FROM t").await, 1);
}

/// Going back keeps the schema, and tells.
pub async fn an_older_version_leaves_newer_migrations(provider: &dyn SqlProvider) {
    let scope = scope();
    provider
        .migrate(scope, &migrations(&[FIRST, SECOND]))
        .await
        .expect("migrated");
    let back = provider
        .migrate(scope, &migrations(&[FIRST]))
        .await
        .expect("left alone");
    assert_eq!(back[0].newer, [SECOND.0]);
    let database = provider
        .open(scope, DEFAULT_DATABASE)
        .await
        .expect("opened");
    assert_eq!(number(&*database, "SELECT sum(n) FROM t").await, 3);
}
