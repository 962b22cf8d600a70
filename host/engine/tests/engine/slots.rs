//! What a store takes of the pool, and what one owner may have of it.

use std::time::Duration;

use canopy_engine::{
    CpuBudget, LimitExceeded, PoolSettings, PoolSlots, SlotAccount, SlotKind, Slots, StoreLimits,
};
use wasmtime::component::Linker;

use crate::{component, engine};

#[tokio::test]
async fn what_a_component_is_said_to_take_is_what_its_store_has_of_the_pool() {
    let engine = engine();
    let memories = "(memory 0)".repeat(2);
    let tables = "(table 0 funcref)".repeat(3);
    let text = format!(
        "(component
            (component $inner (core module $m {memories} {tables}) (core instance (instantiate $m)))
            (core module $m {memories} {tables})
            (instance (instantiate $inner))
            (instance (instantiate $inner))
            (core instance (instantiate $m)))"
    );
    let component = component(&engine, &text);
    let limits = StoreLimits::new(1 << 20, engine.settings());
    let cpu = CpuBudget::new(Duration::from_secs(10));
    let mut store = engine.new_store(limits, |limits| limits, &cpu);
    let linker = Linker::new(engine.raw());
    let made = cpu.meter(linker.instantiate_async(&mut store, &component));
    made.await.expect("it has room");
    let pool = engine.raw().pooling_allocator_metrics().expect("a pool");
    let has = Slots {
        instances: usize::try_from(pool.component_instances()).expect("few"),
        memories: pool.memories(),
        tables: pool.tables(),
    };
    assert_eq!(Slots::of(&component, engine.settings()), has);
    assert_eq!((has.memories, has.tables), (6, 9));
}

#[test]
fn stores_of_one_owner_have_so_many_slots_together_and_give_them_back() {
    let limit = Slots {
        instances: 3,
        memories: 20,
        tables: 128,
    };
    let account = SlotAccount::new(limit, PoolSlots::new(&PoolSettings::default(), 0));
    let of_tables = Slots {
        instances: 1,
        memories: 1,
        tables: 64,
    };
    let of_memories = Slots {
        instances: 1,
        memories: 10,
        tables: 0,
    };
    let refused = |slots| account.take(slots).expect_err("too many");
    let first = account.take(of_tables).expect("64 of 128");
    let second = account.take(of_tables).expect("128 of 128");
    assert_eq!(
        refused(of_tables),
        LimitExceeded::SharedSlots {
            kind: SlotKind::Tables,
            limit: 128
        }
    );
    assert_eq!(account.used().instances, 2, "nothing of it was taken");
    let third = account.take(of_memories).expect("12 of 20");
    assert_eq!(
        refused(of_memories),
        LimitExceeded::SharedSlots {
            kind: SlotKind::Instances,
            limit: 3
        }
    );
    drop(first);
    assert_eq!(
        refused(of_memories),
        LimitExceeded::SharedSlots {
            kind: SlotKind::Memories,
            limit: 20
        }
    );
    drop((second, third));
    assert_eq!(account.used(), Slots::default());
}

#[test]
fn a_part_of_the_pool_is_for_those_who_have_little_of_it() {
    let pool = PoolSettings {
        instances: 320,
        memories: 320,
        tables: 320,
        ..PoolSettings::default()
    };
    // 160 are for anybody; of the other 160 whoever takes them has 10 at most.
    let pool = PoolSlots::new(&pool, 50);
    let slots = |instances, memories| Slots {
        instances,
        memories,
        tables: 0,
    };
    let account = || SlotAccount::new(slots(160, 160), pool.clone());
    let (much, little, other) = (account(), account(), account());
    let all_of_it = much.take(slots(160, 1)).expect("open to anybody");
    let few = little.take(slots(10, 1)).expect("no more than little");
    let more = little.take(slots(1, 1)).expect_err("more than little");
    assert!(matches!(&more, LimitExceeded::Pool(_)), "{more:?}");
    let refused = much.take(slots(1, 1)).expect_err("it has enough");
    assert!(refused.to_string().contains("160 instances"), "{refused}");
    assert_eq!(little.used(), slots(10, 1), "nothing of it was taken");
    // Many memories are no reason to be refused while none are short.
    let memories = other.take(slots(1, 100)).expect("1 of the reserve");
    drop(few);
    drop(memories);
    drop(all_of_it);
    little.take(slots(160, 160)).expect("all are back");
}
