use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Mutex;

use super::*;

/// What the store and the records hold, shared by all who use them.
#[derive(Default)]
struct World {
    values: Mutex<BTreeMap<String, Vec<u8>>>,
    numbers: Mutex<BTreeMap<String, i64>>,
    records: Mutex<BTreeMap<u32, (u64, Claim)>>,
}

/// One request's view of the world: dies at the operation number `dies_at`, before it takes effect
/// or, if `after`, just after.
struct Request<'a> {
    world: &'a World,
    left: Cell<usize>,
    after: bool,
}

impl<'a> Request<'a> {
    fn new(world: &'a World) -> Self {
        Self::dying(world, usize::MAX, false)
    }

    fn dying(world: &'a World, at: usize, after: bool) -> Self {
        Self {
            world,
            left: Cell::new(at),
            after,
        }
    }

    fn step<T>(&self, effect: impl FnOnce() -> Result<T, kv::Error>) -> Result<T, kv::Error> {
        let dead = || kv::Error::Engine("dead".into());
        match self.left.get() {
            0 if self.after => {
                // What follows the last effect has none.
                let first = self.left.replace(usize::MAX - 1) == 0;
                if first {
                    let _ = effect();
                }
                Err(dead())
            }
            0 => Err(dead()),
            left if left > usize::MAX / 2 && self.after => Err(dead()),
            left => {
                if left != usize::MAX {
                    self.left.set(left - 1);
                }
                effect()
            }
        }
    }

    fn issue(&self, invoice: u32, on: Date) -> Result<u64, Error> {
        let claim = Claim {
            invoice,
            revision: 1,
            on,
        };
        issue(
            self,
            claim,
            |invoice| {
                self.step(|| {
                    Ok(self
                        .world
                        .records
                        .lock()
                        .unwrap()
                        .get(&invoice)
                        .map(|r| r.0))
                })
            },
            |number, claim| {
                self.step(|| {
                    let before = self
                        .world
                        .records
                        .lock()
                        .unwrap()
                        .insert(claim.invoice, (number, claim));
                    assert!(
                        before.is_none_or(|before| before == (number, claim)),
                        "two numbers"
                    );
                    Ok(())
                })
            },
        )
    }
}

impl Registers for Request<'_> {
    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        self.step(|| Ok(self.world.values.lock().unwrap().get(key).cloned()))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), kv::Error> {
        self.step(|| {
            self.world
                .values
                .lock()
                .unwrap()
                .insert(key.into(), value.into());
            Ok(())
        })
    }

    fn number(&self, key: &str) -> Result<Option<u64>, kv::Error> {
        self.step(|| {
            let number = self.world.numbers.lock().unwrap().get(key).copied();
            Ok(number.map(|number| number.try_into().unwrap()))
        })
    }

    fn increment(&self, key: &str, delta: u64) -> Result<u64, kv::Error> {
        self.step(|| {
            let refused = || kv::Error::Engine("overflow".into());
            let delta = i64::try_from(delta).map_err(|_| refused())?;
            let mut numbers = self.world.numbers.lock().unwrap();
            let number = numbers.entry(key.into()).or_default();
            *number = number.checked_add(delta).ok_or_else(refused)?;
            u64::try_from(*number).map_err(|_| refused())
        })
    }
}

const DAY: Date = date!(2026 - 11 - 23);

/// Every number from one to the last has been given to exactly one invoice, and dates don't go back.
fn check(world: &World, invoices: usize) {
    let mut given: Vec<(u64, Claim)> = world.records.lock().unwrap().values().copied().collect();
    given.sort_by_key(|(number, _)| *number);
    let numbers: Vec<u64> = given.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=invoices as u64).collect::<Vec<_>>());
    assert!(given.is_sorted_by_key(|(_, claim)| claim.on));
}

#[test]
fn numbers_follow_one_another_and_asking_again_changes_nothing() {
    let world = World::default();
    for invoice in 1..=5 {
        assert_eq!(
            Request::new(&world).issue(invoice, DAY).unwrap(),
            u64::from(invoice)
        );
        assert_eq!(
            Request::new(&world).issue(invoice, DAY).unwrap(),
            u64::from(invoice)
        );
    }
    check(&world, 5);
}

#[test]
fn a_request_that_dies_at_any_point_leaves_no_gap() {
    for after in [false, true] {
        for at in 0..20 {
            for retried in [false, true] {
                let world = World::default();
                Request::new(&world).issue(1, DAY).unwrap();
                let died = Request::dying(&world, at, after).issue(2, DAY).is_err();
                Request::new(&world).issue(3, DAY).unwrap();
                let taken = world.records.lock().unwrap().contains_key(&2);
                if retried || taken {
                    Request::new(&world).issue(2, DAY).unwrap();
                }
                Request::new(&world).issue(4, DAY).unwrap();
                let issued = 3 + usize::from(retried || taken);
                check(&world, issued);
                // A number takes five operations where nobody is in the way.
                assert_eq!(died, at < 5, "at {at}");
            }
        }
    }
}

#[test]
fn the_very_first_number_survives_a_death_at_any_point() {
    for after in [false, true] {
        for at in 0..20 {
            let world = World::default();
            let _ = Request::dying(&world, at, after).issue(1, DAY);
            Request::new(&world).issue(2, DAY).unwrap();
            Request::new(&world).issue(1, DAY).unwrap();
            check(&world, 2);
        }
    }
}

#[test]
fn many_at_once_some_of_them_dying_share_the_numbers_without_gaps() {
    for round in 0..20_usize {
        let world = World::default();
        std::thread::scope(|scope| {
            for worker in 0..8_u32 {
                let world = &world;
                scope.spawn(move || {
                    for step in 0..15_u32 {
                        let invoice = 1 + worker / 2 * 15 + step;
                        let at = (round * 7 + worker as usize * 3 + step as usize) % 11;
                        let _ = Request::dying(world, at, at.is_multiple_of(2)).issue(invoice, DAY);
                        Request::new(world).issue(invoice, DAY).unwrap();
                    }
                });
            }
        });
        check(&world, 60);
    }
}

#[test]
fn a_clock_that_is_behind_does_not_make_dates_go_back() {
    let world = World::default();
    let earlier = DAY.previous_day().unwrap();
    Request::new(&world).issue(1, DAY).unwrap();
    Request::new(&world).issue(2, earlier).unwrap();
    check(&world, 2);
    assert_eq!(world.records.lock().unwrap()[&2].1.on, DAY);
}

#[test]
fn claims_survive_packing() {
    for claim in [
        Claim {
            invoice: 0,
            revision: 0,
            on: EPOCH,
        },
        Claim {
            invoice: MAX_INVOICE,
            revision: MAX_REVISION,
            on: date!(2199 - 06 - 06),
        },
        Claim {
            invoice: 7,
            revision: 3,
            on: DAY,
        },
    ] {
        let bits = claim.pack().unwrap();
        assert!(bits < WRITTEN);
        assert_eq!(Claim::unpack(bits), Some(claim));
    }
    let early = Claim {
        invoice: 1,
        revision: 1,
        on: date!(2019 - 12 - 31),
    };
    assert_eq!(early.pack(), None);
}

/// A store whose numbers wrap around at 64 bits.
struct Wrapping(Cell<u64>);

impl Registers for Wrapping {
    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, kv::Error> {
        Ok(None)
    }

    fn set(&self, _: &str, _: &[u8]) -> Result<(), kv::Error> {
        Ok(())
    }

    fn number(&self, _: &str) -> Result<Option<u64>, kv::Error> {
        Ok(Some(self.0.get()))
    }

    fn increment(&self, _: &str, delta: u64) -> Result<u64, kv::Error> {
        self.0.set(self.0.get().wrapping_add(delta));
        Ok(self.0.get())
    }
}

#[test]
fn a_store_that_does_not_refuse_is_found_out_before_a_number_is_given() {
    let claim = Claim {
        invoice: 1,
        revision: 1,
        on: DAY,
    };
    let outcome = issue(
        &Wrapping(Cell::new(0)),
        claim,
        |_| Ok(None),
        |_, _| panic!("recorded"),
    );
    assert!(matches!(outcome, Err(Error::Unsuitable)), "{outcome:?}");
}
