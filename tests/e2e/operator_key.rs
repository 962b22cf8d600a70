//! The operator's key: a node starts with the right one, or refuses and touches nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::Node;

/// Every file below `folder` with what is in it, but for the lock, which names the process.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

/// Starts the node of `settings` where it must refuse, and gives what it said.
fn refusal(settings: &Path, more: &[(&str, &str)]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_canopy"))
        .args(["serve", "--config"])
        .arg(settings)
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("canopy starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it refuses: {said}");
    said
}

fn write_key(path: &Path, digit: char) {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(path).expect("a file");
    writeln!(file, "{}", digit.to_string().repeat(64)).expect("written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_missing_key_is_refused_and_another_can_be_given_in_its_place() {
    let mut node = Node::start();
    node.run("tenant create acme");
    let tenants = node.run("tenant list");
    assert!(node.terminate().success());
    let data = node.data_dir();
    let settings = data.with_file_name("canopy.toml");
    let (right, kept) = (data.join("operator.key"), data.with_file_name("kept.key"));
    std::fs::rename(&right, &kept).expect("moved");
    let before = files(&data);

    let said = refusal(&settings, &[]);
    assert!(said.contains("operator.key is missing"), "{said}");
    let wrong = data.with_file_name("wrong.key");
    write_key(&wrong, '7');
    let wrong_file = wrong.to_str().expect("text");
    let said = refusal(&settings, &[("CANOPY_KEYS_OPERATOR_KEY_FILE", wrong_file)]);
    assert!(
        said.contains("the operator's key is the wrong one"),
        "{said}"
    );
    let command = [("CANOPY_KEYS_OPERATOR_KEY_COMMAND", "false")];
    let said = refusal(&settings, &command);
    assert!(said.contains("keys.operator_key_command"), "{said}");
    assert_eq!(files(&data), before, "nothing was touched");

    // The wrong one becomes the right one, when the right one is given as the one before.
    let text = std::fs::read_to_string(&settings).expect("the settings");
    let with = |keys: &str| std::fs::write(&settings, format!("{text}\n[keys]\n{keys}"));
    with(&format!(
        "operator_key_file = {wrong:?}\nprevious_operator_key_file = {kept:?}\n"
    ))
    .expect("written");
    node.start_again();
    assert_eq!(node.run("tenant list"), tenants);
    assert!(node.terminate().success());
    with(&format!("operator_key_command = [\"cat\", {wrong:?}]\n")).expect("written");
    node.start_again();
    assert_eq!(node.run("tenant list"), tenants);
    assert!(node.terminate().success());
    with(&format!("operator_key_file = {kept:?}\n")).expect("written");
    let said = refusal(&settings, &[]);
    assert!(
        said.contains("the operator's key is the wrong one"),
        "{said}"
    );
}
