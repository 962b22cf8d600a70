//! Every limit ends a guest by its own cause, and the node goes on.

use std::time::{Duration, Instant};

use canopy_runtime::ServeError;

use crate::support::{App, Node};

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_cpu_time() {
    let node = Node::new();
    let cpu = Duration::from_millis(200);
    let app = node.app("spin").limits(|limits| limits.cpu = cpu);
    node.get(&app, "/alive").await.expect("answer");
    let start = Instant::now();
    let ended = node.get(&app, "/").await;
    assert!(
        matches!(ended, Err(ServeError::Cpu { limit }) if limit == cpu),
        "{ended:?}"
    );
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(node.get(&app, "/alive").await.expect("answer").1, "alive");
    let log = node.log(app.id()).await;
    assert!(
        log.iter().any(|line| line.contains("CPU time of 200 ms")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sleeping_costs_no_cpu_and_ends_at_the_deadline() {
    let node = Node::new();
    let app = node.app("sleep").limits(|limits| {
        limits.cpu = Duration::from_millis(100);
        limits.wall = Duration::from_secs(1);
    });
    node.runtime.prepare(&app.spec()).await.expect("ready");
    let (status, _) = node.get(&app, "/?ms=400").await.expect("answer");
    assert_eq!(status, 200);
    let start = Instant::now();
    let ended = node.get(&app, "/?ms=3600000").await;
    assert!(matches!(ended, Err(ServeError::Wall { .. })), "{ended:?}");
    let late = start.elapsed();
    assert!(
        late >= Duration::from_secs(1) && late < Duration::from_secs(30),
        "{late:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_refused_and_named_as_the_cause() {
    let node = Node::new();
    let app = node
        .app("hog")
        .limits(|limits| limits.memory_bytes = 24 << 20);
    let (_, got) = node.get(&app, "/grow?mib=100").await.expect("answer");
    let got: usize = got.parse().expect("number");
    assert!((1..24).contains(&got), "{got}");
    let ended = node.get(&app, "/allocate?mib=100").await;
    assert!(
        matches!(ended, Err(ServeError::Memory { limit }) if limit == 24 << 20),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_says_where_it_happened() {
    let node = Node::new();
    let app = node.app("trap");
    for (path, text) in [("/", "unreachable"), ("/recurse", ""), ("/divide", "")] {
        let ended = node.get(&app, path).await;
        let Err(ServeError::Trap { message, backtrace }) = &ended else {
            panic!("{path}: {ended:?}")
        };
        assert!(message.contains(text), "{message}");
        assert!(backtrace.lines().count() > 2, "{backtrace}");
    }
    assert_eq!(node.get(&app, "/alive").await.expect("answer").1, "alive");
    let log = node.log(app.id()).await;
    assert!(
        log.iter().any(|line| line.contains("gives up on purpose")),
        "{log:?}"
    );
    assert!(
        log.iter()
            .any(|line| line.contains("wasm function") || line.contains("!")),
        "{log:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_free_slot_says_so_and_recovers() {
    let node = std::sync::Arc::new(Node::with(Default::default(), |engine| {
        engine.pool.instances = 2;
    }));
    let app = node.app("sleep");
    node.runtime.prepare(&app.spec()).await.expect("ready");
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let (node, app) = (node.clone(), app.clone());
            tokio::spawn(async move { node.get(&app, "/?ms=500").await })
        })
        .collect();
    let mut answers = 0;
    let mut refusals = 0;
    for task in tasks {
        match task.await.expect("task") {
            Ok((200, _)) => answers += 1,
            Err(ServeError::Unavailable) => refusals += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(
        answers >= 1 && refusals >= 1,
        "{answers} answers, {refusals} refusals"
    );
    assert_eq!(node.get(&app, "/?ms=1").await.expect("answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_uses_of_the_cpu_in_all_its_applications_has_a_limit() {
    let node = Node::new();
    let mut spinning = node.app("spin");
    let mut tenant = (*spinning.spec.tenant).clone();
    tenant.limits.cpu_per_second = Duration::from_millis(1);
    tenant.limits.cpu_burst = Duration::from_millis(300);
    let tenant = std::sync::Arc::new(tenant);
    spinning.spec.tenant = tenant.clone();
    let mut quiet = node.app("hello-p2-wstd");
    quiet.spec.tenant = tenant.clone();
    let other = node.app("hello-p2-wstd");
    assert_eq!(node.get(&quiet, "/").await.expect("answer").0, 200);
    let ended = node.get(&spinning, "/").await;
    let Err(ServeError::TenantCpu { per_second, .. }) = ended else {
        panic!("{ended:?}")
    };
    assert_eq!(per_second, Duration::from_millis(1));
    let log = node.log(spinning.id()).await;
    assert!(
        log.iter().any(|line| line.contains("1 ms a second")),
        "{log:?}"
    );
    // Its other application is refused before it runs, until the time is there again.
    let refused = node.get(&quiet, "/").await;
    assert!(
        matches!(refused, Err(ServeError::TenantCpu { retry_after, .. }) if !retry_after.is_zero()),
        "{refused:?}"
    );
    // And one that was never loaded is not compiled for that.
    let mut unloaded = node.text("broken", "(component)");
    unloaded.digest = canopy_ids::Digest::of(b"nowhere");
    let mut unloaded = App::of(unloaded);
    unloaded.spec.tenant = tenant.clone();
    let refused = node.get(&unloaded, "/").await;
    assert!(
        matches!(refused, Err(ServeError::TenantCpu { .. })),
        "{refused:?}"
    );
    let usage = node.runtime.cpu_usage(tenant.id);
    assert!(
        usage.used + usage.host >= Duration::from_millis(300),
        "{usage:?}"
    );
    assert!(usage.drawn >= Duration::from_millis(290), "{usage:?}");
    assert_eq!(node.get(&other, "/").await.expect("answer").0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_of_sql_are_paid_for_by_their_tenant() {
    let node = Node::new();
    let mut asking = node.app("sql-canopy");
    let mut tenant = (*asking.spec.tenant).clone();
    tenant.limits.cpu_per_second = Duration::from_millis(1);
    tenant.limits.cpu_burst = Duration::from_millis(100);
    let tenant = std::sync::Arc::new(tenant);
    asking.spec.tenant = tenant.clone();
    let mut quiet = node.app("hello-p2-wstd");
    quiet.spec.tenant = tenant.clone();
    assert_eq!(node.get(&quiet, "/").await.expect("answer").0, 200);
    let count = "WITH%20RECURSIVE%20n(i)%20AS%20(SELECT%201%20UNION%20ALL%20SELECT%20i%2B1%20FROM%20n\
                 %20WHERE%20i%3C1000000)%20SELECT%20count(*)%20FROM%20n";
    // The guest waits meanwhile. When it goes on its tenant owes for the statement.
    let path = format!("/?op=told&store=default&key={count}");
    let ended = node.get(&asking, &path).await;
    assert!(
        matches!(ended, Ok((200, _)) | Err(ServeError::TenantCpu { .. })),
        "{ended:?}"
    );
    let refused = node.get(&quiet, "/").await;
    assert!(
        matches!(refused, Err(ServeError::TenantCpu { .. })),
        "{refused:?}"
    );
    let usage = node.runtime.cpu_usage(tenant.id);
    assert!(usage.host >= Duration::from_millis(50), "{usage:?}");
    assert!(usage.drawn >= Duration::from_millis(90), "{usage:?}");
}
