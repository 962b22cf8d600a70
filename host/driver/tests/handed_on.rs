//! Streams and futures of the platform that a driver hands on as they are.

mod support;

use canopy_capability_blobs::payload as blobs;
use canopy_capability_sql::payload as sql;
use canopy_driver::{DriverFailed, DriverSettings};
use canopy_ids::DriverInstanceId;
use support::reading::{Read, until};
use support::text::{Function, Interface, handing_on, relay};
use support::{App, Host, component, host_linker, spawn_as};
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, FutureReader, Lift, Linker, Lower, StreamReader, Val};

const NAME: &str = "acme:rows/source@1.0.0";

/// As in `canopy:storage/sql` and `canopy:storage/blobs`.
const TYPES: &[(&str, &str)] = &[
    (
        "value",
        "(variant (case \"null\") (case \"integer\" s64) (case \"real\" f64) \
         (case \"text\" string) (case \"blob\" (list u8)))",
    ),
    (
        "constraint",
        "(enum \"unique\" \"foreign-key\" \"not-null\" \"check\" \"other\")",
    ),
    (
        "violation",
        "(record (field \"constraint\" $constraint) (field \"message\" string))",
    ),
    (
        "sql-error",
        "(variant (case \"no-such-database\") (case \"access-denied\" string) \
         (case \"invalid-statement\" string) (case \"constraint\" $violation) \
         (case \"quota-exceeded\" string) (case \"too-large\" string) (case \"timeout\" string) \
         (case \"busy\") (case \"transaction-over\" string) (case \"other\" string))",
    ),
    (
        "outcome",
        "(record (field \"changes\" u64) (field \"last-insert-rowid\" s64))",
    ),
    (
        "blobs-error",
        "(variant (case \"no-such-container\") (case \"no-such-object\") \
         (case \"no-such-upload\") (case \"container-not-empty\") (case \"invalid\" string) \
         (case \"condition-failed\" (option string)) (case \"invalid-range\" u64) \
         (case \"invalid-part\" string) (case \"wrong-size\") (case \"too-large\" string) \
         (case \"quota-exceeded\" string) (case \"busy\") (case \"access-denied\") \
         (case \"damaged\") (case \"other\" string))",
    ),
];

const FUNCTIONS: &[Function<'static>] = &[
    Function {
        name: "rows",
        signature: "(result (tuple (stream (list $value)) \
                    (future (result $outcome (error $sql-error)))))",
        parameters: "",
        result: None,
        returned: true,
    },
    Function {
        name: "other-rows",
        signature: "(result (tuple (stream (list $value)) (future u32)))",
        parameters: "",
        result: None,
        returned: true,
    },
    Function {
        name: "other-outcome",
        signature: "(result (tuple (stream u8) (future (result $outcome (error $sql-error)))))",
        parameters: "",
        result: None,
        returned: true,
    },
    Function {
        name: "body",
        signature: "(result (tuple (stream u8) (future (result (error $blobs-error)))))",
        parameters: "",
        result: None,
        returned: true,
    },
];

const INTERFACE: Interface<'static> = Interface {
    name: NAME,
    types: TYPES,
    functions: FUNCTIONS,
};

const ROWS: i64 = 100;
const BYTES: usize = 200_000;

type Rows = (
    StreamReader<Vec<sql::Value>>,
    FutureReader<Result<sql::Outcome, sql::Error>>,
);
type Body = (StreamReader<u8>, FutureReader<Result<(), blobs::Error>>);

/// As `value` for components, and another type in Rust: the driver's store cannot read what is
/// written as this.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum Other {
    #[component(name = "null")]
    Null,
    #[component(name = "integer")]
    Integer(i64),
    #[component(name = "real")]
    Real(f64),
    #[component(name = "text")]
    Text(String),
    #[component(name = "blob")]
    Blob(Vec<u8>),
}

/// The same of `outcome`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct OtherOutcome {
    changes: u64,
    #[component(name = "last-insert-rowid")]
    last_insert_rowid: i64,
}

/// The platform, which serves the interface to the driver.
fn platform() -> Linker<Host> {
    let mut linker = host_linker();
    let mut instance = linker.instance(NAME).expect("instance");
    instance
        .func_wrap("rows", |mut store: StoreContextMut<'_, Host>, (): ()| {
            let row = |number| vec![sql::Value::Integer(number), sql::Value::Text("x".into())];
            let rows: Vec<_> = (0..ROWS).map(row).collect();
            let outcome = sql::Outcome {
                changes: 3,
                last_insert_rowid: 4,
            };
            let outcome = async move { Ok::<_, wasmtime::Error>(Ok::<_, sql::Error>(outcome)) };
            let rows: Rows = (
                StreamReader::new(&mut store, rows)?,
                FutureReader::new(&mut store, outcome)?,
            );
            Ok((rows,))
        })
        .expect("rows");
    instance
        .func_wrap(
            "other-rows",
            |mut store: StoreContextMut<'_, Host>, (): ()| {
                let told = async { Ok::<_, wasmtime::Error>(1) };
                let both: (StreamReader<Vec<Other>>, FutureReader<u32>) = (
                    StreamReader::new(&mut store, vec![vec![Other::Null]])?,
                    FutureReader::new(&mut store, told)?,
                );
                Ok((both,))
            },
        )
        .expect("other-rows");
    instance
        .func_wrap(
            "other-outcome",
            |mut store: StoreContextMut<'_, Host>, (): ()| {
                let outcome = OtherOutcome {
                    changes: 3,
                    last_insert_rowid: 4,
                };
                let outcome = async move { Ok::<_, wasmtime::Error>(Ok::<_, sql::Error>(outcome)) };
                let both: (
                    StreamReader<u8>,
                    FutureReader<Result<OtherOutcome, sql::Error>>,
                ) = (
                    StreamReader::new(&mut store, Vec::<u8>::new())?,
                    FutureReader::new(&mut store, outcome)?,
                );
                Ok((both,))
            },
        )
        .expect("other-outcome");
    instance
        .func_wrap("body", |mut store: StoreContextMut<'_, Host>, (): ()| {
            let outcome = async { Ok::<_, wasmtime::Error>(Err::<(), _>(blobs::Error::Damaged)) };
            let body: Body = (
                StreamReader::new(&mut store, vec![7_u8; BYTES])?,
                FutureReader::new(&mut store, outcome)?,
            );
            Ok((body,))
        })
        .expect("body");
    linker
}

/// What the stream and the future carry that an application has of `function` by a driver that has
/// them of the platform, and what was written down of the driver.
async fn handed_on<T, F>(function: &str) -> (wasmtime::Result<()>, Vec<T>, Vec<F>, Vec<String>)
where
    T: ComponentType + Lift + Send + Sync + 'static,
    F: ComponentType + Lift + Send + Sync + 'static,
{
    let driver = component(&handing_on(&INTERFACE));
    let settings = DriverSettings::default();
    let (driver, seen) = spawn_as(
        DriverInstanceId::new(),
        "between",
        &driver,
        platform(),
        settings,
    );
    let mut app = App::start(&relay(&INTERFACE), &[(NAME, &driver)]).await;
    let both = app.call(function, &[]).await.expect("answered");
    let Some(Val::Tuple(both)) = both else {
        panic!("{both:?}");
    };
    let [Val::Stream(stream), Val::Future(future)] = both.as_slice() else {
        panic!("{both:?}");
    };
    let (items, told) = (Read::<T>::new(), Read::<F>::new());
    let stream = stream.clone().try_into_stream_reader::<T>();
    let stream = stream.expect("a stream of these");
    stream.pipe(&mut app.store, items.reader()).expect("piped");
    let future = future.clone().try_into_future_reader::<F>();
    let future = future.expect("a future of this");
    future.pipe(&mut app.store, told.reader()).expect("piped");
    let run = until(&mut app, || items.has_ended() && told.has_ended()).await;
    (run, items.take(), told.take(), seen.failures())
}

#[tokio::test]
async fn rows_and_their_outcome() {
    let (run, rows, mut told, failures) =
        handed_on::<Vec<sql::Value>, Result<sql::Outcome, sql::Error>>("rows").await;
    run.expect("runs");
    assert_eq!(failures, [""; 0]);
    assert_eq!(i64::try_from(rows.len()), Ok(ROWS));
    for (number, row) in (0..).zip(rows) {
        let [sql::Value::Integer(first), sql::Value::Text(second)] = row.as_slice() else {
            panic!("{row:?}");
        };
        assert_eq!((*first, second.as_str()), (number, "x"));
    }
    let outcome = told.pop().expect("told").expect("an outcome");
    assert_eq!((outcome.changes, outcome.last_insert_rowid), (3, 4));
}

#[tokio::test]
async fn the_body_of_an_object_and_its_outcome() {
    let (run, bytes, mut told, failures) = handed_on::<u8, Result<(), blobs::Error>>("body").await;
    run.expect("runs");
    assert_eq!(failures, [""; 0]);
    assert!(bytes.iter().all(|byte| *byte == 7));
    assert_eq!(bytes.len(), BYTES);
    let outcome = told.pop().expect("told");
    assert!(matches!(outcome, Err(blobs::Error::Damaged)), "{outcome:?}");
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_fails_at_once_and_is_not_taken_for_whole() {
    let (run, rows, _, failures) = handed_on::<Vec<sql::Value>, u32>("other-rows").await;
    assert!(rows.is_empty());
    let error = run.expect_err("a failure");
    let failure = error.downcast_ref::<DriverFailed>().expect("of the driver");
    assert_eq!(&*failure.function, "other-rows");
    assert_eq!(failures.len(), 1, "{failures:?}");
}

#[tokio::test]
async fn a_future_that_cannot_be_read_says_so_at_once() {
    let (run, _, mut told, failures) =
        handed_on::<u8, Result<sql::Outcome, sql::Error>>("other-outcome").await;
    run.expect("runs");
    let Some(Err(sql::Error::Other(text))) = told.pop() else {
        panic!("nothing was told");
    };
    assert!(text.starts_with("driver `between`"), "{text}");
    assert_eq!(failures.len(), 1, "{failures:?}");
}
