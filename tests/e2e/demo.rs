//! `canopy demo`, the README's first command: what it prints works, and it finds everything again.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::free_port;

struct Demo(Child);

impl Demo {
    /// Starts it, and gives the `curl` lines that it prints.
    fn start(folder: &Path) -> (Self, Vec<String>) {
        let command = Command::new(env!("CARGO_BIN_EXE_canopy"))
            .args(["demo", "--plugins", "plugins", "--data"])
            .arg(folder.join("demo"))
            .args(["--port", &free_port().to_string()])
            .args(["--api-port", &free_port().to_string()])
            .current_dir(root())
            .env("XDG_CONFIG_HOME", folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let mut demo = Self(command.expect("canopy runs"));
        let printed = BufReader::new(demo.0.stdout.take().expect("its output"));
        let mut lines = Vec::new();
        for line in printed.lines() {
            lines.push(line.expect("text"));
            if lines[lines.len() - 1].ends_with("Ctrl-C ends the demo.") {
                let curl = lines.into_iter().filter(|line| line.starts_with("  curl "));
                return (demo, curl.collect());
            }
        }
        panic!("the demo ended: {lines:#?}");
    }

    /// Ends it as Ctrl-C does, if it has not ended.
    fn interrupt(&mut self) -> ExitStatus {
        if let Some(ended) = self.0.try_wait().expect("waited for") {
            return ended;
        }
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("it runs");
        self.0.wait().expect("waited for")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.interrupt();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What a printed line answers; anything but success fails the test.
fn tried(line: &str) -> String {
    let line = line.replacen("curl", "curl --silent --show-error --fail-with-body", 1);
    let output = Command::new("sh")
        .args(["-c", &line])
        .current_dir(root())
        .output()
        .expect("a shell");
    let answer = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{answer}\n{complaint}");
    answer
}

#[test]
fn every_line_that_the_demo_prints_works_and_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut demo, lines) = Demo::start(folder.path());
    assert!(lines.len() >= 7, "{lines:#?}");
    let answers: Vec<_> = lines.iter().map(|line| tried(line)).collect();
    assert!(answers[1].contains("Ada Lovelace"), "{answers:#?}");
    assert!(!answers[2].contains("Ada Lovelace"), "another tenant's");
    assert!(demo.interrupt().success());

    let (mut demo, lines) = Demo::start(folder.path());
    assert!(tried(&lines[1]).contains("Ada Lovelace"));
    assert!(demo.interrupt().success());
}
