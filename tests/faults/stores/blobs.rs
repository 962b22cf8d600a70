//! Objects: in one piece and in parts, copied, moved, replaced and removed.

use std::path::Path;
use std::sync::Arc;

use canopy_backend::Maintenance;
use canopy_backend::blob::{
    BlobError, BlobProvider, Blobs, Listing, ObjectId, PutOptions, body_of, whole_body,
};
use canopy_backend_blobs::{BlobSettings, BlobStorage};

use super::{Store, Units, content, keyring, ledger, of_content, scope, text, written};

pub(super) struct BlobStore {
    storage: BlobStorage,
    blobs: Arc<dyn Blobs>,
}

const SMALL: usize = 900;
/// Over several chunks, and over what is written at once.
const LARGE: usize = 300_000;

fn id(name: &str) -> ObjectId<'_> {
    ObjectId::new("box", name)
}

impl BlobStore {
    async fn put(&self, name: &str, n: u32, length: usize) -> Result<(), String> {
        let body = body_of(content(n, length));
        let put = self.blobs.put(id(name), PutOptions::default(), body);
        put.await.map(drop).map_err(text)
    }

    async fn upload(&self, name: &str, n: u32) -> Result<(), String> {
        let begun = self.blobs.begin_upload(id(name), PutOptions::default());
        let upload = begun.await.map_err(text)?;
        let bytes = content(n, LARGE);
        let (one, two) = bytes.split_at(LARGE / 3);
        let mut parts = Vec::new();
        for (number, part) in [(1, one), (2, two)] {
            let put = self
                .blobs
                .put_part(&upload.id, number, body_of(part.to_vec()));
            parts.push((number, put.await.map_err(text)?.etag));
        }
        let done = self.blobs.complete_upload(&upload.id, parts).await;
        done.map(drop).map_err(text)
    }
}

impl Store for BlobStore {
    const NAME: &'static str = "blobs";
    const STEPS: u32 = 16;

    async fn open(dir: &Path) -> Result<Self, String> {
        let keyring = keyring(dir)?;
        let settings = BlobSettings::default();
        let storage = BlobStorage::open(dir.join("storage"), keyring, ledger(), settings);
        let storage = storage.map_err(text)?;
        let blobs = BlobProvider::open(&storage, scope()).await.map_err(text)?;
        Ok(Self { storage, blobs })
    }

    async fn step(&mut self, n: u32) -> Result<(), String> {
        match n % 8 {
            1 => {
                self.blobs.create_container("box").await.map_err(text)?;
                self.put("small", n, SMALL).await
            }
            2 => self.put("large", n, LARGE).await,
            3 => self.upload("parts", n).await,
            4 => {
                let copied = self.blobs.copy(id("large"), id("copy"), None).await;
                copied.map(drop).map_err(text)
            }
            5 => self.put("there", n, SMALL).await,
            6 => match self.blobs.rename(id("there"), id("moved"), None).await {
                // It had taken place.
                Err(BlobError::NoSuchObject) => Ok(()),
                moved => moved.map(drop).map_err(text),
            },
            7 => {
                let deleted = self.blobs.delete(id("small"), None).await;
                deleted.map(drop).map_err(text)
            }
            _ => {
                let puts = ["x", "y", "z"].map(|name| self.put(name, n, SMALL));
                let done = futures::future::join_all(puts).await;
                done.into_iter().collect()
            }
        }
    }

    fn expect(n: u32, units: &mut Units) {
        let mut set = |unit: &str, n: u32, length: usize| {
            units.insert(unit.into(), written(n, length));
        };
        match n % 8 {
            1 => set("small", n, SMALL),
            2 => set("large", n, LARGE),
            3 => set("parts", n, LARGE),
            4 => set("copy", n - 2, LARGE),
            5 => set("there", n, SMALL),
            6 => {
                set("moved", n - 1, SMALL);
                units.remove("there");
            }
            7 => drop(units.remove("small")),
            _ => ["x", "y", "z"]
                .map(|name| set(name, n, SMALL))
                .into_iter()
                .collect(),
        }
    }

    async fn observe(&mut self) -> Result<Units, String> {
        let listing = Listing {
            limit: 1000,
            ..Listing::default()
        };
        let objects = match self.blobs.list("box", listing).await {
            Err(BlobError::NoSuchContainer) => return Ok(Units::new()),
            page => page.map_err(text)?.objects,
        };
        let mut units = Units::new();
        for object in objects {
            let reading = self.blobs.get(id(&object.name), None).await.map_err(text)?;
            let found = match whole_body(reading.body, u64::MAX).await {
                Ok(bytes) => of_content(&bytes),
                Err(error) => format!("not to be read: {error}"),
            };
            units.insert(object.name, found);
        }
        Ok(units)
    }

    async fn check(&mut self) -> Result<Vec<String>, String> {
        let findings = self.storage.check(scope()).await.map_err(text)?;
        let usage = self.storage.usage(scope()).await.map_err(text)?;
        let mut wrong: Vec<String> = findings.into_iter().map(|finding| finding.what).collect();
        let objects = self.observe().await?.len();
        if usage.items < objects as u64 {
            wrong.push(format!("{usage:?} counts {objects} objects"));
        }
        Ok(wrong)
    }

    async fn close(self) {
        drop(self.blobs);
        self.storage.close();
    }
}
