//! The command line where nobody reads what it says.

use std::io::pipe;
use std::process::{Command, Stdio};

/// How `canopy status` ends with no node there, and with its standard error going to `errors`.
fn status(errors: impl Into<Stdio>) -> Option<i32> {
    let status = Command::new(env!("CARGO_BIN_EXE_canopy"))
        .arg("status")
        .env("CANOPY_URL", "http://127.0.0.1:1")
        .env("CANOPY_TOKEN", "none")
        .stdout(Stdio::null())
        .stderr(errors)
        .status();
    status.expect("canopy runs").code()
}

#[test]
fn who_reads_no_errors_still_gets_their_exit_code() {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    let unread = status(writer);
    assert_eq!(unread, status(Stdio::null()));
    assert_ne!(unread, Some(0));
    assert_ne!(unread, Some(101), "a panic");
}
