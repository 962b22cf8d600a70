//! Programs that a command starts and ends: the node and Redis.
//!
//! Each runs in a process group of its own, so that Ctrl-C reaches the command alone, which then ends
//! them in order. A file remembers each, so that a demo that was killed leaves nothing behind which
//! the next start does not end first.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child as Process, Command};

use crate::Error;

/// How much of the end of a program's log is shown when it ends by itself.
const TAIL_BYTES: u64 = 4 << 10;
const TAIL_LINES: usize = 12;

/// A running program.
pub(in crate::command) struct Child {
    name: &'static str,
    process: Process,
    log: PathBuf,
    pid_file: PathBuf,
}

impl Child {
    /// Starts `command`, whose words go to the end of a log in `dir`.
    pub(in crate::command) fn start(
        name: &'static str,
        dir: &Path,
        command: &mut Command,
    ) -> Result<Self, Error> {
        let (log, pid_file) = (
            dir.join(format!("{name}.log")),
            dir.join(format!("{name}.pid")),
        );
        let mut start = || -> std::io::Result<Process> {
            let output = File::options().create(true).append(true).open(&log)?;
            let errors = output.try_clone()?;
            let command = command.stdin(Stdio::null()).stdout(output).stderr(errors);
            command.process_group(0).kill_on_drop(true).spawn()
        };
        let process =
            start().map_err(|error| Error::local(format_args!("{name} did not start"), error))?;
        let child = Self {
            name,
            process,
            log,
            pid_file,
        };
        let identity = child.process.id().and_then(pid).and_then(Identity::of);
        if let Some(identity) = identity {
            std::fs::write(&child.pid_file, identity.to_string())
                .map_err(|error| Error::local(child.pid_file.display(), error))?;
        }
        Ok(child)
    }

    /// Waits until it has ended by itself.
    pub(in crate::command) async fn ended(&mut self) -> Error {
        let status = self.process.wait().await;
        self.failure(status)
    }

    /// Whether it has ended by itself.
    pub(in crate::command) fn has_ended(&mut self) -> Option<Error> {
        match self.process.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(self.failure(Ok(status))),
            Err(error) => Some(self.failure(Err(error))),
        }
    }

    fn failure(&self, status: std::io::Result<ExitStatus>) -> Error {
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let mut message = format!("{} ended ({status})", self.name);
        for line in tail(&self.log) {
            message.push('\n');
            message.push_str(&line);
        }
        Error::advised(message, format!("its whole log is {}", self.log.display()))
    }

    /// Asks it to end, and makes it end when it has not within `grace`.
    pub(in crate::command) async fn stop(mut self, grace: Duration) {
        if let Some(pid) = self.process.id().and_then(pid) {
            let _ = kill_process(pid, Signal::TERM);
            if tokio::time::timeout(grace, self.process.wait())
                .await
                .is_err()
            {
                let _ = self.process.kill().await;
            }
        }
        let _ = std::fs::remove_file(&self.pid_file);
    }
}

/// Ends the program that an earlier demo left behind, if it is still there.
pub(in crate::command) async fn end_leftover(
    name: &str,
    dir: &Path,
    grace: Duration,
) -> Result<bool, Error> {
    let text = std::fs::read_to_string(dir.join(format!("{name}.pid"))).unwrap_or_default();
    let Some(left) = text.parse::<Identity>().ok().filter(Identity::is_running) else {
        return Ok(false);
    };
    let _ = kill_process(left.pid, Signal::TERM);
    let steps = grace.as_millis() / 50;
    for step in 0..=steps + 20 {
        if !left.is_running() {
            return Ok(true);
        }
        if step == steps {
            let _ = kill_process(left.pid, Signal::KILL);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let message = format!(
        "{name} of an earlier demo (process {}) does not end",
        left.pid.as_raw_nonzero()
    );
    Err(Error::Local {
        message,
        advice: None,
    })
}

/// A process, told apart from later ones of the same number by when it started. Its arguments do
/// not tell: Redis replaces them.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    pid: Pid,
    started: u64,
}

impl Identity {
    /// The process of that number, if it runs.
    fn of(pid: Pid) -> Option<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let (state, started) = state_and_start(&stat)?;
        // An ended process whose parent has not asked for its end.
        (state != "Z").then_some(Self { pid, started })
    }

    fn is_running(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.started)
    }
}

impl FromStr for Identity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, started) = text.trim().split_once(' ').ok_or(())?;
        let pid = id.parse().ok().and_then(pid).ok_or(())?;
        Ok(Self {
            pid,
            started: started.parse().map_err(|_| ())?,
        })
    }
}

/// The third and the twenty-second field of `/proc/PID/stat`. The second is the program's name,
/// which may hold anything.
fn state_and_start(stat: &str) -> Option<(&str, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(id).ok()?)
}

/// The last lines of a log.
fn tail(path: &Path) -> Vec<String> {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..]
        .iter()
        .map(ToString::to_string)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Child {
        let mut command = Command::new("sleep");
        command.arg("600");
        Child::start("sleeper", dir, &mut command).expect("started")
    }

    #[tokio::test]
    async fn a_program_is_ended_and_forgotten() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut child = sleeper(dir.path());
        assert!(child.has_ended().is_none());
        child.stop(Duration::from_secs(5)).await;
        assert!(!dir.path().join("sleeper.pid").exists());
        assert!(
            !end_leftover("sleeper", dir.path(), Duration::from_secs(1))
                .await
                .expect("nothing left")
        );
    }

    #[tokio::test]
    async fn what_an_earlier_demo_left_is_ended() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut child = sleeper(dir.path());
        let (ended, found) = tokio::join!(
            child.ended(),
            end_leftover("sleeper", dir.path(), Duration::from_secs(5))
        );
        assert!(found.expect("ended"));
        assert!(ended.to_string().contains("sleeper ended"));
    }

    #[tokio::test]
    async fn another_process_with_the_number_of_an_old_one_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        let text = format!("{} 1", std::process::id());
        std::fs::write(dir.path().join("node.pid"), text).expect("written");
        assert!(
            !end_leftover("node", dir.path(), Duration::from_secs(1))
                .await
                .expect("left alone")
        );
    }

    #[tokio::test]
    async fn a_program_that_ends_by_itself_shows_its_last_words() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("sh");
        command.args(["-c", "echo this is why >&2; exit 3"]);
        let mut child = Child::start("node", dir.path(), &mut command).expect("started");
        let error = child.ended().await.to_string();
        assert!(
            error.contains("this is why") && error.contains("3"),
            "{error}"
        );
    }

    #[test]
    fn a_programs_name_does_not_mislead() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(
            state_and_start(&format!("7 (a) Z 1) {rest}")),
            Some(("S", 4711))
        );
        assert_eq!(state_and_start("7 (a"), None);
    }
}
