//! The cases, by suite. A case's name is its place in the record and never changes its meaning; one
//! that comes to mean something else gets another name.

mod behaviour;
mod callers;
mod driver;
mod faults;
mod limits;

use futures::future::BoxFuture;

use super::bench::Bench;
use super::probe::Stop;

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
pub(super) fn of_key_value() -> impl Iterator<Item = &'static Case> {
    let rooms = [
        behaviour::CASES,
        limits::CASES,
        callers::CASES,
        faults::CASES,
    ];
    rooms.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_has_a_name_of_its_own() {
        let mut names: Vec<_> = of_any_driver()
            .chain(of_key_value())
            .map(|case| case.name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
