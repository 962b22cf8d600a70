//! The attack suite: real hostile guests and clients against the real binary over sockets, with a
//! tenant who wants nothing but to be served being probed all the while.
//!
//! One node serves all cases, one after the other. Each says what must come of the attack; the
//! runner adds what must hold after every one: the victim was always answered and soon, nothing is
//! under way on the node nor in use of its pool, it has not panicked, its memory and file descriptors
//! have come back, and its slots can all be used. After a round of all cases nothing has added up.
//!
//! ```text
//! cargo test -p canopy --test attack [-- FILTER]                 every case once, in order
//! cargo test -p canopy --test attack -- --rounds 3 [--seed N]    shuffled, three times
//! cargo test -p canopy --test attack -- --minutes 60 [--seed N]  shuffled, again and again, in full size
//! ```

mod arena;
mod client;
mod clock;
mod components;
mod disk;
mod drivers;
mod edge;
mod guests;
mod handed_over;
mod http2;
mod killed;
mod machine;
mod network;
mod pool;
#[path = "../faults/shim.rs"]
#[allow(dead_code, reason = "shared with the fault runs, which use all of it")]
mod shim;
mod stage;
mod stopped;
#[path = "../e2e/support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "shared with the end-to-end tests, which use all of it"
)]
mod support;
mod uploads;
mod victim;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use arena::Arena;

/// One attack.
struct Case {
    name: &'static str,
    run: for<'a> fn(&'a Arena) -> BoxFuture<'a, ()>,
}

macro_rules! cases {
    ($($module:ident: $($name:ident)+;)+) => {
        &[$($(Case { name: stringify!($name), run: |arena| Box::pin($module::$name(arena)) }),+),+]
    };
}

static CASES: &[Case] = cases! {
    guests:
        a01_endless_loop a02_endless_start a02_endless_start_behind_an_import a02_endless_realloc
        a03_recursion a04_sleep_and_poll a05_calls_without_end a06_memory_fill a07_memory_growth a10_all_slots
        a11_overload a11_slots_that_do_not_move
        a12_resources a13_pinned_memory a14_borrows_between_components a32_no_file_system a33_wrong_answers
        a40_leftover_memory;
    handed_over:
        a15_too_much_in_one_call a16_random a17_headers a18_outgoing_bodies a18_outgoing_bodies_by_0_3
        a19_log_flood a31_clock_grain;
    drivers:
        d01_nothing_of_others d02_forged_caller d03_failing_driver d04_circle_through_drivers
        d05_hosts_of_others;
    pool: a10_all_tables a10_all_memories;
    network:
        a20_forbidden_destinations a21_spellings_of_addresses a22_silent_servers_of_names a26_circle
        a28_a29_framing_outward;
    uploads:
        a08_many_memories a09_large_tables u01_mutants u01_no_components u01_too_large u02_native_code
        u03_compile_bomb u04_type_bombs u05_imports u06_other_digest u08_same_version
        u10_more_than_the_limits f09_stopped_compiler;
    edge:
        a34_long_target h01_slow_heads h02_slow_bodies h02_slow_readers h03_smuggling h04_large_heads
        h06_two_authorities h07_posing_headers h09_compressed_body h10_path_spellings h11_other_protocols
        h12_trailers_and_expectations;
    http2:
        h01_idle_http2 h01_all_places h05_rapid_reset h05_continuation_flood h05_empty_data_flood
        h05_settings_flood h05_ping_flood h05_answers_to_nothing h05_window_flood h05_goaway_flood
        h05_bodies_that_nobody_takes h05_window_of_a_byte h05_window_of_nothing;
    machine: f04_no_descriptors f06_damaged_artifact;
    disk: f03_failed_synchronisation f04_full_disk f04_no_descriptors_for_files o04_full_disk_at_start;
    killed: u09_killed_in_an_upload f02_killed_at_a_call f10_crashes;
    clock: f07_clock_jumps;
    stopped: f08_stopped_under_load;
};

/// What the command line asks for. What `cargo test` gives to every test binary is not for us.
#[derive(Default)]
struct Options {
    filters: Vec<String>,
    minutes: Option<u64>,
    rounds: Option<u64>,
    seed: Option<u64>,
    list: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self::default();
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse().ok());
            match argument.as_str() {
                "--minutes" => options.minutes = number(),
                "--rounds" => options.rounds = number(),
                "--seed" => options.seed = number(),
                "--list" => options.list = true,
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    fn wants(&self, case: &Case) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| case.name.contains(part))
    }
}

/// A small generator, so that a seed means the same order everywhere (SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 1).unwrap_or(0) % limit.max(1)
    }
}

fn main() -> ExitCode {
    let options = Options::read();
    let mut cases: Vec<&Case> = CASES.iter().filter(|case| options.wants(case)).collect();
    if options.list {
        for case in cases {
            println!("{}: test", case.name);
        }
        return ExitCode::SUCCESS;
    }
    if cases.is_empty() {
        println!(
            "\ntest result: ok. 0 passed; 0 failed; {} filtered out",
            CASES.len()
        );
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let seed = options
        .seed
        .unwrap_or_else(|| u64::from(std::process::id()));
    let mut random = Random(seed);
    let until = options
        .minutes
        .map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let failed = runtime.block_on(async {
        println!("\nrunning {} attacks (seed {seed})", cases.len());
        let arena = Arena::start(until.is_some(), seed).await;
        let (mut passed, mut failed) = (0, Vec::new());
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        for round in 1.. {
            if until.is_some() || options.rounds.is_some() {
                for last in (1..cases.len()).rev() {
                    cases.swap(last, random.below(last + 1));
                }
            }
            for case in cases.iter().take_while(|_| !is_over()) {
                match attack(&arena, case).await {
                    Ok(summary) => {
                        println!("test {} ... ok ({summary})", case.name);
                        passed += 1;
                    }
                    Err(why) => {
                        println!("test {} ... FAILED\n    {why}", case.name);
                        failed.push(case.name);
                    }
                }
            }
            match arena.round().await {
                Ok(summary) => println!("round {round} ... ok ({summary})"),
                Err(why) => {
                    println!("round {round} ... FAILED\n    {why}");
                    failed.push("round");
                }
            }
            if is_over() || (until.is_none() && round >= options.rounds.unwrap_or(1)) {
                break;
            }
        }
        let outcome = if failed.is_empty() { "ok" } else { "FAILED" };
        println!(
            "\ntest result: {outcome}. {passed} passed; {} failed; 0 ignored",
            failed.len()
        );
        if !failed.is_empty() {
            println!(
                "failed with seed {seed}: {}\n{}",
                failed.join(" "),
                arena.log_tail()
            );
        }
        !failed.is_empty()
    });
    ExitCode::from(u8::from(failed))
}

/// Runs one case and what must hold after each.
async fn attack(arena: &Arena, case: &Case) -> Result<String, String> {
    let began = Instant::now();
    let before = arena.before();
    let mark = arena.victim.mark();
    let outcome = AssertUnwindSafe((case.run)(arena)).catch_unwind().await;
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
            .unwrap_or_else(|| "it panicked".to_owned())
    })?;
    let victim = arena.victim.since(mark).await?;
    arena.slots_are_free().await?;
    let after = arena.settled(&before).await?;
    Ok(format!(
        "{:.1} s; {victim}; {after}",
        began.elapsed().as_secs_f64()
    ))
}
