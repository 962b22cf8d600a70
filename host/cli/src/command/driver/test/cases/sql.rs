//! What databases have and stores of values have not: types, constraints, transactions, rows that
//! follow. All statements are such as every dialect has.

use serde_json::{Value, json};

use super::behaviour::{first, gives};
use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Stop, failed, same};

pub(super) const CASES: &[Case] = cases! {
    "sql/values" => values,
    "sql/columns" => columns,
    "sql/changes" => changes,
    "sql/constraints" => constraints,
    "sql/parameters" => parameters,
    "sql/invalid" => invalid,
    "sql/batch" => batch,
    "sql/committed" => committed,
    "sql/rolled-back" => rolled_back,
    "sql/dropped" => dropped,
    "sql/over" => over,
    "sql/many-rows" => many_rows,
    "sql/rows-left" => rows_left,
    "sql/schemas-apart" => schemas_apart,
};

fn one(op: &str, text: &str, parameters: Value) -> Value {
    json!({"op": op, "with": {"text": text, "parameters": parameters}})
}

async fn execute(bench: &Bench, text: &str, parameters: Value) -> Result<Value, Stop> {
    let asked = one("execute", text, parameters);
    first(bench, &asked).await.done(text)
}

async fn query(bench: &Bench, text: &str, expected: Value) -> Result<(), Stop> {
    let rows = first(bench, &one("query", text, json!([]))).await;
    same(text, &rows.done(text)?, &expected)
}

/// A new table.
async fn table(bench: &Bench, name: &str, columns: &str) -> Result<(), Stop> {
    execute(bench, &format!("DROP TABLE IF EXISTS {name}"), json!([])).await?;
    execute(
        bench,
        &format!("CREATE TABLE {name} ({columns})"),
        json!([]),
    )
    .await?;
    Ok(())
}

async fn errs(bench: &Bench, what: Value, kind: &str) -> Result<(), Stop> {
    let name = what["with"]["text"].to_string();
    let said = first(bench, &what).await.refused(&name)?;
    if said.starts_with(&format!("{kind} ")) {
        Ok(())
    } else {
        failed(format!("{name}: expected the error {kind}, got {said}"))
    }
}

async fn values(bench: &Bench) -> Result<(), Stop> {
    let columns = "i BIGINT, r DOUBLE PRECISION, t TEXT, b BYTEA";
    table(bench, "typed", columns).await?;
    let rows = [
        json!([i64::MAX, 0.5, "ü€'\"\\;", {"bytes": "00ff"}]),
        json!([i64::MIN, -1.25e100, "", {"bytes": ""}]),
        json!([null, null, null, null]),
    ];
    for row in rows {
        execute(bench, "DELETE FROM typed", json!([])).await?;
        let insert = "INSERT INTO typed (i, r, t, b) VALUES (?, ?, ?, ?)";
        execute(bench, insert, row.clone()).await?;
        query(bench, "SELECT i, r, t, b FROM typed", json!([row])).await?;
    }
    Ok(())
}

async fn columns(bench: &Bench) -> Result<(), Stop> {
    let select = "SELECT name, value AS other FROM probe";
    let asked = one("columns", select, json!([]));
    gives(bench, asked, json!(["name", "other"])).await
}

async fn changes(bench: &Bench) -> Result<(), Stop> {
    table(bench, "changed", "n BIGINT").await?;
    for (text, count) in [
        ("INSERT INTO changed (n) VALUES (1), (2), (3)", 3),
        ("UPDATE changed SET n = n + 1 WHERE n > 1", 2),
        ("DELETE FROM changed WHERE n > 10", 0),
        ("DELETE FROM changed", 3),
    ] {
        let changes = execute(bench, text, json!([])).await?;
        same(text, &changes, &json!(count))?;
    }
    Ok(())
}

async fn constraints(bench: &Bench) -> Result<(), Stop> {
    execute(bench, "DROP TABLE IF EXISTS child", json!([])).await?;
    table(bench, "parent", "id BIGINT PRIMARY KEY").await?;
    let columns = "id BIGINT UNIQUE, parent BIGINT NOT NULL REFERENCES parent (id), \
                   n BIGINT CHECK (n > 0)";
    table(bench, "child", columns).await?;
    execute(bench, "INSERT INTO parent (id) VALUES (1)", json!([])).await?;
    for (row, constraint) in [
        (json!([1, 1, 1]), "none"),
        (json!([1, 1, 1]), "unique"),
        (json!([2, 9, 1]), "foreign-key"),
        (json!([2, null, 1]), "not-null"),
        (json!([2, 1, 0]), "check"),
    ] {
        let insert = "INSERT INTO child (id, parent, n) VALUES (?, ?, ?)";
        gives(bench, one("violation", insert, row), json!(constraint)).await?;
    }
    query(bench, "SELECT id, parent, n FROM child", json!([[1, 1, 1]])).await
}

/// Parameters are values and nothing else, and as many as the statement has.
async fn parameters(bench: &Bench) -> Result<(), Stop> {
    table(bench, "given", "t TEXT").await?;
    let odd = "'); DROP TABLE given; --?";
    execute(bench, "INSERT INTO given (t) VALUES (?)", json!([odd])).await?;
    query(bench, "SELECT t FROM given", json!([[odd]])).await?;
    query(
        bench,
        "SELECT t FROM given WHERE t LIKE '%?'",
        json!([[odd]]),
    )
    .await?;
    for few_or_many in [json!([]), json!(["a", "b"])] {
        let insert = one("execute", "INSERT INTO given (t) VALUES (?)", few_or_many);
        first(bench, &insert)
            .await
            .refused("another number of parameters")?;
    }
    query(bench, "SELECT t FROM given", json!([[odd]])).await
}

async fn invalid(bench: &Bench) -> Result<(), Stop> {
    table(bench, "safe", "n BIGINT").await?;
    execute(bench, "INSERT INTO safe (n) VALUES (1)", json!([])).await?;
    for text in ["SELEC 1", "SELECT x FROM nowhere", "SELECT ("] {
        errs(bench, one("query", text, json!([])), "invalid-statement").await?;
    }
    for text in [
        "DELETE FROM safe; DELETE FROM safe",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "VACUUM",
    ] {
        let said = first(bench, &one("execute", text, json!([]))).await;
        said.refused(&format!("{text:?}, which is not one statement here"))?;
    }
    query(bench, "SELECT n FROM safe", json!([[1]])).await
}

async fn batch(bench: &Bench) -> Result<(), Stop> {
    table(bench, "batched", "n BIGINT PRIMARY KEY").await?;
    let insert = |n: i64| json!({"text": "INSERT INTO batched (n) VALUES (?)", "parameters": [n]});
    let whole = json!({"op": "batch", "with": [insert(1), insert(2)]});
    gives(bench, whole, json!([1, 1])).await?;
    let broken = json!({"op": "batch", "with": [insert(3), insert(1), insert(4)]});
    gives(bench, broken, json!({"failed": 1, "kind": "constraint"})).await?;
    gives(bench, json!({"op": "batch", "with": []}), json!([])).await?;
    query(bench, "SELECT n FROM batched ORDER BY n", json!([[1], [2]])).await
}

/// Writes two rows in a transaction that ends so, and what it reads itself.
async fn transaction(bench: &Bench, end: &str) -> Result<Value, Stop> {
    table(bench, "within", "n BIGINT").await?;
    let statements = json!([
        {"text": "INSERT INTO within (n) VALUES (?)", "parameters": [1]},
        {"text": "INSERT INTO within (n) VALUES (?)", "parameters": [2]},
        {"text": "SELECT count(*) FROM within"},
    ]);
    let asked = json!({"op": "transaction", "with": {"statements": statements, "end": end}});
    first(bench, &asked).await.done("a transaction")
}

async fn committed(bench: &Bench) -> Result<(), Stop> {
    let seen = transaction(bench, "commit").await?;
    same("what it sees of itself", &seen, &json!([[2]]))?;
    query(bench, "SELECT n FROM within ORDER BY n", json!([[1], [2]])).await
}

async fn rolled_back(bench: &Bench) -> Result<(), Stop> {
    transaction(bench, "rollback").await?;
    query(bench, "SELECT n FROM within", json!([])).await
}

async fn dropped(bench: &Bench) -> Result<(), Stop> {
    transaction(bench, "drop").await?;
    query(bench, "SELECT n FROM within", json!([])).await?;
    // It does not stand in the way of the next one.
    transaction(bench, "commit").await.map(drop)
}

async fn over(bench: &Bench) -> Result<(), Stop> {
    table(bench, "beyond", "n BIGINT").await?;
    let statement = json!({"text": "INSERT INTO beyond (n) VALUES (1)"});
    let with = json!({"statements": [statement], "end": "beyond"});
    let asked = json!({"op": "transaction", "with": with});
    errs(bench, asked, "transaction-over").await?;
    query(bench, "SELECT count(*) FROM beyond", json!([[1]])).await
}

const NUMBERS: &str = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL \
     SELECT n + 1 FROM numbers WHERE n < 5000) SELECT n FROM numbers";

async fn many_rows(bench: &Bench) -> Result<(), Stop> {
    let all: Value = (1..=5_000).map(|n| json!([n])).collect();
    query(bench, NUMBERS, all).await
}

/// Rows that nobody takes any more are in nobody's way.
async fn rows_left(bench: &Bench) -> Result<(), Stop> {
    for _ in 0..20 {
        let mut some = one("first-rows", NUMBERS, json!([]));
        some["count"] = json!(2);
        gives(bench, some, json!([[1], [2]])).await?;
    }
    gives(bench, json!({"op": "get", "key": "absent"}), Value::Null).await
}

/// Neither another installation nor another tenant has the table.
async fn schemas_apart(bench: &Bench) -> Result<(), Stop> {
    table(bench, "own", "n BIGINT").await?;
    execute(bench, "INSERT INTO own (n) VALUES (1)", json!([])).await?;
    for at in [At::Sibling, At::Other] {
        let theirs = bench
            .ask(at, &one("query", "SELECT n FROM own", json!([])))
            .await;
        theirs.refused("reading the table of another installation")?;
    }
    Ok(())
}
