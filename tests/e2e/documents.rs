//! The application `documents`: SQL and objects in real use, over HTTP.

use reqwest::Method;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};

use crate::support::{Answer, Node, answer, plugin};

pub(crate) const APP: &str = "documents.acme";

fn node() -> Node {
    let node = Node::start();
    install(&node);
    node
}

pub(crate) fn install(node: &Node) {
    node.publish(&plugin("documents"));
    node.run("tenant create acme");
    node.run("install canopy/documents --tenant acme --set anonymous_access=write");
}

pub(crate) async fn put(node: &Node, path: &str, body: impl Into<reqwest::Body>) -> Answer {
    let path = format!("/api/files/{path}");
    answer(node.request(Method::PUT, APP, &path).body(body)).await
}

async fn get(node: &Node, path: &str) -> Value {
    let found = node.get(APP, path).await;
    assert_eq!(found.status, 200, "{path}: {found:?}");
    found.json()
}

fn id(value: &Value) -> u64 {
    value["id"].as_u64().unwrap_or_else(|| panic!("{value}"))
}

async fn post(node: &Node, path: &str, form: &str) -> Answer {
    let request = node
        .request(Method::POST, APP, path)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.to_owned());
    answer(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_keep_versions_a_history_and_their_words() {
    keeps_documents(&node()).await;
}

pub(crate) async fn keeps_documents(node: &Node) {
    let made = put(node, "plans/2027/budget.md", "# Budget\nWages and rent").await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!(made["content_type"], "text/markdown");
    let changed = put(node, "plans/2027/BUDGET.md", "# Budget\nWages and heating").await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(id(&changed.json()), id(&made), "case makes no other name");
    let document = id(&made);

    let read = node.get(APP, "/api/files/plans/2027/budget.md").await;
    assert_eq!(read.body, "# Budget\nWages and heating");
    assert_eq!(read.headers[CONTENT_TYPE], "text/plain; charset=utf-8");
    assert!(
        read.headers[CONTENT_DISPOSITION]
            .to_str()
            .expect("text")
            .starts_with("attachment")
    );
    assert!(
        read.headers[CONTENT_SECURITY_POLICY]
            .to_str()
            .expect("text")
            .starts_with("sandbox")
    );
    let old = node
        .get(APP, &format!("/api/documents/{document}/content?version=1"))
        .await;
    assert_eq!(old.body, "# Budget\nWages and rent");

    let hits = get(node, "/api/search?q=heat").await;
    assert_eq!(hits[0]["folder"], "/plans/2027", "{hits}");
    assert_eq!(
        hits[0]["excerpt"][1],
        json!({ "text": "heating", "found": true }),
        "{hits}"
    );
    assert_eq!(
        get(node, "/api/search?q=rent").await,
        json!([]),
        "an old version"
    );
    let strange = get(node, "/api/search?q=%22%20OR%20%2A%20name%3A").await;
    assert_eq!(strange, json!([]), "no language to speak in");

    let path = format!("/api/documents/{document}/versions/1/revive");
    let revived = node.post(APP, &path, json!({})).await;
    assert_eq!(revived.json()["version"], 3, "{revived:?}");
    assert_eq!(
        node.get(APP, "/api/files/plans/2027/budget.md").await.body,
        "# Budget\nWages and rent"
    );
    assert_eq!(id(&get(node, "/api/search?q=rent").await[0]), document);

    let history = get(node, &format!("/api/nodes/{document}/history")).await;
    let happened: Vec<&str> = history
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["what"].as_str().expect("text"))
        .collect();
    assert_eq!(happened, ["changed", "changed", "created"]);
    let usage = get(node, "/api/usage").await;
    assert_eq!(
        (&usage["documents"], &usage["folders"], &usage["versions"]),
        (&json!(1), &json!(2), &json!(3)),
        "{usage}"
    );
    assert_eq!(
        usage["bytes"],
        23 + 26,
        "a revived version shares its bytes: {usage}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_moved_deleted_restored_and_purged_stays_in_order() {
    keeps_order(&node()).await;
}

pub(crate) async fn keeps_order(node: &Node) {
    let a = put(node, "a/one.txt", "one").await.json();
    put(node, "b/two.txt", "two").await;
    let root = get(node, "/api/folders").await;
    let folder = |name: &str| {
        let children = root["children"].as_array().expect("children");
        id(children
            .iter()
            .find(|child| child["name"] == name)
            .expect(name))
    };
    let (a_folder, b_folder) = (folder("a"), folder("b"));
    let patch = async |node_id: u64, body: Value| {
        let path = format!("/api/nodes/{node_id}");
        answer(node.request(Method::PATCH, APP, &path).json(&body)).await
    };
    let delete = async |path: &str| answer(node.request(Method::DELETE, APP, path)).await.status;

    let taken = patch(b_folder, json!({ "name": "A" })).await;
    assert_eq!(
        (taken.status, &taken.json()["type"]),
        (409, &json!("urn:canopy:documents:taken"))
    );
    assert_eq!(
        patch(a_folder, json!({ "parent": a_folder })).await.status,
        409
    );
    assert_eq!(
        patch(1, json!({ "name": "x" })).await.status,
        409,
        "the outermost folder"
    );
    let wrong = patch(b_folder, json!({ "name": "x/y" })).await;
    assert_eq!(
        (wrong.status, &wrong.json()["type"]),
        (422, &json!("urn:canopy:documents:name"))
    );
    let moved = patch(b_folder, json!({ "parent": a_folder, "name": "inner" })).await;
    assert_eq!(moved.status, 200, "{moved:?}");
    assert_eq!(
        patch(a_folder, json!({ "parent": b_folder })).await.status,
        409,
        "a ring"
    );
    assert_eq!(
        node.get(APP, "/api/files/a/inner/two.txt").await.body,
        "two"
    );

    assert_eq!(delete("/api/files/a").await, 204);
    assert_eq!(
        node.get(APP, "/api/files/a/inner/two.txt").await.status,
        404
    );
    assert_eq!(
        node.get(APP, &format!("/api/documents/{}", id(&a)))
            .await
            .status,
        404
    );
    assert_eq!(
        get(node, "/api/search?q=two").await,
        json!([]),
        "it is in the trash"
    );
    assert_eq!(get(node, "/api/trash").await[0]["name"], "a");

    put(node, "a/new.txt", "new").await;
    let restored = node
        .post(APP, &format!("/api/trash/{a_folder}/restore"), json!({}))
        .await;
    assert_eq!(restored.json()["name"], "a (restored 1)", "{restored:?}");
    assert_eq!(
        get(node, "/api/search?q=two").await[0]["folder"],
        "/a (restored 1)/inner"
    );

    assert_eq!(delete(&format!("/api/nodes/{a_folder}")).await, 204);
    assert_eq!(delete(&format!("/api/trash/{a_folder}")).await, 204);
    assert_eq!(get(node, "/api/trash").await, json!([]));
    assert_eq!(
        node.post(APP, &format!("/api/trash/{a_folder}/restore"), json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        get(node, "/api/usage").await["bytes"],
        3,
        "only new.txt is left"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_upload_and_download_past_the_application() {
    let node = node();
    let announced =
        json!({ "folder": 1, "name": "photo.png", "size": 3, "content_type": "image/png" });
    let ticket = node.post(APP, "/api/uploads", announced).await;
    assert_eq!(ticket.status, 201, "{ticket:?}");
    let ticket = ticket.json();
    let (url, upload) = (
        ticket["url"].as_str().expect("a path"),
        ticket["upload"].as_str().expect("an id"),
    );
    let finish = format!("/api/uploads/{upload}");
    assert_eq!(
        node.post(APP, &finish, json!({})).await.status,
        409,
        "nothing is there yet"
    );
    let direct = |body: &'static str| {
        node.request(Method::PUT, APP, url)
            .header(CONTENT_TYPE, "image/png")
            .body(body)
    };
    let long = answer(direct("longer than announced")).await;
    assert!((400..500).contains(&long.status), "{long:?}");
    let stored = answer(direct("png")).await;
    assert!((200..300).contains(&stored.status), "{stored:?}");
    let finished = node.post(APP, &finish, json!({})).await;
    assert_eq!(finished.status, 201, "{finished:?}");
    assert_eq!(node.post(APP, &finish, json!({})).await.status, 404, "once");
    let document = id(&finished.json());

    let redirect = node
        .get(APP, &format!("/documents/{document}/content"))
        .await;
    assert_eq!(redirect.status, 303, "{redirect:?}");
    let address = redirect.headers[LOCATION].to_str().expect("text");
    let download = node.get(APP, address).await;
    assert_eq!((download.status, download.body.as_str()), (200, "png"));
    assert!(
        download.headers[CONTENT_DISPOSITION]
            .to_str()
            .expect("text")
            .contains("photo.png")
    );
    let shown = node
        .get(APP, &format!("/documents/{document}/content?show=true"))
        .await;
    assert_eq!(shown.headers[CONTENT_TYPE], "image/png");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_work_by_forms_alone() {
    works_by_forms(&node()).await;
}

pub(crate) async fn works_by_forms(node: &Node) {
    let made = post(node, "/folders/1/folders", "name=Reports").await;
    assert_eq!(made.status, 303, "{made:?}");
    let folder = made.headers[LOCATION].to_str().expect("text").to_owned();
    let boundary = "----x";
    let part = |file: &str, text: &str| {
        format!(
            "--{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{file}\"\r\n\
                 content-type: text/plain\r\n\r\n{text}\r\n"
        )
    };
    // More than the application holds at once, between two small ones.
    let large = "0123456789abcde\n".repeat(64 << 10);
    let form = format!(
        "{}{}{}--{boundary}--\r\n",
        part("first.txt", "needle"),
        part("large.txt", &large),
        part("last <b>.txt", "")
    );
    let sent = node
        .request(Method::POST, APP, &format!("{folder}/upload"))
        .header(
            CONTENT_TYPE,
            format!("multipart/form-data; boundary={boundary}"),
        );
    let uploaded = answer(sent.body(form)).await;
    assert_eq!(uploaded.status, 303, "{uploaded:?}");
    let page = node.get(APP, &folder).await;
    assert!(
        page.body.contains("first.txt") && page.body.contains("1.0 MB"),
        "{}",
        page.body
    );
    assert!(
        !page.body.contains("<b>"),
        "names are escaped: {}",
        page.body
    );
    let read = node.get(APP, "/api/files/Reports/large.txt").await;
    assert!(read.body == large, "{} bytes came back", read.body.len());
    let found = node.get(APP, "/search?q=needle").await;
    assert!(found.body.contains("<mark>needle</mark>"), "{}", found.body);
    let nowhere = node.get(APP, "/nowhere").await;
    assert_eq!(nowhere.status, 404);
    assert!(nowhere.body.contains("<h1>Not Found</h1>"), "{nowhere:?}");
    let nothing = node.get(APP, "/api/nowhere").await;
    assert_eq!(
        (nothing.status, &nothing.json()["status"]),
        (404, &json!(404))
    );

    let foreign = node
        .request(Method::POST, APP, "/folders/1/folders")
        .header("origin", "https://evil.example")
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body("name=Evil");
    assert_eq!(answer(foreign).await.status, 403);
    let cut = node
        .request(Method::POST, APP, &format!("{folder}/upload"))
        .header(
            CONTENT_TYPE,
            format!("multipart/form-data; boundary={boundary}"),
        )
        .body(part("cut.txt", "half"));
    assert_eq!(answer(cut).await.status, 400);
    assert_eq!(
        node.get(APP, "/api/files/Reports/cut.txt").await.status,
        404,
        "nothing half"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_do_what_is_a_setting_and_authors_are_the_platforms_word() {
    let node = node();
    node.run("config set documents --tenant acme anonymous_access=read");
    assert_eq!(node.get(APP, "/").await.status, 200);
    assert_eq!(put(&node, "a.txt", "x").await.status, 401);
    assert_eq!(
        post(&node, "/folders/1/folders", "name=x").await.status,
        401
    );
    let token = node.run("token create clerk --tenant acme");
    let token = token["secret"].as_str().expect("a token").to_owned();
    let sent = node
        .request(Method::PUT, APP, "/api/files/a.txt")
        .bearer_auth(&token)
        .body("x");
    let made = answer(sent).await;
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.json()["versions"][0]["author"], "clerk");
    node.run("config set documents --tenant acme anonymous_access=none");
    assert_eq!(node.get(APP, "/api/files/a.txt").await.status, 401);
    assert_eq!(node.get(APP, "/").await.status, 401);
}
