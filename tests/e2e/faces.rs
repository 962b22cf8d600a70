//! One behaviour for all the names by which components reach the same keys and values: the same
//! script runs through a component of each, one after the other in one installation, and each reads,
//! changes and removes what all others have written.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{Face, Node, guest};

/// The components, each a version of the same package, and what its interface has besides reading,
/// writing and listing.
const FACES: [(&str, &str, &[&str]); 5] = [
    ("face-draft", "0.1.0", &["increment", "batch", "cursor"]),
    (
        "face-draft2",
        "0.2.0",
        &["increment", "batch", "cursor", "swap"],
    ),
    ("face-spin2", "0.3.0", &[]),
    ("face-spin3", "0.4.0", &[]),
    (
        "face-canopy",
        "0.5.0",
        &["increment", "batch", "cursor", "swap", "ttl"],
    ),
];
const CANOPY: &str = "0.5.0";
const APP: &str = "faces.acme";
/// Keys of a store that is listed in pages.
const MANY: usize = 2500;

fn node_with_all_faces(settings: &str) -> Node {
    let node = Node::start_with(settings);
    for (name, ..) in FACES {
        node.publish(&guest(name));
    }
    node.run("tenant create acme");
    node.run("install guests/faces --tenant acme");
    node
}

/// What the store holds by what was written to it, whoever did.
pub(crate) type Model = BTreeMap<String, String>;

async fn set(face: &Face<'_>, model: &mut Model, key: &str, value: &str) {
    face.ask("set", &[("key", key), ("value", value)]).await;
    model.insert(key.to_owned(), value.to_owned());
}

async fn get(face: &Face<'_>, key: &str) -> Value {
    face.ask("get", &[("key", key)]).await
}

pub(crate) async fn behaves(face: &Face<'_>, model: &mut Model, name: &str, extras: &[&str]) {
    let key = format!("{name}/k");
    let here = [("key", &*key)];
    assert!(get(face, &key).await.is_null());
    assert_eq!(face.ask("exists", &here).await, false);
    set(face, model, &key, "one").await;
    set(face, model, &key, &format!("by {name}")).await;
    assert_eq!(get(face, &key).await, format!("by {name}"));
    assert_eq!(face.ask("exists", &here).await, true);

    let gone = format!("{name}/gone");
    set(face, model, &gone, "x").await;
    for _ in 0..2 {
        face.ask("delete", &[("key", &*gone)]).await;
        assert_eq!(face.ask("exists", &[("key", &*gone)]).await, false);
    }
    model.remove(&gone);
    set(face, model, &format!("{name}/empty"), "").await;
    assert_eq!(get(face, &format!("{name}/empty")).await, "");
    let odd = format!("{name}/ä\u{1F600} %2f../'\"\\");
    set(face, model, &odd, "odd").await;
    assert_eq!(get(face, &odd).await, "odd");

    let second = [("key", &*key), ("store", "second")];
    assert!(face.ask("get", &second).await.is_null());
    let fields = [("key", name), ("store", "second"), ("value", "apart")];
    face.ask("set", &fields).await;

    for (op, feature) in [
        ("increment", "increment"),
        ("swap", "swap"),
        ("outrun", "swap"),
        ("get-many", "batch"),
        ("set-many", "batch"),
        ("delete-many", "batch"),
        ("resume", "cursor"),
        ("set-for", "ttl"),
    ] {
        let fields = [("key", "-"), ("store", "absent"), ("delta", "3")];
        let answer = face.answer(op, &fields).await;
        let expected = match extras.contains(&feature) {
            true => 500,
            false => 501,
        };
        assert_eq!(answer.status, expected, "{name} {op}: {answer:?}");
    }
    if extras.contains(&"increment") {
        increments(face, model, name).await;
    }
    if extras.contains(&"swap") {
        swaps(face, model, name).await;
    }
    if extras.contains(&"batch") {
        batches(face, model, name).await;
    }

    let undeclared = [("key", "k"), ("store", "undeclared")];
    let refused = face.refusal("get", &undeclared).await;
    assert!(refused.contains("nosuchstore"), "{refused}");
    let long = "k".repeat(1025);
    for op in ["get", "set", "delete", "exists"] {
        let refused = face.refusal(op, &[("key", &long), ("value", "x")]).await;
        assert!(refused.contains("overthelimitof1024"), "{op}: {refused}");
    }
}

async fn increments(face: &Face<'_>, model: &mut Model, name: &str) {
    let key = format!("{name}/increment");
    let by = |delta: &'static str| {
        let key = key.clone();
        async move {
            let fields = [("key", &*key), ("delta", delta)];
            face.answer("increment", &fields).await
        }
    };
    for (delta, sum) in [("3", "3"), ("4", "7"), ("0", "7")] {
        assert_eq!(by(delta).await.body, sum);
        assert_eq!(get(face, &key).await, sum);
    }
    let most = i64::MAX.to_string();
    let fields = [("key", &*key), ("delta", &*most)];
    let refused = face.refusal("increment", &fields).await;
    assert!(
        refused.contains("overflow") || refused.contains("beyonda64bit"),
        "{refused}"
    );
    assert_eq!(
        get(face, &key).await,
        "7",
        "a refused increment adds nothing"
    );
    model.insert(key, "7".to_owned());
    let text = format!("{name}/k");
    let refused = face
        .refusal("increment", &[("key", &*text), ("delta", "1")])
        .await;
    assert!(refused.contains("notanumber"), "{refused}");
    assert_eq!(get(face, &text).await, model[&text]);
}

async fn swaps(face: &Face<'_>, model: &mut Model, name: &str) {
    let key = format!("{name}/swap");
    let key = [("key", &*key)];
    let new = [key[0], ("value", "new")];
    assert_eq!(face.ask("swap", &new).await, true, "it is not there");
    assert_eq!(face.ask("swap", &new).await, false, "it is there");
    let other = [key[0], ("value", "newer"), ("expected", "old")];
    assert_eq!(face.ask("swap", &other).await, false);
    assert_eq!(get(face, key[0].1).await, "new");
    let right = [key[0], ("value", "newer"), ("expected", "new")];
    assert_eq!(face.ask("swap", &right).await, true);
    assert_eq!(get(face, key[0].1).await, "newer");
    let outrun = face.ask("outrun", &[key[0], ("value", "newest")]).await;
    assert_eq!(
        outrun,
        json!(["outrun", true]),
        "a conflict tells the value"
    );
    assert_eq!(get(face, key[0].1).await, "newest");
    model.insert(key[0].1.to_owned(), "newest".to_owned());
}

async fn batches(face: &Face<'_>, model: &mut Model, name: &str) {
    let key = |last: &str| format!("{name}/many/{last}");
    let pairs = json!([
        [key("a"), "first"],
        [key("b"), ""],
        [key("a"), "last"],
        [key("c"), "c"]
    ]);
    face.ask("set-many", &[("value", &*pairs.to_string())])
        .await;
    let keys = json!([key("c"), key("never"), key("a"), key("b"), key("a")]).to_string();
    assert_eq!(
        face.ask("get-many", &[("value", &*keys)]).await,
        json!(["c", null, "last", "", "last"]),
        "in the order that was asked for, the last of a key"
    );
    let keys = json!([key("c"), key("never")]).to_string();
    face.ask("delete-many", &[("value", &*keys)]).await;
    model.insert(key("a"), "last".to_owned());
    model.insert(key("b"), String::new());

    let bad = json!([[key("x"), "x"], ["k".repeat(1025), "y"]]).to_string();
    let refused = face.refusal("set-many", &[("value", &*bad)]).await;
    assert!(refused.contains("overthelimitof1024"), "{refused}");
    assert!(get(face, &key("x")).await.is_null(), "all or nothing");
    let none = [("value", "[]")];
    for op in ["get-many", "set-many", "delete-many"] {
        face.ask(op, &none).await;
    }
}

/// That the store holds exactly what the model does, by listing, one by one and in a batch.
pub(crate) async fn holds(face: &Face<'_>, model: &Model, extras: &[&str]) {
    let listed = face.ask("list", &[]).await;
    let listed: Vec<String> = serde_json::from_value(listed).expect("keys");
    let (count, listed) = (listed.len(), BTreeSet::from_iter(listed));
    assert_eq!(listed, model.keys().cloned().collect());
    assert_eq!(count, model.len(), "each key once");
    for (key, value) in model {
        assert_eq!(get(face, key).await, *value, "{key}");
    }
    if extras.contains(&"batch") {
        let entries: Vec<_> = model.iter().collect();
        for part in entries.chunks(100) {
            let (keys, values): (Vec<_>, Vec<_>) = part.iter().copied().unzip();
            let keys = json!(keys).to_string();
            let found = face.ask("get-many", &[("value", &*keys)]).await;
            assert_eq!(found, json!(values));
        }
    }
}

/// What one reader changes of what every writer has left for it.
async fn changes(face: &Face<'_>, model: &mut Model, reader: &str, extras: &[&str]) {
    for (writer, ..) in FACES {
        let key = |what: &str| format!("{writer}/{what}/{reader}");
        set(face, model, &key("for"), &format!("{reader} over {writer}")).await;
        face.ask("delete", &[("key", &*key("delete"))]).await;
        model.remove(&key("delete"));
        if extras.contains(&"increment") {
            let count = key("count");
            let fields = [("key", &*count), ("delta", "5")];
            assert_eq!(face.ask("increment", &fields).await, 15);
            model.insert(count, "15".to_owned());
        }
        if extras.contains(&"swap") {
            let swap = key("swap");
            let wrong = [("key", &*swap), ("value", "x"), ("expected", "wrong")];
            assert_eq!(face.ask("swap", &wrong).await, false);
            let right = [("key", &*swap), ("value", "swapped"), ("expected", writer)];
            assert_eq!(face.ask("swap", &right).await, true);
            model.insert(swap, "swapped".to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_by_one_name_is_read_changed_and_removed_by_every_other() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let mut model = Model::new();
    for (name, version, extras) in FACES {
        face.run_as(version);
        behaves(&face, &mut model, name, extras).await;
        for (reader, ..) in FACES {
            for (what, value) in [
                ("for", "to be changed"),
                ("delete", "x"),
                ("count", "10"),
                ("swap", name),
            ] {
                set(&face, &mut model, &format!("{name}/{what}/{reader}"), value).await;
            }
        }
    }
    for (reader, version, extras) in FACES {
        face.run_as(version);
        holds(&face, &model, extras).await;
        let second = face.ask("list", &[("store", "second")]).await;
        let names: BTreeSet<String> = serde_json::from_value(second).expect("keys");
        assert!(
            names.iter().eq(FACES
                .iter()
                .map(|(name, ..)| *name)
                .collect::<BTreeSet<_>>())
        );
        changes(&face, &mut model, reader, extras).await;
    }
    for (_, version, extras) in FACES {
        face.run_as(version);
        holds(&face, &model, extras).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_lists_a_store_of_many_pages_whole() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    face.run_as(FACES[0].1);
    let keys: Vec<String> = (0..MANY).map(|n| format!("p{n:05}")).collect();
    for part in keys.chunks(MANY / 10) {
        let pairs: Vec<_> = part.iter().map(|key| (key, "")).collect();
        let pairs = json!(pairs).to_string();
        face.ask("set-many", &[("value", &*pairs)]).await;
    }
    for (name, version, extras) in FACES {
        face.run_as(version);
        assert_eq!(face.ask("list", &[]).await, json!(keys), "{name}");
        if extras.contains(&"cursor") {
            let resumed = face.ask("resume", &[]).await;
            assert_eq!(resumed, json!([keys[999], keys[1000]]), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_holds_for_every_name() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let hour = 3_600_000.to_string();
    face.run_as(CANOPY);
    for (name, ..) in FACES {
        for (what, value) in [("read", "1"), ("set", "1"), ("increment", "1")] {
            let key = format!("{what}/{name}");
            let fields = [("key", &*key), ("value", value), ("delta", &*hour)];
            face.ask("set-for", &fields).await;
        }
        let key = format!("gone/{name}");
        let fields = [("key", &*key), ("value", "1"), ("delta", "1")];
        face.ask("set-for", &fields).await;
        let deadline = Instant::now() + std::time::Duration::from_secs(30);
        while !get(&face, &key).await.is_null() {
            assert!(Instant::now() < deadline, "{key} goes by itself");
        }
    }
    for (name, version, extras) in FACES {
        face.run_as(version);
        let key = |what: &str| format!("{what}/{name}");
        assert_eq!(get(&face, &key("read")).await, "1");
        // What has expired is as if it had been removed.
        assert_eq!(face.ask("exists", &[("key", &*key("gone"))]).await, false);
        let listed = face.ask("list", &[]).await.to_string();
        assert!(!listed.contains(&key("gone")), "{listed}");
        if extras.contains(&"increment") {
            let counted = [("key", &*key("gone")), ("delta", "2")];
            assert_eq!(face.ask("increment", &counted).await, 2);
            let kept = [("key", &*key("increment")), ("delta", "2")];
            assert_eq!(face.ask("increment", &kept).await, 3);
        }
        face.ask("set", &[("key", &*key("set")), ("value", "2")])
            .await;
    }
    face.run_as(CANOPY);
    for (name, ..) in FACES {
        for (what, expected) in [("read", true), ("set", false), ("increment", true)] {
            let key = format!("{what}/{name}");
            let expires = face.ask("expires", &[("key", &*key)]).await;
            assert_eq!(expires, expected, "{key}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_below_zero_is_refused_where_the_name_has_none_and_stays() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    let by = |delta| [("key", "count"), ("delta", delta)];
    face.run_as(CANOPY);
    assert_eq!(face.ask("increment", &by("-10")).await, -10);
    face.run_as("0.1.0");
    let refused = face.refusal("increment", &by("3")).await;
    assert!(refused.contains("negative"), "{refused}");
    assert_eq!(get(&face, "count").await, "-10", "nothing was added");
    assert_eq!(face.ask("increment", &by("12")).await, 2);
    face.run_as("0.2.0");
    assert_eq!(face.ask("increment", &by("-7")).await, -5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platforms_own_name_has_all_that_storage_can_do() {
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    face.run_as(CANOPY);
    let mut model = Model::new();

    let hour = [("key", "k"), ("value", "a"), ("delta", "3600000")];
    let first = face.ask("set-for", &hour).await;
    assert_eq!(face.ask("version", &[("key", "k")]).await, first);
    set(&face, &mut model, "k", "b").await;
    let second = face.ask("version", &[("key", "k")]).await;
    assert!(second.as_u64() > first.as_u64(), "{first} {second}");
    let never = [("key", "k"), ("value", "c"), ("delta", "0")];
    let refused = face.refusal("set-for", &never).await;
    assert!(refused.contains("invalidargument"), "{refused}");

    set(&face, &mut model, "ada", "10").await;
    let transfer = [
        ("key", "ada"),
        ("value", "bob"),
        ("delta", "4"),
        ("expected", "10"),
    ];
    let done = face.ask("transfer", &transfer).await;
    assert!(done.to_string().contains("Incremented(6)"), "{done}");
    let refused = face.refusal("transfer", &transfer).await;
    assert!(refused.contains("preconditionfailed0"), "{refused}");
    assert_eq!(
        face.ask("entries", &[]).await,
        json!([["ada", "6"], ["bob", "4"], ["k", "b"]]),
        "the refused transaction changed nothing"
    );
    for key in ["a%", "a_1", "a_2", "a_3", "b"] {
        set(&face, &mut model, key, "").await;
    }
    let under = face.ask("under", &[("key", "a_")]).await;
    assert_eq!(under, json!(["a_1", "a_2", "a_3"]));
}

/// A swap that took place, and when.
struct Swapped {
    from: String,
    to: String,
    begun: Instant,
    ended: Instant,
}

async fn writer(face: &Face<'_>, number: usize, swaps: usize) -> Vec<Swapped> {
    let mut done = Vec::new();
    for n in 0..swaps {
        let from = get(face, "k").await.as_str().expect("a value").to_owned();
        // No value comes twice.
        let to = format!("{number}-{n}");
        let fields = [("key", "k"), ("expected", &*from), ("value", &*to)];
        let begun = Instant::now();
        let swapped = face.ask("swap", &fields).await;
        let ended = Instant::now();
        if swapped == true {
            done.push(Swapped {
                from,
                to,
                begun,
                ended,
            });
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread")]
async fn swaps_that_race_are_a_single_line() {
    const WRITERS: usize = 8;
    const SWAPS: usize = 75;
    let node = node_with_all_faces("");
    let face = Face::new(&node, APP);
    for (_, version, extras) in FACES {
        if !extras.contains(&"swap") {
            continue;
        }
        face.run_as(version);
        face.ask("set", &[("key", "k"), ("value", "first")]).await;
        let writers = (0..WRITERS).map(|number| writer(&face, number, SWAPS));
        let done: Vec<_> = futures::future::join_all(writers).await;
        let done: Vec<_> = done.into_iter().flatten().collect();
        assert!(done.len() >= SWAPS, "somebody wins every round");
        let count = done.len();
        let mut next: BTreeMap<String, Swapped> = BTreeMap::new();
        for swap in done {
            let taken = next.insert(swap.from.clone(), swap);
            assert!(taken.is_none(), "two swaps took the place of one value");
        }
        let (mut at, mut before) = ("first".to_owned(), None::<Instant>);
        let mut length = 0;
        while let Some(swap) = next.remove(&at) {
            if let Some(before) = before {
                assert!(
                    before <= swap.ended,
                    "none took place before one it builds on"
                );
            }
            before = Some(before.map_or(swap.begun, |before| before.max(swap.begun)));
            at = swap.to;
            length += 1;
        }
        assert_eq!(length, count, "all are in one line from the first value");
        assert_eq!(get(&face, "k").await, at, "whose end is what is there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asynchronous_names_are_refused_where_wasi_0_3_is_off() {
    let node = Node::start_with("[engine]\nwasi_p3 = false");
    for (name, ..) in &FACES[..3] {
        node.publish(&guest(name));
    }
    for (name, ..) in &FACES[3..] {
        let project = guest(name);
        let refused = node.cli(["publish", project.to_str().expect("UTF-8")]);
        assert_eq!(refused.code, 3, "{}", refused.stderr);
        assert!(refused.stderr.contains("0.3"), "{}", refused.stderr);
    }
}
