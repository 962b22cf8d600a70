//! Which snapshots are kept.

use std::collections::{BTreeMap, HashSet};

use canopy_ids::SnapshotId;
use time::OffsetDateTime;

use crate::snapshot::Snapshot;

/// How many snapshots of each scope are kept: the newest ones, and the newest of each of the last
/// days, weeks and months that have one. Days begin at midnight UTC, weeks on Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// The newest.
    pub last: usize,
    /// Days with a snapshot.
    pub daily: usize,
    /// Weeks with a snapshot.
    pub weekly: usize,
    /// Months with a snapshot.
    pub monthly: usize,
}

impl Keep {
    /// Whether it keeps anything at all.
    pub fn is_nothing(&self) -> bool {
        self.last + self.daily + self.weekly + self.monthly == 0
    }
}

/// Which of `snapshots` stay.
pub fn keep(snapshots: &[Snapshot], policy: &Keep) -> HashSet<SnapshotId> {
    let mut scopes: BTreeMap<String, Vec<&Snapshot>> = BTreeMap::new();
    for snapshot in snapshots {
        scopes
            .entry(scope_key(snapshot))
            .or_default()
            .push(snapshot);
    }
    let mut kept = HashSet::new();
    for mut scope in scopes.into_values() {
        scope.sort_by_key(|one| std::cmp::Reverse(one.taken_at));
        kept.extend(scope.iter().take(policy.last).map(|one| one.id));
        let mut newest_of = |count: usize, period: &dyn Fn(OffsetDateTime) -> (i32, u16)| {
            let mut last = None;
            let mut taken = 0;
            for one in &scope {
                let this = period(one.taken_at.to_offset(time::UtcOffset::UTC));
                if taken < count && last != Some(this) {
                    kept.insert(one.id);
                    taken += 1;
                    last = Some(this);
                }
            }
        };
        newest_of(policy.daily, &|at| (at.year(), at.ordinal()));
        newest_of(policy.weekly, &|at| {
            let (year, week, _) = at.to_iso_week_date();
            (year, u16::from(week))
        });
        newest_of(policy.monthly, &|at| {
            (at.year(), u16::from(u8::from(at.month())))
        });
    }
    kept
}

/// Two snapshots with the same are of the same thing, whatever it was called.
fn scope_key(snapshot: &Snapshot) -> String {
    use crate::snapshot::BackupScope;
    match &snapshot.scope {
        BackupScope::Node => String::new(),
        BackupScope::Tenant { tenant } => tenant.id.to_string(),
        BackupScope::Installation { installation, .. } => installation.id.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::snapshot::BackupScope;

    fn snapshot(taken_at: OffsetDateTime) -> Snapshot {
        Snapshot {
            format: 1,
            id: SnapshotId::new(),
            scope: BackupScope::Node,
            taken_at,
            finished_at: taken_at,
            made_by: String::new(),
            bytes: 0,
            new_bytes: 0,
            shared_bytes: 0,
            files: Vec::new(),
        }
    }

    #[test]
    fn the_newest_of_each_period_stays() {
        let all = [
            datetime!(2026-01-05 10:00 UTC),
            datetime!(2026-02-01 10:00 UTC),
            datetime!(2026-02-02 09:00 UTC),
            datetime!(2026-02-02 10:00 UTC),
            datetime!(2026-02-03 10:00 UTC),
        ]
        .map(snapshot);
        let kept = |last, daily, weekly, monthly| {
            let policy = Keep {
                last,
                daily,
                weekly,
                monthly,
            };
            let kept = keep(&all, &policy);
            let mut indexes = Vec::new();
            for (index, one) in all.iter().enumerate() {
                if kept.contains(&one.id) {
                    indexes.push(index);
                }
            }
            indexes
        };
        assert_eq!(kept(2, 0, 0, 0), [3, 4]);
        assert_eq!(kept(0, 2, 0, 0), [3, 4]);
        assert_eq!(kept(0, 0, 2, 0), [1, 4]);
        assert_eq!(kept(0, 0, 0, 9), [0, 4]);
        assert_eq!(kept(0, 0, 0, 0), [] as [usize; 0]);
    }
}
