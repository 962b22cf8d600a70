//! What installations store, looked at and repaired through the API.

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request};
use canopy_backend::sql::{SqlProvider as _, SqlStatement};
use canopy_backend::{KeyValueProvider as _, Scope};
use serde_json::{Value, json};

use crate::support::{Answer, Node, app};

const APP: &str = "tenants/one/installations/plain";

/// A node whose tenant `one` has the installation `plain`, and the tenant's token for its data.
struct Place {
    node: Node,
    scope: Scope,
    token: String,
}

impl Place {
    async fn new() -> Self {
        let node = Node::furnished().await;
        let published = node
            .publish("plain", "1.0.0", "kind = \"app\"", &app(""))
            .await;
        assert_eq!(published.status, 201, "{published:?}");
        let installed = node.put(APP, json!({ "package": "acme/plain" })).await;
        assert_eq!(installed.status, 201, "{installed:?}");
        let id = |answer: Value| answer["id"].as_str().expect("an id").to_owned();
        let tenant = id(node.get("tenants/one").await.json());
        let body = json!({ "subject": "ada", "access": "data" });
        let token = node
            .send(Method::POST, "tenants/one/tokens", &[], body)
            .await;
        Self {
            scope: Scope {
                tenant: tenant.parse().expect("an id"),
                installation: id(installed.json()).parse().expect("an id"),
            },
            token: token.json()["secret"].as_str().expect("text").to_owned(),
            node,
        }
    }

    /// A request with the tenant's token, below the installation's address.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1/{APP}/{path}"))
            .header(AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.node
            .raw(request.body(body.into()).expect("a request"))
            .await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], Body::empty()).await
    }

    async fn sql(&self, statement: Value) -> Answer {
        let json = [(CONTENT_TYPE.as_str(), "application/json")];
        self.ask(Method::POST, "sql/query", &json, statement.to_string())
            .await
    }

    /// The platform's lines in the installation's log.
    async fn log(&self) -> Vec<String> {
        let page = self.node.get(&format!("{APP}/logs")).await.json();
        let items = page["items"].as_array().expect("items");
        items
            .iter()
            .map(|record| record["message"].as_str().expect("text").to_owned())
            .collect()
    }
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let lines = answer.text.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[tokio::test]
async fn values_of_any_key_are_read_set_and_removed() {
    let place = Place::new().await;
    // Slash, dot segments, space, `%`, `&` and what is not ASCII.
    let key = "a%2F..%2Fb%20%25%26%C3%BC";
    let path = format!("key-value/value?store=my%20store&key={key}");
    assert_eq!(place.get(&path).await.problem(404), "not-found");
    let stores = place.get("key-value/stores").await.json();
    assert_eq!(stores["items"], json!([]), "looking makes no store");

    let set = place.ask(Method::PUT, &path, &[], "\u{0}v").await;
    assert_eq!(set.status, 204, "{set:?}");
    let read = place.get(&path).await;
    assert_eq!((read.text.as_str(), read.etag()), ("\u{0}v", set.etag()));
    assert_eq!(read.headers[CONTENT_TYPE], "application/octet-stream");
    let bucket = place.node.storage.open(place.scope, "my store").await;
    let bucket = bucket.expect("the application's own way");
    let value = bucket.get("a/../b %&ü").await.expect("read");
    assert_eq!(value.as_deref(), Some(&b"\0v"[..]));

    let stale = [("if-match", "\"999999\"")];
    let refused = place.ask(Method::PUT, &path, &stale, "x").await;
    assert_eq!(refused.problem(412), "precondition-failed");
    let new = [("if-none-match", "*")];
    let refused = place.ask(Method::PUT, &path, &new, "x").await;
    assert_eq!(refused.problem(412), "precondition-failed");
    let tag = [("if-match", set.etag())];
    assert_eq!(place.ask(Method::PUT, &path, &tag, "w").await.status, 204);
    let refused = place.ask(Method::DELETE, &path, &tag, "").await;
    assert_eq!(refused.problem(412), "precondition-failed");
    assert_eq!(place.ask(Method::DELETE, &path, &[], "").await.status, 204);
    let gone = place.ask(Method::DELETE, &path, &[], "").await;
    assert_eq!(gone.problem(404), "not-found");
}

#[tokio::test]
async fn a_value_may_end_after_a_time_and_says_so() {
    let place = Place::new().await;
    let path = "key-value/value?store=s&key=k";
    let set = format!("{path}&ttl_ms=600000");
    assert_eq!(place.ask(Method::PUT, &set, &[], "v").await.status, 204);
    let read = place.get(path).await;
    assert!(read.headers.contains_key("canopy-expires-at"), "{read:?}");
    let keys = place.get("key-value/keys?store=s").await.json();
    assert!(keys["items"][0]["expires_at"].is_string(), "{keys}");
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let place = Place::new().await;
    let bucket = place.node.storage.open(place.scope, "s").await.expect("s");
    for at in 0..7 {
        let key = format!("k{at}");
        bucket.set(&key, vec![0; at]).await.expect("set");
    }
    bucket.set("other", Vec::new()).await.expect("set");
    let mut path = "key-value/keys?store=s&prefix=k&limit=3".to_owned();
    let mut keys = Vec::new();
    loop {
        let page = place.get(&path).await.json();
        for entry in page["items"].as_array().expect("items") {
            keys.push((entry["key"].clone(), entry["bytes"].clone()));
        }
        match page["next_cursor"].as_str() {
            Some(next) => path = format!("key-value/keys?store=s&prefix=k&limit=3&cursor={next}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..7)
        .map(|at| (json!(format!("k{at}")), json!(at)))
        .collect();
    assert_eq!(keys, expected);
    let missing = place.get("key-value/keys?store=nope").await;
    assert_eq!(missing.problem(404), "not-found");
}

#[tokio::test]
async fn every_change_is_in_the_log_with_who_made_it() {
    let place = Place::new().await;
    let path = "key-value/value?store=s&key=a%0Ab";
    assert_eq!(place.ask(Method::PUT, path, &[], "v").await.status, 204);
    assert_eq!(place.get(path).await.status, 200);
    assert_eq!(
        place.node.delete(&format!("{APP}/{path}")).await.status,
        204
    );
    let log = place.log().await;
    assert_eq!(log.len(), 2, "reading is no change: {log:?}");
    assert!(
        log[0].starts_with("key \"a\\nb\" of store \"s\" was set to 1 bytes by ada (token tok_"),
        "{log:?}"
    );
    assert!(log[1].contains("was removed by the operator (token tok_"));
}

#[tokio::test]
async fn a_value_over_the_limit_is_refused_and_nothing_is_set() {
    let place = Place::new().await;
    let path = "key-value/value?store=s&key=k";
    let large = vec![b'x'; (1 << 20) + 1];
    let refused = place.ask(Method::PUT, path, &[], large).await;
    assert_eq!(refused.problem(413), "body-too-large");
    assert_eq!(place.get(path).await.problem(404), "not-found");
    let largest = vec![b'x'; 1 << 20];
    assert_eq!(place.ask(Method::PUT, path, &[], largest).await.status, 204);
}

#[tokio::test]
async fn objects_are_put_listed_read_and_removed() {
    let place = Place::new().await;
    let object = "blobs/object?container=scans&name=a%2Fone.txt";
    let text = [(CONTENT_TYPE.as_str(), "text/plain")];
    let early = place.ask(Method::PUT, object, &text, "x").await;
    assert_eq!(early.problem(404), "not-found", "no container yet");
    let container = "blobs/container?container=scans";
    let made = place.ask(Method::PUT, container, &[], "").await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(place.ask(Method::PUT, container, &[], "").await.status, 204);

    let large = vec![b'x'; 3 << 20];
    let put = place.ask(Method::PUT, object, &text, large.clone()).await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put.json()["bytes"], 3 << 20);
    let read = place.get(object).await;
    assert_eq!(read.text.len(), large.len());
    assert_eq!(read.headers[CONTENT_TYPE], "text/plain");
    assert_eq!(read.headers["content-disposition"], "attachment");
    assert_eq!(read.etag().trim_matches('"'), put.json()["etag"]);
    let info = place
        .get("blobs/info?container=scans&name=a%2Fone.txt")
        .await;
    assert_eq!(info.json(), put.json());
    let list = place.get("blobs/objects?container=scans&prefix=a%2F").await;
    assert_eq!(list.json()["items"][0]["name"], "a/one.txt");
    let containers = place.get("blobs/containers").await.json();
    assert_eq!(containers["items"][0]["objects"], 1);

    let new = [("if-none-match", "*")];
    let refused = place.ask(Method::PUT, object, &new, "x").await;
    assert_eq!(refused.problem(412), "precondition-failed");
    let full = place.ask(Method::DELETE, container, &[], "").await;
    assert_eq!(full.problem(409), "container-not-empty");
    assert_eq!(place.ask(Method::DELETE, object, &[], "").await.status, 204);
    assert_eq!(place.get(object).await.problem(404), "not-found");
    assert_eq!(
        place.ask(Method::DELETE, container, &[], "").await.status,
        204
    );
    let log = place.log().await;
    assert_eq!(log.len(), 4, "{log:?}");
    assert!(log[1].contains("\"a/one.txt\"") && log[1].contains("3145728 bytes"));
}

#[tokio::test]
async fn a_body_that_breaks_off_puts_nothing() {
    let place = Place::new().await;
    let container = "blobs/container?container=c";
    assert_eq!(place.ask(Method::PUT, container, &[], "").await.status, 201);
    let object = "blobs/object?container=c&name=o";
    assert_eq!(place.ask(Method::PUT, object, &[], "old").await.status, 200);
    let pieces = futures::stream::iter([Ok("new"), Err(std::io::Error::other("gone"))]);
    let body = Body::from_stream(pieces);
    let refused = place.ask(Method::PUT, object, &[], body).await;
    assert_eq!(refused.problem(400), "broken-body");
    assert_eq!(place.get(object).await.text, "old");
}

/// A table `item` with `rows` rows in the database `default`.
async fn stocked(place: &Place, rows: usize) {
    let database = place.node.sql.open(place.scope, "default").await;
    let database = database.expect("a database");
    let create = "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, data BLOB)";
    database
        .execute(SqlStatement::new(create, Vec::new()))
        .await
        .expect("created");
    let fill = format!(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows}) \
         INSERT INTO item SELECT i, 'item ' || i, x'00ff' FROM n"
    );
    database
        .execute(SqlStatement::new(fill, Vec::new()))
        .await
        .expect("filled");
}

#[tokio::test]
async fn statements_give_their_rows_line_by_line() {
    let place = Place::new().await;
    let query = json!({ "statement": "SELECT 1" });
    assert_eq!(place.sql(query).await.problem(404), "not-found");
    stocked(&place, 3_000).await;
    let databases = place.get("sql/databases").await.json();
    assert_eq!(databases["items"], json!([{ "name": "default" }]));

    let statement = "SELECT id, name, data FROM item WHERE id > ?1 ORDER BY id";
    let query = json!({ "statement": statement, "parameters": [1] });
    let lines = lines(&place.sql(query).await);
    assert_eq!(lines[0], json!({ "columns": ["id", "name", "data"] }));
    assert_eq!(
        lines[1],
        json!({ "row": [2, "item 2", { "base64": "AP8=" }] })
    );
    assert_eq!(lines.len(), 1 + 2_999 + 1);
    assert!(lines[3_000]["done"].is_object(), "{}", lines[3_000]);
}

#[tokio::test]
async fn only_who_says_so_writes_and_the_log_knows() {
    let place = Place::new().await;
    stocked(&place, 2).await;
    let statement = "UPDATE item SET name = 'x' || id";
    let refused = place.sql(json!({ "statement": statement })).await;
    assert_eq!(refused.problem(422), "sql-denied");
    assert_eq!(place.log().await.len(), 0);
    let write = json!({ "statement": statement, "write": true });
    let done = lines(&place.sql(write).await);
    assert_eq!(done.last().expect("a line")["done"]["changes"], 2);
    let log = place.log().await;
    assert!(
        log.len() == 1 && log[0].contains("changed 2 rows by ada"),
        "{log:?}"
    );

    let twice = json!({ "statement": "UPDATE item SET name = 'same'", "write": true });
    let refused = place.sql(twice).await;
    let code = if refused.status == 200 {
        let last = lines(&refused).pop().expect("a line");
        last["failed"]["type"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    } else {
        refused.problem(409)
    };
    assert!(code.ends_with("sql-constraint"), "{refused:?}");
    for (statement, code) in [
        ("SELEKT 1", "invalid-sql"),
        ("ATTACH 'x' AS y", "sql-denied"),
    ] {
        let refused = place
            .sql(json!({ "statement": statement, "write": true }))
            .await;
        assert_eq!(refused.problem(422), code, "{statement}");
    }
    let nowhere = json!({ "database": "new", "statement": "SELECT 1", "write": true });
    assert_eq!(place.sql(nowhere).await.problem(404), "not-found");
}
