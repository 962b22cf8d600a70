//! Instructions of the request path: one case in one process, for callgrind to count.
//!
//! All of a case runs on the main thread, which alone callgrind is told to watch, and only while
//! [`counted_by_callgrind`] runs: neither start nor compilation, nor what threads do beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use canopy_engine::{CompilerCommand, Engine, EngineSettings};
use serde::Deserialize;
use tokio::runtime::{Builder, Runtime};
use wasmtime::CodeBuilder;

use crate::drivers::Pair;
use crate::line::Line;
use crate::node::{Node, REUSED};

/// So often each case runs before it is counted, and then while it is: as many requests as one
/// instance that is used again serves, so that its making and its end are counted once.
const TIMES: u32 = 128;
/// Valgrind has 128 GiB of address space for everything.
const MEMORIES: u32 = 10;
/// The build for which figures are kept.
const BUILD: &str = if cfg!(debug_assertions) {
    "dev"
} else {
    "optimised"
};

/// Runs `case` with native code in `folder`.
pub(crate) fn count(case: &str, folder: &Path) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    // The record of each request is written as on a node, to where nothing becomes of it.
    let nowhere = File::options().write(true).open("/dev/null");
    tracing_subscriber::fmt()
        .event_format(Line { colours: false })
        .with_writer(Arc::new(nowhere.expect("/dev/null")))
        .init();
    match case {
        "refused" => edge(&runtime, folder, "nobody", 404),
        "hello-p2" => edge(&runtime, folder, "hello-p2-wstd", 200),
        "hello-p2-reused" => edge(&runtime, folder, REUSED, 200),
        "hello-p3" => edge(&runtime, folder, "hello-p3", 200),
        "driver-number" => driver(&runtime, "numbers"),
        "driver-list" => driver(&runtime, "lists"),
        "driver-method" => driver(&runtime, "methods"),
        _ => {
            eprintln!("there is no case `{case}`");
            return ExitCode::FAILURE;
        }
    }
    println!("{TIMES} {BUILD}");
    ExitCode::SUCCESS
}

fn edge(runtime: &Runtime, folder: &Path, guest: &str, expected: u16) {
    let (node, mut client) = runtime.block_on(async {
        let node = Node::new(folder, compiler(), MEMORIES);
        let client = node.connect(guest);
        (node, client)
    });
    let mut requests = async |times: u32| {
        for _ in 0..times {
            assert_eq!(client.ask().await, expected);
        }
    };
    runtime.block_on(requests(TIMES));
    counted_by_callgrind(runtime, requests(TIMES));
    drop(node);
}

fn driver(runtime: &Runtime, function: &str) {
    let mut pair = runtime.block_on(Pair::apart());
    runtime.block_on(pair.calls(function, TIMES));
    counted_by_callgrind(runtime, pair.calls(function, TIMES));
}

/// The one function that `tests/bench/instructions` has callgrind collect.
#[inline(never)]
fn counted_by_callgrind(runtime: &Runtime, future: impl Future<Output = ()>) {
    runtime.block_on(future);
}

/// The compiler's child, under valgrind as well, so that it sees the same processor. Valgrind does
/// not let a process lower its limits, so it is not the child that a node has.
fn compiler() -> CompilerCommand {
    let this = std::env::current_exe().expect("this program");
    CompilerCommand {
        program: "valgrind".into(),
        args: vec![
            "--tool=none".into(),
            "-q".into(),
            this.into(),
            COMPILE.into(),
        ],
    }
}

/// The word by which this program compiles without limits.
pub(crate) const COMPILE: &str = "compile-without-limits";

/// Of what a compiler's child is told, what matters here.
#[derive(Deserialize)]
struct Request {
    settings: EngineSettings,
    component: PathBuf,
    artifact: PathBuf,
}

/// Compiles as the child does, with the engine that runs it.
pub(crate) fn compile(request: &str) -> ExitCode {
    let request: Request = serde_json::from_str(request).expect("a request");
    let engine = Engine::new(&request.settings).expect("engine");
    let bytes = std::fs::read(&request.component).expect("the component");
    let mut code = CodeBuilder::new(engine.raw());
    code.wasm_binary(&bytes, None).expect("a component");
    let native = code.compile_component_serialized().expect("compiled");
    std::fs::write(&request.artifact, native).expect("written");
    ExitCode::SUCCESS
}
