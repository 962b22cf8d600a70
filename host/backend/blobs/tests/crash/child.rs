//! The processes that the other tests start and kill.

use std::sync::Arc;

use canopy_backend::blob::{BlobProvider, Blobs, ObjectId, PutOptions, body_of};

use crate::process::{Setup, acknowledge};
use crate::{content, open};

const TASKS: u64 = 6;

/// Puts, replaces, deletes, copies and uploads in parts, in several tasks, for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by other tests"]
async fn writing() {
    let Some(setup) = Setup::given() else { return };
    let storage = open(&setup);
    let blobs = BlobProvider::open(&storage, setup.scope)
        .await
        .expect("objects");
    blobs.create_container("box").await.expect("a container");
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(task_of(task, setup.first, blobs.clone())))
        .collect();
    for task in tasks {
        task.await.expect("it goes on");
    }
}

async fn task_of(task: u64, first: u64, blobs: Arc<dyn Blobs>) {
    for n in first.. {
        let name = format!("{task}-{}", n % 7);
        let id = ObjectId::new("box", &name);
        let bytes = content(task, n);
        match n % 5 {
            2 => {
                let upload = blobs
                    .begin_upload(id, PutOptions::default())
                    .await
                    .expect("begun");
                let (one, two) = bytes.split_at(bytes.len() / 2);
                let mut parts = Vec::new();
                for (number, part) in [(1, one), (2, two)] {
                    let body = body_of(part.to_vec());
                    let part = blobs.put_part(&upload.id, number, body).await;
                    parts.push((number, part.expect("a part").etag));
                }
                let done = blobs.complete_upload(&upload.id, parts).await;
                done.expect("complete");
            }
            4 => {
                let other = format!("{task}-copied");
                let other = ObjectId::new("box", &other);
                let put = blobs.put(other, PutOptions::default(), body_of(bytes));
                put.await.expect("put");
                blobs.rename(other, id, None).await.expect("moved");
            }
            _ => {
                let put = blobs.put(id, PutOptions::default(), body_of(bytes));
                put.await.expect("put");
            }
        }
        acknowledge(&format!("put {name} {n}"));
        if n % 4 == 3 {
            blobs.delete(id, None).await.expect("deleted");
            acknowledge(&format!("gone {name} {n}"));
        }
    }
}
