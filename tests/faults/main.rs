//! Fault runs. Each store does a fixed work in a process of its own, one call of which is killed, torn
//! or made to fail, counted over the whole process; and of which disks are made as a power failure may
//! leave them. Afterwards another process opens what is left: everything acknowledged is there, nothing
//! is there by half, it always opens, its own check finds nothing, and it goes on.
//!
//! ```text
//! cargo test --workspace --test faults                      a few calls of each store, and a few disks
//! cargo test --workspace --test faults -- --every           every call of every store, and 500 disks
//!     [--store NAME] [--kind KIND]                          of one store, of one kind of fault
//!     [--index N]                                           one call, with --store and --kind
//!     [--power SEED]                                        one disk, with --store
//!     [--seed N] [--disks N] [--json FILE]
//! ```

mod agreement;
mod disk;
mod inject;
mod power;
mod process;
mod shim;
mod stores;
mod totals;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use power::Run;
use shim::{Kind, Shim};
use stores::{Entry, STORES};
use totals::{Total, Totals};

/// What the command line asks for. What `cargo test` gives to every test binary is not for us.
#[derive(Default)]
struct Options {
    every: bool,
    store: Option<String>,
    kind: Option<String>,
    index: Option<u32>,
    power: Option<u64>,
    seed: Option<u64>,
    disks: Option<u64>,
    json: Option<String>,
    list: bool,
    filters: Vec<String>,
}

impl Options {
    fn read() -> Self {
        let mut options = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_default();
            match argument.as_str() {
                "--every" => options.every = true,
                "--store" => options.store = Some(value()),
                "--kind" => options.kind = Some(value()),
                "--index" => options.index = value().parse().ok(),
                "--power" => options.power = value().parse().ok(),
                "--seed" => options.seed = value().parse().ok(),
                "--disks" => options.disks = value().parse().ok(),
                "--json" => options.json = Some(value()),
                "--list" => options.list = true,
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    fn stores(&self) -> Vec<&'static Entry> {
        let wanted = |store: &&Entry| self.store.as_deref().is_none_or(|name| name == store.name);
        STORES.iter().filter(wanted).collect()
    }

    fn kinds(&self) -> Vec<Kind> {
        let wanted = |kind: &Kind| {
            self.kind
                .as_deref()
                .is_none_or(|name| name == kind.as_str())
        };
        Kind::OF_A_CALL.into_iter().filter(wanted).collect()
    }
}

/// Random numbers that a seed decides (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        u32::try_from(self.next() % u64::from(end.max(1))).unwrap_or(0)
    }

    pub(crate) fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap_or(0)
    }
}

/// Calls of each store and kind, and disks of each store, where no more is asked for.
const SAMPLES: usize = 4;
const DISKS: u64 = 12;
/// Disks of each store where every call is tried.
const MANY_DISKS: u64 = 500;
/// Disks that only pretend to synchronise, by which it shows that the others are bad enough.
const LYING: u64 = 10;

/// Something to be done for one store, whose outcome has a name.
type Part<'a> = (
    &'static str,
    &'static str,
    Box<dyn FnOnce() -> Total + Send + 'a>,
);

fn main() -> ExitCode {
    if process::is_one(STORES) {
        return ExitCode::SUCCESS;
    }
    let options = Options::read();
    // A filter of `cargo test` is for the cases of other programs.
    if options.list || !options.filters.is_empty() {
        return ExitCode::SUCCESS;
    }
    let shim = Shim::compile(Path::new(env!("CARGO_TARGET_TMPDIR")));
    if let Some(index) = options.index {
        return one_call(&options, &shim, index);
    }
    if let Some(seed) = options.power {
        let totals = options.stores().into_iter().map(|store| {
            let total = Run::record(&shim, store).fail(seed, 1);
            (store.name, "power", total)
        });
        return report(&options, totals);
    }
    let seed = options.seed.unwrap_or_else(|| {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).expect("random bytes");
        u32::from_le_bytes(bytes).into()
    });
    println!("seed {seed}");
    let mut wrong = Vec::new();
    if agreement::can_be_tried() {
        for store in options.stores() {
            match agreement::compare(&shim, store) {
                Ok(calls) => println!("{}: {calls} calls, as strace counts them", store.name),
                Err(what) => wrong.push(what),
            }
        }
    } else {
        println!("strace is not here: whether the shim counts everything is not compared");
    }
    let mut parts: Vec<Part<'_>> = Vec::new();
    for store in options.stores() {
        let (calls, writes) = match inject::calls_of(&shim, store) {
            Ok(calls) => calls,
            Err(what) => {
                wrong.push(what);
                continue;
            }
        };
        for kind in options.kinds() {
            let mut random = Random::new(seed ^ u64::from(calls) << 32 ^ kind as u64);
            let indices = if kind == Kind::Torn { writes } else { calls };
            let (shim, every) = (&shim, options.every);
            let work = move || match every {
                true => inject::every_index(shim, store, kind),
                false => inject::some(shim, store, kind, (indices, SAMPLES), &mut random),
            };
            parts.push((store.name, kind.as_str(), Box::new(work)));
        }
        if options.kind.is_none() {
            let disks = match options.every {
                true => MANY_DISKS,
                false => DISKS,
            };
            let disks = options.disks.unwrap_or(disks);
            let shim = &shim;
            let work = move || {
                let run = Run::record(shim, store);
                let mut total = run.fail(seed, disks);
                // Keys and logs change so little that most moments leave nothing to notice.
                if store.survives_power && store.name != "keys" && run.noticed(LYING) == 0 {
                    total
                        .problems
                        .push(format!("{}: no lying disk was noticed", store.name));
                }
                total
            };
            parts.push((store.name, "power", Box::new(work)));
        }
    }
    let done = at_once(parts);
    let code = report(&options, done);
    for what in &wrong {
        println!("{what}");
    }
    if wrong.is_empty() {
        code
    } else {
        ExitCode::FAILURE
    }
}

fn one_call(options: &Options, shim: &Shim, index: u32) -> ExitCode {
    let mut totals = Vec::new();
    for store in options.stores() {
        for kind in options.kinds() {
            let mut total = Total::default();
            inject::one(shim, store, kind, index, &mut total);
            totals.push((store.name, kind.as_str(), total));
        }
    }
    report(options, totals)
}

/// Does all of it, as much at once as there are processors.
fn at_once<'a>(parts: Vec<Part<'a>>) -> Vec<(&'static str, &'static str, Total)> {
    let next = AtomicUsize::new(0);
    let parts: Vec<Mutex<Option<Part<'a>>>> = parts
        .into_iter()
        .map(|part| Mutex::new(Some(part)))
        .collect();
    let done = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let part = part.lock().expect("whole").take();
                    let (store, fault, work) = part.expect("taken once");
                    let total = work();
                    let (runs, problems) = (total.runs, total.problems.len());
                    println!("{store} {fault}: {runs} runs, {problems} problems");
                    done.lock().expect("whole").push((store, fault, total));
                }
            });
        }
    });
    done.into_inner().expect("whole")
}

fn report(
    options: &Options,
    done: impl IntoIterator<Item = (&'static str, &'static str, Total)>,
) -> ExitCode {
    let mut totals = Totals::default();
    for (store, fault, total) in done {
        totals.insert(store, fault, total);
    }
    println!("{}", totals.table());
    if let Some(path) = &options.json {
        let text = format!("{:#}\n", totals.json());
        std::fs::write(path, text).expect("the totals are written");
    }
    let problems: Vec<&String> = totals.problems().collect();
    for problem in problems.iter().take(40) {
        println!("{problem}");
    }
    match problems.len() {
        0 => ExitCode::SUCCESS,
        count => {
            println!("{count} problems; see one again with what stands before it");
            ExitCode::FAILURE
        }
    }
}
