//! Processes: this program again, in which a store works or is looked at.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::shim::{self, Call, Fault, Shim};
use crate::stores::{Entry, Problem};

const WORK: &str = "CANOPY_FAULTS_WORK";
const VERIFY: &str = "CANOPY_FAULTS_VERIFY";

/// Beyond this a process hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A folder with a data folder in it.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

/// What came of letting a store work.
pub(crate) struct Worked {
    /// Steps that were acknowledged.
    pub(crate) acknowledged: u32,
    /// Steps that were refused, and why.
    pub(crate) refused: Vec<String>,
    /// Whether it came to its end, closed in order.
    pub(crate) ended: bool,
    pub(crate) status: ExitStatus,
    /// What was counted.
    pub(crate) calls: Vec<Call>,
    /// What it said on standard error.
    pub(crate) said: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("data")).expect("made");
        Self { folder }
    }

    /// The data folder, by its true name.
    pub(crate) fn data(&self) -> PathBuf {
        let folder = self.folder.path().canonicalize().expect("it is there");
        folder.join("data")
    }

    fn report(&self) -> PathBuf {
        self.folder.path().join("report")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.folder.path().join("record")
    }

    /// Lets a store work, with `fault`.
    pub(crate) fn work(&self, shim: &Shim, store: &Entry, fault: Option<Fault>) -> Worked {
        let mut command = this_program();
        shim.watch(&mut command, &[&self.data()], &self.report(), fault);
        self.run(command, store)
    }

    /// The same under strace, whose lines go to `trace`.
    pub(crate) fn work_traced(&self, shim: &Shim, store: &Entry, trace: &Path) -> Worked {
        let mut command = Command::new("strace");
        command
            .args(["-f", "-qq", "-y", "-s", "0", "-o"])
            .arg(trace);
        // Whatever can change a file, also what nobody is known to call.
        command.args(["-e", "trace=%file,%desc"]);
        command.arg(std::env::current_exe().expect("this program"));
        shim.watch(&mut command, &[&self.data()], &self.report(), None);
        self.run(command, store)
    }

    /// Lets a store work while all that it does is written down.
    pub(crate) fn work_recorded(&self, shim: &Shim, store: &Entry) -> Worked {
        let mut command = this_program();
        shim.record(&mut command, &self.data(), &self.record());
        self.run(command, store)
    }

    fn run(&self, mut command: Command, store: &Entry) -> Worked {
        let mut child = command
            .env(WORK, format!("{} {}", store.name, self.data().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a process starts");
        let errors = BufReader::new(child.stderr.take().expect("piped"));
        let errors = std::thread::spawn(move || {
            let lines = errors.lines().map_while(Result::ok);
            lines.collect::<Vec<_>>().join("\n")
        });
        let (mut acknowledged, mut refused, mut ended) = (0, Vec::new(), false);
        let mut lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        // A line without its end was cut off: it acknowledges nothing.
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) && line.ends_with('\n') {
            match line.trim_end().split_once(' ') {
                Some(("ack", step)) => acknowledged = step.parse().expect("a number"),
                Some(("refused", what)) => refused.push(what.to_owned()),
                _ => ended |= line == "end\n",
            }
            line.clear();
        }
        Worked {
            acknowledged,
            refused,
            ended,
            status: child.wait().expect("it ends"),
            calls: shim::calls(&self.report()),
            said: errors.join().expect("read"),
        }
    }

    /// Looks at a store in a process of its own: what it must show is what the first `from` steps
    /// have made of it, or what as many as `to` have.
    pub(crate) fn verify(&self, store: &Entry, from: u32, to: u32) -> Vec<Problem> {
        let output = this_program()
            .env(
                VERIFY,
                format!("{} {from} {to} {}", store.name, self.data().display()),
            )
            .stdin(Stdio::null())
            .output()
            .expect("a process starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut problems: Vec<Problem> = text.lines().filter_map(Problem::parse).collect();
        if !text.lines().any(|line| line == "end") {
            let said = String::from_utf8_lossy(&output.stderr);
            problems.push(Problem::Unopened(format!("{}: {said}", output.status)));
        }
        problems
    }
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("this program"))
}

/// Whether this process is one of those above; then its work is done when this returns.
pub(crate) fn is_one(stores: &[Entry]) -> bool {
    let of = |given: &str| {
        let (name, rest) = given.split_once(' ').expect("a store");
        let store = stores.iter().find(|store| store.name == name);
        (store.expect("a store"), rest.to_owned())
    };
    let run = |task| {
        end_if_it_hangs();
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime")
            .block_on(task);
    };
    if let Ok(given) = std::env::var(WORK) {
        let (store, dir) = of(&given);
        run((store.work)(dir.into()));
        true
    } else if let Ok(given) = std::env::var(VERIFY) {
        let (store, rest) = of(&given);
        let words: Vec<&str> = rest.splitn(3, ' ').collect();
        let number = |at: usize| words[at].parse().expect("a number");
        run((store.verify)(words[2].into(), number(0), number(1)));
        true
    } else {
        false
    }
}

fn end_if_it_hangs() {
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("it hangs");
        std::process::exit(3);
    });
}

/// Tells who started this process. One call, one line: the parent takes whole lines only.
pub(crate) fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    let line = format!("{}\n", line.replace('\n', " "));
    // Nobody listens any more when the parent is gone; the work goes on to its end.
    let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
}
