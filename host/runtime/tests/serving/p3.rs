//! WASI 0.3: the same promises, with instances that are used again.

use std::time::{Duration, Instant};

use canopy_runtime::{Caller, RuntimeSettings, ServeError};
use http_body_util::BodyExt;

use crate::support::{App, Node, request};

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_is_used_again_up_to_its_limit_and_within_its_installation() {
    let settings = RuntimeSettings {
        reuse_requests: 3,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let (app, other) = (node.app("probe-p3"), node.app("probe-p3"));
    let mut counts = Vec::new();
    for _ in 0..4 {
        counts.push(node.get(&app, "/count").await.expect("answer").1);
        // The instance is put back a moment after its answer has been read.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(counts, ["1", "2", "3", "1"]);
    assert_eq!(node.get(&other, "/count").await.expect("answer").1, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_waits_for_long_is_dropped() {
    let settings = RuntimeSettings {
        reuse_idle: Duration::from_millis(200),
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let app = node.app("probe-p3");
    assert_eq!(node.get(&app, "/count").await.expect("answer").1, "1");
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(node.get(&app, "/count").await.expect("answer").1, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_instance_knows_only_the_caller_of_the_request_that_it_serves() {
    let node = Node::new();
    let app = node.app("probe-p3");
    let known = app
        .clone()
        .caller(Caller::service("tok_7", "Nightly export", Vec::new()));
    for _ in 0..3 {
        assert_eq!(
            node.get(&known, "/caller").await.expect("answer").1,
            "tok_7"
        );
        assert_eq!(node.get(&app, "/caller").await.expect("answer").1, "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_streams_through() {
    let node = Node::new();
    let app = node.app("probe-p3");
    let long = "0123456789".repeat(50_000);
    assert_eq!(
        node.post(&app, "/echo", &long).await.expect("answer").1,
        long
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn traps_and_limits_have_their_own_causes() {
    let node = Node::new();
    let app = node.app("probe-p3").limits(|limits| {
        limits.cpu = Duration::from_millis(300);
        limits.wall = Duration::from_secs(3);
    });
    node.runtime.prepare(&app.spec()).await.expect("ready");

    let ended = node.get(&app, "/trap").await;
    assert!(
        matches!(&ended, Err(ServeError::Trap { backtrace, .. }) if !backtrace.is_empty()),
        "{ended:?}"
    );
    let log = node.log(app.id()).await;
    assert!(
        log.iter().any(|line| line.contains("gives up on purpose")),
        "{log:?}"
    );

    let ended = node.get(&app, "/spin").await;
    assert!(matches!(ended, Err(ServeError::Cpu { .. })), "{ended:?}");

    let start = Instant::now();
    let ended = node.get(&app, "/sleep?3600000").await;
    assert!(matches!(ended, Err(ServeError::Wall { .. })), "{ended:?}");
    assert!(
        start.elapsed() < Duration::from_secs(30),
        "{:?}",
        start.elapsed()
    );

    let ended = node.get(&app, "/refuse").await;
    assert!(
        matches!(&ended, Err(ServeError::GuestError { code }) if code.contains("no such path")),
        "{ended:?}"
    );
    assert_eq!(
        node.get(&app, "/caller").await.expect("answer").0,
        200,
        "and it goes on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_after_the_head_breaks_the_body_off() {
    let node = Node::new();
    let app = node.app("probe-p3");
    let response = node
        .serve(&app, request("/late-trap", ""))
        .await
        .expect("head");
    assert_eq!(response.status(), 200);
    let body = response.into_body().collect().await;
    assert!(
        matches!(body, Err(ServeError::Trap { .. })),
        "{:?}",
        body.map(|b| b.to_bytes())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn work_after_the_answer_goes_on_and_delays_nobody() {
    let node = Node::new();
    let app = node.app("probe-p3");
    node.runtime.prepare(&app.spec()).await.expect("ready");
    let start = Instant::now();
    assert_eq!(
        node.get(&app, "/background?5000").await.expect("answer").1,
        "answered"
    );
    assert!(
        start.elapsed() < Duration::from_millis(4500),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(
        node.get(&app, "/count").await.expect("answer").1,
        "1",
        "another instance"
    );
    let done = async {
        while !node
            .log(app.id())
            .await
            .contains(&"the background is done".to_owned())
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let done = tokio::time::timeout(Duration::from_secs(60), done).await;
    assert!(done.is_ok(), "the work after the answer was cut off");
}

#[tokio::test(flavor = "multi_thread")]
async fn outgoing_requests_follow_the_same_policy() {
    let node = Node::new();
    let (port, _) = crate::capabilities::server(crate::capabilities::HELLO).await;
    let target = format!("127.0.0.1:{port}");
    let path = format!("/fetch?{target}");
    let allowed = node.app("probe-p3").egress(&[&target], &["127.0.0.0/8"]);
    assert_eq!(node.get(&allowed, &path).await.expect("answer").1, "hello");
    for (rules, opened, expected) in [
        (vec![], vec![], "HttpRequestDenied"),
        (
            vec!["127.0.0.1:1"],
            vec!["127.0.0.0/8"],
            "HttpRequestDenied",
        ),
        (vec![target.as_str()], vec![], "DestinationIpProhibited"),
    ] {
        let app = node.app("probe-p3").egress(&rules, &opened);
        let (_, refused) = node.get(&app, &path).await.expect("answer");
        assert!(
            refused.contains(expected),
            "{rules:?} {opened:?}: {refused}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_instances_make_room_for_whoever_needs_it() {
    let node = Node::with(RuntimeSettings::default(), |engine| {
        engine.pool.instances = 2;
    });
    for _ in 0..2 {
        assert_eq!(
            node.get(&node.app("probe-p3"), "/count")
                .await
                .expect("answer")
                .0,
            200
        );
    }
    assert_eq!(
        node.get(&node.app("hello-p2-wstd"), "/")
            .await
            .expect("answer")
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn room_is_made_of_the_own_instances_first() {
    let node = Node::with(RuntimeSettings::default(), |engine| {
        engine.pool.instances = 2;
    });
    let count = async |app: &App| node.get(app, "/count").await.expect("answer").1;
    let (other, own) = (node.app("probe-p3"), node.app("probe-p3"));
    let mut more = node.app("probe-p3");
    more.spec.tenant = own.spec.tenant.clone();
    let first = count(&other).await;
    count(&own).await;
    count(&more).await;
    // The other tenant's instance has waited longest of all, and is still there.
    assert_ne!(count(&other).await, first, "it counts on");
}

#[tokio::test(flavor = "multi_thread")]
async fn installations_that_are_not_asked_for_are_forgotten_and_answer_again() {
    let settings = RuntimeSettings {
        prepared_installations: 2,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |_| {});
    let apps = [(); 4].map(|()| node.app("hello-p2-wstd"));
    for app in apps.iter().chain(&apps[..1]) {
        assert_eq!(node.get(app, "/").await.expect("answer").0, 200);
        assert!(node.runtime.prepared() <= 2);
    }
}
