//! One call of a store's work killed, torn or failing: each in turn, or some of them.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use crate::Random;
use crate::process::{Place, Worked};
use crate::shim::{Call, Fault, Kind, Shim};
use crate::stores::{Entry, Problem};
use crate::totals::Total;

const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;

/// Calls of a whole run, by which samples are drawn.
pub(crate) fn calls_of(shim: &Shim, store: &Entry) -> Result<(u32, u32), String> {
    let place = Place::new();
    let worked = place.work(shim, store, None);
    if worked.acknowledged != store.steps || !worked.ended || !worked.refused.is_empty() {
        return Err(format!(
            "{} without any fault: {} of {} steps, refused {:?}, {}: {}",
            store.name,
            worked.acknowledged,
            store.steps,
            worked.refused,
            worked.status,
            worked.said
        ));
    }
    let problems = place.verify(store, store.steps, store.steps);
    if !problems.is_empty() {
        return Err(format!("{} without any fault: {problems:?}", store.name));
    }
    let writes = worked.calls.iter().filter(|call| call.name == "write");
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok((count(worked.calls.len()), count(writes.count())))
}

/// Each index in turn, until the work ends before it is reached.
pub(crate) fn every_index(shim: &Shim, store: &Entry, kind: Kind) -> Total {
    let mut total = Total::default();
    for index in 1.. {
        if !one(shim, store, kind, index, &mut total) {
            break;
        }
        total.indices += 1;
    }
    total
}

/// `count` of the first `indices`, as `random` draws them.
pub(crate) fn some(
    shim: &Shim,
    store: &Entry,
    kind: Kind,
    (indices, count): (u32, usize),
    random: &mut Random,
) -> Total {
    let mut total = Total::default();
    for _ in 0..count {
        let index = 1 + random.below(indices);
        total.indices += u64::from(one(shim, store, kind, index, &mut total));
    }
    total
}

/// Whether the work came to that call. If not, nothing is counted.
pub(crate) fn one(shim: &Shim, store: &Entry, kind: Kind, index: u32, total: &mut Total) -> bool {
    let place = Place::new();
    let worked = place.work(shim, store, Some(Fault::at(kind, index)));
    let Some(hit) = worked.calls.iter().position(|call| call.hit) else {
        return false;
    };
    let mut problems = place.verify(store, worked.acknowledged, worked.acknowledged + 1);
    problems.extend(misbehaviour(store, kind, &worked, hit).map(Problem::Wrong));
    let call = &worked.calls[hit];
    let again = format!(
        "--store {} --kind {} --index {index} ({} {} {})",
        store.name,
        kind.as_str(),
        call.name,
        call.path,
        call.other
    );
    total.add(worked.acknowledged, &problems, &again);
    true
}

/// What a process must not do when `kind` was done to the call at `hit`, and did.
fn misbehaviour(store: &Entry, kind: Kind, worked: &Worked, hit: usize) -> Option<String> {
    let signal = worked.status.signal();
    if kind.kills() {
        return (signal != Some(SIGKILL)).then(|| format!("it was not killed: {}", worked.status));
    }
    let aborted = signal == Some(SIGABRT);
    let finished = worked.status.success() && worked.ended;
    if !aborted && !finished {
        return Some(format!(
            "it ended by itself, {}: {}",
            worked.status, worked.said
        ));
    }
    let call = &worked.calls[hit];
    // What was replaced or removed already is wiped for good measure; logs promise nothing.
    if !call.syncs() || call.path.ends_with(" (deleted)") || !store.survives_power {
        return None;
    }
    let before = hit.checked_sub(1).map(|before| &worked.calls[before]);
    if !aborted && worked.refused.is_empty() && !is_of_sqlite(call, before) {
        return Some("a failed synchronisation was passed over".into());
    }
    // A folder is synchronised again, for other names in it.
    if worked
        .calls
        .iter()
        .any(|other| is_in(&other.path, &call.path))
    {
        return None;
    }
    let later = || worked.calls[hit + 1..].iter();
    // A file that is removed is nobody's, whatever was done to it before.
    let given_up = later().any(|later| later.name == "unlink" && later.path == call.path);
    let again = later().any(|later| later.syncs() && later.path == call.path);
    (again && !given_up).then(|| "a failed synchronisation was tried again".into())
}

fn is_in(path: &str, folder: &str) -> bool {
    Path::new(path).parent() == Some(Path::new(folder))
}

/// After the first synchronisation of a log or a journal SQLite synchronises the folder, and does not
/// look at what comes of that.
fn is_of_sqlite(call: &Call, before: Option<&Call>) -> bool {
    before.is_some_and(|before| {
        let of_log = before.path.ends_with("-wal") || before.path.ends_with("-journal");
        before.syncs() && of_log && is_in(&before.path, &call.path)
    })
}
