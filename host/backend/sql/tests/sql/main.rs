//! Databases on SQLite: the suite of every backend, and what is particular to this one.

mod attack;
mod crash;
mod shares;
mod storage;
mod support;

mod conformance {
    use std::path::PathBuf;
    use std::sync::Arc;

    use canopy_backend::Scope;
    use canopy_backend::conformance::{Backend, Environment, Running, in_place_of};
    use canopy_backend::sql::SqlProvider;
    use canopy_backend_sql::SqlSettings;
    use tempfile::TempDir;

    use crate::support;

    /// Databases in a folder.
    struct InFolder(TempDir);

    impl InFolder {
        fn folder(&self, scope: Scope) -> PathBuf {
            let storage = self.0.path().join("storage");
            storage.join(scope.to_string()).join("sql")
        }
    }

    #[async_trait::async_trait]
    impl Backend<dyn SqlProvider> for InFolder {
        async fn open(&self, environment: &Environment) -> Running<dyn SqlProvider> {
            let mut settings = SqlSettings::default();
            // The suite reads results up to the limit.
            settings.limits.result_rows = 50_000;
            settings.limits.result_bytes = 8 << 20;
            let storage = support::open_at(self.0.path(), settings, environment.quota);
            let storage = Arc::new(storage);
            let closing = storage.clone();
            Running {
                provider: storage.clone(),
                maintenance: storage,
                close: Box::new(move || {
                    let storage = closing.clone();
                    Box::pin(async move { storage.close().await })
                }),
            }
        }

        fn lose(&self, scope: Scope) {
            in_place_of(&self.folder(scope), true);
        }

        fn find(&self, scope: Scope) {
            in_place_of(&self.folder(scope), false);
        }
    }

    canopy_backend::sql_conformance!(InFolder(tempfile::tempdir().expect("a folder")));
}
