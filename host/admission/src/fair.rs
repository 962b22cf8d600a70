//! The node's limit, shared between tenants by their weights.
//!
//! Whoever comes gets a slot as long as more than the reserve is free. What is free of the reserve is
//! for tenants that have little: one of the usual weight may have up to a fourth of what it leaves. A
//! slot that becomes free goes to the waiting tenant that has least for its weight. So a tenant alone
//! uses all of the node but the reserve, two greedy ones end up with what their weights say, and one
//! that comes later finds a slot at once, however many were greedy before. Each tenant has a queue of
//! its own (`queue.rs`), so one that floods the node is shed and the others still wait their turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use canopy_ids::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot::Sender;
use tokio::time::Instant;

use crate::queue::{Full, Queue, wait};

/// The weight of a plan that says nothing else.
const USUAL_WEIGHT: u64 = 100;

/// A tenant has little while this many times what it has is less than what is free.
const LITTLE: u128 = 4;

#[derive(Debug)]
pub(crate) struct FairGate {
    limit: usize,
    reserve: usize,
    shed_after: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// How many wait, of all tenants.
    waiting: usize,
    /// Tenants that have a slot or wait for one.
    tenants: HashMap<TenantId, Share>,
}

#[derive(Debug)]
struct Share {
    weight: u64,
    running: usize,
    queue: Queue<FairSlot>,
}

/// A place on the node. Dropping it passes it on.
#[derive(Debug)]
pub(crate) struct FairSlot {
    gate: Arc<FairGate>,
    tenant: TenantId,
}

impl FairGate {
    pub(crate) fn new(limit: usize, reserve: usize, shed_after: Duration) -> Arc<Self> {
        Arc::new(Self {
            limit,
            // With half the node in reserve or more, no tenant could use its share of a quiet one.
            reserve: reserve.min(limit / 2),
            shed_after,
            state: Mutex::default(),
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn running(&self) -> usize {
        self.state.lock().running
    }

    /// Enters if there is a slot for `tenant`, else waits until `until`. The newest `weight` holds.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        tenant: TenantId,
        weight: u32,
        until: Instant,
    ) -> Result<FairSlot, Full> {
        let turn = {
            let mut state = self.state.lock();
            let (running, share) = state.share_of(tenant, weight, self.shed_after);
            if share.queue.is_empty() && self.may_run(*running, share) {
                *running += 1;
                share.running += 1;
                share.queue.moved();
                return Ok(self.slot(tenant));
            }
            let turn = share.queue.join(until)?;
            state.waiting += 1;
            turn
        };
        let _waiting = Waiting { gate: self, tenant };
        let look = || self.state.lock().shed(tenant, until);
        wait(turn, until, self.shed_after, look).await
    }

    fn slot(self: &Arc<Self>, tenant: TenantId) -> FairSlot {
        FairSlot {
            gate: Arc::clone(self),
            tenant,
        }
    }

    fn may_run(&self, running: usize, share: &Share) -> bool {
        let free = self.limit.saturating_sub(running);
        let has_little = || {
            let has = share.running as u128 * LITTLE * u128::from(USUAL_WEIGHT);
            has < free as u128 * u128::from(share.weight)
        };
        free > self.reserve || has_little()
    }

    /// Takes a slot for the tenant that comes next, if one is free for it.
    fn next(&self, state: &mut State) -> Option<(TenantId, Sender<FairSlot>)> {
        let tenant = state.neediest()?;
        let State {
            running, tenants, ..
        } = state;
        let share = tenants.get_mut(&tenant)?;
        // The others have more of their shares than this one.
        if !self.may_run(*running, share) {
            return None;
        }
        let grant = share.queue.next()?;
        *running += 1;
        share.running += 1;
        Some((tenant, grant))
    }

    /// Gives a slot to `next`, and those that are free besides to those who wait. A slot sent to a
    /// waiter who has just left comes back through its own drop.
    fn pass_on(self: &Arc<Self>, mut next: Option<(TenantId, Sender<FairSlot>)>) {
        while let Some((tenant, grant)) = next {
            let _ = grant.send(self.slot(tenant));
            next = self.next(&mut self.state.lock());
        }
    }
}

/// Counts one of `tenant` among those who wait, until it is dropped: with a slot, or without.
struct Waiting<'a> {
    gate: &'a FairGate,
    tenant: TenantId,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.waiting -= 1;
        state.leave(self.tenant);
    }
}

impl State {
    /// The slots taken, and the tenant's share by its newest weight.
    fn share_of(
        &mut self,
        tenant: TenantId,
        weight: u32,
        shed_after: Duration,
    ) -> (&mut usize, &mut Share) {
        let share = self.tenants.entry(tenant).or_insert_with(|| Share {
            weight: 1,
            running: 0,
            queue: Queue::new(shed_after),
        });
        share.weight = u64::from(weight.max(1));
        (&mut self.running, share)
    }

    /// Of the tenants that wait, the one that has least of its share.
    fn neediest(&mut self) -> Option<TenantId> {
        if self.waiting == 0 {
            return None;
        }
        let mut found: Option<(u128, u128, TenantId)> = None;
        for (tenant, share) in &mut self.tenants {
            if share.queue.is_empty() {
                continue;
            }
            let (has, weight) = (share.running as u128, u128::from(share.weight));
            // has/weight < has'/weight', without dividing.
            if found.is_none_or(|(other, its_weight, _)| has * its_weight < other * weight) {
                found = Some((has, weight, *tenant));
            }
        }
        found.map(|(_, _, tenant)| tenant)
    }

    /// Refuses those of `tenant` who would wait in vain.
    fn shed(&mut self, tenant: TenantId, until: Instant) {
        if let Some(share) = self.tenants.get_mut(&tenant) {
            share.queue.shed(until);
        }
    }

    /// Forgets those of `tenant` who wait no longer, and the tenant if nothing of it is left.
    fn leave(&mut self, tenant: TenantId) {
        let Some(share) = self.tenants.get_mut(&tenant) else {
            return;
        };
        if share.running == 0 && !share.queue.has(1) {
            self.tenants.remove(&tenant);
        }
    }
}

impl Drop for FairSlot {
    fn drop(&mut self) {
        let next = {
            let mut state = self.gate.state.lock();
            state.running -= 1;
            if let Some(share) = state.tenants.get_mut(&self.tenant) {
                share.running -= 1;
                if share.running == 0 {
                    state.leave(self.tenant);
                }
            }
            self.gate.next(&mut state)
        };
        self.gate.pass_on(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    async fn fill(gate: &Arc<FairGate>, tenant: TenantId, weight: u32) -> Vec<FairSlot> {
        let mut held = Vec::new();
        while let Ok(slot) = gate.enter(tenant, weight, Instant::now()).await {
            held.push(slot);
        }
        held
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_alone_has_all_of_the_node_but_the_reserve() {
        let gate = FairGate::new(16, 4, LONG);
        assert_eq!(fill(&gate, TenantId::new(), 100).await.len(), 12);
        assert_eq!(gate.running(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_after_many_greedy_ones_finds_a_slot() {
        let gate = FairGate::new(512, 64, LONG);
        let mut held = Vec::new();
        for _ in 0..9 {
            held.extend(fill(&gate, TenantId::new(), 100).await);
        }
        let slot = gate.enter(TenantId::new(), 100, Instant::now()).await;
        slot.expect("there is some of the reserve left");
    }

    #[tokio::test(start_paused = true)]
    async fn a_greedy_tenant_leaves_the_reserve_to_those_that_have_little() {
        let gate = FairGate::new(16, 4, LONG);
        let (greedy, other, late) = (TenantId::new(), TenantId::new(), TenantId::new());
        let _one = gate.enter(other, 100, soon()).await.expect("free");
        let first = fill(&gate, greedy, 100).await;
        assert_eq!(
            first.len(),
            11,
            "16 less the reserve of 4, less the other's"
        );
        let _late = gate.enter(late, 100, soon()).await.expect("it has none");
        let second = gate.enter(late, 100, Instant::now()).await;
        assert!(second.is_err(), "three are left to others that come");
        let heavy = fill(&gate, TenantId::new(), 500).await;
        assert_eq!(heavy.len(), 2, "of more weight, it may have more of them");
    }

    #[tokio::test(start_paused = true)]
    async fn two_greedy_tenants_end_up_with_their_weights() {
        let gate = FairGate::new(30, 0, LONG);
        let (light, heavy) = (TenantId::new(), TenantId::new());
        let counts = Arc::new(Mutex::new(HashMap::<TenantId, usize>::new()));
        let mut tasks = Vec::new();
        for (tenant, weight) in [(light, 100), (heavy, 200)] {
            for _ in 0..40 {
                let (gate, counts) = (Arc::clone(&gate), Arc::clone(&counts));
                tasks.push(tokio::spawn(async move {
                    for _ in 0..50 {
                        let slot = gate.enter(tenant, weight, soon()).await.expect("in time");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        *counts.lock().entry(tenant).or_default() += 1;
                        drop(slot);
                    }
                }));
            }
        }
        tokio::time::sleep(Duration::from_millis(5050)).await;
        let (light, heavy) = {
            let counts = counts.lock();
            (counts[&light], counts[&heavy])
        };
        assert!(
            (17..=22).contains(&(heavy * 10 / light)),
            "{heavy} to {light}"
        );
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(gate.running(), 0);
        assert!(gate.state.lock().tenants.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_free_slot_is_for_whoever_has_least() {
        let gate = FairGate::new(4, 0, LONG);
        let (greedy, late) = (TenantId::new(), TenantId::new());
        let mut held = fill(&gate, greedy, 100).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for tenant in [greedy, greedy, late] {
            let (gate, order) = (Arc::clone(&gate), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let slot = gate.enter(tenant, 100, soon()).await.expect("in time");
                order.lock().push(tenant);
                drop(slot);
            }));
            tokio::task::yield_now().await;
        }
        held.pop();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(order.lock()[0], late);
    }

    #[tokio::test(start_paused = true)]
    async fn of_one_who_left_nothing_is_kept() {
        let gate = FairGate::new(1, 0, LONG);
        let held = gate
            .enter(TenantId::new(), 100, soon())
            .await
            .expect("free");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(TenantId::new(), 100, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.state.lock().waiting, 1);
        waiting.abort();
        assert!(waiting.await.is_err(), "it has left");
        assert_eq!(gate.state.lock().waiting, 0);
        drop(held);
        assert!(gate.state.lock().tenants.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_does_not_move_refuses_at_once() {
        let gate = FairGate::new(1, 0, Duration::from_millis(100));
        let (busy, other) = (TenantId::new(), TenantId::new());
        let held = gate.enter(busy, 100, soon()).await.expect("free");
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(busy, 100, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        tokio::time::advance(Duration::from_millis(150)).await;
        let asked = Instant::now();
        assert!(gate.enter(busy, 100, soon()).await.is_err());
        assert_eq!(asked.elapsed(), Duration::ZERO);
        let patient = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(other, 100, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        drop(held);
        waiting.await.expect("no panic").expect("its turn");
        patient
            .await
            .expect("no panic")
            .expect("not the other's fault");
    }

    /// So many wait with one slot that is passed on after `pace`. Who was served, and when each of
    /// the others was refused.
    async fn overload(waiters: usize, pace: Duration) -> (usize, Vec<Duration>) {
        let gate = FairGate::new(1, 0, Duration::from_millis(100));
        let tenant = TenantId::new();
        let mut held = Some(gate.enter(tenant, 100, soon()).await.expect("free"));
        let began = Instant::now();
        let until = began + Duration::from_secs(1);
        let mut tasks = Vec::new();
        for _ in 0..waiters {
            let gate = Arc::clone(&gate);
            tasks.push(tokio::spawn(async move {
                match gate.enter(tenant, 100, until).await {
                    Ok(slot) => {
                        tokio::time::sleep(pace).await;
                        drop(slot);
                        None
                    }
                    Err(Full) => Some(began.elapsed()),
                }
            }));
        }
        if pace < Duration::from_secs(1) {
            tokio::time::sleep(pace).await;
            held = None;
        }
        let mut refused = Vec::new();
        for task in tasks {
            refused.extend(task.await.expect("no panic"));
        }
        drop(held);
        assert_eq!(gate.running(), 0);
        assert!(gate.state.lock().tenants.is_empty());
        (waiters - refused.len(), refused)
    }

    #[tokio::test(start_paused = true)]
    async fn when_nothing_moves_those_behind_the_first_are_refused_at_once() {
        let (served, refused) = overload(50, LONG).await;
        assert_eq!(served, 0);
        let early = |after: &&Duration| **after <= Duration::from_millis(101);
        assert_eq!(refused.iter().filter(early).count(), 49, "{refused:?}");
        let last = refused.iter().max().expect("the first, in the end");
        assert!(*last >= Duration::from_secs(1), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_queue_that_moves_as_many_stay_as_will_be_served() {
        // A hundred can be served within the second.
        let (served, refused) = overload(300, Duration::from_millis(10)).await;
        assert!((85..=101).contains(&served), "{served}");
        let late = refused
            .iter()
            .filter(|after| **after > Duration::from_millis(150));
        let late = late.count();
        assert!(late <= 15, "{late} waited in vain");
    }

    #[tokio::test(start_paused = true)]
    async fn a_queue_that_is_served_in_time_loses_nobody() {
        let (served, refused) = overload(60, Duration::from_millis(10)).await;
        assert_eq!((served, refused.len()), (60, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_who_left_takes_no_place_and_leaves_nothing_behind() {
        let gate = FairGate::new(1, 0, LONG);
        let tenant = TenantId::new();
        let held = gate.enter(tenant, 1, soon()).await.expect("free");
        let task = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(tenant, 1, soon()).await.map(drop) }
        });
        tokio::task::yield_now().await;
        task.abort();
        assert!(task.await.expect_err("aborted").is_cancelled());
        drop(held);
        assert_eq!(gate.running(), 0);
        gate.enter(tenant, 1, Instant::now())
            .await
            .expect("free again");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn never_more_than_the_limit_and_none_lost() {
        let gate = FairGate::new(4, 2, LONG);
        let tenants = [TenantId::new(), TenantId::new(), TenantId::new()];
        let mut tasks = Vec::new();
        for number in 0..48_u32 {
            let gate = Arc::clone(&gate);
            let tenant = tenants[number as usize % 3];
            tasks.push(tokio::spawn(async move {
                for round in 0..200_u32 {
                    let patience =
                        Duration::from_micros(u64::from((number * 31 + round * 17) % 300));
                    let until = Instant::now() + patience;
                    if let Ok(slot) = gate.enter(tenant, 1 + round % 3, until).await {
                        assert!(gate.running() <= 4);
                        tokio::task::yield_now().await;
                        drop(slot);
                    }
                }
            }));
        }
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(gate.running(), 0);
        for tenant in tenants {
            gate.state.lock().leave(tenant);
        }
        assert!(gate.state.lock().tenants.is_empty());
    }
}
