//! What the README says is so.

#[test]
fn its_first_code_block_is_the_two_commands() {
    let readme = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
    let readme = std::fs::read_to_string(readme).expect("the README");
    let block = readme.split("```").nth(1).expect("a code block");
    let commands: Vec<&str> = block.lines().skip(1).collect();
    assert_eq!(commands, ["cargo run -- demo", "tests/run"]);
}
