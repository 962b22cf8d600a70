//! Whether the shim counts everything: strace sees the same work from outside, system call by system
//! call, and both must have counted the same.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::process::Place;
use crate::shim::Shim;
use crate::stores::Entry;

/// Calls that change nothing, or of which only some do.
const READING: &[&str] = &[
    "read",
    "pread64",
    "readv",
    "preadv",
    "close",
    "lseek",
    "fstat",
    "newfstatat",
    "stat",
    "lstat",
    "statx",
    "fstatfs",
    "statfs",
    "access",
    "faccessat",
    "faccessat2",
    "readlink",
    "readlinkat",
    "getdents64",
    "getdents",
    "fcntl",
    "flock",
    "mmap",
    "mprotect",
    "fadvise64",
    "ioctl",
    "dup",
    "dup2",
    "dup3",
    "poll",
    "ppoll",
    "epoll_ctl",
    "epoll_wait",
    "execve",
    "chdir",
    "getcwd",
    "fchdir",
    "openat",
    "open",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "utimensat",
    "inotify_add_watch",
];

/// Whether strace is here.
pub(crate) fn can_be_tried() -> bool {
    let version = Command::new("strace").arg("-V").output();
    version.is_ok_and(|output| output.status.success())
}

/// Compares both for one store. `Err`: they differ.
pub(crate) fn compare(shim: &Shim, store: &Entry) -> Result<usize, String> {
    let place = Place::new();
    let trace = place.record();
    let worked = place.work_traced(shim, store, &trace);
    if !worked.ended {
        return Err(format!("{} under strace: {}", store.name, worked.said));
    }
    let mut counted: BTreeMap<String, i64> = BTreeMap::new();
    for call in &worked.calls {
        *counted.entry(family(&call.name)).or_default() += 1;
    }
    let seen = seen(&trace, &place.data());
    if counted == seen {
        Ok(worked.calls.len())
    } else {
        Err(format!(
            "{}: the shim counted {counted:?}, strace {seen:?}",
            store.name
        ))
    }
}

fn seen(trace: &Path, root: &Path) -> BTreeMap<String, i64> {
    let bytes = std::fs::read(trace).expect("what strace saw");
    let text = String::from_utf8_lossy(&bytes);
    let root = root.to_str().expect("UTF-8");
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    for line in text.lines() {
        let Some((name, arguments)) = line
            .split_once(' ')
            .and_then(|(_, call)| call.trim_start().split_once('('))
        else {
            continue;
        };
        // What the filter of the kernel turned away is seen again when the shim makes it.
        let turned_away = line.contains("SIGSYS") || line.ends_with("= ?");
        if !arguments.contains(root) || turned_away {
            continue;
        }
        let changes = match name {
            "open" | "openat" => arguments.contains("O_CREAT") || arguments.contains("O_TRUNC"),
            _ => {
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
                    && !READING.contains(&name)
            }
        };
        if changes {
            *seen.entry(family(name)).or_default() += 1;
        }
    }
    seen
}

/// One name for calls that do the same.
fn family(name: &str) -> String {
    let family = match name {
        "openat" | "creat" => "open",
        "write" | "writev" | "pwrite64" | "pwritev" | "sendfile" | "copy_file_range" => "write",
        "renameat" | "renameat2" | "exchange" => "rename",
        "unlinkat" | "rmdir" => "unlink",
        "mkdirat" => "mkdir",
        "linkat" => "link",
        "symlinkat" => "symlink",
        "ftruncate" => "truncate",
        other => other,
    };
    family.to_owned()
}
