//! Starting this test program again, and reading what it acknowledges until it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use canopy_backend::Scope;

use crate::support;

const DIR: &str = "CANOPY_CRASH_DIR";
const TENANT: &str = "CANOPY_CRASH_TENANT";
const INSTALLATION: &str = "CANOPY_CRASH_INSTALLATION";
const FIRST: &str = "CANOPY_CRASH_FIRST";

/// What the processes work on.
pub(crate) struct Setup {
    dir: tempfile::TempDir,
    pub(crate) scope: Scope,
    /// The number of the first write.
    pub(crate) first: u64,
}

/// A process that acknowledges.
pub(crate) struct Process(Child);

impl Setup {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self {
            dir,
            scope: support::scope(),
            first: 0,
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts `test` in a process of its own.
    pub(crate) fn start(&self, test: &str) -> Process {
        let program = std::env::current_exe().expect("this program");
        self.spawn(Command::new(program), test)
    }

    /// The same under strace, which does `inject` to the system calls `calls`.
    pub(crate) fn start_with_fault(&self, test: &str, calls: &str, fault: &str) -> Process {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null"]);
        strace.args([
            "-e",
            &format!("trace={calls}"),
            "-e",
            &format!("inject={calls}:{fault}"),
        ]);
        strace.arg(std::env::current_exe().expect("this program"));
        self.spawn(strace, test)
    }

    fn spawn(&self, mut command: Command, test: &str) -> Process {
        command
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(DIR, self.dir.path())
            .env(TENANT, self.scope.tenant.to_string())
            .env(INSTALLATION, self.scope.installation.to_string())
            .env(FIRST, self.first.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Process(command.spawn().expect("the child starts"))
    }
}

impl Process {
    /// Gives each acknowledgement to `take` until the process ends.
    pub(crate) fn read(self, take: impl FnMut(&str)) -> ExitStatus {
        self.read_and(take, |_| {})
    }

    /// The same, and kills the process at a random moment up to `within` after the first
    /// acknowledgement.
    pub(crate) fn kill_within(self, within: Duration, take: impl FnMut(&str)) -> ExitStatus {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random bytes");
        let share = u64::from_le_bytes(random) as f64 / u64::MAX as f64;
        let mut kill_at = None;
        self.read_and(take, |child| {
            let kill_at = *kill_at.get_or_insert_with(|| Instant::now() + within.mul_f64(share));
            if Instant::now() >= kill_at {
                child.kill().expect("killed");
            }
        })
    }

    fn read_and(
        mut self,
        mut take: impl FnMut(&str),
        mut then: impl FnMut(&mut Child),
    ) -> ExitStatus {
        let mut lines = BufReader::new(self.0.stdout.take().expect("piped"));
        let mut line = String::new();
        // A line without its end was cut off: it acknowledges nothing.
        while lines.read_line(&mut line).expect("standard output") > 0 && line.ends_with('\n') {
            if let Some((_, acknowledgement)) = line.trim_end().split_once("ack ") {
                take(acknowledgement);
                then(&mut self.0);
            }
            line.clear();
        }
        self.0.wait().expect("the child ends")
    }
}

/// What [`Setup`] gave to this process: folder, installation, first write. `None`: it was not
/// started by another test.
pub(crate) fn given() -> Option<(String, Scope, u64)> {
    let variable = |name| std::env::var(name).ok();
    let scope = Scope {
        tenant: variable(TENANT)?.parse().expect("an id"),
        installation: variable(INSTALLATION)?.parse().expect("an id"),
    };
    Some((
        variable(DIR)?,
        scope,
        variable(FIRST)?.parse().expect("a number"),
    ))
}

/// Tells who started this process.
pub(crate) fn acknowledge(line: &str) {
    // One call, one line: the parent takes whole lines only.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("ack {line}\n").as_bytes())
        .expect("standard output");
    out.flush().expect("standard output");
}
