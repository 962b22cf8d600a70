//! The shim (`shim.c`): compiling it, what a process is told with it, and what it reports.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is done to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The process is killed before it.
    KillBefore,
    /// The process is killed after it.
    KillAfter,
    /// Half of what it was to write is written, then the process is killed. Of calls that write,
    /// which alone are counted for it.
    Torn,
    /// It fails with EIO.
    Eio,
    /// It fails with ENOSPC.
    Enospc,
    /// It fails with ENOSPC as on a disk that is full: of calls that take space, which alone are
    /// counted for it.
    #[allow(
        dead_code,
        reason = "fills the disk of a whole node, in `tests/attack`"
    )]
    Full,
}

impl Kind {
    /// What each call of a store is tried with. A disk is full for more than one.
    pub(crate) const OF_A_CALL: [Self; 5] = [
        Self::KillBefore,
        Self::KillAfter,
        Self::Torn,
        Self::Eio,
        Self::Enospc,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::KillBefore => "kill-before",
            Self::KillAfter => "kill-after",
            Self::Torn => "torn",
            Self::Eio => "eio",
            Self::Enospc => "enospc",
            Self::Full => "full",
        }
    }

    pub(crate) fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAfter | Self::Torn)
    }
}

/// What is done to which calls, counted from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

impl Fault {
    /// To one call.
    pub(crate) fn at(kind: Kind, index: u32) -> Self {
        Self {
            kind,
            first: index,
            last: index,
        }
    }
}

/// A counted call, as the shim reported it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Whether the fault was done to it.
    pub(crate) hit: bool,
    pub(crate) name: String,
    pub(crate) path: String,
    pub(crate) other: String,
}

impl Call {
    /// Whether it puts something on the disk.
    pub(crate) fn syncs(&self) -> bool {
        matches!(
            &*self.name,
            "fsync" | "fdatasync" | "syncfs" | "sync_file_range"
        )
    }
}

/// The compiled shim.
#[derive(Debug, Clone)]
pub(crate) struct Shim(PathBuf);

impl Shim {
    /// Compiles it into `folder`.
    pub(crate) fn compile(folder: &Path) -> Self {
        let library = folder.join("canopy-faults.so");
        let unfinished = folder.join(format!("canopy-faults.{}.so", std::process::id()));
        let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
            .args(["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC"])
            .args(["-shared", "-x", "c", "-", "-o"])
            .arg(&unfinished)
            .stdin(Stdio::piped())
            .spawn()
            .expect("a C compiler runs");
        let mut source = compiler.stdin.take().expect("piped");
        source
            .write_all(include_bytes!("shim.c"))
            .expect("the compiler reads");
        drop(source);
        let status = compiler.wait().expect("the compiler ends");
        assert!(status.success(), "the shim does not compile");
        // Others may compile it, or use it, at the same time.
        std::fs::rename(&unfinished, &library).expect("in its place");
        Self(library)
    }

    /// Counts what `command` does below `roots`, does `fault` to it, and reports to `report`.
    pub(crate) fn watch(
        &self,
        command: &mut Command,
        roots: &[&Path],
        report: &Path,
        fault: Option<Fault>,
    ) {
        self.load(command, roots);
        command.env("CANOPY_FAULT_REPORT", report);
        if let Some(Fault { kind, first, last }) = fault {
            let at = format!("{first}-{last}:{}", kind.as_str());
            command.env("CANOPY_FAULT_AT", at);
        }
    }

    /// Writes down all that `command` does below `root`.
    pub(crate) fn record(&self, command: &mut Command, root: &Path, record: &Path) {
        self.load(command, &[root]);
        command.env("CANOPY_FAULT_RECORD", record);
    }

    fn load(&self, command: &mut Command, roots: &[&Path]) {
        let roots: Vec<&OsStr> = roots.iter().map(|root| root.as_os_str()).collect();
        command
            .env("LD_PRELOAD", &self.0)
            .env("CANOPY_FAULT_ROOT", roots.join(OsStr::new(":")));
    }
}

/// What was reported to `report`, in the order of the indices.
pub(crate) fn calls(report: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(report).unwrap_or_default();
    let mut calls: Vec<(u32, Call)> = text.lines().filter_map(call).collect();
    calls.sort_by_key(|(index, _)| *index);
    calls.into_iter().map(|(_, call)| call).collect()
}

/// `None`: the line was cut off.
fn call(line: &str) -> Option<(u32, Call)> {
    let mut words = line.split('\t');
    let index = words.next()?.parse().ok()?;
    let mut word = || words.next().map(str::to_owned);
    let call = Call {
        hit: word()? == "hit",
        name: word()?,
        path: word()?,
        other: word()?,
    };
    Some((index, call))
}
