//! What a tenant's installations may use together.

use canopy_capability_network::{EgressUsage, TenantEgress};
use canopy_ids::TenantId;

use super::*;

/// Two installations of one tenant with these limits.
fn two(limits: TenantEgress) -> (Network, TenantId, [NetworkCtx; 2]) {
    let network = Network::with_resolver(quick(), fixed(&["127.0.0.1"])).expect("network");
    let tenant = TenantId::new();
    let guests = [(), ()].map(|()| {
        let rules = policy(&["api.example.com:*"], &["127.0.0.0/8"]);
        let gateway = Gateway::of(network.clone(), (tenant, limits), rules, None);
        guest_of(&gateway)
    });
    (network, tenant, guests)
}

#[tokio::test]
async fn requests_under_way_are_the_tenants() {
    let (port, _) = answers(HELLO).await;
    let uri = format!("http://api.example.com:{port}/");
    let (network, tenant, [mut one, mut other]) = two(TenantEgress {
        connections: 1,
        ..TenantEgress::default()
    });
    let open = send(&mut one, get(&uri), None).await.expect("response");
    assert_eq!(network.usage(tenant).connections, 1);
    let refused = whole(&mut other, get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::ConnectionLimitReached)),
        "{refused:?}"
    );
    drop(open);
    whole(&mut other, get(&uri)).await.expect("answer");
    assert_eq!(network.usage(tenant).connections, 0);
}

#[tokio::test]
async fn requests_a_second_are_the_tenants() {
    let (port, seen) = answers(HELLO).await;
    let uri = format!("http://api.example.com:{port}/");
    let (_, _, [mut one, mut other]) = two(TenantEgress {
        requests_per_second: 1,
        ..TenantEgress::default()
    });
    whole(&mut one, get(&uri)).await.expect("answer");
    let refused = whole(&mut other, get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::ConnectionLimitReached)),
        "{refused:?}"
    );
    assert_eq!(seen.lock().expect("lock").len(), 1);
}

#[tokio::test]
async fn bytes_of_a_day_are_the_tenants() {
    let (port, seen) = answers(HELLO).await;
    let uri = format!("http://api.example.com:{port}/");
    let (network, tenant, [mut one, mut other]) = two(TenantEgress {
        bytes_per_day: 12,
        ..TenantEgress::default()
    });
    whole(&mut one, get(&uri)).await.expect("five bytes");
    let order = Request::post(&uri).body(body("abc")).expect("request");
    let refused = whole(&mut other, order).await;
    let is_such = matches!(&refused, Err(Error::InternalError(Some(told))) if told.contains("12"));
    assert!(is_such, "{refused:?}");
    assert_eq!(network.usage(tenant).bytes_today, 13);
    let refused = whole(&mut one, get(&uri)).await;
    assert!(
        matches!(refused, Err(Error::InternalError(Some(_)))),
        "{refused:?}"
    );
    assert_eq!(seen.lock().expect("lock").len(), 2, "nobody knocked again");
    assert_eq!(network.usage(TenantId::new()), EgressUsage::default());
}
