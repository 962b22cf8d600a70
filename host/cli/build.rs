//! Rebuilds the crate when a file is added to what it carries.

fn main() {
    for dir in [
        "../../sdk/rust/src",
        "../../sdk/rust/macros/src",
        "../../sdk/rust/Cargo.toml",
        "../../wit",
        "../../plugins/suites/Cargo.toml",
        "../../plugins/suites/Cargo.lock",
        "../../plugins/suites/blobs",
        "../../plugins/suites/mail",
        "../../plugins/suites/probe",
        "../../plugins/suites/spin-postgres",
        "../../plugins/suites/sql",
        "../../plugins/suites/key-value",
        "../../plugins/suites/keyvalue-draft",
        "../../plugins/suites/keyvalue-draft2",
        "templates",
    ] {
        println!("cargo::rerun-if-changed={dir}");
    }
}
