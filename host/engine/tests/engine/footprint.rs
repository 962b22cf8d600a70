//! What an instance of a component takes, as counted without compiling it.

use std::time::{Duration, Instant};

use canopy_engine::{Engine, Footprint, InspectError, inspect};

use crate::{binary, component, small};

fn counted(text: &str) -> Option<Footprint> {
    inspect(&binary(text)).expect("a component").footprint
}

#[test]
fn it_is_counted_as_wasmtime_does() {
    let around = r#"(core module $m (memory 1) (memory 3) (table 2 funcref))"#;
    let outer = format!(
        r#"(component {around}
          (component $c
            (alias outer 1 $m (core module $here))
            (core instance (instantiate $here))
            (core instance (instantiate $here)))
          (instance (instantiate $c))
          (instance (instantiate $c))
          (core instance (instantiate $m)))"#
    );
    let argument = format!(
        r#"(component {around}
          (component $c
            (import "m" (core module $m))
            (component $inner
              (alias outer 1 $m (core module $there))
              (core instance (instantiate $there)))
            (instance (instantiate $inner)))
          (instance (instantiate $c (with "m" (core module $m)))))"#
    );
    let exported = format!(
        r#"(component
          (component $library {around}
            (component $inner
              (core module $n (table 7 funcref))
              (core instance (instantiate $n)))
            (export "m" (core module $m))
            (export "inner" (component $inner)))
          (instance $library (instantiate $library))
          (alias export $library "m" (core module $m))
          (alias export $library "inner" (component $inner))
          (core instance (instantiate $m))
          (instance (instantiate $inner))
          (instance (instantiate $inner)))"#
    );
    let bundled = format!(
        r#"(component {around}
          (instance $bundle (export "m" (core module $m)))
          (component $c
            (import "bundle" (instance $bundle (export "m" (core module))))
            (alias export $bundle "m" (core module $m))
            (core instance (instantiate $m)))
          (instance (instantiate $c (with "bundle" (instance $bundle)))))"#
    );
    let mut settings = small();
    settings.pool.memories_per_component = 16;
    let engine = Engine::new(&settings).expect("an engine");
    for (text, instances, memories, tables, elements) in [
        (&outer, 5, 10, 5, 10),
        (&argument, 1, 2, 1, 2),
        (&exported, 3, 2, 3, 16),
        (&bundled, 1, 2, 1, 2),
    ] {
        let footprint = counted(text).expect("it depends on nothing");
        let page = 64 << 10;
        assert_eq!(
            footprint,
            Footprint {
                core_instances: instances,
                memories,
                memory_bytes: memories / 2 * 4 * page,
                largest_memory: 3 * page,
                tables,
                table_elements: elements,
                largest_table: footprint.largest_table,
            },
            "{text}"
        );
        let required = component(&engine, text)
            .resources_required()
            .expect("it depends on nothing");
        assert_eq!(
            (
                u64::from(required.num_memories),
                u64::from(required.num_tables)
            ),
            (footprint.memories, footprint.tables),
            "{text}"
        );
        assert_eq!(
            required.max_initial_table_size,
            Some(footprint.largest_table),
            "{text}"
        );
    }
}

#[test]
fn what_depends_on_an_import_is_not_known() {
    for text in [
        r#"(component (import "m" (core module $m)) (core instance (instantiate $m)))"#,
        r#"(component (import "c" (component $c)) (instance (instantiate $c)))"#,
        r#"(component
            (import "i" (instance $i (export "m" (core module))))
            (alias export $i "m" (core module $m))
            (core instance (instantiate $m)))"#,
    ] {
        assert_eq!(counted(text), None, "{text}");
    }
    let unused = r#"(component (import "m" (core module $m)))"#;
    assert_eq!(counted(unused), Some(Footprint::default()));
}

#[test]
fn what_doubles_or_nests_without_end_is_refused_soon() {
    let bomb = |levels: u32, each: usize| {
        let mut text = String::from("(component (component $c0)");
        for level in 1..levels {
            let below = level - 1;
            let instances = "(instance (instantiate $b))".repeat(each);
            text += &format!(
                "(component $c{level} (alias outer 1 $c{below} (component $b)) {instances})"
            );
        }
        text + &format!("(instance (instantiate $c{})))", levels - 1)
    };
    for text in [bomb(40, 2), bomb(2_000, 1)] {
        let began = Instant::now();
        let refused = inspect(&binary(&text)).expect_err("too much");
        assert_eq!(refused, InspectError::TooManyInstances);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    assert!(counted(&bomb(10, 2)).is_some());
}
