//! What a store takes of the pool, and what one owner may have of it.

use std::time::Duration;

use canopy_engine::{CpuBudget, LimitExceeded, SlotAccount, SlotKind, Slots, StoreLimits};
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
    let account = SlotAccount::new(Slots {
        instances: 3,
        memories: 20,
        tables: 128,
    });
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
