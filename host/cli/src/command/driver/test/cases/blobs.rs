//! What objects have and values have not: ranges, conditions, descriptions, listings by folders, parts.

use serde_json::{Value, json};

use super::behaviour::{first, gives};
use super::{Case, cases};
use crate::command::driver::test::bench::Bench;
use crate::command::driver::test::probe::{Answer, Stop, failed, hex, same, skipped};

pub(super) const CASES: &[Case] = cases! {
    "objects/described" => described,
    "objects/etags" => etags,
    "objects/sizes" => sizes,
    "objects/ranges" => ranges,
    "objects/conditions" => conditions,
    "objects/whole" => whole,
    "objects/copied" => copied,
    "objects/moved" => moved,
    "objects/folders" => folders,
    "objects/pages" => pages,
    "objects/large-batch" => large_batch,
    "objects/parts" => parts,
    "objects/aborted" => aborted,
    "containers/life" => containers,
};

/// Puts an object, and what is told of it.
async fn put(bench: &Bench, key: &str, value: &str, how: Value) -> Result<Value, Stop> {
    let put = json!({"op": "put", "key": key, "value": value, "with": how});
    first(bench, &put).await.done(&format!("putting {key}"))
}

/// Refuses anything but an error of that kind.
async fn errs(bench: &Bench, what: Value, kind: &str) -> Result<(), Stop> {
    let name = format!("{} {}", what["op"], what["key"]);
    let said = first(bench, &what).await.refused(&name)?;
    if said.starts_with(&format!("{kind} ")) {
        Ok(())
    } else {
        failed(format!("{name}: expected the error {kind}, got {said}"))
    }
}

async fn described(bench: &Bench) -> Result<(), Stop> {
    let how = json!({
        "content_type": "text/plain; charset=utf-8",
        "metadata": [["colour", "blue"], ["number", "1"]],
    });
    put(bench, "described", "010203", how.clone()).await?;
    let head = json!({"op": "head", "key": "described"});
    let told = first(bench, &head).await.done("head")?;
    same("its name", &told["name"], &json!("described"))?;
    same("its size", &told["size"], &json!(3))?;
    same("its type", &told["content_type"], &how["content_type"])?;
    same("its metadata", &told["metadata"], &how["metadata"])?;
    put(bench, "described", "", json!({})).await?;
    let told = first(bench, &head).await.done("head")?;
    same("its size", &told["size"], &json!(0))?;
    same(
        "the metadata of what replaced it",
        &told["metadata"],
        &json!([]),
    )?;
    errs(
        bench,
        json!({"op": "head", "key": "nowhere"}),
        "no-such-object",
    )
    .await
}

/// An etag is of a content: told when it is put, told later, and another for another content.
async fn etags(bench: &Bench) -> Result<(), Stop> {
    let one = put(bench, "etag", "01", json!({})).await?["etag"].clone();
    let told = first(bench, &json!({"op": "head", "key": "etag"})).await;
    same("its etag later", &told.done("head")?["etag"], &one)?;
    let two = put(bench, "etag", "02", json!({})).await?["etag"].clone();
    if one == two || two.as_str().is_none_or(str::is_empty) {
        return failed("another content has the same etag, or none");
    }
    Ok(())
}

/// A body of another length than was announced is none.
async fn sizes(bench: &Bench) -> Result<(), Stop> {
    put(bench, "sized", "0102", json!({"size": 2})).await?;
    for size in [1, 3, 100_000] {
        let put = json!({"op": "put", "key": "sized", "value": "0304", "with": {"size": size}});
        errs(bench, put, "wrong-size").await?;
        gives(bench, json!({"op": "get", "key": "sized"}), json!("0102")).await?;
    }
    Ok(())
}

async fn ranges(bench: &Bench) -> Result<(), Stop> {
    let bytes: Vec<u8> = (0..100).collect();
    let set = json!({"op": "set", "key": "ranged", "value": hex(&bytes)});
    gives(bench, set, Value::Null).await?;
    let read = |span: Value| json!({"op": "read", "key": "ranged", "with": span});
    for (span, from, to) in [
        (json!({"from": 0}), 0, 100),
        (json!({"from": 90}), 90, 100),
        (json!({"from": 100}), 100, 100),
        (json!({"slice": [10, 5]}), 10, 15),
        (json!({"slice": [95, 50]}), 95, 100),
        (json!({"slice": [10, 0]}), 10, 10),
        (json!({"last": 7}), 93, 100),
        (json!({"last": 1_000}), 0, 100),
    ] {
        let expected = json!([from, hex(&bytes[from..to])]);
        gives(bench, read(span), expected).await?;
    }
    for span in [json!({"from": 101}), json!({"slice": [200, 1]})] {
        errs(bench, read(span), "invalid-range").await?;
    }
    Ok(())
}

async fn conditions(bench: &Bench) -> Result<(), Stop> {
    let etag = put(bench, "conditional", "01", json!({"if_absent": true})).await?["etag"].clone();
    let again = |how: Value| json!({"op": "put", "key": "conditional", "value": "02", "with": how});
    errs(bench, again(json!({"if_absent": true})), "condition-failed").await?;
    errs(
        bench,
        again(json!({"if_match": "another"})),
        "condition-failed",
    )
    .await?;
    gives(
        bench,
        json!({"op": "get", "key": "conditional"}),
        json!("01"),
    )
    .await?;
    put(bench, "conditional", "03", json!({"if_match": etag})).await?;
    errs(bench, again(json!({"if_match": etag})), "condition-failed").await?;
    gives(
        bench,
        json!({"op": "get", "key": "conditional"}),
        json!("03"),
    )
    .await?;
    let delete = json!({"op": "delete", "key": "conditional"});
    gives(bench, delete, Value::Null).await
}

/// More than a driver might hold or send at once, and lengths around what it might cut at.
async fn whole(bench: &Bench) -> Result<(), Stop> {
    for bytes in [65_535, 65_536, 65_537, (5 << 20) + 1, 20 << 20] {
        let whole = json!({"op": "whole", "key": "whole", "bytes": bytes});
        gives(bench, whole, json!(true)).await?;
    }
    gives(bench, json!({"op": "delete", "key": "whole"}), Value::Null).await
}

async fn copied(bench: &Bench) -> Result<(), Stop> {
    transferred(bench, "copy", json!("0a0b")).await
}

async fn moved(bench: &Bench) -> Result<(), Stop> {
    transferred(bench, "move", Value::Null).await
}

/// What was under one name is under another, with all that is told of it; and what is left.
async fn transferred(bench: &Bench, op: &str, left: Value) -> Result<(), Stop> {
    let how = json!({"content_type": "text/html", "metadata": [["kind", "page"]]});
    put(bench, "source/a b", "0a0b", how.clone()).await?;
    let there = json!({"op": op, "key": "source/a b", "with": "target/ü"});
    let told = first(bench, &there).await.done(op)?;
    same("its new name", &told["name"], &json!("target/ü"))?;
    gives(
        bench,
        json!({"op": "get", "key": "target/ü"}),
        json!("0a0b"),
    )
    .await?;
    gives(bench, json!({"op": "get", "key": "source/a b"}), left).await?;
    let head = json!({"op": "head", "key": "target/ü"});
    let told = first(bench, &head).await.done("head")?;
    same("its type", &told["content_type"], &how["content_type"])?;
    same("its metadata", &told["metadata"], &how["metadata"])?;
    let nothing = json!({"op": op, "key": "nowhere", "with": "target/nothing"});
    errs(bench, nothing, "no-such-object").await?;
    let delete = json!({"op": "delete-many", "keys": ["source/a b", "target/ü"]});
    gives(bench, delete, Value::Null).await
}

const TREE: [&str; 6] = [
    "tree/Z",
    "tree/a",
    "tree/a-b",
    "tree/a/x",
    "tree/a/y/z",
    "tree/b/x",
];

async fn folders(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set-many", "keys": TREE, "value": "00"});
    gives(bench, set, Value::Null).await?;
    let page = |with: Value| json!({"op": "page", "with": with});
    let grouped = page(json!({"prefix": "tree/", "delimiter": "/", "limit": 100}));
    let expected = json!({
        "names": ["tree/Z", "tree/a", "tree/a-b"],
        "prefixes": ["tree/a/", "tree/b/"],
        "cursor": null,
    });
    gives(bench, grouped, expected).await?;
    let inner = page(json!({"prefix": "tree/a/", "delimiter": "/", "limit": 100}));
    let expected = json!({"names": ["tree/a/x"], "prefixes": ["tree/a/y/"], "cursor": null});
    gives(bench, inner, expected).await
}

/// Pages of any length give everything, once, in the order of bytes.
async fn pages(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set-many", "keys": TREE, "value": "00"});
    gives(bench, set, Value::Null).await?;
    for limit in [1, 2, 4] {
        let (mut names, mut cursor) = (Vec::new(), Value::Null);
        loop {
            let with = json!({"prefix": "tree/", "limit": limit, "cursor": cursor});
            let page = first(bench, &json!({"op": "page", "with": with})).await;
            let page = page.done("a page")?;
            let Some(some) = page["names"].as_array() else {
                return failed("a page has no names");
            };
            if some.len() > limit {
                return failed(format!("a page of at most {limit} has {}", some.len()));
            }
            names.extend_from_slice(some);
            cursor = page["cursor"].clone();
            if cursor.is_null() || names.len() > TREE.len() {
                break;
            }
        }
        let what = format!("all pages of {limit}");
        same(&what, &Value::from(names), &json!(TREE))?;
    }
    gives(
        bench,
        json!({"op": "delete-many", "keys": TREE}),
        Value::Null,
    )
    .await
}

/// Removed, or refused with an error.
async fn large_batch(bench: &Bench) -> Result<(), Stop> {
    let set = json!({"op": "set", "key": "batched0", "value": "00"});
    gives(bench, set, Value::Null).await?;
    let names: Vec<_> = (0..4_000).map(|n| format!("batched{n}")).collect();
    let delete = json!({"op": "delete-many", "keys": names});
    let said = first(bench, &delete).await;
    let left = match said.defined("removing 4000 objects")? {
        Ok(_) => Value::Null,
        Err(_) => json!("00"),
    };
    gives(bench, json!({"op": "get", "key": "batched0"}), left).await?;
    gives(
        bench,
        json!({"op": "delete", "key": "batched0"}),
        Value::Null,
    )
    .await
}

/// Has an object arrive in parts; what comes of it, where the driver takes such.
async fn upload(bench: &Bench, key: &str, sizes: Value, abort: bool) -> Result<Answer, Stop> {
    let with = json!({"sizes": sizes, "abort": abort});
    let answer = first(bench, &json!({"op": "upload", "key": key, "with": with})).await;
    match answer {
        Answer::Fault { kind, text } if kind == "not-begun" => {
            skipped(format!("the driver takes no uploads in parts: {text}"))
        }
        answer => Ok(answer),
    }
}

/// An object that arrives in parts, of which only the last may be short on some services.
async fn parts(bench: &Bench) -> Result<(), Stop> {
    for sizes in [json!([5 << 20, 5 << 20, 1_000]), json!([17])] {
        let stored = upload(bench, "parts", sizes, false).await?;
        same("parts as one", &stored.done("an upload")?, &json!(true))?;
    }
    gives(bench, json!({"op": "delete", "key": "parts"}), Value::Null).await
}

/// What is aborted has no parts any more, and is no object.
async fn aborted(bench: &Bench) -> Result<(), Stop> {
    let left = upload(bench, "aborted", json!([100]), true).await?;
    let said = left.refused("the parts of an upload that was aborted")?;
    if !said.starts_with("no-such-upload ") {
        return failed(format!("the parts of an upload that was aborted: {said}"));
    }
    gives(bench, json!({"op": "get", "key": "aborted"}), Value::Null).await
}

async fn containers(bench: &Bench) -> Result<(), Stop> {
    let life = json!({"op": "container", "store": "life"});
    let expected = json!([
        "there",
        "one",
        "1 objects, bytes",
        "container-not-empty",
        "deleted",
        "no-such-container",
        "new",
        "0 objects, no bytes",
        "deleted",
    ]);
    gives(bench, life, expected).await
}
