//! Starting this test program again, and reading what it acknowledges until it ends.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use canopy_backend::Scope;
use canopy_ids::{InstallationId, TenantId};
use tempfile::TempDir;

const GIVEN: &str = "CANOPY_CRASH_BLOBS";

/// What the processes work on.
pub(crate) struct Setup {
    dir: PathBuf,
    _folder: Option<Arc<TempDir>>,
    pub(crate) scope: Scope,
    /// The number of the first write.
    pub(crate) first: u64,
}

/// A process that acknowledges.
pub(crate) struct Process(Child);

impl Setup {
    pub(crate) fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self {
            dir: folder.path().to_owned(),
            _folder: Some(folder),
            scope: Scope {
                tenant: TenantId::new(),
                installation: InstallationId::new(),
            },
            first: 0,
        }
    }

    /// What was given to this process. `None`: it was not started by another test.
    pub(crate) fn given() -> Option<Self> {
        let given = std::env::var(GIVEN).ok()?;
        let words: Vec<&str> = given.split(' ').collect();
        Some(Self {
            dir: words[3].into(),
            _folder: None,
            scope: Scope {
                tenant: words[0].parse().expect("an id"),
                installation: words[1].parse().expect("an id"),
            },
            first: words[2].parse().expect("a number"),
        })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts `test` in a process of its own.
    pub(crate) fn start(&self, test: &str) -> Process {
        let program = std::env::current_exe().expect("this program");
        self.spawn(Command::new(program), test)
    }

    fn spawn(&self, mut command: Command, test: &str) -> Process {
        let Scope {
            tenant,
            installation,
        } = self.scope;
        let dir = self.dir.display();
        command
            .args(["--exact", test, "--ignored", "--nocapture"])
            .env(
                GIVEN,
                format!("{tenant} {installation} {} {dir}", self.first),
            )
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        Process(command.spawn().expect("the child starts"))
    }
}

impl Process {
    /// Gives each acknowledgement to `take`, and kills the process at a random moment up to `within`
    /// after the first one.
    pub(crate) fn kill_within(self, within: Duration, take: impl FnMut(&str)) -> ExitStatus {
        let mut random = [0; 4];
        getrandom::fill(&mut random).expect("random bytes");
        let share = f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX);
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

/// Tells who started this process.
pub(crate) fn acknowledge(line: &str) {
    // One call, one line: the parent takes whole lines only.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("ack {line}\n").as_bytes())
        .expect("standard output");
    out.flush().expect("standard output");
}
