#![no_main]

use canopy_fuzz::{run, write_seeds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: write_seeds("host-names"), |input: &[u8]| run("host-names", input));
