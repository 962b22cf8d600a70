//! Fuzzing of what reads texts and values of strangers.
//!
//! Inputs are made from a target's seeds by small changes, and one that brings an outcome never
//! seen before is kept and changed further. It needs no instrumented build, so it is among the tests,
//! and finds less than a fuzzer that watches branches. `tests/fuzz/guided` has libFuzzer do that with
//! the same targets (`coverage`), by `cargo fuzz` on the same compiler; everything down to wasmtime is
//! built once more for it, so it is run by hand.
//!
//! ```text
//! cargo test -p canopy --test fuzz                                     every target for a second
//! cargo test -p canopy --test fuzz -- --seconds 180 [--seed N] [NAME]  each for as long as one likes
//! cargo test -p canopy --test fuzz -- --input FILE NAME                one input again
//! tests/fuzz/guided [--seconds N] [NAME]                               by libFuzzer, each for 180 s
//! ```

mod mutate;
mod targets;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mutate::Mutator;
use targets::{TARGETS, Target};

/// Inputs that are kept of one target; a new one then takes the place of an old one.
const KEPT: usize = 4096;
/// Bytes of one input.
const LONGEST: usize = 4096;

struct Options {
    seconds: u64,
    seed: u64,
    input: Option<String>,
    names: Vec<String>,
}

fn options() -> Options {
    let mut options = Options {
        seconds: 1,
        seed: 1,
        input: None,
        names: Vec::new(),
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => options.seconds = number(arguments.next(), 1),
            "--seed" => options.seed = number(arguments.next(), 1),
            "--input" => options.input = arguments.next(),
            // What `cargo test` gives to every test binary.
            flag if flag.starts_with('-') => {}
            name => options.names.push(name.to_owned()),
        }
    }
    options
}

fn number(text: Option<String>, otherwise: u64) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn main() -> ExitCode {
    let options = options();
    let wanted = |target: &&Target| {
        options.names.is_empty()
            || options
                .names
                .iter()
                .any(|name| target.name.contains(&**name))
    };
    let (mut passed, mut failed) = (0, 0);
    for target in TARGETS.iter().filter(wanted) {
        let outcome = match &options.input {
            Some(file) => once(target, file),
            None => guided_too(target).and_then(|()| fuzz(target, &options)),
        };
        match outcome {
            Ok(summary) => {
                println!("test {} ... ok ({summary})", target.name);
                passed += 1;
            }
            Err(why) => {
                println!("test {} ... FAILED\n{why}", target.name);
                failed += 1;
            }
        }
    }
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {outcome}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed > 0))
}

fn once(target: &Target, file: &str) -> Result<String, String> {
    let input = fs::read(file).map_err(|error| format!("{file}: {error}"))?;
    Ok((target.prepare)()(&input))
}

/// A target is one of libFuzzer's as well.
fn guided_too(target: &Target) -> Result<(), String> {
    let coverage = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/coverage");
    let said = format!("\"{}\"", target.name);
    for file in ["Cargo.toml", &format!("src/bin/{}.rs", target.name)] {
        let file = coverage.join(file);
        let text =
            fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        if !text.contains(&said) {
            return Err(format!("    {} has no target {said}", file.display()));
        }
    }
    Ok(())
}

fn fuzz(target: &Target, options: &Options) -> Result<String, String> {
    let mut run = (target.prepare)();
    let mut mutator = Mutator::new(options.seed, target.words);
    let mut kept: Vec<Vec<u8>> = target.seeds.iter().map(|seed| seed.to_vec()).collect();
    let mut outcomes = HashSet::new();
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut runs = 0_u64;
    while runs < target.seeds.len() as u64 || Instant::now() < until {
        let seed = usize::try_from(runs)
            .ok()
            .and_then(|run| target.seeds.get(run));
        let mut input = match seed {
            Some(seed) => seed.to_vec(),
            None => mutator.change(&kept),
        };
        input.truncate(LONGEST);
        runs += 1;
        let outcome = catch_unwind(AssertUnwindSafe(|| run(&input)));
        let Ok(outcome) = outcome else {
            let file = std::env::temp_dir().join(format!("canopy-fuzz-{}", target.name));
            fs::write(&file, &input).map_err(|error| error.to_string())?;
            return Err(format!(
                "    it panicked on this input, kept as {}:\n    {}",
                file.display(),
                input.escape_ascii()
            ));
        };
        if outcomes.insert(shape(&outcome)) {
            if kept.len() < KEPT {
                kept.push(input);
            } else {
                let place = mutator.below(kept.len());
                kept[place] = input;
            }
        }
    }
    Ok(format!("{runs} inputs, {} outcomes", outcomes.len()))
}

/// An outcome without what differs between inputs that take the same way.
fn shape(outcome: &str) -> String {
    let mut shape: String = outcome
        .chars()
        .filter(|c| !c.is_ascii_digit())
        .take(160)
        .collect();
    // What stands in quotes was copied from the input.
    for quote in ['`', '"'] {
        while let Some(begin) = shape.find(quote) {
            let rest = &shape[begin + 1..];
            let end = rest.find(quote).map_or(shape.len(), |end| begin + end + 2);
            shape.replace_range(begin..end, "_");
        }
    }
    shape
}
