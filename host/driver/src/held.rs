//! The resources of a driver's store that somebody outside owns, and how much of the store each caller
//! has by them.
//!
//! A resource counts for as much as it takes of what the store has not without end: for the objects of
//! the host and the resources of other drivers by which the calls that gave it and that were made of it
//! have left the store richer, and at least for one. Once it is dropped it counts for nothing, whatever
//! has become of those: what a driver keeps for itself, as connections to be used again, is nobody's.

use std::collections::HashMap;
use std::hash::Hash;

/// What is given out of one store. `H` is whom resources are counted for.
pub(crate) struct Held<H, R> {
    resources: HashMap<u64, Counted<H, R>>,
    /// How much each has; none of them nothing.
    shares: HashMap<H, usize>,
    next_id: u64,
}

struct Counted<H, R> {
    resource: R,
    holder: Option<H>,
    weight: usize,
}

/// How things were before a call that may change what its caller holds.
pub(crate) struct Before<H> {
    holder: H,
    share: usize,
    /// What the store had in its tables.
    taken: usize,
    /// The first of the resources that the call gives out.
    first: u64,
    /// The resource that it is made of.
    lent: Option<u64>,
}

impl<H: Eq + Hash + Clone, R: Copy> Held<H, R> {
    pub(crate) fn new() -> Self {
        Self {
            resources: HashMap::new(),
            shares: HashMap::new(),
            next_id: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.resources.len()
    }

    pub(crate) fn get(&self, id: u64) -> Option<R> {
        self.resources.get(&id).map(|counted| counted.resource)
    }

    /// How much `holder` has of the store.
    pub(crate) fn share(&self, holder: &H) -> usize {
        self.shares.get(holder).copied().unwrap_or(0)
    }

    /// Keeps a resource that is given out, under a number that is never used again.
    pub(crate) fn insert(&mut self, resource: R, holder: Option<H>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if let Some(holder) = holder.clone() {
            *self.shares.entry(holder).or_insert(0) += 1;
        }
        let weight = 1;
        let counted = Counted {
            resource,
            holder,
            weight,
        };
        self.resources.insert(id, counted);
        id
    }

    /// The store has it back, or it has been dropped.
    pub(crate) fn remove(&mut self, id: u64) -> Option<R> {
        let Counted {
            resource,
            holder,
            weight,
        } = self.resources.remove(&id)?;
        if let Some(holder) = holder {
            let left = self.share(&holder).saturating_sub(weight);
            match left {
                0 => self.shares.remove(&holder),
                left => self.shares.insert(holder, left),
            };
        }
        Some(resource)
    }

    /// A call for `holder` is about to begin, of the resource `lent` if of any.
    pub(crate) fn before(&self, holder: H, taken: usize, lent: Option<u64>) -> Before<H> {
        Before {
            share: self.share(&holder),
            holder,
            taken,
            first: self.next_id,
            lent,
        }
    }

    /// The call is over, and all that it gives out is kept. Whether it has given its caller what that may
    /// not have: it has more than before, and more than `limit`.
    pub(crate) fn after(&mut self, before: &Before<H>, taken: usize, limit: usize) -> bool {
        let new = usize::try_from(self.next_id - before.first).unwrap_or(usize::MAX);
        if new > 0 {
            let more = taken.saturating_sub(before.taken).saturating_sub(new);
            self.weigh(before.first, |weight| weight.saturating_add(more));
        } else if let Some(lent) = before.lent {
            self.weigh(lent, |weight| {
                (weight + taken).saturating_sub(before.taken).max(1)
            });
        }
        let share = self.share(&before.holder);
        new > 0 && share > limit && share > before.share
    }

    fn weigh(&mut self, id: u64, weighed: impl Fn(usize) -> usize) {
        let Some(counted) = self.resources.get_mut(&id) else {
            return;
        };
        let was = counted.weight;
        counted.weight = weighed(was);
        let is = counted.weight;
        if let Some(holder) = &counted.holder
            && let Some(share) = self.shares.get_mut(holder)
        {
            *share = (*share + is).saturating_sub(was);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a call of caller 1 does: how many resources it gives, and what is in the tables of the
    /// store before and after it.
    fn call(
        held: &mut Held<u32, ()>,
        lent: Option<u64>,
        gives: usize,
        (from, to): (usize, usize),
    ) -> (bool, Vec<u64>) {
        let before = held.before(1, from, lent);
        let ids = (0..gives).map(|_| held.insert((), Some(1))).collect();
        (held.after(&before, to, 4), ids)
    }

    #[test]
    fn each_resource_counts_for_what_the_store_has_for_it_and_at_least_for_one() {
        let mut held = Held::new();
        let (_, plain) = call(&mut held, None, 1, (10, 10));
        assert_eq!(held.share(&1), 1);
        let (over, costly) = call(&mut held, None, 1, (10, 13));
        assert_eq!((over, held.share(&1)), (false, 4), "as much as it may");
        let (over, another) = call(&mut held, None, 1, (13, 13));
        assert_eq!((over, held.share(&1)), (true, 5));
        assert_eq!(held.share(&2), 0);
        for id in [plain, costly, another].concat() {
            assert_eq!(held.remove(id), Some(()));
            assert_eq!(held.remove(id), None);
        }
        assert!(held.shares.is_empty() && held.len() == 0);
    }

    #[test]
    fn what_is_made_of_a_resource_counts_for_it_as_long_as_it_is_there() {
        let mut held = Held::new();
        let (_, ids) = call(&mut held, None, 1, (0, 1));
        let (over, _) = call(&mut held, Some(ids[0]), 0, (1, 5));
        assert_eq!((over, held.share(&1)), (false, 5), "it has given nothing");
        call(&mut held, Some(ids[0]), 0, (5, 3));
        assert_eq!(held.share(&1), 3);
        call(&mut held, Some(ids[0]), 0, (40, 0));
        assert_eq!(held.share(&1), 1, "others' are not its own");
        held.remove(ids[0]);
        assert!(held.shares.is_empty());
    }

    #[test]
    fn what_nobody_is_known_to_hold_is_not_counted() {
        let mut held: Held<u32, ()> = Held::new();
        let id = held.insert((), None);
        assert_eq!((held.len(), held.shares.len()), (1, 0));
        assert_eq!(held.remove(id), Some(()));
    }
}
