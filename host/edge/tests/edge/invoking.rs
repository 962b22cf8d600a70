//! Calls of the platform's own: nobody authenticates, and everything else is as for requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use canopy_edge::{Answered, Handing, Invocation, InvokeError};
use canopy_ids::InstallationId;
use canopy_runtime::{Caller, CallerKind, Limits, MessageDelivery};
use http::{Request, StatusCode};

use crate::support::{Node, Setup};

fn call(installation: InstallationId, path: &str, body: &'static str) -> Invocation {
    let request = Request::post(format!("http://app.acme.localhost{path}"))
        .header("canopy-run", "run_1")
        .body(Bytes::from_static(body.as_bytes()));
    Invocation {
        installation,
        caller: Arc::new(Caller {
            kind: CallerKind::Schedule,
            ..Caller::anonymous()
        }),
        request: request.expect("a request"),
    }
}

async fn invoke(node: &Node, path: &str) -> Answered {
    node.edge.invoke(call(node.installation, path, "x")).await
}

#[tokio::test]
async fn an_application_answers_though_nobody_has_a_token() {
    let node = Node::start(Setup::default()).await;
    let answered = invoke(&node, "/private").await;
    assert_eq!(answered.outcome, Ok(StatusCode::OK));
    assert_eq!(node.edge.in_flight(), 0, "the permit is back");
}

#[tokio::test]
async fn a_failure_says_what_a_client_would_be_told() {
    let node = Node::start(Setup::default()).await;
    let Err(InvokeError::Failed { code, message }) = invoke(&node, "/trap").await.outcome else {
        panic!("it trapped");
    };
    assert_eq!(code, "trap");
    assert!(!message.contains("secret"), "{message}");
    let broken = invoke(&node, "/breaks").await.outcome;
    assert!(
        matches!(broken, Err(InvokeError::Failed { .. })),
        "{broken:?}"
    );
}

#[tokio::test]
async fn limits_hold_as_for_requests() {
    let limits = Limits {
        concurrency: 1,
        request_body_bytes: 1,
        wall: Duration::from_secs(1),
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let long = node.edge.invoke(call(node.installation, "/", "xy")).await;
    let too_long = InvokeError::BodyTooLarge {
        actual: 2,
        limit: 1,
    };
    assert_eq!(long.outcome, Err(too_long));

    let edge = Arc::clone(&node.edge);
    let waiting = call(node.installation, "/hang", "x");
    let waiting = tokio::spawn(async move { edge.invoke(waiting).await });
    node.entered(1).await;
    let busy = invoke(&node, "/").await.outcome;
    assert!(matches!(busy, Err(InvokeError::Refused(_))), "{busy:?}");
    let late = waiting.await.expect("no panic").outcome;
    assert_eq!(late, Err(InvokeError::Late));
    assert_eq!(invoke(&node, "/").await.outcome, Ok(StatusCode::OK));
}

#[tokio::test]
async fn whoever_is_not_installed_is_not_called() {
    let node = Node::start(Setup::default()).await;
    let answered = node
        .edge
        .invoke(call(InstallationId::new(), "/", "x"))
        .await;
    assert_eq!(answered.outcome, Err(InvokeError::NotInstalled));
}

async fn hand_over(
    node: &Node,
    installation: InstallationId,
    topic: &str,
) -> Result<(), InvokeError> {
    let handing = Handing {
        installation,
        caller: Arc::new(Caller::anonymous()),
        message: MessageDelivery {
            topic: topic.into(),
            body: b"xy".to_vec(),
            reply_to: None,
        },
    };
    node.edge.hand_over(handing).await.outcome
}

#[tokio::test]
async fn a_message_is_taken_or_not_under_the_same_limits() {
    let limits = Limits {
        wall: Duration::from_millis(500),
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let own = node.installation;
    assert_eq!(hand_over(&node, own, "orders").await, Ok(()));
    let declined = InvokeError::NotTaken("no such order".into());
    assert_eq!(hand_over(&node, own, "declined").await, Err(declined));
    let trapped = hand_over(&node, own, "trapped").await;
    assert!(
        matches!(&trapped, Err(InvokeError::Failed { code: "trap", message })
            if !message.contains("secret")),
        "{trapped:?}"
    );
    let late = hand_over(&node, own, "hanging").await;
    assert_eq!(late, Err(InvokeError::Late));
    let nobody = hand_over(&node, InstallationId::new(), "orders").await;
    assert_eq!(nobody, Err(InvokeError::NotInstalled));
    assert_eq!(node.edge.in_flight(), 0, "the permits are back");

    let limits = Limits {
        request_body_bytes: 1,
        ..Limits::default()
    };
    let node = Node::start(Setup {
        limits,
        ..Setup::default()
    })
    .await;
    let too_long = InvokeError::BodyTooLarge {
        actual: 2,
        limit: 1,
    };
    let long = hand_over(&node, node.installation, "orders").await;
    assert_eq!(long, Err(too_long));
}

#[tokio::test]
async fn nobody_passes_for_the_platform() {
    let node = Node::start(Setup::default()).await;
    let host = "Host: app.acme.localhost\r\nConnection: close\r\n";
    let forged = format!("GET /seen HTTP/1.1\r\n{host}Canopy-Run: run_2\r\nx-own: 1\r\n\r\n");
    let seen = node.exchange(forged).await;
    assert!(
        seen.contains("x-own: 1") && !seen.contains("run_2"),
        "{seen}"
    );
}
