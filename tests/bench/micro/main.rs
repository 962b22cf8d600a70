//! What single steps of a request cost.
//!
//! ```text
//! cargo bench -p canopy-bench                    time, by criterion; a name chooses among the steps
//! … micro count CASE FOLDER                      for `tests/bench/instructions`, under callgrind
//! … micro storage FOLDER WAY OPERATION SECONDS   for `tests/bench/run`, as JSON
//! … micro drivers ROUNDS                         for `tests/bench/run`, as JSON
//! ```

mod count;
mod drivers;
#[path = "../../../host/server/src/logging/line.rs"]
mod line;
mod node;
mod steps;
mod storage;
#[path = "../../../host/driver/tests/support/mod.rs"]
mod support;

use std::process::ExitCode;

/// As the node's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *words {
        [count::COMPILE, request] => count::compile(request),
        [node::COMPILE, request] => ExitCode::from(canopy_engine::compile_child_main(request)),
        ["count", case, folder] => count::count(case, folder.as_ref()),
        ["storage", folder, how, what, seconds] => {
            let found = storage::measure(folder.as_ref(), how, what, number(seconds));
            print(&found)
        }
        ["drivers", rounds] => print(&drivers::measure(number(rounds))),
        _ => {
            steps::measure();
            ExitCode::SUCCESS
        }
    }
}

fn number(text: &str) -> u32 {
    text.parse().expect("a number")
}

fn print(found: &serde_json::Value) -> ExitCode {
    println!("{found}");
    ExitCode::SUCCESS
}
