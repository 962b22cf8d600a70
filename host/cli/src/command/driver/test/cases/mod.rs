//! The cases, by suite. A case's name is its place in the record and never changes its meaning; one
//! that comes to mean something else gets another name.

mod behaviour;
mod blobs;
mod callers;
mod driver;
mod entries;
mod faults;
mod limits;
mod mail;
mod server;
mod sql;

use futures::future::BoxFuture;

use super::bench::Bench;
use super::probe::Stop;

/// Keys of a batch. A service may take a request for each, and nodes bound those of one call at 100.
pub(super) const BATCH: usize = 90;

/// One case.
pub(super) struct Case {
    /// How it is called.
    pub(super) name: &'static str,
    /// Tries it.
    pub(super) run: for<'a> fn(&'a Bench) -> BoxFuture<'a, Result<(), Stop>>,
}

/// A table of cases from their names and functions.
macro_rules! cases {
    ($($name:literal => $run:path,)*) => {
        &[$(crate::command::driver::test::cases::Case {
            name: $name,
            run: |bench| Box::pin($run(bench)),
        }),*]
    };
}
use cases;

/// What any driver must do, whatever it serves.
pub(super) fn of_any_driver() -> impl Iterator<Item = &'static Case> {
    driver::CASES.iter()
}

/// What a driver must do that keeps keys and values.
pub(super) const KEY_VALUE: &[&[Case]] = &[
    behaviour::STORING,
    behaviour::BATCHES,
    behaviour::COUNTING,
    limits::STORING,
    limits::BATCHES,
    callers::CASES,
    callers::HANDLES,
    faults::STORING,
    faults::COUNTING,
    server::CASES,
];

/// What a driver must do that keeps entries, which are keys and values with more to them. Handles are not
/// among it: the instances that call live on, and what they forget is theirs to answer for.
pub(super) const ENTRIES: &[&[Case]] = &[
    behaviour::STORING,
    behaviour::BATCHES,
    behaviour::COUNTING,
    entries::CASES,
    limits::STORING,
    limits::BATCHES,
    callers::CASES,
    faults::STORING,
    faults::COUNTING,
    server::CASES,
];

/// What a driver must do that keeps objects.
pub(super) const BLOBS: &[&[Case]] = &[
    behaviour::STORING,
    blobs::CASES,
    limits::STORING,
    callers::CASES,
    callers::UNREAD,
    faults::STORING,
    server::CASES,
];

/// What a driver must do that keeps databases.
pub(super) const SQL: &[&[Case]] = &[
    behaviour::STORING,
    behaviour::BATCHES,
    behaviour::COUNTING,
    sql::CASES,
    limits::STORING,
    limits::BATCHES,
    callers::CASES,
    callers::UNREAD,
    faults::STORING,
    faults::COUNTING,
    server::CASES,
];

/// What a driver must do that keeps rows, in whatever dialect.
pub(super) const ROWS: &[&[Case]] = &[
    behaviour::STORING,
    behaviour::BATCHES,
    behaviour::COUNTING,
    limits::STORING,
    limits::BATCHES,
    callers::CASES,
    callers::UNREAD,
    faults::STORING,
    faults::COUNTING,
    server::CASES,
];

/// What a driver must do that sends mail.
pub(super) const MAIL: &[&[Case]] = &[mail::CASES, server::CASES];
