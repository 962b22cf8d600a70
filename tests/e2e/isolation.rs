//! What belongs to one tenant is out of another's reach, whatever a guest or a client tries.

use crate::support::{Node, guest};
use reqwest::Method;
use reqwest::header::AUTHORIZATION;

#[tokio::test(flavor = "multi_thread")]
async fn tenants_store_under_the_same_keys_and_never_meet() {
    let node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme", "globex"]);
    let acme = node.run("tenant show acme")["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    node.get("kv-probe.acme", "/?op=set&key=k&value=acme-only")
        .await;
    assert_eq!(
        node.get("kv-probe.acme", "/?op=get&key=k").await.json(),
        "acme-only"
    );

    assert!(
        node.get("kv-probe.globex", "/?op=get&key=k")
            .await
            .json()
            .is_null()
    );
    let escapes = [
        "../acme/k",
        "..%2Facme%2Fk",
        "%00k",
        "acme/k",
        &format!("{acme}/k"),
    ];
    for key in escapes {
        let answer = node
            .get("kv-probe.globex", &format!("/?op=get&key={key}"))
            .await;
        assert!(!answer.body.contains("acme-only"), "{key}: {answer:?}");
    }
    for bucket in ["../acme", "acme", "..%2F..%2Facme%2Fdefault", acme.as_str()] {
        let path = format!("/?op=get&bucket={bucket}&key=k");
        let answer = node.get("kv-probe.globex", &path).await;
        assert!(!answer.body.contains("acme-only"), "{bucket}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_installations_of_one_tenant_have_stores_of_their_own() {
    let node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    node.run("install guests/kv-probe --tenant acme --name second");
    node.get("kv-probe.acme", "/?op=set&key=k&value=first-only")
        .await;
    assert!(
        node.get("second.acme", "/?op=get&key=k")
            .await
            .json()
            .is_null()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_of_a_deleted_tenants_name_finds_nothing() {
    let node = Node::start();
    node.serve(&guest("kv-probe"), "guests/kv-probe", &["acme"]);
    node.get("kv-probe.acme", "/?op=set&key=k&value=old").await;
    node.run("tenant delete acme --yes");
    assert_eq!(
        node.get("kv-probe.acme", "/?op=get&key=k").await.status,
        404
    );
    node.run("tenant create acme");
    node.run("install guests/kv-probe --tenant acme");
    assert!(
        node.get("kv-probe.acme", "/?op=get&key=k")
            .await
            .json()
            .is_null()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_nobody_and_to_another_is_answered_alike() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme"]);
    node.run("tenant create globex");
    let foreign = node.get("identity.globex", "/").await;
    let absent = node.get("identity.nobody", "/").await;
    assert_eq!((foreign.status, foreign.problem()), (404, absent.problem()));
    assert_eq!(absent.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_comes_from_the_platform_alone() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme", "globex"]);
    let request = node
        .request(Method::GET, "identity.acme", "/")
        .header("x-canopy-tenant", "globex")
        .header("x-canopy-caller", "root");
    let told = crate::support::answer(request).await.json();
    assert_eq!(told["tenant"]["name"], "acme");
    assert_eq!(told["caller"]["kind"], "anonymous");
    assert_eq!(told["installation"]["app"], "guests/identity");
    assert!(!told["headers"].to_string().contains("x-canopy"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_token_is_worth_something_to_its_tenant_alone() {
    let node = Node::start();
    node.serve(&guest("identity"), "guests/identity", &["acme", "globex"]);
    let made = node.run("token create robot --tenant acme --role clerk");
    let token = made["secret"].as_str().expect("the token").to_owned();
    let with = async |app: &str, token: &str| {
        let request = node.request(Method::GET, app, "/");
        crate::support::answer(request.header(AUTHORIZATION, format!("Bearer {token}"))).await
    };

    let told = with("identity.acme", &token).await.json();
    assert_eq!(told["caller"]["kind"], "service");
    assert_eq!(told["caller"]["subject"], "robot");
    assert_eq!(told["caller"]["roles"], serde_json::json!(["clerk"]));
    assert!(
        !told["headers"].to_string().contains(&token),
        "the guest must not see the token"
    );

    assert_eq!(with("identity.globex", &token).await.status, 401);
    assert_eq!(
        with("identity.acme", &format!("{token}x")).await.status,
        401
    );
    let app_token = with("identity.acme", "of-the-application-itself")
        .await
        .json();
    assert_eq!(app_token["caller"]["kind"], "anonymous");
    assert!(
        app_token["headers"]
            .to_string()
            .contains("of-the-application-itself")
    );

    let control = node
        .http
        .get(node.api_url("/api/v1/tenants"))
        .bearer_auth(&token);
    assert!([401, 403].contains(&crate::support::answer(control).await.status));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_kept_apart() {
    let node = Node::start();
    node.serve(&guest("log-flood"), "guests/log-flood", &["acme", "globex"]);
    node.get("log-flood.acme", "/?lines=3&text=acme-line").await;
    node.get("log-flood.globex", "/?lines=3&text=globex-line")
        .await;
    let acme = node.run("logs log-flood --tenant acme").to_string();
    assert!(
        acme.contains("acme-line") && !acme.contains("globex-line"),
        "{acme}"
    );
}
