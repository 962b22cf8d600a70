//! What one tenant may have of the pool, and who makes room for whom.

use canopy_runtime::{RuntimeSettings, ServeError, SlotKind, Slots};
use futures::future::join_all;

use crate::support::{App, Node, driver, tenant};

/// A node on which a tenant may have so many instances at once.
fn node(instances: usize) -> Node {
    let settings = RuntimeSettings {
        tenant_slots: Slots {
            instances,
            memories: 16,
            tables: 32,
        },
        ..RuntimeSettings::default()
    };
    Node::with(settings, |_| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_is_refused_more_of_the_pool_than_it_may_have_and_others_are_not() {
    let node = node(2);
    let (greedy, other) = (node.app("sleep"), node.app("sleep"));
    for app in [&greedy, &other] {
        node.runtime.prepare(&app.spec()).await.expect("ready");
    }
    let asked = (0..6).map(|_| node.get(&greedy, "/?ms=500"));
    let others = async {
        for _ in 0..10 {
            assert_eq!(node.get(&other, "/?ms=20").await.expect("answer").0, 200);
        }
    };
    let (asked, ()) = tokio::join!(join_all(asked), others);
    let answered = asked.iter().filter(|answer| answer.is_ok()).count();
    assert_eq!(answered, 2);
    for refused in asked.into_iter().filter_map(Result::err) {
        assert!(
            matches!(
                refused,
                ServeError::TenantSlots {
                    kind: SlotKind::Instances,
                    limit: 2
                }
            ),
            "{refused:?}"
        );
    }
    assert_eq!(node.get(&greedy, "/?ms=1").await.expect("answer").0, 200);
    let log = node.log(greedy.id()).await;
    assert!(
        log.iter().any(|line| line.contains("2 instances")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_have_much_of_the_pool_leave_some_of_it_to_others() {
    // 16 for anybody, and 16 for tenants of which each has 1.
    let settings = RuntimeSettings {
        pool_reserve_percent: 50,
        ..RuntimeSettings::default()
    };
    let node = Node::with(settings, |engine| engine.pool.instances = 32);
    let (greedy, other) = (node.app("sleep"), node.app("sleep"));
    for app in [&greedy, &other] {
        node.runtime.prepare(&app.spec()).await.expect("ready");
    }
    let asked = (0..18).map(|_| node.get(&greedy, "/?ms=500"));
    let others = async {
        for _ in 0..10 {
            assert_eq!(node.get(&other, "/?ms=20").await.expect("answer").0, 200);
        }
    };
    let (asked, ()) = tokio::join!(join_all(asked), others);
    let (answered, refused): (Vec<_>, Vec<_>) = asked.into_iter().partition(Result::is_ok);
    assert_eq!(answered.len(), 16);
    for refused in refused.into_iter().filter_map(Result::err) {
        assert!(matches!(refused, ServeError::Unavailable), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_that_wait_give_way_to_others_of_their_own_tenant() {
    let node = node(2);
    let count = async |app: &App| node.get(app, "/count").await.expect("answer").1;
    let other = node.app("probe-p3");
    let first = count(&other).await;
    let tenant = tenant("greedy");
    for _ in 0..3 {
        let mut app = node.app("probe-p3");
        app.spec.tenant = tenant.clone();
        count(&app).await;
    }
    // The other tenant's instance has waited longest of all, and is still there.
    assert_ne!(count(&other).await, first, "it counts on");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_of_drivers_count_for_their_tenant_and_give_way_to_its_applications() {
    let node = node(1);
    let payments = driver(node.guest("acme-payments"), "payments");
    let shop = node.app("shop").bind("acme:payments", &payments);
    let mut sleeper = node.app("sleep");
    sleeper.spec.tenant = payments.tenant.clone();
    let stores = || {
        let health = node.runtime.driver_health(payments.id, 0);
        health.map(|health| (health.stores, health.failures))
    };
    assert_eq!(node.get(&shop, "/buy/4111").await.expect("answer").0, 200);
    assert_eq!(stores(), Some((1, 0)));
    assert_eq!(node.get(&sleeper, "/?ms=1").await.expect("answer").0, 200);
    assert_eq!(stores(), Some((0, 0)), "it has given way");

    let asleep = node.get(&sleeper, "/?ms=1500");
    let bought = node.get(&shop, "/tax/4111");
    // The first is polled first, and sleeps before it gives way.
    let (asleep, bought) = futures::join!(asleep, bought);
    assert_eq!(asleep.expect("answer").0, 200);
    assert!(
        matches!(&bought, Err(ServeError::TenantSlots { limit: 1, .. })),
        "{bought:?}"
    );
    assert_eq!(stores(), Some((0, 0)), "that says nothing of the driver");
    assert_eq!(node.get(&shop, "/buy/4111").await.expect("answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_pool_has_stores_of_drivers_that_wait_ended() {
    let node = Node::with(RuntimeSettings::default(), |engine| {
        engine.pool.instances = 2;
    });
    let payments = driver(node.guest("acme-payments"), "payments");
    let shop = node.app("shop").bind("acme:payments", &payments);
    assert_eq!(node.get(&shop, "/buy/4111").await.expect("answer").0, 200);
    let sleeper = node.app("sleep");
    node.runtime.prepare(&sleeper.spec()).await.expect("ready");
    let both = (0..2).map(|_| node.get(&sleeper, "/?ms=300"));
    for answer in join_all(both).await {
        assert_eq!(answer.expect("there is room").0, 200);
    }
    let health = node.runtime.driver_health(payments.id, 0);
    assert_eq!(health.expect("it ran").stores, 0);
}
