//! How much memory there is: of the machine, or of the control group that the node runs in, where that
//! has less.

use std::path::{Path, PathBuf};

/// Bytes of memory that this process can have; `None` where the system does not say.
pub(crate) fn memory() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    memory_by(&read)
}

fn memory_by(read: &impl Fn(&Path) -> Option<String>) -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).and_then(|text| total(&text));
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let limits = limits(&groups);
    let limits = limits
        .iter()
        .filter_map(|path| read(path)?.trim().parse().ok());
    limits.chain(machine).min()
}

/// `MemTotal` of `/proc/meminfo`.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The files with the limits of the groups in `/proc/self/cgroup`, and of those around them.
fn limits(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|one| one == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        // In a container the path may be one that is seen from outside; its root is the container's.
        let around = path.ancestors();
        files.extend(around.map(|group| Path::new(root).join(group).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMINFO: &str = "MemTotal:       16384 kB\nMemFree:        1 kB\n";

    fn found(groups: &str, files: &[(&str, &str)]) -> Option<u64> {
        memory_by(&|path| match path.to_str()? {
            "/proc/meminfo" => Some(MEMINFO.to_owned()),
            "/proc/self/cgroup" => Some(groups.to_owned()),
            other => {
                let file = files.iter().find(|(path, _)| *path == other)?;
                Some(file.1.to_owned())
            }
        })
    }

    #[test]
    fn without_a_limit_it_is_the_machines() {
        assert_eq!(found("", &[]), Some(16 << 20));
        let unlimited = [("/sys/fs/cgroup/a/memory.max", "max\n")];
        assert_eq!(found("0::/a\n", &unlimited), Some(16 << 20));
    }

    #[test]
    fn the_least_limit_of_the_group_and_those_around_it_holds() {
        let groups = "0::/system.slice/canopy.service\n";
        let files = [
            (
                "/sys/fs/cgroup/system.slice/canopy.service/memory.max",
                "9000\n",
            ),
            ("/sys/fs/cgroup/system.slice/memory.max", "8000\n"),
        ];
        assert_eq!(found(groups, &files), Some(8000));
        let in_a_container = [("/sys/fs/cgroup/memory.max", "7000\n")];
        assert_eq!(found("0::/\n", &in_a_container), Some(7000));
    }

    #[test]
    fn groups_of_the_first_version_have_limits_too() {
        let groups = "5:cpu,cpuacct:/a\n4:memory:/a\n";
        let files = [
            ("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "6000\n"),
            (
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            ),
        ];
        assert_eq!(found(groups, &files), Some(6000));
    }

    #[test]
    fn this_machine_has_some() {
        assert!(memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
