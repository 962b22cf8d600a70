//! The steps of a request, one by one, by criterion.

use std::time::{Duration, Instant};

use canopy_admission::{Admission, AdmissionSettings, Allowance, Ask, Rate};
use canopy_engine::{CpuBudget, StoreLimits};
use canopy_ids::{InstallationId, TenantId};
use canopy_tenant::HostName;
use criterion::Criterion;
use tokio::runtime::Runtime;
use wasmtime::component::{Component, Linker};

use crate::drivers::{FUNCTIONS, Pair};
use crate::node::{MEMORIES, Node, REUSED, compiler};

/// A component with a memory of 1 MiB and nothing to import.
const SMALL: &str = r#"(component
  (core module $m (memory (export "memory") 16) (func (export "f")))
  (core instance $m (instantiate $m))
  (func (export "f") (canon lift (core func $m "f"))))"#;

/// Calls of a driver by one call of an application.
const CALLS: u32 = 100;

/// Measures them all, or those that the command line names.
pub(crate) fn measure() {
    let mut criterion = Criterion::default()
        .measurement_time(Duration::from_secs(3))
        .warm_up_time(Duration::from_secs(1))
        .configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    let folder = tempfile::tempdir().expect("folder");
    let node = runtime.block_on(async { Node::new(folder.path(), compiler(), MEMORIES) });

    route(&mut criterion, &node);
    admit(&mut criterion, &runtime);
    instantiate(&mut criterion, &runtime, &node);
    for (name, guest) in [("call/p2", "hello-p2-wstd"), ("call/p3", "hello-p3")] {
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(node.call(guest, "/")));
        });
    }
    for (name, guest) in [
        ("request/refused", "nobody"),
        ("request/p2", "hello-p2-wstd"),
        ("request/p2-reused", REUSED),
        ("request/p3", "hello-p3"),
    ] {
        let mut client = runtime.block_on(async { node.connect(guest) });
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(client.ask()));
        });
    }
    adapt(&mut criterion, &runtime);
    criterion.final_summary();
}

/// Host name to installation, of a thousand.
fn route(criterion: &mut Criterion, node: &Node) {
    criterion.bench_function("route", |bencher| {
        bencher.iter(|| {
            let host = HostName::from_authority("hello-p3.bench.localhost:8080").expect("a host");
            let snapshot = node.routes.current();
            snapshot.route(&host).expect("a route").spec.generation
        });
    });
}

/// A permit and its return.
fn admit(criterion: &mut Criterion, runtime: &Runtime) {
    let admission = Admission::new(AdmissionSettings::default());
    let allowance = Allowance {
        concurrency: 64,
        rate: Rate {
            per_second: u32::MAX,
            burst: u32::MAX,
        },
    };
    let ask = Ask {
        tenant: TenantId::new(),
        installation: InstallationId::new(),
        of_tenant: allowance,
        of_installation: allowance,
        weight: 100,
    };
    criterion.bench_function("admit", |bencher| {
        bencher.iter(|| drop(runtime.block_on(admission.admit(&ask)).expect("a permit")));
    });
}

/// A store with every limit in force and one small instance, and their end.
fn instantiate(criterion: &mut Criterion, runtime: &Runtime, node: &Node) {
    let engine = &node.engine;
    let bytes = wat::parse_str(SMALL).expect("component text");
    let component = Component::from_binary(engine.raw(), &bytes).expect("component");
    let pre = Linker::new(engine.raw()).instantiate_pre(&component);
    let pre = pre.expect("no imports");
    let budget = CpuBudget::new(Duration::from_secs(600));
    criterion.bench_function("instantiate", |bencher| {
        bencher.iter(|| {
            budget.renew();
            let limits = StoreLimits::new(64 << 20, engine.settings());
            let mut store = engine.new_store(limits, |limits| limits, &budget);
            let made = budget.meter(pre.instantiate_async(&mut store));
            runtime.block_on(made).expect("an instance")
        });
    });
}

/// Values on their way to a driver in a store of its own, and in the same store.
fn adapt(criterion: &mut Criterion, runtime: &Runtime) {
    let pairs = [
        ("adapt", runtime.block_on(Pair::apart())),
        ("composed", runtime.block_on(Pair::composed())),
    ];
    for (group, mut pair) in pairs {
        for (function, name, _) in FUNCTIONS {
            criterion.bench_function(&format!("{group}/{}", name.replace(' ', "-")), |bencher| {
                bencher.iter_custom(|times| {
                    let begun = Instant::now();
                    for _ in 0..times {
                        runtime.block_on(pair.calls(function, CALLS));
                    }
                    begun.elapsed() / CALLS
                });
            });
        }
    }
}
