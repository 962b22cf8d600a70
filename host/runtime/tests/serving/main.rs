//! Applications answering requests: compiled, linked and run as on a node, without a network in
//! front. The guests are those of `tests/guests`, which `tests/run` builds.

mod bodies;
mod capabilities;
mod chains;
mod drivers;
mod http;
mod kept;
mod limits;
mod linking;
mod metered;
mod p3;
mod room;
mod sockets;
mod support;
mod tls;

/// Not a test: the compiling process of the other tests, which start this program again with a
/// request as its last argument. Does nothing otherwise.
#[test]
fn compiler_child() {
    if let Some(request) = std::env::args()
        .next_back()
        .filter(|last| last.starts_with('{'))
    {
        std::process::exit(canopy_engine::compile_child_main(&request).into());
    }
}
