//! Streams and futures between stores.

mod support;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use canopy_driver::{DriverFailed, DriverSettings, FailureCause};
use support::reading::{Read, until};
use support::text::{Function, Interface, importer, relay};
use support::{App, Handle, Host, Seen, component, host_linker, link, spawn};
use wasmtime::StoreContextMut;
use wasmtime::component::{
    Destination, Linker, StreamProducer, StreamReader, StreamResult, Val, VecBuffer,
};

const NAME: &str = "acme:flow/streams@1.0.0";
const DRIVER: &str = include_str!("components/streams-driver.wat");
const MIB: usize = 1024 * 1024;

const fn function(
    name: &'static str,
    signature: &'static str,
    parameters: &'static str,
    returned: bool,
) -> Function<'static> {
    Function {
        name,
        signature,
        parameters,
        result: if returned { None } else { Some("i32") },
        returned,
    }
}

const FUNCTIONS: &[Function<'static>] = &[
    function(
        "produce",
        "async (param \"count\" u32) (param \"trap-at\" u32) (result (stream u8))",
        "i32 i32",
        false,
    ),
    function(
        "produce-told",
        "async (param \"count\" u32) (param \"trap-at\" u32) \
         (result (tuple (stream u8) (future (result u32 (error string)))))",
        "i32 i32",
        true,
    ),
    function(
        "consume",
        "async (param \"bytes\" (stream u8)) (result u32)",
        "i32",
        false,
    ),
    function(
        "refuse",
        "async (param \"bytes\" (stream u8)) (result u32)",
        "i32",
        false,
    ),
    function(
        "promise",
        "async (param \"number\" u32) (result (future u32))",
        "i32",
        false,
    ),
];

async fn app(caller: u64, driver: &Handle) -> App {
    let text = relay(&Interface {
        name: NAME,
        types: &[],
        functions: FUNCTIONS,
    });
    App::start_for(caller, &text, &[(NAME, driver)], 16).await
}

fn settings() -> DriverSettings {
    DriverSettings {
        abandoned_grace: Duration::from_millis(50),
        ..DriverSettings::default()
    }
}

async fn produce(app: &mut App, count: usize, trap_at: u32) -> StreamReader<u8> {
    let count = u32::try_from(count).expect("count");
    let stream = app
        .call("produce", &[Val::U32(count), Val::U32(trap_at)])
        .await
        .expect("a stream");
    let Some(Val::Stream(stream)) = stream else {
        panic!("{stream:?}");
    };
    stream.try_into_stream_reader().expect("of bytes")
}

const NO_TRAP: u32 = u32::MAX;

#[tokio::test]
async fn a_stream_of_a_driver_arrives_whole_after_its_call_has_returned() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let stream = produce(&mut app, MIB, NO_TRAP).await;
    let read = Read::new();
    stream.pipe(&mut app.store, read.reader()).expect("piped");
    until(&mut app, || read.has_ended()).await.expect("runs");
    assert_eq!(read.len(), MIB);
    assert!(read.take().iter().all(|byte| *byte == 7));
    assert_eq!(seen.failures(), [""; 0]);
}

/// Bytes that the driver's writes have handed over.
fn written(seen: &Seen) -> usize {
    let counts = seen.dropped();
    counts.iter().map(|count| *count as usize).sum()
}

#[tokio::test]
async fn a_slow_reader_holds_the_writer() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let stream = produce(&mut app, MIB, NO_TRAP).await;
    // Nobody reads. The writer gets as far as the room between the stores goes.
    seen.wait_dropped(1).await;
    assert!(written(&seen) <= 128 * 1024, "{}", written(&seen));
    let read = Read::up_to(256 * 1024);
    stream.pipe(&mut app.store, read.reader()).expect("piped");
    until(&mut app, || read.len() >= 256 * 1024)
        .await
        .expect("runs");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(written(&seen) < 512 * 1024, "{}", written(&seen));
    assert!(!read.has_ended());
    assert_eq!(seen.failures(), [""; 0]);
}

#[tokio::test]
async fn the_writer_learns_that_the_reader_is_gone() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let mut stream = produce(&mut app, MIB, NO_TRAP).await;
    seen.wait_dropped(1).await;
    stream.close(&mut app.store).expect("closed");
    for _ in 0..500 {
        if seen.dropped().last() == Some(&77) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(seen.dropped().last(), Some(&77));
    assert_eq!(seen.failures(), [""; 0]);
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn a_reader_whose_store_is_gone_leaves_the_driver_as_it_is() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut first = app(1, &driver).await;
    produce(&mut first, MIB, NO_TRAP).await;
    drop(first);
    let mut second = app(2, &driver).await;
    let stream = produce(&mut second, MIB, NO_TRAP).await;
    let read = Read::new();
    stream
        .pipe(&mut second.store, read.reader())
        .expect("piped");
    until(&mut second, || read.has_ended()).await.expect("runs");
    assert_eq!(read.len(), MIB);
    assert_eq!(seen.stores(), 1);
}

#[tokio::test]
async fn a_driver_that_traps_in_mid_stream_traps_the_reader() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let stream = produce(&mut app, MIB, 524_288).await;
    let read = Read::new();
    stream.pipe(&mut app.store, read.reader()).expect("piped");
    let error = until(&mut app, || false).await.expect_err("a failure");
    let failure = error.downcast_ref::<DriverFailed>().expect("of the driver");
    assert!(matches!(failure.cause, FailureCause::Trap(_)), "{failure}");
    assert_eq!(&*failure.function, "produce");
    assert!(read.len() <= MIB / 2);
    assert_eq!(seen.failures().len(), 1);
}

#[tokio::test]
async fn a_future_beside_the_stream_says_that_the_driver_failed() {
    let (driver, _) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let arguments = [Val::U32(1_048_576), Val::U32(524_288)];
    let result = app.call("produce-told", &arguments).await.expect("both");
    let Some(Val::Tuple(both)) = result else {
        panic!("{result:?}");
    };
    let [Val::Stream(stream), Val::Future(outcome)] = both.as_slice() else {
        panic!("{both:?}");
    };
    let read = Read::new();
    let stream = stream
        .clone()
        .try_into_stream_reader::<u8>()
        .expect("bytes");
    stream.pipe(&mut app.store, read.reader()).expect("piped");
    let told = Read::new();
    let outcome = outcome
        .clone()
        .try_into_future_reader::<Result<u32, String>>();
    let outcome = outcome.expect("an outcome");
    outcome.pipe(&mut app.store, told.reader()).expect("piped");
    until(&mut app, || read.has_ended() && told.len() > 0)
        .await
        .expect("runs");
    let told = told.take().pop().expect("an outcome");
    let text = told.expect_err("a failure");
    assert!(
        text.starts_with("driver `flow` did not answer `produce-told`"),
        "{text}"
    );
    assert!(read.len() <= MIB / 2);
}

/// Gives so many bytes, and then either ends or waits for ever.
struct Giver {
    left: usize,
    ends: bool,
    refused: Arc<AtomicUsize>,
}

impl Drop for Giver {
    fn drop(&mut self) {
        self.refused.store(self.left, Ordering::SeqCst);
    }
}

impl<D> StreamProducer<D> for Giver {
    type Item = u8;
    type Buffer = VecBuffer<u8>;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: StoreContextMut<'a, D>,
        mut destination: Destination<'a, u8, VecBuffer<u8>>,
        _: bool,
    ) -> Poll<wasmtime::Result<StreamResult>> {
        let count = self.left.min(100_000);
        if count == 0 {
            return match self.ends {
                true => Poll::Ready(Ok(StreamResult::Dropped)),
                false => Poll::Pending,
            };
        }
        self.left -= count;
        destination.set_buffer(vec![1; count].into());
        Poll::Ready(Ok(StreamResult::Completed))
    }
}

fn giver(app: &mut App, left: usize, ends: bool) -> (Val, Arc<AtomicUsize>) {
    let refused = Arc::new(AtomicUsize::new(usize::MAX));
    let giver = Giver {
        left,
        ends,
        refused: refused.clone(),
    };
    let stream = StreamReader::new(&mut app.store, giver).expect("a stream");
    let stream = stream.try_into_stream_any(&mut app.store).expect("any");
    (Val::Stream(stream), refused)
}

#[tokio::test]
async fn a_driver_reads_what_its_caller_writes_and_knows_who_that_is() {
    let (driver, _) = spawn("flow", DRIVER, settings());
    let mut app = app(9, &driver).await;
    let (stream, _) = giver(&mut app, MIB, true);
    let sum = app.call("consume", &[stream]).await.expect("a sum");
    assert_eq!(sum, Some(Val::U32(1_048_576 + 9)));
}

#[tokio::test]
async fn a_driver_may_refuse_a_stream() {
    let (driver, _) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let (stream, refused) = giver(&mut app, MIB, true);
    assert_eq!(
        app.call("refuse", &[stream]).await.expect("called"),
        Some(Val::U32(3))
    );
    let is_dropped = || refused.load(Ordering::SeqCst) != usize::MAX;
    until(&mut app, is_dropped).await.expect("runs");
    assert!(refused.load(Ordering::SeqCst) > MIB / 2);
}

#[tokio::test]
async fn a_caller_that_dies_in_mid_stream_is_no_end_of_the_stream() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut first = app(1, &driver).await;
    let (stream, _) = giver(&mut first, 1000, false);
    let arguments = [stream];
    let call = first.call("consume", &arguments);
    let cut = tokio::time::timeout(Duration::from_millis(100), call).await;
    assert!(cut.is_err(), "the stream has not ended");
    drop(first);
    let mut second = app(2, &driver).await;
    let (stream, _) = giver(&mut second, 10, true);
    let sum = second.call("consume", &[stream]).await.expect("a sum");
    assert_eq!(sum, Some(Val::U32(10 + 2)));
    let failures = seen.failures();
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert!(failures[0].contains("the caller is gone"), "{failures:?}");
    assert_eq!(seen.stores(), 2);
}

#[tokio::test]
async fn the_streams_of_one_caller_keep_others_waiting_but_not_itself() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut first = app(1, &driver).await;
    let stream = produce(&mut first, MIB, NO_TRAP).await;
    let (own, _) = giver(&mut first, 10, true);
    assert_eq!(
        first.call("refuse", &[own]).await.expect("called"),
        Some(Val::U32(3))
    );
    let mut second = app(2, &driver).await;
    let (theirs, _) = giver(&mut second, 10, true);
    let other = tokio::spawn(async move { second.call("refuse", &[theirs]).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!other.is_finished(), "it waits for the stream");
    let read = Read::new();
    stream.pipe(&mut first.store, read.reader()).expect("piped");
    until(&mut first, || read.has_ended()).await.expect("runs");
    let answer = other.await.expect("no panic").expect("called");
    assert_eq!(answer, Some(Val::U32(3)));
    assert_eq!(seen.stores(), 1);
}

async fn promise(app: &mut App, number: u32) -> Read<u32> {
    let future = app
        .call("promise", &[Val::U32(number)])
        .await
        .expect("a future");
    let Some(Val::Future(future)) = future else {
        panic!("{future:?}");
    };
    let kept = Read::new();
    let future = future.try_into_future_reader::<u32>().expect("of a number");
    future.pipe(&mut app.store, kept.reader()).expect("piped");
    kept
}

#[tokio::test]
async fn a_future_of_a_driver_resolves_after_its_call_has_returned() {
    let (driver, _) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    let kept = promise(&mut app, 42).await;
    until(&mut app, || kept.len() > 0).await.expect("runs");
    assert_eq!(kept.take(), [42]);
}

#[tokio::test]
async fn a_future_that_is_never_written_fails_at_the_deadline() {
    let (driver, seen) = spawn("flow", DRIVER, settings());
    let mut app = app(1, &driver).await;
    app.set_deadline(Duration::from_millis(200));
    promise(&mut app, 0).await;
    let error = until(&mut app, || false).await.expect_err("a failure");
    let failure = error.downcast_ref::<DriverFailed>().expect("of the driver");
    assert!(matches!(failure.cause, FailureCause::Deadline), "{failure}");
    // What only it wrote for the caller is over; its store has done nothing wrong.
    assert_eq!(seen.failures(), [""; 0]);
}

#[tokio::test]
async fn no_more_streams_are_open_than_may_be() {
    let settings = DriverSettings {
        streams: 1,
        ..settings()
    };
    let (driver, _) = spawn("flow", DRIVER, settings);
    let mut app = app(1, &driver).await;
    let _stream = produce(&mut app, MIB, NO_TRAP).await;
    let (more, _) = giver(&mut app, 10, true);
    let error = app.call("refuse", &[more]).await.expect_err("one too many");
    let failure = error.downcast_ref::<DriverFailed>().expect("of the driver");
    assert_eq!(
        failure.cause.to_string(),
        "1 streams and futures are open with it, which is the limit"
    );
}

/// What linking says of a function with this result, of which a driver exports the same.
async fn linked(types: &[(&str, &str)], signature: &str) -> Result<(), String> {
    let functions = [Function {
        name: "get",
        signature,
        parameters: "",
        result: None,
        returned: true,
    }];
    let interface = Interface {
        name: NAME,
        types,
        functions: &functions,
    };
    let driver = support::text::driver(&interface, |_| "unreachable".to_owned());
    let (driver, _) = spawn("same", &driver, settings());
    let importer = component(&importer(&interface));
    let mut linker: Linker<Host> = host_linker();
    let linked = link(&mut linker, &importer, &[(NAME, &driver)]);
    linked.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn the_streams_of_storage_cross() {
    let value = "(variant (case \"null\") (case \"integer\" s64) (case \"real\" f64) \
                 (case \"text\" string) (case \"blob\" (list u8)))";
    let types = [
        ("value", value),
        ("row", "(list $value)"),
        (
            "done",
            "(record (field \"changes\" u64) (field \"last-insert-rowid\" s64))",
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
            "error",
            "(variant (case \"no-such-database\") (case \"access-denied\" string) \
             (case \"invalid-statement\" string) (case \"constraint\" $violation) \
             (case \"quota-exceeded\" string) (case \"too-large\" string) \
             (case \"timeout\" string) (case \"busy\") (case \"transaction-over\" string) \
             (case \"other\" string))",
        ),
        (
            "rows",
            "(record (field \"rows\" (stream $row)) \
             (field \"outcome\" (future (result $done (error $error)))))",
        ),
    ];
    let signature = "(result (result $rows (error $error)))";
    assert_eq!(linked(&types, signature).await, Ok(()));
}

#[tokio::test]
async fn what_cannot_cross_is_refused_by_name() {
    let nested = [("inner", "(future u8)"), ("outer", "(stream $inner)")];
    let types = [("point", "(record (field \"x\" u32) (field \"y\" u32))")];
    assert_eq!(
        linked(&types, "(result (tuple u32 (stream $point)))").await,
        Err(
            "`get` of `acme:flow/streams@1.0.0` cannot be served by a driver: result, element 1: \
             streams and futures of record {x, y} are not supported between components"
                .to_owned()
        )
    );
    assert_eq!(
        linked(&nested, "(result (tuple u32 $outer))").await,
        Err(
            "`get` of `acme:flow/streams@1.0.0` cannot be served by a driver: result, element 1, \
             payload: streams and futures cannot be in others between components"
                .to_owned()
        )
    );
}
