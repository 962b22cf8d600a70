//! Who may do what: every operation of the API, tried by everybody.
//!
//! The table says which access each operation needs; what each principal gets follows from it.
//! An operation that is not in the table fails the test.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request, StatusCode};
use serde_json::{Value, json};

use crate::support::{Answer, Node};

/// What an operation needs, each more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Needs {
    /// Any token.
    Token,
    Viewer,
    Data,
    Admin,
    Operator,
}

use Needs::{Admin, Data, Operator, Token, Viewer};

const NAME: &str = r#"{ "display_name": "X" }"#;
const PACKAGE: &str = r#"{ "package": "acme/nope" }"#;
const VERSION: &str = r#"{ "version": "9.9.9" }"#;
const EGRESS: &str = r#"{ "egress": [] }"#;
const SECRET: &str = r#"{ "value": "v" }"#;
const RESTORE: &str = r#"{ "tenant": "one" }"#;
const IMPORT: &str = r#"{ "size": 1, "name": "x" }"#;
const CONFIRM: &str = r#"{ "confirm": "another" }"#;
const BADGE: &str = r#"{ "package": "acme/nope", "version": "9.9.9", "suites": [], "cases": [],
    "digest": "sha256:0000000000000000000000000000000000000000000000000000000000000000",
    "suite_version": "1", "host_version": "1", "tested_at": "2026-11-26T00:00:00Z" }"#;
const FORM: &str = "a form";

/// Below the address of the tenant's installation.
const APP: &str = "tenants/{tenant}/installations/{installation}";
/// Below the address of the tenant's driver.
const DRIVER: &str = "tenants/{tenant}/drivers/{driver}";

/// Method, path, what it needs, and what has to be sent for it to be understood: a query after `?`
/// in the path, and a body.
#[rustfmt::skip]
fn table() -> Vec<(&'static str, String, Needs, &'static str)> {
    let app = |rest: &str| format!("{APP}{rest}");
    let driver = |rest: &str| format!("{DRIVER}{rest}");
    vec![
        ("GET", "status".into(), Operator, ""),
        ("GET", "whoami".into(), Token, ""),
        ("GET", "publishers".into(), Operator, ""),
        ("GET", "publishers/{publisher}".into(), Operator, ""),
        ("PUT", "publishers/{publisher}".into(), Operator, NAME),
        ("GET", "packages".into(), Token, ""),
        ("GET", "packages/{publisher}/{name}".into(), Token, ""),
        ("GET", "packages/{publisher}/{name}/versions".into(), Token, ""),
        ("GET", "packages/{publisher}/{name}/versions/{version}".into(), Token, ""),
        ("PUT", "packages/{publisher}/{name}/versions/{version}".into(), Operator, FORM),
        ("GET", "packages/{publisher}/{name}/versions/{version}/component".into(), Token, ""),
        ("PUT", "packages/{publisher}/{name}/versions/{version}/badge".into(), Operator, BADGE),
        ("GET", "jobs".into(), Operator, ""),
        ("GET", "jobs/{job}".into(), Operator, ""),
        ("POST", "jobs/{job}/cancel".into(), Operator, ""),
        ("GET", "backups".into(), Operator, ""),
        ("POST", "backups".into(), Operator, "{}"),
        ("GET", "backups/{snapshot}".into(), Operator, ""),
        ("POST", "backups/check".into(), Operator, "{}"),
        ("POST", "backups/prune".into(), Operator, "{}"),
        ("POST", "restores".into(), Operator, RESTORE),
        ("POST", "tenants/{tenant}/exports".into(), Operator, ""),
        ("GET", "exports".into(), Operator, ""),
        ("GET", "exports/{export}/content".into(), Operator, ""),
        ("DELETE", "exports/{export}".into(), Operator, ""),
        ("POST", "imports".into(), Operator, IMPORT),
        ("GET", "imports/{import}".into(), Operator, ""),
        ("DELETE", "imports/{import}".into(), Operator, ""),
        ("PUT", "imports/{import}/content?offset=0".into(), Operator, ""),
        ("POST", "imports/{import}/start".into(), Operator, "{}"),
        ("GET", "tenants/{tenant}/erasure".into(), Operator, ""),
        ("POST", "tenants/{tenant}/erasure".into(), Operator, CONFIRM),
        ("GET", "erasures".into(), Operator, ""),
        ("GET", "erasures/key".into(), Operator, ""),
        ("GET", "erasures/{erasure}".into(), Operator, ""),
        ("GET", "keys".into(), Operator, ""),
        ("POST", "tenants/{tenant}/keys/rotate".into(), Operator, ""),
        ("POST", "tenants/{tenant}/check".into(), Operator, ""),
        ("GET", "plans".into(), Operator, ""),
        ("GET", "plans/{plan}".into(), Operator, ""),
        ("PUT", "plans/{plan}".into(), Operator, NAME),
        ("DELETE", "plans/{plan}".into(), Operator, ""),
        ("GET", "tenants".into(), Operator, ""),
        ("GET", "tenants/{tenant}".into(), Viewer, ""),
        ("PUT", "tenants/{tenant}".into(), Operator, NAME),
        ("DELETE", "tenants/{tenant}".into(), Operator, ""),
        ("GET", "tenants/{tenant}/limits".into(), Viewer, ""),
        ("GET", "tenants/{tenant}/usage".into(), Viewer, ""),
        ("GET", "tenants/{tenant}/tokens".into(), Admin, ""),
        ("POST", "tenants/{tenant}/tokens".into(), Admin, r#"{ "subject": "s" }"#),
        ("DELETE", "tenants/{tenant}/tokens/{token}".into(), Admin, ""),
        ("GET", "tenants/{tenant}/installations".into(), Viewer, ""),
        ("GET", app(""), Viewer, ""),
        ("PUT", app(""), Admin, PACKAGE),
        ("DELETE", app(""), Admin, ""),
        ("GET", app("/limits"), Viewer, ""),
        ("GET", app("/usage"), Viewer, ""),
        ("GET", app("/logs"), Viewer, ""),
        ("PUT", app("/version"), Admin, VERSION),
        ("POST", app("/rollback"), Admin, ""),
        ("PUT", app("/bindings/{binding}"), Admin, r#"{ "driver": "x" }"#),
        ("DELETE", app("/bindings/{binding}"), Admin, ""),
        ("GET", app("/config"), Viewer, ""),
        ("PUT", app("/config"), Admin, "{}"),
        ("PATCH", app("/config"), Admin, "{}"),
        ("GET", app("/secrets"), Viewer, ""),
        ("PUT", app("/secrets/{key}"), Admin, SECRET),
        ("DELETE", app("/secrets/{key}"), Admin, ""),
        ("PUT", app("/egress"), Admin, EGRESS),
        ("PUT", app("/domains/{domain}"), Operator, ""),
        ("DELETE", app("/domains/{domain}"), Operator, ""),
        ("GET", "tenants/{tenant}/schedules".into(), Viewer, ""),
        ("GET", app("/schedules"), Viewer, ""),
        ("GET", app("/schedules/{schedule}"), Viewer, ""),
        ("GET", app("/schedules/{schedule}/runs"), Viewer, ""),
        ("POST", app("/schedules/{schedule}/runs"), Admin, ""),
        ("POST", app("/schedules/{schedule}/pause"), Admin, ""),
        ("POST", app("/schedules/{schedule}/resume"), Admin, ""),
        ("GET", app("/messages"), Data, ""),
        ("GET", app("/messages/dead"), Data, ""),
        ("GET", app("/messages/dead/{message}"), Data, ""),
        ("DELETE", app("/messages/dead/{message}"), Data, ""),
        ("POST", app("/messages/dead/{message}/requeue"), Data, ""),
        ("GET", app("/key-value/stores"), Data, ""),
        ("GET", app("/key-value/keys?store=s"), Data, ""),
        ("GET", app("/key-value/value?store=s&key=k"), Data, ""),
        ("PUT", app("/key-value/value?store=s&key=k"), Data, "{}"),
        ("DELETE", app("/key-value/value?store=s&key=k"), Data, ""),
        ("GET", app("/blobs/containers"), Data, ""),
        ("PUT", app("/blobs/container?container=c"), Data, ""),
        ("DELETE", app("/blobs/container?container=c"), Data, ""),
        ("GET", app("/blobs/objects?container=c"), Data, ""),
        ("GET", app("/blobs/info?container=c&name=o"), Data, ""),
        ("GET", app("/blobs/object?container=c&name=o"), Data, ""),
        ("PUT", app("/blobs/object?container=c&name=o"), Data, "{}"),
        ("DELETE", app("/blobs/object?container=c&name=o"), Data, ""),
        ("GET", app("/sql/databases"), Data, ""),
        ("POST", app("/sql/query"), Data, r#"{ "statement": "SELECT 1" }"#),
        ("GET", "tenants/{tenant}/drivers".into(), Viewer, ""),
        ("GET", driver(""), Viewer, ""),
        ("PUT", driver(""), Admin, PACKAGE),
        ("DELETE", driver(""), Admin, ""),
        ("GET", driver("/logs"), Viewer, ""),
        ("PUT", driver("/version"), Admin, VERSION),
        ("POST", driver("/rollback"), Admin, ""),
        ("POST", driver("/check"), Admin, ""),
        ("PUT", driver("/bindings/{binding}"), Admin, r#"{ "driver": "x" }"#),
        ("DELETE", driver("/bindings/{binding}"), Admin, ""),
        ("GET", driver("/config"), Viewer, ""),
        ("PUT", driver("/config"), Admin, "{}"),
        ("PATCH", driver("/config"), Admin, "{}"),
        ("GET", driver("/secrets"), Viewer, ""),
        ("PUT", driver("/secrets/{key}"), Admin, SECRET),
        ("DELETE", driver("/secrets/{key}"), Admin, ""),
        ("PUT", driver("/egress"), Admin, EGRESS),
    ]
}

/// The operations that the API's description has, as in the table but without queries.
fn described() -> BTreeSet<String> {
    let document = serde_json::to_value(canopy_api::document()).expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let operations = paths.iter().flat_map(|(path, item)| {
        let path = path.strip_prefix("/api/v1/").expect("ours");
        let methods = item.as_object().expect("an item").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    operations.collect()
}

#[test]
fn the_table_has_every_operation_once() {
    let table: Vec<_> = table()
        .into_iter()
        .map(|(method, path, ..)| {
            let path = path.split('?').next().unwrap_or_default().to_owned();
            format!("{method} {path}")
        })
        .collect();
    let once: BTreeSet<_> = table.iter().cloned().collect();
    assert_eq!(once.len(), table.len(), "an operation is there twice");
    let described = described();
    let missing: Vec<_> = described.difference(&once).collect();
    let gone: Vec<_> = once.difference(&described).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "add to the table what each of these needs: {missing:?}; remove from it: {gone:?}"
    );
}

/// `path` with names filled in: the tenant `one`, and other things that do not exist.
fn filled(path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let parts = path.split('/').map(|part| match part {
        "{tenant}" => "one",
        "{version}" => "9.9.9",
        "{binding}" => "wasi:keyvalue",
        "{token}" => "tok_018f3c2e000070008000000000000000",
        "{domain}" => "x.example.com",
        "{job}" => "job_018f3c2e000070008000000000000000",
        "{snapshot}" => "snp_018f3c2e000070008000000000000000",
        "{message}" => "msg_018f3c2e000070008000000000000000",
        "{export}" => "exp_018f3c2e000070008000000000000000",
        "{import}" => "imp_018f3c2e000070008000000000000000",
        "{erasure}" => "era_018f3c2e000070008000000000000000",
        part if part.starts_with('{') => "nope",
        part => part,
    });
    format!("/api/v1/{}?{query}", parts.collect::<Vec<_>>().join("/"))
}

async fn attempt(
    node: &Node,
    method: &str,
    path: &str,
    body: &'static str,
    token: Option<&str>,
) -> Answer {
    let method: Method = method.parse().expect("a method");
    // A revision that nothing has: whatever is allowed still changes nothing.
    let mut request = Request::builder()
        .method(method)
        .uri(filled(path))
        .header("if-match", "\"999999\"");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {token}"));
    }
    let kind = if body == FORM {
        "multipart/form-data; boundary=X"
    } else {
        "application/json"
    };
    let request = request.header(CONTENT_TYPE, kind).body(Body::from(body));
    node.raw(request.expect("a request")).await
}

/// A token of `tenant` with `access`.
async fn token(node: &Node, tenant: &str, access: Value) -> String {
    let body = json!({ "subject": "ada", "access": access });
    let path = format!("tenants/{tenant}/tokens");
    let created = node.send(Method::POST, &path, &[], body).await;
    assert_eq!(created.status, 201, "{created:?}");
    let created = created.json();
    assert_eq!(created["access"], access);
    created["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test]
async fn everybody_gets_what_the_table_says_and_nothing_else() {
    let node = Node::furnished().await;
    let own = [
        (Viewer, token(&node, "one", json!("viewer")).await),
        (Data, token(&node, "one", json!("data")).await),
        (Admin, token(&node, "one", json!("admin")).await),
        (Operator, node.token.clone()),
    ];
    let other = token(&node, "two", json!("admin")).await;
    let invoking = token(&node, "one", Value::Null).await;
    for (method, path, needs, body) in table() {
        let case = format!("{method} {path}");
        for token in [None, Some("x"), Some(&*invoking)] {
            let answer = attempt(&node, method, &path, body, token).await;
            assert_eq!(answer.problem(401), "unauthenticated", "{case} {token:?}");
        }
        for (access, token) in &own {
            let answer = attempt(&node, method, &path, body, Some(token)).await;
            if *access >= needs {
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
                assert!(
                    !refused.contains(&answer.status) && !is_tenant_missing(&answer),
                    "{case} as {access:?}: {answer:?}"
                );
            } else {
                assert_eq!(answer.problem(403), "forbidden", "{case} as {access:?}");
            }
        }
        let answer = attempt(&node, method, &path, body, Some(&other)).await;
        if path.contains("{tenant}") {
            assert_eq!(answer.problem(404), "not-found", "{case} as another tenant");
            assert!(is_tenant_missing(&answer), "{case}: {answer:?}");
        } else if needs == Operator {
            assert_eq!(answer.problem(403), "forbidden", "{case} as another tenant");
        } else {
            assert_ne!(answer.status, StatusCode::FORBIDDEN, "{case}");
        }
    }
    let names = node.get("tenants").await.json();
    assert_eq!(names["items"].as_array().map(Vec::len), Some(2));
}

/// Whether the answer says that the tenant `one` does not exist, as it says of one that does not.
fn is_tenant_missing(answer: &Answer) -> bool {
    answer.status == StatusCode::NOT_FOUND && {
        let problem = answer.json();
        problem["noun"] == "tenant" && problem["name"] == "one"
    }
}

#[tokio::test]
async fn only_the_operator_opens_a_network() {
    let node = Node::furnished().await;
    let admin = token(&node, "one", json!("admin")).await;
    let path = "tenants/one/installations/notes";
    let body = json!({ "package": "acme/notes", "secrets": { "key": "k" } });
    assert_eq!(node.put(path, body).await.status, 201);
    let path = &format!("{path}/egress");
    let grant = async |token: &str, egress: Value| {
        let request = Request::builder()
            .method(Method::PUT)
            .uri(format!("/api/v1/{path}"))
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(json!({ "egress": egress }).to_string()));
        node.raw(request.expect("a request")).await
    };
    let (rule, network) = ("tcp://10.2.0.5:5432", "10.2.0.0/16");
    // Of itself a tenant grants public addresses alone.
    let refused = grant(&admin, json!([rule])).await;
    assert_eq!(refused.problem(422), "invalid-field");
    let refused = grant(&admin, json!([network])).await;
    assert_eq!(refused.problem(403), "forbidden");

    let opened = grant(&node.token, json!([network])).await;
    assert_eq!(opened.json()["egress"], json!([network]), "{opened:?}");
    // What the operator opened the tenant may use, leave, and give up; and not get back.
    let granted = grant(&admin, json!([network, rule])).await;
    assert_eq!(granted.json()["egress"], json!([network, rule]));
    let refused = grant(&admin, json!([network, "10.0.0.0/8", rule])).await;
    assert_eq!(refused.problem(403), "forbidden");
    let given_up = grant(&admin, json!([])).await;
    assert_eq!(given_up.json()["egress"], json!([]));
    let refused = grant(&admin, json!([network])).await;
    assert_eq!(refused.problem(403), "forbidden");
}

#[tokio::test]
async fn access_ends_with_the_token_and_with_the_tenant() {
    let node = Node::furnished().await;
    let viewer = token(&node, "one", json!("viewer")).await;
    let read = || attempt(&node, "GET", "tenants/{tenant}", "", Some(&viewer));
    let own = read().await;
    assert_eq!(own.status, 200, "{own:?}");
    let list = node.get("tenants/one/tokens").await.json();
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(list["items"][0]["access"], "viewer");
    let deleted = node.delete(&format!("tenants/one/tokens/{id}")).await;
    assert_eq!(deleted.status, 204);
    assert_eq!(read().await.problem(401), "unauthenticated");

    let admin = token(&node, "one", json!("admin")).await;
    assert_eq!(node.delete("tenants/one").await.status, 204);
    let again = json!({ "display_name": "Another" });
    assert_eq!(node.put("tenants/one", again).await.status, 201);
    let answer = attempt(&node, "GET", "tenants/{tenant}", "", Some(&admin)).await;
    assert_eq!(
        answer.problem(401),
        "unauthenticated",
        "of the tenant before"
    );
}

#[tokio::test]
async fn an_unknown_access_is_refused() {
    let node = Node::furnished().await;
    let body = json!({ "subject": "ada", "access": "owner" });
    let refused = node
        .send(Method::POST, "tenants/one/tokens", &[], body)
        .await;
    assert_eq!(refused.problem(422), "invalid-body");
    assert!(refused.text.contains("admin"), "{refused:?}");
}
