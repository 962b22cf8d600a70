//! Keys: made, changed for a tenant and for the operator, destroyed; with data under them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_backend::{KeyValueProvider, Maintenance, SystemClock};
use canopy_backend_embedded::{EmbeddedParts, EmbeddedSettings, EmbeddedStorage};
use canopy_backend_keys::{KeyError, Keyring, OperatorKey, OperatorKeys};
use canopy_ids::TenantId;

use super::{Store, Units, content, ledger, of_content, scope, text, written};

pub(super) struct KeysStore {
    dir: PathBuf,
    /// Which operator's key is in force.
    operator: u32,
    keyring: Keyring,
    /// `None` while the keys are changed.
    storage: Option<EmbeddedStorage>,
}

const VALUE: usize = 5000;

fn operator_key(dir: &Path, number: u32) -> Result<OperatorKey, String> {
    let path = dir.join(format!("operator-{number}.key"));
    OperatorKey::from_file(&path, true).map_err(text)
}

/// Opens the keys by an operator's key alone, or, as that is needed where a change was under way, by
/// it and the one before.
fn open_by(dir: &Path, operator: u32) -> Result<Keyring, KeyError> {
    let folder = dir.join("storage");
    let key = |number| OperatorKey::from_file(&dir.join(format!("operator-{number}.key")), true);
    match Keyring::open(key(operator)?, &folder) {
        Err(KeyError::ChangeUnderWay { .. }) if operator > 0 => {
            let keys = OperatorKeys {
                current: key(operator)?,
                previous: Some(key(operator - 1)?),
            };
            Keyring::open(keys, &folder)
        }
        opened => opened,
    }
}

/// One that is erased.
fn leaving() -> TenantId {
    "ten_019ac0000000700080000000000000c1"
        .parse()
        .expect("an id")
}

fn open_storage(dir: &Path, keyring: &Keyring) -> Result<EmbeddedStorage, String> {
    let parts = EmbeddedParts {
        dir: dir.join("storage"),
        keys: keyring.clone(),
        ledger: ledger(),
        clock: Arc::new(SystemClock),
    };
    EmbeddedStorage::open(parts, EmbeddedSettings::default()).map_err(text)
}

impl KeysStore {
    async fn set(&self, key: &str, n: u32) -> Result<(), String> {
        let storage = self.storage.as_ref().ok_or("it is closed")?;
        let bucket = storage.open(scope(), "default").await.map_err(text)?;
        bucket.set(key, content(n, VALUE)).await.map_err(text)
    }

    /// As an operator does: a start with the new key and the one before it.
    async fn change_operator(&mut self, number: u32) -> Result<(), String> {
        if self.operator >= number {
            return Ok(());
        }
        if let Some(storage) = self.storage.take() {
            storage.close().await;
        }
        let keys = OperatorKeys {
            current: operator_key(&self.dir, number)?,
            previous: Some(operator_key(&self.dir, number - 1)?),
        };
        self.keyring = Keyring::open(keys, &self.dir.join("storage")).map_err(text)?;
        self.operator = number;
        self.storage = Some(open_storage(&self.dir, &self.keyring)?);
        Ok(())
    }
}

impl Store for KeysStore {
    const NAME: &'static str = "keys";
    const STEPS: u32 = 9;

    async fn open(dir: &Path) -> Result<Self, String> {
        let mut operator = 0;
        let keyring = loop {
            match open_by(dir, operator) {
                Ok(keyring) => break keyring,
                Err(KeyError::WrongOperatorKey { .. } | KeyError::ChangeUnderWay { .. })
                    if operator < 2 =>
                {
                    operator += 1;
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        let storage = Some(open_storage(dir, &keyring)?);
        Ok(Self {
            dir: dir.to_owned(),
            operator,
            keyring,
            storage,
        })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        match n {
            1 => self.set("first", n).await,
            2 | 6 => {
                let version = if n == 2 { 2 } else { 3 };
                let tenant = scope().tenant;
                let newest = self.keyring.tenant(tenant).map_err(text)?.newest();
                if newest < version {
                    self.keyring.rotate(tenant).map_err(text)?;
                }
                Ok(())
            }
            3 | 7 => {
                let storage = self.storage.as_ref().ok_or("it is closed")?;
                storage.rekey(scope()).await.map_err(text)
            }
            4 => self.change_operator(1).await,
            5 => {
                self.keyring.tenant(leaving()).map_err(text)?;
                self.set("second", n).await
            }
            8 => self.keyring.erase(leaving()).map_err(text),
            _ => self.change_operator(2).await,
        }
    }

    fn expect(n: u32, units: &mut Units) {
        let mut set = |unit: &str, value: String| drop(units.insert(unit.into(), value));
        match n {
            1 => {
                set("first", written(n, VALUE));
                set("version", "1".into());
                set("operator", "0".into());
            }
            2 => set("version", "2".into()),
            4 => set("operator", "1".into()),
            5 => {
                set("second", written(n, VALUE));
                set("leaving", "is there".into());
            }
            6 => set("version", "3".into()),
            8 => drop(units.remove("leaving")),
            9 => set("operator", "2".into()),
            _ => {}
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let mut units = Units::new();
        let folder = self.dir.join("storage");
        if folder.join(leaving().to_string()).join("key").exists() {
            self.keyring.tenant(leaving()).map_err(text)?;
            units.insert("leaving".into(), "is there".into());
        }
        if !folder.join(scope().tenant.to_string()).join("key").exists() {
            return Ok(units);
        }
        let storage = self.storage.as_ref().ok_or("it is closed")?;
        let bucket = storage.open(scope(), "default").await.map_err(text)?;
        for key in ["first", "second"] {
            if let Some(value) = bucket.get(key).await.map_err(text)? {
                units.insert(key.into(), of_content(&value));
            }
        }
        let keys = self.keyring.tenant(scope().tenant).map_err(text)?;
        units.insert("version".into(), keys.newest().to_string());
        units.insert("operator".into(), self.operator.to_string());
        Ok(units)
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let storage = self.storage.as_ref().ok_or("it is closed")?;
        let findings = storage.check(scope()).await.map_err(text)?;
        Ok(findings.into_iter().map(|finding| finding.what).collect())
    }

    async fn close(self) {
        if let Some(storage) = self.storage {
            storage.close().await;
        }
    }
}
