//! The targets of `tests/fuzz` for libFuzzer, which keeps an input that reaches what none before it
//! has: branches and comparisons, in this code and in all below it.
//!
//! `tests/fuzz/guided` builds and runs them.

#[path = "../../targets.rs"]
mod targets;

use std::cell::RefCell;
use std::fs;
use std::path::Path;

use targets::{Run, TARGETS, Target};

thread_local! {
    /// One program has one target, and runs it on one thread.
    static RUN: RefCell<Option<Run>> = const { RefCell::new(None) };
}

/// Runs one input of the target `name`.
pub fn run(name: &str, input: &[u8]) {
    RUN.with_borrow_mut(|run| run.get_or_insert_with(|| (target(name).prepare)())(input));
}

/// Writes what the target `name` begins with: its seeds into its corpus, its words as a dictionary.
/// libFuzzer reads both after this.
pub fn write_seeds(name: &str) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = target(name);
    let corpus = here.join("corpus").join(name);
    fs::create_dir_all(&corpus).expect("a folder for the corpus");
    for (number, seed) in target.seeds.iter().enumerate() {
        fs::write(corpus.join(format!("seed-{number}")), seed).expect("a seed is written");
    }
    let word = |word: &&str| {
        let escaped: String = word.bytes().map(|byte| format!("\\x{byte:02x}")).collect();
        format!("\"{escaped}\"\n")
    };
    let words: String = target.words.iter().map(word).collect();
    let dictionaries = here.join("dictionaries");
    fs::create_dir_all(&dictionaries).expect("a folder for dictionaries");
    fs::write(dictionaries.join(name), words).expect("a dictionary is written");
}

fn target(name: &str) -> &'static Target {
    let mut targets = TARGETS.iter();
    targets
        .find(|target| target.name == name)
        .expect("a target of tests/fuzz/targets.rs")
}
