//! Rebuilds the crate when a file is added to what it carries.

fn main() {
    for dir in [
        "../../sdk/rust/src",
        "../../sdk/rust/macros/src",
        "../../sdk/rust/Cargo.toml",
        "../../wit",
        "templates",
    ] {
        println!("cargo::rerun-if-changed={dir}");
    }
}
