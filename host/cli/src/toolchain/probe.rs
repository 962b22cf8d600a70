//! Looks at the machine: the active Rust toolchain, rustup, Debian's tools, the cache.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use super::choice::Facts;
use super::{TARGET, debian, run};
use crate::Error;

/// How long a program may take to say its version; a rustup that has to fetch a pinned toolchain
/// first is the slow case.
const LIMIT: Duration = Duration::from_secs(300);

/// Gathers the facts for a project in `dir`, whose own `rust-toolchain.toml` decides what is active.
pub(super) async fn facts(dir: &Path, home: &Path) -> Result<Facts, Error> {
    if !dir.is_dir() {
        return Err(Error::Usage(format!(
            "{} is not a directory",
            dir.display()
        )));
    }
    let ask = async |program: &str, args: &[&str]| {
        run(Command::new(program).args(args).current_dir(dir), LIMIT)
            .await
            .ok()
    };
    let Some(verbose) = ask("rustc", &["-vV"]).await else {
        return Ok(Facts::default());
    };
    let sysroot = ask("rustc", &["--print", "sysroot"])
        .await
        .map(|text| PathBuf::from(text.trim()));
    let rustlib = sysroot.unwrap_or_default().join("lib/rustlib");
    let host = line_after(&verbose, "host: ");
    Ok(Facts {
        has_rust: ask("cargo", &["--version"]).await.is_some(),
        version: line_after(&verbose, "release: "),
        has_target: has_std(&rustlib.join(TARGET).join("lib")),
        has_rustup: ask("rustup", &["show", "active-toolchain"]).await.is_some(),
        linkers: linkers(&rustlib.join(host).join("bin")),
        has_cached: debian::compiler(home).exists(),
        debian_lacks: debian::lacks(),
    })
}

/// The version of a compiler, if it works.
pub(super) async fn version(rustc: &Path) -> Result<String, String> {
    run(Command::new(rustc).arg("-vV"), LIMIT)
        .await
        .map(|text| line_after(&text, "release: "))
}

fn linkers(bin: &Path) -> Option<Vec<PathBuf>> {
    let gcc_ld = bin.join("gcc-ld");
    let there = bin.join("wasm-component-ld").exists() && gcc_ld.join("wasm-ld").exists();
    there.then(|| vec![bin.to_owned(), gcc_ld])
}

fn has_std(lib: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(lib) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with("libstd-") && name.ends_with(".rlib")
    })
}

fn line_after(text: &str, start: &str) -> String {
    text.lines()
        .find_map(|line| line.strip_prefix(start))
        .unwrap_or_default()
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_folder_without_the_standard_library_does_not_count() {
        let dir = tempfile::tempdir().expect("a folder");
        assert!(!has_std(&dir.path().join("absent")));
        assert!(!has_std(dir.path()));
        std::fs::write(dir.path().join("libstd-0123.rlib"), "").expect("written");
        assert!(has_std(dir.path()));
    }

    #[test]
    fn both_linkers_must_be_there() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("wasm-component-ld"), "").expect("written");
        assert_eq!(linkers(dir.path()), None);
        std::fs::create_dir(dir.path().join("gcc-ld")).expect("made");
        std::fs::write(dir.path().join("gcc-ld/wasm-ld"), "").expect("written");
        assert_eq!(linkers(dir.path()).expect("both").len(), 2);
    }

    #[test]
    fn the_compilers_own_words_are_read() {
        assert_eq!(
            line_after("rustc 1\nhost: a-b\nrelease: 1.97.1\n", "release: "),
            "1.97.1"
        );
        assert_eq!(line_after("", "host: "), "");
    }
}
