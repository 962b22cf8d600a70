//! Values of every type cross unchanged, both ways.

mod support;

use canopy_driver::{DriverFailed, DriverHost as _, DriverSettings, FailureCause};
use support::text::{Function, Interface, driver, relay};
use support::{App, KEPT, spawn};
use wasmtime::component::Val;

const NAME: &str = "acme:echo/echo@1.0.0";

/// A record with every kind of value in it. It has too many flat values to be passed in registers,
/// so it is laid out in memory alike as a parameter and as a result, and an echo returns the
/// address that it got.
const TYPES: &[(&str, &str)] = &[
    ("point", "(record (field \"x\" s32) (field \"y\" f64))"),
    ("colour", "(enum \"red\" \"green\" \"blue\")"),
    ("rights", "(flags \"read\" \"write\" \"run\")"),
    (
        "wide",
        "(flags \"f0\" \"f1\" \"f2\" \"f3\" \"f4\" \"f5\" \"f6\" \"f7\" \"f8\" \"f9\" \"f10\" \
         \"f11\" \"f12\" \"f13\" \"f14\" \"f15\" \"f16\")",
    ),
    (
        "shape",
        "(variant (case \"nothing\") (case \"dot\" $point) (case \"name\" string))",
    ),
    (
        "everything",
        "(record (field \"a\" bool) (field \"b\" s8) (field \"c\" u8) (field \"d\" s16)
          (field \"e\" u16) (field \"f\" s32) (field \"g\" u32) (field \"h\" s64) (field \"i\" u64)
          (field \"j\" f32) (field \"k\" f64) (field \"l\" char) (field \"m\" string)
          (field \"n\" (list u8)) (field \"o\" (list string)) (field \"p\" $point)
          (field \"q\" (tuple u8 string)) (field \"r\" $shape) (field \"s\" $colour)
          (field \"t\" $rights) (field \"u\" $wide) (field \"v\" (option $point))
          (field \"w\" (result u32 (error string))) (field \"x\" (result))
          (field \"y\" (list $shape)) (field \"z\" (option (option u8))))",
    ),
];

fn interface(functions: &'static [Function<'static>]) -> Interface<'static> {
    Interface {
        name: NAME,
        types: TYPES,
        functions,
    }
}

const ECHO: &[Function<'static>] = &[Function {
    name: "echo",
    signature: "(param \"value\" $everything) (result $everything)",
    parameters: "i32",
    result: None,
    returned: true,
}];

fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn some(value: Val) -> Option<Box<Val>> {
    Some(Box::new(value))
}

fn point(x: i32, y: f64) -> Val {
    Val::Record(vec![
        ("x".to_owned(), Val::S32(x)),
        ("y".to_owned(), Val::Float64(y)),
    ])
}

fn flags(names: &[&str]) -> Val {
    Val::Flags(names.iter().map(|name| (*name).to_owned()).collect())
}

fn everything(values: [Val; 26]) -> Val {
    let names = ('a'..='z').map(String::from);
    Val::Record(names.zip(values).collect())
}

fn least() -> Val {
    everything([
        Val::Bool(false),
        Val::S8(i8::MIN),
        Val::U8(0),
        Val::S16(i16::MIN),
        Val::U16(0),
        Val::S32(i32::MIN),
        Val::U32(0),
        Val::S64(i64::MIN),
        Val::U64(0),
        Val::Float32(-0.0),
        Val::Float64(f64::NEG_INFINITY),
        Val::Char('\0'),
        text(""),
        Val::List(vec![]),
        Val::List(vec![]),
        point(i32::MIN, f64::MIN_POSITIVE),
        Val::Tuple(vec![Val::U8(0), text("")]),
        Val::Variant("nothing".to_owned(), None),
        Val::Enum("red".to_owned()),
        flags(&[]),
        flags(&["f16"]),
        Val::Option(None),
        Val::Result(Err(some(text("no")))),
        Val::Result(Err(None)),
        Val::List(vec![]),
        Val::Option(some(Val::Option(None))),
    ])
}

fn most() -> Val {
    everything([
        Val::Bool(true),
        Val::S8(i8::MAX),
        Val::U8(u8::MAX),
        Val::S16(i16::MAX),
        Val::U16(u16::MAX),
        Val::S32(i32::MAX),
        Val::U32(u32::MAX),
        Val::S64(i64::MAX),
        Val::U64(u64::MAX),
        Val::Float32(f32::NAN),
        Val::Float64(f64::MAX),
        Val::Char('\u{10ffff}'),
        text("žluťoučký kůň 🐎"),
        Val::List((0..=255).map(Val::U8).collect()),
        Val::List(vec![text("a"), text(""), text("ccc")]),
        point(-1, 0.5),
        Val::Tuple(vec![Val::U8(7), text("seven")]),
        Val::Variant("dot".to_owned(), some(point(1, 2.0))),
        Val::Enum("blue".to_owned()),
        flags(&["read", "write", "run"]),
        flags(&["f0", "f7", "f8", "f15"]),
        Val::Option(some(point(3, 4.0))),
        Val::Result(Ok(some(Val::U32(9)))),
        Val::Result(Ok(None)),
        Val::List(vec![
            Val::Variant("name".to_owned(), some(text("n"))),
            Val::Variant("nothing".to_owned(), None),
            Val::Variant("dot".to_owned(), some(point(5, 6.0))),
        ]),
        Val::Option(some(Val::Option(some(Val::U8(1))))),
    ])
}

#[tokio::test]
async fn every_type_crosses_unchanged() {
    let interface = interface(ECHO);
    let echo = driver(&interface, |_| "local.get 0".to_owned());
    let (driver, _) = spawn("echo", &echo, DriverSettings::default());
    let mut app = App::start(&relay(&interface), &[(NAME, &driver)]).await;
    for value in [least(), most(), least()] {
        let echoed = app
            .call("echo", std::slice::from_ref(&value))
            .await
            .expect("echo");
        assert_eq!(echoed, Some(value));
    }
}

#[tokio::test]
async fn functions_without_parameters_or_results() {
    const PLAIN: &[Function<'static>] = &[
        Function {
            name: "nothing",
            signature: "",
            parameters: "",
            result: None,
            returned: false,
        },
        Function {
            name: "swap",
            signature: "(param \"a\" f32) (param \"b\" s64) (result (tuple s64 f32))",
            parameters: "f32 i64",
            result: None,
            returned: true,
        },
        Function {
            name: "negate",
            signature: "(param \"a\" f64) (result f64)",
            parameters: "f64",
            result: Some("f64"),
            returned: false,
        },
    ];
    let interface = interface(PLAIN);
    let text = driver(&interface, |name| {
        match name {
            "nothing" => "",
            "swap" => {
                "(i64.store (i32.const 8) (local.get 1)) (f32.store (i32.const 16) (local.get 0))
                 (i32.const 8)"
            }
            _ => "(f64.neg (local.get 0))",
        }
        .to_owned()
    });
    let (driver, _) = spawn("plain", &text, DriverSettings::default());
    let mut app = App::start(&relay(&interface), &[(NAME, &driver)]).await;
    assert_eq!(app.call("nothing", &[]).await.expect("nothing"), None);
    let swapped = app
        .call("swap", &[Val::Float32(1.5), Val::S64(-3)])
        .await
        .expect("swap");
    assert_eq!(
        swapped,
        Some(Val::Tuple(vec![Val::S64(-3), Val::Float32(1.5)]))
    );
    let negated = app
        .call("negate", &[Val::Float64(2.0)])
        .await
        .expect("negate");
    assert_eq!(negated, Some(Val::Float64(-2.0)));
}

async fn length_of(list: Val, element: &str, fuel: usize) -> wasmtime::Result<Option<Val>> {
    let signature = format!("(param \"list\" (list {element})) (result u32)");
    let interface = Interface {
        name: NAME,
        types: &[],
        functions: &[Function {
            name: "length",
            signature: &signature,
            parameters: "i32 i32",
            result: Some("i32"),
            returned: false,
        }],
    };
    let text = driver(&interface, |_| "local.get 1".to_owned());
    let (driver, _) = spawn("length", &text, DriverSettings::default());
    let mut app = App::start(&relay(&interface), &[(NAME, &driver)]).await;
    app.store.set_hostcall_fuel(fuel);
    app.call("length", &[list]).await
}

#[tokio::test]
async fn each_byte_of_a_list_takes_one_of_the_fuel_for_host_calls() {
    let bytes = |length| Val::List(vec![Val::U8(7); length]);
    let fits = length_of(bytes(100_000), "u8", 100_000).await;
    assert_eq!(fits.expect("enough fuel"), Some(Val::U32(100_000)));
    let error = length_of(bytes(100_001), "u8", 100_000).await;
    let error = error.expect_err("one byte too many");
    assert!(format!("{error:#}").contains("fuel"), "{error:#}");
}

#[tokio::test]
async fn each_element_of_another_list_takes_what_the_host_has_of_it() {
    let empty = |length| Val::List(vec![text(""); length]);
    let fits = length_of(empty(1000), "string", 32 * 1000).await;
    assert_eq!(fits.expect("enough fuel"), Some(Val::U32(1000)));
    let error = length_of(empty(1001), "string", 32 * 1000).await;
    let error = error.expect_err("one too many");
    assert!(format!("{error:#}").contains("fuel"), "{error:#}");
}

/// A list that is handed over, and one that is answered.
async fn passes(list: Val, kept: usize) -> wasmtime::Result<Option<Val>> {
    let interface = Interface {
        name: NAME,
        types: &[],
        functions: &[Function {
            name: "answer",
            signature: "(param \"list\" (list u8)) (param \"count\" u32) (result (list u8))",
            parameters: "i32 i32 i32",
            result: None,
            returned: true,
        }],
    };
    let give =
        "i32.const 8 i32.const 1024 i32.store i32.const 12 local.get 2 i32.store i32.const 8";
    let text = driver(&interface, |_| give.to_owned());
    let (driver, _) = spawn("answer", &text, DriverSettings::default());
    let mut app = App::start(&relay(&interface), &[(NAME, &driver)]).await;
    // As another call has it that is under way.
    let _held = app.store.data().kept().hold(kept);
    app.call("answer", &[list, Val::U32(100_000)]).await
}

#[tokio::test]
async fn what_calls_are_handed_and_answer_counts_for_the_caller() {
    let list = |length| Val::List(vec![Val::U8(7); length]);
    let refused = |error: wasmtime::Error| {
        let failed = error.downcast_ref::<DriverFailed>().expect("of a driver");
        assert!(
            matches!(failed.cause, FailureCause::KeptFull(full) if full.limit == KEPT),
            "{error:#}"
        );
    };
    let room = 120_000;
    let answer = passes(list(100_000), KEPT - room).await.expect("room");
    assert!(matches!(answer, Some(Val::List(bytes)) if bytes.len() == 100_000));
    refused(
        passes(list(150_000), KEPT - room)
            .await
            .expect_err("too much is handed"),
    );
    let little = 50_000;
    refused(
        passes(list(10), KEPT - little)
            .await
            .expect_err("too much is answered"),
    );
}
