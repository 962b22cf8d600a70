//! Keys and values through a guest, and by the same engine called natively.

use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::Scope;
use canopy_ids::{InstallationId, TenantId};
use serde_json::{Value, json};

use crate::node::{MEMORIES, Node, compiler};

/// Writers at once, each with keys of its own.
const WRITERS: u32 = 64;
/// Operations that a guest does within one request.
const EACH: u32 = 200;
const VALUE: usize = 16;

/// Operations a second, round by round.
pub(crate) fn measure(seconds: u32, rounds: u32) -> Value {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let time = Duration::from_secs(seconds.into());
    runtime.expect("a runtime").block_on(async move {
        let folder = tempfile::tempdir().expect("folder");
        let node = Arc::new(Node::new(folder.path(), compiler(), MEMORIES));
        let (mut get, mut set) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 0..=rounds {
            let found = [
                native(&node, time, 1, false).await,
                guest(&node, time, 1, false).await,
                native(&node, time, WRITERS, true).await,
                guest(&node, time, WRITERS, true).await,
            ];
            // The first round is there to make everything ready.
            if round > 0 {
                for (index, rate) in found.into_iter().enumerate() {
                    let kind = if index < 2 { &mut get } else { &mut set };
                    kind[index % 2].push(rate);
                }
            }
        }
        let both = |[native, guest]: [Vec<f64>; 2]| json!({ "native": native, "guest": guest });
        json!({ "get": both(get), "set": both(set), "writers": WRITERS })
    })
}

async fn native(node: &Arc<Node>, time: Duration, tasks: u32, write: bool) -> f64 {
    let scope = Scope {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
    };
    let bucket = node.storage.open(scope, "default").await.expect("a bucket");
    bucket.set("0/0", vec![b'x'; VALUE]).await.expect("set");
    let begun = Instant::now();
    let working = (0..tasks).map(|task| {
        let bucket = bucket.clone();
        tokio::spawn(async move {
            let mut done = 0_u32;
            while begun.elapsed() < time {
                if write {
                    let key = format!("{task}/{}", done % EACH);
                    bucket.set(&key, vec![b'x'; VALUE]).await.expect("set");
                } else {
                    bucket.get("0/0").await.expect("get").expect("a value");
                }
                done += 1;
            }
            done
        })
    });
    rate(working.collect(), begun).await
}

async fn guest(node: &Arc<Node>, time: Duration, tasks: u32, write: bool) -> f64 {
    node.call("bench", "/set?n=1&writer=0").await;
    let begun = Instant::now();
    let working = (0..tasks).map(|task| {
        let node = Arc::clone(node);
        tokio::spawn(async move {
            let what = if write { "set" } else { "get" };
            let path = format!("/{what}?n={EACH}&writer={task}");
            let mut done = 0_u32;
            while begun.elapsed() < time {
                node.call("bench", &path).await;
                done += EACH;
            }
            done
        })
    });
    rate(working.collect(), begun).await
}

async fn rate(working: Vec<tokio::task::JoinHandle<u32>>, begun: Instant) -> f64 {
    let mut done = 0.0;
    for task in working {
        done += f64::from(task.await.expect("done"));
    }
    done / begun.elapsed().as_secs_f64()
}
