//! How much memory a process takes for something.

use std::fs;

/// The memory of the process at some moment (proc_pid_status(5)).
pub(super) struct Memory {
    before: u64,
}

impl Memory {
    /// From now on.
    pub(super) fn begin() -> Self {
        // The most that it ever had is forgotten (proc_pid_clear_refs(5)).
        fs::write("/proc/self/clear_refs", "5").expect("written");
        Self {
            before: kilobytes("VmRSS:"),
        }
    }

    /// MiB that it had at most beyond what it began with.
    pub(super) fn taken(&self) -> f64 {
        kilobytes("VmHWM:").saturating_sub(self.before) as f64 / 1024.0
    }
}

fn kilobytes(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("a number of kB")
}
