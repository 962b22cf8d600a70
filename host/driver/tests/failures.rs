//! How an application sees that its driver failed: as a value where its types have room for it.

mod support;

use canopy_driver::{DriverFailed, DriverSettings};
use support::text::{Function, Interface, driver, relay};
use support::{App, spawn};
use wasmtime::component::Val;

const NAME: &str = "acme:fails/fails@1.0.0";

/// A function without parameters that returns `result<_, E>` of more than one flat value.
const fn fails(name: &'static str, signature: &'static str) -> Function<'static> {
    Function {
        name,
        signature,
        parameters: "",
        result: None,
        returned: true,
    }
}

const FAILS: &[Function<'static>] = &[
    fails("text", "(result (result u32 (error string)))"),
    fails("choose", "(result (result u32 (error $choice)))"),
    fails("sort", "(result (result u32 (error $kinds)))"),
    fails("tell", "(result (result u32 (error $telling)))"),
    fails("perhaps", "(result (result u32 (error $maybe)))"),
    fails("number", "(result (result u32 (error u32)))"),
    fails("misfit", "(result (result u32 (error $unfit)))"),
    fails("silent", "(result (result u32))"),
    Function {
        name: "bare",
        signature: "",
        parameters: "",
        result: None,
        returned: false,
    },
];

const TYPES: &[(&str, &str)] = &[
    (
        "choice",
        "(enum \"not-found\" \"internal\" \"unavailable\")",
    ),
    (
        "kinds",
        "(variant (case \"not-found\" string) (case \"io\") (case \"internal\" u32))",
    ),
    (
        "telling",
        "(variant (case \"no-such-store\") (case \"access-denied\") (case \"other\" string))",
    ),
    ("maybe", "(variant (case \"internal\" (option string)))"),
    (
        "unfit",
        "(variant (case \"not-found\") (case \"refused\" string))",
    ),
];

fn error(value: Val) -> Val {
    Val::Result(Err(Some(Box::new(value))))
}

#[tokio::test]
async fn a_failure_is_a_value_where_one_fits_and_else_a_trap() {
    let interface = Interface {
        name: NAME,
        types: TYPES,
        functions: FAILS,
    };
    let text = driver(&interface, |_| "unreachable".to_owned());
    let settings = DriverSettings {
        backoff_initial: std::time::Duration::ZERO,
        breaker: 0,
        ..DriverSettings::default()
    };
    let (driver, seen) = spawn("fails", &text, settings);
    let relay = relay(&interface);
    let message = |function: &str| {
        Val::String(format!(
            "driver `fails` did not answer `{function}` of `{NAME}`: it failed: wasm trap: wasm \
             `unreachable` instruction executed"
        ))
    };
    let mut app = App::start(&relay, &[(NAME, &driver)]).await;
    let values = [
        ("text", message("text")),
        ("choose", Val::Enum("unavailable".to_owned())),
        ("sort", Val::Variant("io".to_owned(), None)),
        (
            "tell",
            Val::Variant("other".to_owned(), Some(Box::new(message("tell")))),
        ),
        (
            "perhaps",
            Val::Variant(
                "internal".to_owned(),
                Some(Box::new(Val::Option(Some(Box::new(message("perhaps")))))),
            ),
        ),
    ];
    for (function, value) in values {
        let result = app.call(function, &[]).await.expect("the app goes on");
        assert_eq!(result, Some(error(value)), "{function}");
    }
    for function in ["number", "misfit", "silent", "bare"] {
        let mut app = App::start(&relay, &[(NAME, &driver)]).await;
        let error = app.call(function, &[]).await.expect_err(function);
        let failure = error.downcast_ref::<DriverFailed>().expect("typed");
        assert_eq!(&*failure.function, function);
    }
    assert_eq!(
        seen.failures().len(),
        9,
        "each failure is in the driver's log"
    );
}
