//! The control API from outside, over a real store, engine, storage and log.

mod access;
mod badges;
mod basics;
mod binding;
mod chains;
mod data;
mod installing;
mod logs;
mod messages;
mod packages;
mod plans;
mod schedules;
mod support;
mod upkeep;

use canopy_engine::compile_child_main;

/// Not a test: the compiling process of the other tests, which start this program again with a
/// request as its last argument. Does nothing otherwise.
#[test]
fn compiler_child() {
    if let Some(request) = std::env::args()
        .next_back()
        .filter(|last| last.starts_with('{'))
    {
        std::process::exit(compile_child_main(&request).into());
    }
}
