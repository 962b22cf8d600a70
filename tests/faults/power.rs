//! Power failures: one run of a store is written down, and then any number of disks are made of it,
//! as they may be when the power fails at some moment of the run.

use crate::Random;
use crate::disk::{Disk, Event, events};
use crate::process::Place;
use crate::shim::Shim;
use crate::stores::{Entry, Problem};
use crate::totals::Total;

/// A run of a store, written down.
pub(crate) struct Run<'s> {
    store: &'s Entry,
    place: Place,
    events: Vec<Event>,
}

impl<'s> Run<'s> {
    pub(crate) fn record(shim: &Shim, store: &'s Entry) -> Self {
        let place = Place::new();
        let worked = place.work_recorded(shim, store);
        assert!(
            worked.ended && worked.acknowledged == store.steps,
            "{}: {} {}",
            store.name,
            worked.status,
            worked.said
        );
        let events = events(&place.record());
        Self {
            store,
            place,
            events,
        }
    }

    /// The disks of the seeds from `first` on.
    pub(crate) fn fail(&self, first: u64, count: u64) -> Total {
        let mut total = Total {
            indices: self.events.len() as u64,
            ..Total::default()
        };
        for seed in first..first + count {
            let (acknowledged, problems) = self.fail_once(seed, true);
            let again = format!("--store {} --power {seed}", self.store.name);
            total.add(acknowledged, &problems, &again);
        }
        total
    }

    /// How many of the first `count` disks are noticed as wrong when synchronising does nothing.
    pub(crate) fn noticed(&self, count: u64) -> usize {
        let wrong = |seed: &u64| !self.fail_once(*seed, false).1.is_empty();
        (0..count).filter(wrong).count()
    }

    fn fail_once(&self, seed: u64, honest: bool) -> (u32, Vec<Problem>) {
        let mut random = Random::new(seed);
        let moment = random.index(self.events.len() + 1);
        let events = &self.events[..moment];
        let acknowledged = events.iter().filter(|event| event.op == "ack").count();
        let acknowledged = u32::try_from(acknowledged).unwrap_or(u32::MAX);
        let place = Place::new();
        let disk = Disk::after(&self.place.data(), events, honest);
        disk.fail(&place.data(), &mut random);
        let (from, to) = match self.store.survives_power {
            true => (acknowledged, acknowledged + 1),
            false => (0, acknowledged + 1),
        };
        (acknowledged, place.verify(self.store, from, to))
    }
}
