//! `spin:postgres` from a real PostgreSQL server, by a component made from the published interface: the
//! database that a binding leads to, whatever the address says.

use serde_json::{Value, json};

use crate::engines::{Setup, add_driver, postgres_setup};
use crate::support::{Answer, Certificate, Face, Node, Postgres, guest, plugin};

const APP: &str = "postgres-spin.acme";

/// A node on which the driver serves the guest, to each tenant in one store: what is dropped in it is
/// gone before the next call begins.
fn node_with(postgres: &Postgres, config: &[(&'static str, String)]) -> Node {
    let node = Node::start();
    node.publish(&plugin("postgres"));
    node.publish(&guest("postgres-spin"));
    node.run("plan create small --limit driver_instances=1");
    let mut setup = postgres_setup(postgres, Postgres::PASSWORD);
    setup.config.extend_from_slice(config);
    for tenant in TENANTS {
        node.run(&format!("tenant create {tenant}"));
        node.run(&format!("tenant set {tenant} --plan small"));
        add_driver(&node, "postgres", tenant, &setup);
        node.run(&format!(
            "install guests/postgres-spin --tenant {tenant} --bind spin:postgres=postgres"
        ));
    }
    node
}

const TENANTS: [&str; 2] = ["acme", "globex"];

/// The ways in which a statement is run.
const WAYS: [&str; 2] = ["query", "query-async"];

async fn run(face: &Face<'_>, op: &str, statement: &str, parameters: Value) -> Answer {
    let parameters = parameters.to_string();
    face.answer(op, &[("key", statement), ("value", &parameters)])
        .await
}

async fn done(face: &Face<'_>, op: &str, statement: &str, parameters: Value) -> Value {
    let answer = run(face, op, statement, parameters).await;
    assert_eq!(answer.status, 200, "{op} {statement}: {answer:?}");
    answer.json()
}

/// Why a statement is refused, as the interface says it.
async fn refused(face: &Face<'_>, op: &str, statement: &str, parameters: Value) -> Value {
    let answer = run(face, op, statement, parameters).await;
    assert_eq!(answer.status, 500, "{op} {statement}: {answer:?}");
    answer.json()
}

async fn script(face: &Face<'_>, statements: &[(&str, Value)]) -> Vec<Value> {
    let value = json!(statements).to_string();
    let steps = face.ask("script", &[("value", &*value)]).await;
    serde_json::from_value(steps).expect("steps")
}

/// A value that goes as a parameter and comes back the same, with the type that it is cast to and how
/// the interface calls that.
fn values() -> Vec<(&'static str, &'static str, Value)> {
    let none = Value::Null;
    let decimal = "-123456789012345678901234567890.0001";
    vec![
        ("boolean", "Boolean", json!({ "Boolean": true })),
        ("int2", "Int16", json!({ "Int16": i16::MIN })),
        ("int4", "Int32", json!({ "Int32": i32::MIN })),
        ("int8", "Int64", json!({ "Int64": i64::MIN })),
        ("float4", "Floating32", json!({ "Floating32": 0.25 })),
        ("float8", "Floating64", json!({ "Floating64": 0.1 })),
        ("text", "Str", json!({ "Str": "ä '\"\\ \u{1F600}" })),
        ("varchar", "Str", json!({ "Str": "" })),
        ("bytea", "Binary", json!({ "Binary": [0, 255, 92, 39] })),
        ("date", "Date", json!({ "Date": [2024, 2, 29] })),
        ("date", "Date", json!({ "Date": [-43, 3, 15] })),
        ("time", "Time", json!({ "Time": [23, 59, 59, 999_999_000] })),
        (
            "timestamp",
            "Datetime",
            json!({ "Datetime": [1969, 7, 20, 20, 17, 40, 5_000] }),
        ),
        (
            "timestamptz",
            "Datetime",
            json!({ "Datetime": [12024, 12, 31, 0, 0, 0, 0] }),
        ),
        (
            "uuid",
            "Uuid",
            json!({ "Uuid": "6f1b0a52-7a53-4b13-8d4f-0c1b6b0f9a11" }),
        ),
        ("jsonb", "Jsonb", json!({ "Jsonb": br#"{"a": [1, null]}"# })),
        ("numeric", "Decimal", json!({ "Decimal": decimal })),
        ("numeric", "Decimal", json!({ "Decimal": "0.00012" })),
        (
            "int4range",
            "RangeInt32",
            json!({ "RangeInt32": [[1, "Inclusive"], [5, "Exclusive"]] }),
        ),
        (
            "int8range",
            "RangeInt64",
            json!({ "RangeInt64": [none, [i64::MAX, "Exclusive"]] }),
        ),
        (
            "numrange",
            "RangeDecimal",
            json!({ "RangeDecimal": [["1.5", "Exclusive"], none] }),
        ),
        (
            "int4[]",
            "ArrayInt32",
            json!({ "ArrayInt32": [1, none, -3] }),
        ),
        ("int8[]", "ArrayInt64", json!({ "ArrayInt64": [i64::MAX] })),
        (
            "numeric[]",
            "ArrayDecimal",
            json!({ "ArrayDecimal": ["1.50", none] }),
        ),
        (
            "text[]",
            "ArrayStr",
            json!({ "ArrayStr": ["", "NULL", none, "a,b", "{\"\\}"] }),
        ),
        ("text[]", "ArrayStr", json!({ "ArrayStr": [] })),
        (
            "interval",
            "Interval",
            json!({ "Interval": { "micros": -3_723_000_004_i64, "days": 5, "months": -14 } }),
        ),
        ("int4", "Int32", json!("DbNull")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_type_goes_forth_and_comes_back() {
    let postgres = Postgres::start();
    let node = node_with(&postgres, &[]);
    let face = Face::new(&node, APP);
    for (ty, called, value) in values() {
        let statement = format!("SELECT $1::{ty} AS v");
        for op in WAYS {
            let read = done(&face, op, &statement, json!([value])).await;
            assert_eq!(read["rows"], json!([[value]]), "{op} {ty}");
            let column = json!([{ "name": "v", "data_type": called }]);
            assert_eq!(read["columns"], column, "{op} {ty}");
        }
    }
    // What goes one way alone: numbers for what columns have, moments by seconds, settings or not.
    for (statement, parameter, value) in [
        (
            "SELECT $1::int8",
            json!({ "Int8": -5 }),
            json!({ "Int64": -5 }),
        ),
        (
            "SELECT $1::timestamp",
            json!({ "Timestamp": -1 }),
            json!({ "Datetime": [1969, 12, 31, 23, 59, 59, 0] }),
        ),
        (
            "SELECT $1::timestamptz, set_config('TimeZone', 'Asia/Tokyo', false) IS NULL",
            json!({ "Timestamp": 86_400 }),
            json!({ "Datetime": [1970, 1, 2, 0, 0, 0, 0] }),
        ),
        (
            "SELECT $1::time",
            json!({ "Time": [1, 2, 3, 4_999] }),
            json!({ "Time": [1, 2, 3, 4_000] }),
        ),
        (
            "SELECT 'NaN'::numeric WHERE $1",
            json!({ "Boolean": true }),
            json!({ "Decimal": "NaN" }),
        ),
    ] {
        let read = done(&face, "query", statement, json!([parameter])).await;
        assert_eq!(read["rows"][0][0], value, "{statement}");
    }
    // A component of the first version, which has no stream, by the same binding.
    node.publish(&guest("postgres-spin40"));
    face.run_as("0.2.0");
    for (ty, called, value) in values() {
        let statement = format!("SELECT $1::{ty} AS v");
        let read = done(&face, "query", &statement, json!([value])).await;
        assert_eq!(read["rows"], json!([[value]]), "{ty}");
        assert_eq!(read["columns"][0]["data_type"], called, "{ty}");
    }
    let error = refused(&face, "execute", "SELECT 1 / 0", json!([])).await;
    assert_eq!(error["QueryFailed"]["DbError"]["code"], "22012", "{error}");
    face.run_as("0.1.0");
    // What the interface has no name for has the server's, and its bytes.
    done(
        &face,
        "execute",
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        json!([]),
    )
    .await;
    for op in WAYS {
        let read = done(
            &face,
            op,
            "SELECT $1::mood, 'x'::name, 'ok'::mood",
            json!([{ "Str": "sad" }]),
        )
        .await;
        assert_eq!(
            read["rows"],
            json!([[
                { "Unsupported": b"sad" },
                { "Unsupported": b"x" },
                { "Unsupported": b"ok" }
            ]])
        );
        let types = [0, 1, 2].map(|n| read["columns"][n]["data_type"].clone());
        assert_eq!(
            types,
            ["mood", "name", "mood"].map(|name| json!({ "Other": name }))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_by_its_own_error() {
    let postgres = Postgres::start();
    let node = node_with(&postgres, &[]);
    let face = Face::new(&node, APP);
    done(
        &face,
        "execute",
        "CREATE TABLE part (id int4 PRIMARY KEY, size int4 CONSTRAINT sized CHECK (size > 0))",
        json!([]),
    )
    .await;
    let insert = "INSERT INTO part VALUES ($1, $2)";
    let part = |id: i32, size: i32| json!([{ "Int32": id }, { "Int32": size }]);
    for (op, id) in [("execute", 1), ("execute-async", 2)] {
        assert_eq!(done(&face, op, insert, part(id, 1)).await, 1);
        let error = refused(&face, op, insert, part(id, 1)).await;
        let error = &error["QueryFailed"]["DbError"];
        assert_eq!(error["code"], "23505", "{error}");
        assert_eq!(error["severity"], "ERROR");
        assert!(
            error["detail"]
                .as_str()
                .expect("a detail")
                .contains("already exists")
        );
        assert!(error["as_text"].as_str().expect("a text").contains("23505"));
        let extras = error["extras"].as_array().expect("extras");
        assert!(
            extras.contains(&json!(["constraint", "part_pkey"])),
            "{error}"
        );
        assert!(extras.contains(&json!(["table", "part"])), "{error}");
    }
    assert_eq!(
        done(&face, "execute", "UPDATE part SET size = 7", json!([])).await,
        2
    );
    for op in ["query", "query-async", "execute", "execute-async"] {
        for (statement, parameters, code) in [
            ("SELEC 1", json!([]), "42601"),
            ("SELECT 1; SELECT 2", json!([]), "42601"),
            ("SELECT * FROM absent", json!([]), "42P01"),
            ("SELECT $1::int4", json!([{ "Str": "x" }]), "22P02"),
            ("SELECT $1::int4", json!([]), "08P01"),
            ("SELECT '\0'", json!([]), "42601"),
            ("SELECT $1::text", json!([{ "Str": "\0" }]), "22021"),
            ("INSERT INTO part VALUES (3, 0)", json!([]), "23514"),
            ("SELECT pg_read_file('/etc/passwd')", json!([]), "42501"),
            ("COPY part TO STDOUT", json!([]), "0A000"),
            ("COPY part FROM STDIN", json!([]), "57014"),
            (
                "COPY (DELETE FROM part RETURNING id) TO STDOUT",
                json!([]),
                "0A000",
            ),
        ] {
            let error = refused(&face, op, statement, parameters).await;
            let error = &error["QueryFailed"]["DbError"];
            assert_eq!(error["code"], code, "{op} {statement}: {error}");
        }
        for (parameter, why) in [
            (json!({ "Date": [2023, 2, 29] }), "2023-2-29"),
            (json!({ "Time": [24, 0, 0, 0] }), "24:0:0"),
            (json!({ "Jsonb": [255] }), "UTF-8"),
        ] {
            let error = refused(&face, op, "SELECT 1, $2, $1", json!(["DbNull", parameter])).await;
            let said = error["BadParameter"].as_str().expect("a bad parameter");
            assert!(said.contains("parameter 2") && said.contains(why), "{said}");
        }
    }
    let all = done(&face, "query", "SELECT count(*) FROM part", json!([])).await;
    assert_eq!(
        all["rows"],
        json!([[{ "Int64": 2 }]]),
        "nothing was undone by halves"
    );
    for (statement, why) in [
        ("SELECT 'infinity'::timestamptz AS v", "endless"),
        ("SELECT '-infinity'::date AS v", "endless"),
        ("SELECT 'empty'::int4range AS v", "empty range"),
        ("SELECT ARRAY[[1], [2]] AS v", "array of arrays"),
    ] {
        let error = refused(&face, "query", statement, json!([])).await;
        let said = error["ValueConversionFailed"].as_str().expect("no value");
        assert!(said.contains("`v`") && said.contains(why), "{said}");
        let read = done(&face, "query-async", statement, json!([])).await;
        assert_eq!(read["rows"], json!([]));
        assert_eq!(read["ended"]["Err"], error, "{read}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_names_a_database_of_the_application_and_nothing_else() {
    let postgres = Postgres::start();
    let node = node_with(&postgres, &[("max_connections", "3".into())]);
    let face = Face::new(&node, APP);
    let at = async |address: &str| {
        let key = "SELECT current_user::text, current_schema()::text";
        let fields = [("store", address), ("key", key)];
        let (one, other) = (
            face.answer("query", &fields),
            face.answer("query-async", &fields),
        );
        let (one, other) = (one.await, other.await);
        assert_eq!(one.status, other.status, "{one:?} {other:?}");
        one
    };
    let default = at("default").await.json();
    assert_eq!(at("").await.json(), default);
    let second = at("second").await.json();
    assert_eq!(second["rows"][0][0], default["rows"][0][0], "one role");
    assert_ne!(second["rows"][0][1], default["rows"][0][1], "two schemas");
    for address in [
        &format!(
            "postgres://canopy:sesame@127.0.0.1:{}/postgres",
            postgres.port
        ),
        &format!("host=127.0.0.1 port={} user=canopy", postgres.port),
        "postgres://db.example/books",
        "x\" OR",
        "..",
        "Default",
    ] {
        let answer = at(address).await;
        assert_eq!(answer.status, 500, "{address}: {answer:?}");
        let said = answer.json()["ConnectionFailed"].to_string();
        assert!(said.contains("as `default`"), "{address}: {said}");
        assert!(!said.contains("sesame"), "{said}");
    }
    // Applications are apart, whatever they write.
    done(
        &face,
        "execute",
        "CREATE TABLE mine (secret text)",
        json!([]),
    )
    .await;
    let schema = default["rows"][0][1]["Str"].as_str().expect("a schema");
    let other = Face::new(&node, "postgres-spin.globex");
    let theirs = refused(
        &other,
        "query",
        &format!("SELECT * FROM {schema}.mine"),
        json!([]),
    )
    .await;
    assert_eq!(
        theirs["QueryFailed"]["DbError"]["code"], "42501",
        "{theirs}"
    );
    // And each has as many connections as it may have, and not more.
    assert_eq!(face.ask("many", &[("from", "3")]).await, 3);
    let answer = face.answer("many", &[("from", "4")]).await;
    let said = answer.json()["ConnectionFailed"].to_string();
    assert!(said.contains("3 connections are open"), "{answer:?}");
    assert_eq!(
        face.ask("many", &[("from", "3")]).await,
        3,
        "none is left open"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_the_applications_until_it_is_dropped() {
    let postgres = Postgres::start();
    let node = node_with(&postgres, &[]);
    let face = Face::new(&node, APP);
    done(
        &face,
        "execute",
        "CREATE TABLE note (n int4 UNIQUE)",
        json!([]),
    )
    .await;
    let count = ("SELECT count(*)::int4 FROM note", json!([]));
    let there = |count: i32| json!({ "Ok": [[{ "Int32": count }]] });
    let insert = |n: i32| ("INSERT INTO note VALUES ($1)", json!([{ "Int32": n }]));
    let plain = |statement: &'static str| (statement, json!([]));
    let steps = [
        plain("BEGIN"),
        insert(1),
        count.clone(),
        plain("ROLLBACK"),
        count.clone(),
    ];
    let steps = script(&face, &steps).await;
    assert_eq!((&steps[2], &steps[4]), (&there(1), &there(0)), "{steps:?}");
    let steps = [plain("BEGIN"), insert(2), plain("COMMIT")];
    script(&face, &steps).await;
    // One is left in the middle, and one in the middle of a transaction that failed.
    let steps = [plain("BEGIN"), insert(3), count.clone()];
    assert_eq!(script(&face, &steps).await[2], there(2));
    let steps = script(
        &face,
        &[plain("BEGIN"), insert(4), insert(2), count.clone()],
    )
    .await;
    assert_eq!(
        steps[3]["Err"]["QueryFailed"]["DbError"]["code"], "25P02",
        "{steps:?}"
    );
    assert_eq!(
        script(&face, std::slice::from_ref(&count)).await,
        [there(1)]
    );
    // What one sets is nothing that the next one finds.
    let steps = [
        plain("CREATE TEMPORARY TABLE kept (n int4)"),
        plain("SET search_path = pg_catalog"),
        plain("SELECT pg_advisory_lock(7)::text"),
        plain("SELECT current_schema()::text"),
    ];
    let steps = script(&face, &steps).await;
    assert_eq!(
        steps[3],
        json!({ "Ok": [[{ "Str": "pg_catalog" }]] }),
        "{steps:?}"
    );
    let steps = [
        plain("SELECT to_regclass('kept') IS NULL"),
        plain("SELECT current_schema() = current_user"),
        plain("SELECT count(*) = 0 FROM pg_locks WHERE locktype = 'advisory'"),
    ];
    for step in script(&face, &steps).await {
        assert_eq!(step, json!({ "Ok": [[{ "Boolean": true }]] }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_follow_as_they_are_taken_and_wait_for_other_statements() {
    let postgres = Postgres::start();
    let node = node_with(&postgres, &[("max_result_bytes", "65536".into())]);
    let face = Face::new(&node, APP);
    let many = "SELECT n::int4 FROM generate_series(1, 5000) AS n";
    let read = done(&face, "query-async", many, json!([])).await;
    let expected: Vec<_> = (1..=5000).map(|n| json!([{ "Int32": n }])).collect();
    assert_eq!(read["rows"], json!(expected));
    assert_eq!(read["ended"], json!({ "Ok": null }));
    let error = refused(&face, "query", many, json!([])).await;
    let said = error["QueryFailed"]["Text"].to_string();
    assert!(
        said.contains("65536") && said.contains("query-async"),
        "{said}"
    );
    // It would take the server minutes to write all of it.
    let endless = "SELECT generate_series(1, 1000000000)::int4";
    let first = face.ask("first", &[("key", endless)]).await;
    assert_eq!(first, json!([[{ "Int32": 1 }], [[{ "Int32": 1 }]]]));
    let nested = async |rows: u32| {
        let outer = format!("SELECT n::int4 FROM generate_series(1, {rows}) AS n");
        let fields = [("key", outer.as_str()), ("other", "SELECT $1::int4 * 2")];
        face.answer("nested", &fields).await
    };
    let expected: Vec<_> = (1..=300).map(|n| json!({ "Int32": 2 * n })).collect();
    assert_eq!(nested(300).await.json(), json!(expected));
    let answer = nested(5000).await;
    let said = answer.json()["QueryFailed"]["Text"].to_string();
    assert!(said.contains("another statement began"), "{answer:?}");
    // A statement that fails when some of its rows have gone.
    let late = "SELECT 100 / (90 - n)::int4 FROM generate_series(1, 100) AS n";
    let read = done(&face, "query-async", late, json!([])).await;
    assert_eq!(
        read["ended"]["Err"]["QueryFailed"]["DbError"]["code"], "22012",
        "{read}"
    );
    let rows = read["rows"].as_array().expect("rows").len();
    assert!((16..90).contains(&rows), "{rows}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ends_and_a_password_that_is_wrong_fail_the_connection() {
    let mut postgres = Postgres::start();
    let node = node_with(&postgres, &[("timeout_ms", "2000".into())]);
    let face = Face::new(&node, APP);
    done(&face, "execute", "CREATE TABLE note (n int4)", json!([])).await;
    postgres.kill();
    for op in ["query", "query-async", "execute", "execute-async"] {
        let error = refused(&face, op, "SELECT 1", json!([])).await;
        let said = error["ConnectionFailed"].as_str().expect("no connection");
        assert!(said.contains("cannot be used"), "{op}: {said}");
    }
    postgres.start_again();
    let read = done(&face, "query", "SELECT count(*) FROM note", json!([])).await;
    assert_eq!(
        read["rows"],
        json!([[{ "Int64": 0 }]]),
        "the same driver goes on"
    );
    let end = "SELECT pg_terminate_backend(pg_backend_pid())";
    let steps = script(&face, &[(end, json!([])), ("SELECT 1", json!([]))]).await;
    assert!(
        steps
            .iter()
            .all(|step| step["Err"]["ConnectionFailed"].is_string()),
        "{steps:?}"
    );
    done(&face, "query", "SELECT 1", json!([])).await;
    // A statement that takes too long ends, and the connection does not.
    let slow = "SELECT pg_sleep(60)::text";
    let steps = script(&face, &[(slow, json!([])), ("SELECT 1::int4", json!([]))]).await;
    assert_eq!(
        steps[0]["Err"]["QueryFailed"]["DbError"]["code"], "57014",
        "{steps:?}"
    );
    assert_eq!(steps[1], json!({ "Ok": [[{ "Int32": 1 }]] }));

    let wrong = Setup {
        secrets: vec![("password", "wrong".to_owned())],
        ..postgres_setup(&postgres, "")
    };
    let egress = format!("{} --replace --no-check", wrong.egress);
    add_driver(&node, "postgres", "acme", &Setup { egress, ..wrong });
    for op in WAYS {
        let error = refused(&face, op, "SELECT 1", json!([])).await;
        let said = error["ConnectionFailed"].as_str().expect("no connection");
        assert!(said.contains("does not let the driver in"), "{op}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_that_an_application_insists_on_is_the_bindings_or_none() {
    let certificate = Certificate::new();
    let postgres = Postgres::start_with_tls(&certificate);
    let trusting = [
        ("sslmode", "verify-full".to_owned()),
        ("ca", certificate.authority.clone()),
        ("server_name", Certificate::NAME.to_owned()),
    ];
    let node = node_with(&postgres, &trusting);
    let face = Face::new(&node, APP);
    let insist = async |face: &Face<'_>, authority: &str| {
        let key = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        face.answer("builder", &[("key", key), ("value", authority)])
            .await
    };
    let encrypted = json!([[{ "Boolean": true }]]);
    let answer = insist(&face, &certificate.authority).await;
    assert_eq!(answer.json(), json!([encrypted, encrypted]), "{answer:?}");
    let answer = insist(&face, &Certificate::new().authority).await;
    let said = answer.json()["Other"].to_string();
    assert!(said.contains("setting `ca`"), "{answer:?}");

    let clear = Postgres::start();
    let node = node_with(&clear, &[]);
    let answer = insist(&Face::new(&node, APP), &certificate.authority).await;
    let said = answer.json()["Other"].to_string();
    assert!(said.contains("in the clear"), "{answer:?}");
}
