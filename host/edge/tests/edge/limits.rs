//! Limits that come with a tenant's plan, and the circle that ends.

use canopy_edge::EdgeSettings;
use canopy_runtime::{Limits, TenantLimits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{Node, Setup, get, status};

fn problem(response: &str) -> &str {
    response
        .split("urn:canopy:problem:")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .unwrap_or("no problem document")
}

#[tokio::test]
async fn the_rate_of_a_tenant_and_of_an_installation() {
    let slow = |per_second, burst| Setup {
        tenant: TenantLimits {
            requests_per_second: per_second,
            burst,
            ..TenantLimits::default()
        },
        limits: Limits {
            requests_per_second: 1,
            burst: 3,
            ..Limits::default()
        },
        ..Setup::default()
    };
    for (setup, code, policy) in [
        (slow(1, 2), "tenant-rate", "\"tenant\";q=1;w=1"),
        (slow(0, 1), "installation-rate", "\"installation\";q=1;w=1"),
    ] {
        let node = Node::start(setup).await;
        let mut refused = String::new();
        for _ in 0..50 {
            refused = node.get("/").await;
            if status(&refused) != 200 {
                break;
            }
        }
        assert_eq!((status(&refused), problem(&refused)), (429, code));
        for field in ["retry-after: 1", &format!("ratelimit-policy: {policy}")] {
            assert!(refused.contains(field), "{refused}");
        }
    }
}

#[tokio::test]
async fn connections_of_one_tenant_have_a_limit() {
    let node = Node::start(Setup {
        tenant: TenantLimits {
            connections: 2,
            ..TenantLimits::default()
        },
        ..Setup::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = node.connect().await;
        let keep = get("/").replace("Connection: close\r\n", "");
        stream.write_all(keep.as_bytes()).await.expect("sent");
        stream.read_u8().await.expect("answered");
        held.push(stream);
    }
    let keep = get("/").replace("Connection: close\r\n", "");
    let refused = node.exchange(keep).await;
    assert_eq!(
        (status(&refused), problem(&refused)),
        (429, "tenant-connections")
    );
    assert!(refused.contains("connection: close"), "{refused}");
    held.pop();
    let mut answered = 0;
    for _ in 0..500 {
        answered = status(&node.get("/").await);
        if answered == 200 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(answered, 200, "the place of the connection that has gone");
}

#[tokio::test]
async fn a_request_that_came_through_too_many_applications_ends() {
    let node = Node::start(Setup {
        edge: EdgeSettings {
            max_depth: 3,
            ..EdgeSettings::default()
        },
        ..Setup::default()
    })
    .await;
    let at = |depth: u32| {
        get("/seen").replace(
            "Connection",
            &format!("X-Canopy-Depth: {depth}\r\nConnection"),
        )
    };
    let served = node.exchange(at(3)).await;
    assert_eq!(status(&served), 200);
    assert!(
        !served.to_lowercase().contains("x-canopy-depth"),
        "{served}"
    );
    let refused = node.exchange(at(4)).await;
    assert_eq!(
        (status(&refused), problem(&refused)),
        (508, "loop-detected")
    );
}
