//! Putting and reading a large object, beside a plain file that is copied and synchronised:
//!
//! `cargo run -p canopy-backend-blobs --example throughput -- 128`
//!
//! The number is the size in MiB. Three rounds of each in turn, in the folder for temporary files.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use canopy_backend::blob::{BlobProvider, ObjectId, PutOptions};
use canopy_backend::{Ledger, Scope, StorageQuota};
use canopy_backend_blobs::{BlobSettings, BlobStorage};
use canopy_backend_keys::{Keyring, OperatorKey};
use canopy_ids::{InstallationId, TenantId};
use futures::{StreamExt, stream};

const PIECE: usize = 256 << 10;

#[tokio::main]
async fn main() {
    let mebibytes = std::env::args()
        .nth(1)
        .map_or(256, |size| size.parse().expect("MiB"));
    let pieces: usize = (mebibytes << 20) / PIECE;
    let dir = tempfile::tempdir().expect("a folder");
    let keyring = Keyring::open(OperatorKey::generate().expect("a key"), dir.path()).expect("keys");
    let ledger = Ledger::new(Arc::new(StorageQuota::default()));
    let storage = BlobStorage::open(dir.path(), keyring, ledger, BlobSettings::default());
    let storage = storage.expect("storage");
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    let blobs = BlobProvider::open(&storage, scope).await.expect("objects");
    blobs.create_container("box").await.expect("a container");
    let id = ObjectId::new("box", "it");
    let piece = bytes::Bytes::from(vec![7; PIECE]);
    let report = |what: &str, begun: Instant| {
        let seconds = begun.elapsed().as_secs_f64();
        println!("{what:<22} {:>8.0} MiB/s", mebibytes as f64 / seconds);
    };
    for _ in 0..3 {
        let begun = Instant::now();
        let mut file = File::create(dir.path().join("plain")).expect("a file");
        for _ in 0..pieces {
            file.write_all(&piece).expect("written");
        }
        file.sync_all().expect("synchronised");
        report("plain file, fsync", begun);

        let begun = Instant::now();
        let body = stream::iter((0..pieces).map(|_| Ok(piece.clone())).collect::<Vec<_>>());
        blobs
            .put(id, PutOptions::default(), Box::pin(body))
            .await
            .expect("put");
        report("put", begun);

        let begun = Instant::now();
        let mut file = File::open(dir.path().join("plain")).expect("a file");
        let mut buffer = vec![0; PIECE];
        while file.read(&mut buffer).expect("read") > 0 {}
        report("plain file, read", begun);

        let begun = Instant::now();
        let mut body = blobs.get(id, None).await.expect("a reading").body;
        while let Some(bytes) = body.next().await {
            bytes.expect("right");
        }
        report("get", begun);
    }
}
