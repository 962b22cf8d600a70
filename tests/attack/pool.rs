//! Applications that take as much of the node's pool as they can, for as long as they can.

use futures::future::join_all;

use crate::arena::Arena;
use crate::components::{http, install};

/// As many at once as an installation serves, but for one.
const AT_ONCE: usize = 63;

/// Sleeps for two seconds, and has `slots` meanwhile.
fn sleeper(slots: &str) -> Vec<u8> {
    http(&format!(
        r#"
        (import "wasi:io/poll@0.2.0" (instance $poll
          (export "pollable" (type $pollable (sub resource)))
          (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (alias outer 1 $pollable (type $imported))
          (export "pollable" (type $own (eq $imported)))
          (export "subscribe-duration" (func (param "when" u64) (result (own $own))))))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core func $block (canon lower (func $poll "[method]pollable.block")))
        (core module $m
          (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
          (import "host" "block" (func $block (param i32)))
          {slots}
          (func (export "handle") (param i32 i32)
            (call $block (call $subscribe (i64.const 2000000000)))))
        (core instance $i (instantiate $m (with "host" (instance
          (export "subscribe" (func $subscribe))
          (export "block" (func $block))))))"#
    ))
}

/// Has applications of the attacker hold `slots` each. None fills the pool: each request ends as the
/// guest does, or by the tenant's own limit.
async fn fill(arena: &Arena, names: &[&str], slots: &str) {
    for name in names {
        install(arena, name, sleeper(slots)).await;
    }
    let asked = names.iter().flat_map(|name| vec![*name; AT_ONCE]);
    let replies = join_all(asked.map(|name| arena.get(name, "/"))).await;
    let (mut held, mut refused) = (0, 0);
    for reply in &replies {
        match (reply.status, reply.code()) {
            (502, "no-response") => held += 1,
            (429, "tenant-pool") => refused += 1,
            _ => panic!("{reply:?}"),
        }
    }
    assert!(held > 0 && refused > 0, "{held} held, {refused} refused");
}

/// 63 requests would take all 4,000 tables of the node.
pub(crate) async fn a10_all_tables(arena: &Arena) {
    fill(arena, &["tables-64"], &"(table 0 funcref)".repeat(64)).await;
}

/// The requests that a tenant may have under way would take half of its 2,000 memories.
pub(crate) async fn a10_all_memories(arena: &Arena) {
    let names = ["memories-8", "memories-8-more"];
    fill(arena, &names, &"(memory 0)".repeat(8)).await;
}
