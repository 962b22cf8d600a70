//! The application `documents`, unchanged, on what drivers keep: its objects by bindings alone.

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use serde_json::json;

use crate::documents::{APP, install, keeps_documents, keeps_order, put, works_by_forms};
use crate::engines::{Setup, add_driver, postgres_setup, s3_setup};
use crate::support::{Node, Postgres, Relay, S3, answer, plugin};

/// A node whose `documents` at acme keeps its objects by the driver `s3`.
fn on_s3(s3: &S3, more: &[(&'static str, String)]) -> Node {
    let mut setup = s3_setup(s3);
    setup.config.extend_from_slice(more);
    set_up(&setup)
}

fn set_up(setup: &Setup) -> Node {
    let node = Node::start();
    node.publish(&plugin("s3"));
    install(&node);
    add_driver(&node, "s3", "acme", setup);
    node.run("bind documents canopy:storage/blobs s3 --tenant acme");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_kept_by_s3() {
    let s3 = S3::start();
    let node = on_s3(&s3, &[]);
    keeps_documents(&node).await;
    works_by_forms(&node).await;
    assert!(
        s3.objects()
            .iter()
            .any(|name| name.contains("!objects/documents/")),
        "{:?}",
        s3.objects()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_and_purged_on_s3_stays_in_order() {
    let s3 = S3::start();
    let node = on_s3(&s3, &[]);
    keeps_order(&node).await;
}

/// Two pieces and a half of the driver, each byte telling where it is.
fn long_content() -> Vec<u8> {
    (0..13_u32 << 20).map(|at| (at % 251) as u8).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_longer_than_a_piece_passes_to_s3_and_back() {
    let s3 = S3::start();
    let node = on_s3(&s3, &[("part_bytes", (5 << 20).to_string())]);
    let content = long_content();
    let made = put(&node, "long.bin", content.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["size"], content.len());
    let etag = made.json()["versions"][0]["etag"].to_string();
    assert!(etag.contains("-3"), "in three parts: {etag}");
    let read = node.request(Method::GET, APP, "/api/files/long.bin");
    let read = read.send().await.expect("an answer").bytes().await;
    assert!(
        read.expect("a whole body") == content,
        "other bytes came back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_storage_gives_no_addresses_bytes_go_through_the_application() {
    let s3 = S3::start();
    let node = on_s3(&s3, &[]);
    let announced =
        json!({ "folder": 1, "name": "photo.png", "size": 3, "content_type": "image/png" });
    let ticket = node.post(APP, "/api/uploads", announced).await.json();
    let url = ticket["url"].as_str().expect("a path");
    assert!(url.starts_with("/api/uploads/"), "{ticket}");
    let sent = node
        .request(Method::PUT, APP, url)
        .header(CONTENT_TYPE, "image/png")
        .body("png");
    assert_eq!(answer(sent).await.status, 204);
    let finish = format!("/api/uploads/{}", ticket["upload"].as_str().expect("an id"));
    let finished = node.post(APP, &finish, json!({})).await;
    assert_eq!(finished.status, 201, "{finished:?}");
    let path = format!("/documents/{}/content", finished.json()["id"]);
    let read = node.get(APP, &path).await;
    assert_eq!((read.status, read.body.as_str()), (200, "png"));
    let nobody = node.request(Method::PUT, APP, "/api/uploads/0123/content");
    assert_eq!(answer(nobody.body("x")).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_clients_reach_s3_they_download_from_it() {
    let s3 = S3::start_open();
    let public = format!("http://127.0.0.1:{}", s3.port);
    let node = on_s3(&s3, &[("public_endpoint", public.clone())]);
    let made = put(&node, "ä b.txt", "content").await;
    let path = format!("/documents/{}/content", made.json()["id"]);
    let redirect = node.get(APP, &path).await;
    assert_eq!(redirect.status, 303, "{redirect:?}");
    let address = redirect.headers[LOCATION].to_str().expect("text");
    assert!(address.starts_with(&public), "{address}");
    let read = answer(node.http.get(address)).await;
    assert_eq!((read.status, read.body.as_str()), (200, "content"));
    let disposition = read.headers["content-disposition"].to_str().expect("text");
    assert!(disposition.contains("%C3%A4%20b.txt"), "{disposition}");
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_pass_a_cache_and_encryption_on_their_way_to_s3() {
    let s3 = S3::start();
    let node = on_s3(&s3, &[]);
    for driver in ["encrypt-blobs", "cache-blobs"] {
        node.publish(&plugin(driver));
    }
    // Thirty-two equal bytes as base64, which is enough for a test.
    let key = format!("one:{}QUE=", "QUFB".repeat(10));
    let add = "driver add canopy/encrypt-blobs --tenant acme --secret-env key=key --bind canopy:storage/blobs=s3";
    let added = node.cli_with(add.split_whitespace(), &[("key", &key)]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    node.run(
        "driver add canopy/cache-blobs --tenant acme --bind canopy:storage/blobs=encrypt-blobs",
    );
    node.run("bind documents canopy:storage/blobs cache-blobs --tenant acme");
    keeps_documents(&node).await;
    works_by_forms(&node).await;
    let content = long_content();
    let made = put(&node, "long.bin", content.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    for _ in 0..2 {
        let read = node.request(Method::GET, APP, "/api/files/long.bin");
        let read = read.send().await.expect("an answer").bytes().await;
        assert!(
            read.expect("a whole body") == content,
            "other bytes came back"
        );
    }
    put(&node, "secret.txt", "the secret word").await;
    assert!(!s3.content().contains("secret word"), "S3 sees contents");
}

/// A node whose `documents` at acme keeps its database by the driver `postgres`.
fn on_postgres(postgres: &Postgres) -> Node {
    let node = Node::start();
    node.publish(&plugin("postgres"));
    install(&node);
    let setup = postgres_setup(postgres, Postgres::PASSWORD);
    add_driver(&node, "postgres", "acme", &setup);
    node.run("bind documents canopy:storage/sql postgres --tenant acme");
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_kept_by_postgresql() {
    let postgres = Postgres::start();
    let node = on_postgres(&postgres);
    keeps_documents(&node).await;
    works_by_forms(&node).await;
    let owned =
        "SELECT count(*) FROM pg_tables WHERE tablename = 'node' AND schemaname = tableowner";
    assert_eq!(postgres.query(owned), "1", "in a schema of its own role");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_and_purged_on_postgresql_stays_in_order() {
    let postgres = Postgres::start();
    let node = on_postgres(&postgres);
    keeps_order(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_kept_by_postgresql_and_s3_together() {
    let (postgres, s3) = (Postgres::start(), S3::start());
    let node = on_postgres(&postgres);
    node.publish(&plugin("s3"));
    add_driver(&node, "s3", "acme", &s3_setup(&s3));
    node.run("bind documents canopy:storage/blobs s3 --tenant acme");
    keeps_documents(&node).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_breaks_off_on_its_way_from_s3_is_not_the_callers_fault() {
    let s3 = S3::start();
    let relay = Relay::start(s3.port).await;
    let mut setup = s3_setup(&s3);
    setup.egress = format!("127.0.0.1:{}", relay.port);
    setup.config.retain(|(key, _)| *key != "endpoint");
    let endpoint = format!("http://{}", setup.egress);
    setup.config.push(("endpoint", endpoint));
    let node = set_up(&setup);
    let text = "Ein Satz mit Wörtern. ".repeat(20_000);
    assert_eq!(put(&node, "whole.txt", text.clone()).await.status, 201);
    relay.cut(true);
    // What was put is read again for its words.
    let refused = put(&node, "cut.txt", text.clone()).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.contains("Try again later"), "{refused:?}");
    // The head of the answer has gone; that not all follows is told by its end.
    let whole = node.request(Method::GET, APP, "/api/files/whole.txt");
    let read = whole.send().await.expect("a head");
    assert_eq!(read.status(), 200);
    assert!(read.bytes().await.is_err(), "a part passed for the whole");

    relay.cut(false);
    assert_eq!(put(&node, "cut.txt", text.clone()).await.status, 201);
    let read = node.request(Method::GET, APP, "/api/files/whole.txt");
    assert_eq!(answer(read).await.body, text);
}
