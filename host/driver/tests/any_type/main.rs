//! Values of any type cross as Wasmtime itself hands them over by `Val`, and what a component must not
//! return is refused as it refuses it.

#[path = "../support/mod.rs"]
mod support;
mod types;

use std::sync::{Arc, Mutex};

use canopy_driver::DriverSettings;
use canopy_ids::DriverInstanceId;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use support::text::{Function, Interface, driver, handing_on, relay};
use support::{App, component, host_linker, spawn, spawn_as};
use types::Ty;
use wasmtime::component::Val;

const NAME: &str = "acme:any/echo@1.0.0";
/// What the host may be given at once by the store that is compared with, so that what an application
/// is given has room in its memory.
const FUEL: usize = 16 * 1024;
/// Parameters and results beyond which they are in memory.
const MOST_FLAT: usize = 16;

/// The core types of a function, as they are written.
struct Written {
    types: Vec<(String, String)>,
    spelled: String,
    parameters: String,
    result: Option<&'static str>,
}

impl Written {
    fn of(ty: &Ty) -> Self {
        let mut types = Vec::new();
        let spelled = ty.spell(&mut types);
        let flat = ty.flat();
        let names: Vec<_> = flat.iter().map(|core| core.name()).collect();
        Self {
            types,
            spelled,
            parameters: match flat.len() > MOST_FLAT {
                true => "i32".to_owned(),
                false => names.join(" "),
            },
            result: match *flat {
                [core] => Some(core.name()),
                _ => None,
            },
        }
    }

    /// Does something with the interface that has a function of this signature alone.
    fn with<T>(&self, signature: &str, parameters: &str, then: impl Fn(&Interface<'_>) -> T) -> T {
        let types: Vec<_> = self.types.iter().map(|(a, b)| (&**a, &**b)).collect();
        then(&Interface {
            name: NAME,
            types: &types,
            functions: &[Function {
                name: "f",
                signature,
                parameters,
                result: self.result,
                returned: self.result.is_none(),
            }],
        })
    }
}

/// Has values of a type echoed by the host, to which a driver hands them on, and says what the host saw
/// and what came back.
async fn echoed(ty: &Ty, is_async: bool, values: &[Val]) -> (Vec<Val>, Vec<Val>) {
    let written = Written::of(ty);
    let kind = if is_async { "async" } else { "" };
    let signature = format!("{kind} (param \"value\" {0}) (result {0})", written.spelled);
    let (driver, app) = written.with(&signature, &written.parameters, |interface| {
        (handing_on(interface), relay(interface))
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut linker = host_linker();
    let told = seen.clone();
    let mut instance = linker.instance(NAME).expect("instance");
    let echo = move |parameters: &[Val], results: &mut [Val]| {
        results.clone_from_slice(parameters);
        told.lock().expect("lock").extend_from_slice(parameters);
    };
    let defined = match is_async {
        true => instance.func_new_concurrent("f", move |_, _, parameters, results| {
            echo(parameters, results);
            Box::pin(async { Ok(()) })
        }),
        false => instance.func_new("f", move |_, _, parameters, results| {
            echo(parameters, results);
            Ok(())
        }),
    };
    defined.expect("defined");
    let (driver, _) = spawn_as(
        DriverInstanceId::new(),
        "echo",
        &component(&driver),
        linker,
        DriverSettings::default(),
    );
    let mut app = App::start(&app, &[(NAME, &driver)]).await;
    let mut answers = Vec::new();
    for value in values {
        let answer = app.call("f", std::slice::from_ref(value)).await;
        answers.extend(answer.expect("answered"));
    }
    let seen = seen.lock().expect("lock").clone();
    (seen, answers)
}

/// What comes of a driver that returns what is in its memory, to the host by `Val`, and to an
/// application: nothing where it was refused. `None` where it is too much for the application.
async fn returned(ty: &Ty, memory: &[u32]) -> Option<[Option<Val>; 2]> {
    let written = Written::of(ty);
    let words: String = memory
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .map(|byte| format!("\\{byte:02x}"))
        .collect();
    let body = match ty.flat().as_slice() {
        [core] => format!("({}.load (i32.const 0))", core.name()),
        _ => "(i32.const 0)".to_owned(),
    };
    let signature = format!("(result {})", written.spelled);
    let (driver, app) = written.with(&signature, "", |interface| {
        (driver(interface, |_| body.clone()), relay(interface))
    });
    let driver = driver.replacen(
        "(memory (export \"memory\") 4)",
        &format!("(memory (export \"memory\") 4) (data (i32.const 0) \"{words}\")"),
        1,
    );
    let alone = {
        let component = component(&driver);
        let mut store = support::lone_store();
        store.set_hostcall_fuel(FUEL);
        let linker = host_linker();
        let instance = linker.instantiate_async(&mut store, &component).await;
        let instance = instance.expect("instance");
        let exported = instance.get_export_index(&mut store, None, NAME);
        let index = instance.get_export_index(&mut store, exported.as_ref(), "f");
        let function = instance.get_func(&mut store, index.expect("exported"));
        let mut results = [Val::Bool(false)];
        let called = function.expect("a function");
        let called = called.call_async(&mut store, &[], &mut results).await;
        let [result] = results;
        match called {
            Ok(()) => Some(result),
            Err(error) if format!("{error:#}").contains("fuel") => return None,
            Err(_) => None,
        }
    };
    let (driver, seen) = spawn("memory", &driver, DriverSettings::default());
    let mut app = App::start(&app, &[(NAME, &driver)]).await;
    let crossed = app.call("f", &[]).await;
    // An application may be told of it by a value.
    let crossed = match seen.failures().is_empty() {
        true => crossed.expect("answered"),
        false => None,
    };
    Some([alone, crossed])
}

fn run(future: impl Future<Output = TestCaseResult>) -> TestCaseResult {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(future)
}

fn any_values() -> impl Strategy<Value = (Ty, Vec<Val>)> {
    Ty::any().prop_flat_map(|ty| {
        let values = prop::collection::vec(ty.value(), 1..4);
        (Just(ty), values)
    })
}

/// Words of which many are the place or the length of something.
fn any_memory() -> impl Strategy<Value = Vec<u32>> {
    let word = prop_oneof![
        6 => 0_u32..6,
        6 => (0_u32..32).prop_map(|word| word * 8),
        1 => any::<u32>(),
        1 => 0x4_0000_u32 - 32..0x4_0000 + 4,
        1 => any::<char>().prop_map(u32::from),
    ];
    prop::collection::vec(word, 64)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn values_of_any_type_cross_unchanged(
        (ty, values) in any_values(),
        is_async in any::<bool>(),
    ) {
        run(async {
            let (seen, answers) = echoed(&ty, is_async, &values).await;
            prop_assert_eq!(&seen, &values);
            prop_assert_eq!(&answers, &values);
            Ok(())
        })?;
    }

    #[test]
    fn whatever_is_in_a_drivers_memory_is_read_or_refused_as_by_wasmtime(
        ty in Ty::any(),
        memory in any_memory(),
    ) {
        run(async {
            let Some([alone, crossed]) = returned(&ty, &memory).await else {
                return Err(TestCaseError::reject("too much"));
            };
            prop_assert_eq!(alone, crossed);
            Ok(())
        })?;
    }
}
