//! How long the kernel lets a thread run before it looks whether another should.
//!
//! A thread that wakes is run at once in place of one that has asked for a longer slice than it has
//! itself (EEVDF, Linux 6.12 and later). So work of milliseconds asks for the longest slice that there
//! is, and threads that serve short requests need neither privileges nor a priority to come before it.
//! Older kernels ignore the wish.

/// The longest slice that the kernel gives, in nanoseconds.
const LONGEST: u64 = 100_000_000;

/// The kernel's own slice.
const USUAL: u64 = 0;

/// A thread in which others come first. Dropping it makes the thread one as any other.
pub(crate) struct GivesWay(Option<Scheduling>);

impl GivesWay {
    /// Has this thread give way to those that wake, where the kernel can.
    pub(crate) fn begin() -> Self {
        let scheduling = Scheduling::of_this_thread().filter(Scheduling::is_ordinary);
        Self(scheduling.filter(|scheduling| scheduling.ask(LONGEST)))
    }
}

impl Drop for GivesWay {
    fn drop(&mut self) {
        if let Some(scheduling) = &self.0 {
            scheduling.ask(USUAL);
        }
    }
}

/// What the kernel calls `struct sched_attr` (sched_setattr(2)), in its first version.
#[repr(C)]
#[derive(Default)]
struct Scheduling {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    /// For an ordinary thread its slice in nanoseconds; 0: the kernel's own.
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = 48;
const _: () = assert!(size_of::<Scheduling>() == SIZE as usize);

impl Scheduling {
    #[expect(unsafe_code, reason = "no library has this call")]
    fn of_this_thread() -> Option<Self> {
        let mut this = Self::default();
        // SAFETY: the kernel writes at most `SIZE` bytes to `this`, which has as many.
        let outcome = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut this, SIZE, 0) };
        (outcome == 0).then_some(this)
    }

    /// Whether the thread is scheduled as threads are, and not in a way that somebody chose for it.
    fn is_ordinary(&self) -> bool {
        i32::try_from(self.policy) == Ok(libc::SCHED_OTHER) && self.flags == 0
    }

    /// Asks for a slice of so many nanoseconds for this thread, all else as it is.
    #[expect(unsafe_code, reason = "no library has this call")]
    fn ask(&self, slice: u64) -> bool {
        let asked = Self {
            size: SIZE,
            policy: self.policy,
            nice: self.nice,
            runtime: slice,
            ..Self::default()
        };
        // SAFETY: the kernel reads `SIZE` bytes of `asked`, which has as many.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const asked, 0) == 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice() -> u64 {
        Scheduling::of_this_thread().map_or(0, |scheduling| scheduling.runtime)
    }

    #[test]
    fn a_thread_gives_way_for_as_long_as_it_says_and_keeps_its_priority() {
        let thread = std::thread::spawn(|| {
            let before = Scheduling::of_this_thread().expect("the kernel tells");
            let given = GivesWay::begin();
            let meanwhile = Scheduling::of_this_thread().expect("the kernel tells");
            assert_eq!(given.0.is_some(), before.is_ordinary());
            assert_eq!(meanwhile.nice, before.nice);
            assert_eq!(meanwhile.policy, before.policy);
            if before.runtime > 0 && before.is_ordinary() {
                assert_eq!(meanwhile.runtime, LONGEST);
            }
            drop(given);
            assert_eq!(slice(), before.runtime);
        });
        thread.join().expect("no panic");
    }
}
