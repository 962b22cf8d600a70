//! Components written by hand, since no compiler would.

use reqwest::Method;
use reqwest::multipart::{Form, Part};

use crate::arena::Arena;
use crate::support::{Answer, Node, answer};

/// The start of a component that answers `wasi:http/incoming-handler`, and uses `more` of
/// `wasi:http/types`.
fn start(more: &str) -> String {
    format!(
        r#"
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))
    {more}))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $out))
"#
    )
}

/// Its end, where `$i` is the core instance whose `handle` answers.
const HANDLER: &str = r#"
  (func $handle (param "request" (own $request)) (param "response-out" (own $out))
    (canon lift (core func $i "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler))
"#;

/// A component around `inside`, which defines the core instance `$i`.
pub(crate) fn http(inside: &str) -> Vec<u8> {
    http_with("", inside)
}

/// The same, where `inside` uses `more` of `wasi:http/types`.
pub(crate) fn http_with(more: &str, inside: &str) -> Vec<u8> {
    let start = start(more);
    wat::parse_str(format!("(component {start} {inside} {HANDLER})")).expect("valid text")
}

/// A component of two inner ones, each in a text of its own: `$borrower` defines functions that borrow
/// a request, and the core instance `$i` of `$lender` answers and lends its request to them.
pub(crate) fn composed(borrower: &str, lender: &str) -> Vec<u8> {
    let start = start("");
    let text = format!(
        r#"(component {start}
        (component $borrower
          (import "request" (type $request (sub resource)))
          {borrower})
        (instance $borrower (instantiate $borrower (with "request" (type $request))))
        (component $lender
          (import "request" (type $request (sub resource)))
          (import "out" (type $out (sub resource)))
          (import "one" (func $one (param "it" (borrow $request))))
          (import "many" (func $many (param "them" (list (borrow $request)))))
          {lender}
          (func (export "handle") (param "request" (own $request)) (param "response-out" (own $out))
            (canon lift (core func $i "handle"))))
        (instance $handler (instantiate $lender
          (with "request" (type $request))
          (with "out" (type $out))
          (with "one" (func $borrower "one"))
          (with "many" (func $borrower "many"))))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// The same around one core module, without imports, that exports `handle`.
pub(crate) fn module(inside: &str) -> Vec<u8> {
    http(&format!(
        "(core module $m {inside} (func (export \"handle\") (param i32 i32)))
         (core instance $i (instantiate $m))"
    ))
}

pub(crate) fn manifest(name: &str, version: &str) -> String {
    format!(
        "name = \"attacks/{name}\"\nversion = \"{version}\"\nkind = \"app\"\ntitle = \"{name}\"\n\
         summary = \"An attack.\"\ncomponent = \"x.wasm\"\n[http]\nanonymous = [\"/\", \"/open/*\"]\n"
    )
}

/// Publishes `bytes` under a version of its own and tells what the API says.
pub(crate) async fn publish(arena: &Arena, name: &str, bytes: Vec<u8>) -> Answer {
    publish_as(arena, name, &arena.next_version(), bytes).await
}

pub(crate) async fn publish_as(arena: &Arena, name: &str, version: &str, bytes: Vec<u8>) -> Answer {
    upload(&arena.node, name, version, bytes).await
}

/// The same on any node.
pub(crate) async fn upload(node: &Node, name: &str, version: &str, bytes: Vec<u8>) -> Answer {
    let path = format!("/api/v1/packages/attacks/{name}/versions/{version}");
    let request = node.api(Method::PUT, &path);
    answer(request.multipart(form(name, version, bytes))).await
}

/// What an upload consists of.
pub(crate) fn form(name: &str, version: &str, bytes: Vec<u8>) -> Form {
    Form::new()
        .text("manifest", manifest(name, version))
        .part("component", Part::bytes(bytes))
}

/// Publishes `bytes`, which must be accepted, and installs them for the attacker.
pub(crate) async fn install(arena: &Arena, name: &str, bytes: Vec<u8>) {
    let version = arena.next_version();
    let published = publish_as(arena, name, &version, bytes).await;
    assert_eq!(published.status, 201, "{published:?}");
    if arena
        .node
        .cli(["installation", "show", name, "--tenant", "attacker"])
        .code
        != 0
    {
        arena
            .node
            .run(&format!("install attacks/{name} --tenant attacker"));
    }
}
