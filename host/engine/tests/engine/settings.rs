//! Settings that cannot be, and what distinguishes engines.

use std::time::Duration;

use canopy_engine::{Engine, EngineError, EngineSettings};

use wasmtime::component::Component;

use crate::{binary, small};

#[test]
fn the_defaults_are_valid() {
    EngineSettings::default().validate().expect("valid");
}

#[test]
fn values_that_cannot_be_are_refused_by_name() {
    type Change = fn(&mut EngineSettings);
    let cases: [(&str, Change); 9] = [
        ("tick", |s| s.tick = Duration::from_micros(999)),
        ("pool.memories", |s| {
            s.pool.memories = s.pool.memories_per_component - 1
        }),
        ("pool.tables", |s| {
            s.pool.tables = s.pool.tables_per_component - 1
        }),
        ("pool.instances", |s| s.pool.instances = 0),
        ("pool.memory_bytes", |s| s.pool.memory_bytes = 5 << 30),
        ("pool.memory_bytes", |s| s.pool.memory_bytes = 1),
        ("call_stack_bytes", |s| {
            s.call_stack_bytes = s.guest_stack_bytes
        }),
        ("compile.memory_bytes", |s| s.compile.memory_bytes = 1 << 20),
        ("compile.concurrency", |s| s.compile.concurrency = 0),
    ];
    for (name, change) in cases {
        let mut settings = small();
        change(&mut settings);
        match Engine::new(&settings).err() {
            Some(EngineError::Setting(refused)) => assert_eq!(refused.name, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn unknown_keys_are_refused() {
    let error = serde_json::from_str::<EngineSettings>(r#"{"pool":{"instance":1}}"#)
        .expect_err("unknown key");
    assert!(
        error.to_string().contains("unknown field `instance`"),
        "{error}"
    );
}

#[test]
fn compatibility_follows_what_shapes_code_and_nothing_else() {
    let name = |settings: &EngineSettings| {
        Engine::new(settings)
            .expect("an engine")
            .compatibility()
            .to_owned()
    };
    let first = name(&small());
    assert_eq!(first, name(&small()));
    let mut larger = small();
    larger.pool.instances += 1;
    assert_eq!(first, name(&larger));
    let mut without_p3 = small();
    without_p3.p3_enabled = false;
    assert_ne!(first, name(&without_p3));
}

#[test]
fn the_ticking_thread_ends_with_the_engine() {
    let engine = Engine::new(&small()).expect("an engine");
    let weak = engine.raw().weak();
    drop(engine);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while weak.upgrade().is_some() {
        assert!(
            std::time::Instant::now() < deadline,
            "the engine is still held"
        );
        std::thread::yield_now();
    }
}

#[test]
fn the_asynchronous_component_model_is_there_unless_switched_off() {
    let streams = binary("(component (type (stream u8)))");
    let compiles = |p3_enabled| {
        let engine = Engine::new(&EngineSettings {
            p3_enabled,
            ..small()
        })
        .expect("an engine");
        Component::from_binary(engine.raw(), &streams).is_ok()
    };
    assert!(compiles(true));
    assert!(!compiles(false));
}
