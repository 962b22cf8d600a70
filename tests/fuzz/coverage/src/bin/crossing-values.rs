#![no_main]

use canopy_fuzz::{run, write_seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: write_seeds("crossing-values"), |input: &[u8]| run("crossing-values", input));
