//! Interfaces that a driver serves.

use std::time::Duration;

use canopy_runtime::{PrepareError, ServeError};

use crate::support::{Node, driver};

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_interface_is_served_by_the_bound_driver() {
    let node = Node::new();
    let payments = driver(node.guest("acme-payments"), "payments");
    let app = node.app("shop").bind("acme:payments", &payments);
    let (status, body) = node.get(&app, "/buy/4111").await.expect("answer");
    assert_eq!(status, 200, "{body}");
    let (_, seen) = node.get(&app, "/seen").await.expect("answer");
    assert!(
        seen.contains(&app.id().to_string()),
        "the driver is told who calls: {seen}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_fails_is_an_error_for_the_call_and_then_a_new_one() {
    let node = Node::new();
    let payments = driver(node.guest("acme-payments"), "payments");
    let app = node.app("shop").bind("acme:payments", &payments);
    let (status, body) = node.get(&app, "/survive/trap").await.expect("answer");
    assert_eq!(status, 200, "{body}");
    assert_eq!(node.get(&app, "/buy/4111").await.expect("answer").0, 200);
    let failed = node.get(&app, "/tax/trap").await;
    assert!(
        matches!(&failed, Err(ServeError::DriverFailed { driver, .. }) if driver == "payments"),
        "{failed:?}"
    );
    assert_eq!(node.get(&app, "/buy/4111").await.expect("answer").0, 200);
    let log = node.log(payments.id).await;
    assert!(
        log.iter().any(|line| line.contains("did not answer")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_nobody_serves_is_named() {
    let node = Node::new();
    let refused = node.get(&node.app("shop"), "/").await;
    let Err(ServeError::Prepare(error)) = &refused else {
        panic!("{refused:?}")
    };
    let PrepareError::Unserved { imports, .. } = &**error else {
        panic!("{error}")
    };
    assert_eq!(imports, &["acme:payments/charge@1.2.0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_does_not_fit_is_refused() {
    let node = Node::new();
    let other = driver(node.guest("hello-p2-wstd"), "other");
    let refused = node
        .get(&node.app("shop").bind("acme:payments", &other), "/")
        .await;
    let Err(ServeError::Prepare(error)) = &refused else {
        panic!("{refused:?}")
    };
    assert!(
        error.to_string().contains("acme:payments/charge"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_runs_is_charged_to_its_tenant() {
    let node = Node::new();
    let mut component = node.guest("acme-payments");
    component.limits.cpu = Duration::from_millis(200);
    let payments = driver(component, "payments");
    let app = node.app("shop").bind("acme:payments", &payments);
    assert_eq!(node.get(&app, "/buy/4111").await.expect("answer").0, 200);
    let failed = node.get(&app, "/tax/spin").await;
    assert!(
        matches!(&failed, Err(ServeError::DriverFailed { message, .. }) if message.contains("CPU")),
        "{failed:?}"
    );
    let used = node.runtime.cpu_usage(payments.tenant.id).used;
    assert!(
        used >= Duration::from_millis(200) && used < Duration::from_secs(2),
        "{used:?}"
    );
}
