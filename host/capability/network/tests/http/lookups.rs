//! Servers of names that do not answer.

use std::sync::Condvar;

use canopy_capability_network::TenantEgress;
use canopy_ids::TenantId;

use super::*;

/// Answers for every name but those that begin with `silent`, until it is told to.
#[derive(Clone, Default)]
struct Silent(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    answers: bool,
    waiting: usize,
    most: usize,
}

impl Silent {
    fn answer(&self) {
        self.0.0.lock().expect("lock").answers = true;
        self.0.1.notify_all();
    }

    /// How many have waited for it at once, at most.
    fn most(&self) -> usize {
        self.0.0.lock().expect("lock").most
    }
}

impl Resolver for Silent {
    fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        if name.starts_with("silent") {
            let mut state = self.0.0.lock().expect("lock");
            state.waiting += 1;
            state.most = state.most.max(state.waiting);
            let mut state = self
                .0
                .1
                .wait_while(state, |state| !state.answers)
                .expect("lock");
            state.waiting -= 1;
        }
        Ok(vec![Ipv4Addr::LOCALHOST.into()])
    }
}

fn settings() -> NetworkSettings {
    NetworkSettings {
        connect_timeout: Duration::from_millis(300),
        lookups: 3,
        tenant_lookups: 2,
        ..NetworkSettings::default()
    }
}

/// A guest of a tenant of its own that may reach every name below `example.com`.
fn guest_of(network: &Network, tenant: TenantId) -> NetworkCtx {
    let rules = policy(&["*.example.com:*"], &["127.0.0.0/8"]);
    let account = (tenant, TenantEgress::default());
    super::guest_of(&Gateway::of(network.clone(), account, rules, None))
}

/// What becomes of so many requests at once of one tenant to names whose server is silent: how many
/// were given up, and how many had no place.
async fn silent(network: &Network, tenant: TenantId, count: usize, port: u16) -> (usize, usize) {
    let requests = (0..count).map(|number| {
        let mut guest = guest_of(network, tenant);
        let uri = format!("http://silent-{number}.example.com:{port}/");
        tokio::spawn(async move { whole(&mut guest, get(&uri)).await })
    });
    let (mut late, mut refused) = (0, 0);
    for request in requests.collect::<Vec<_>>() {
        match request.await.expect("no panic") {
            Err(Error::DnsTimeout) => late += 1,
            Err(Error::ConnectionLimitReached) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    (late, refused)
}

#[test]
fn a_silent_server_of_names_holds_up_its_tenant_alone() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Fewer than there are look-ups: those take none.
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let resolver = Silent::default();
        let network = Network::with_resolver(settings(), resolver.clone()).expect("network");
        let (port, seen) = answers(HELLO).await;
        let (one, other) = (TenantId::new(), TenantId::new());
        assert_eq!(silent(&network, one, 10, port).await, (2, 8));
        // Nobody waits for them any more, and still they have their places.
        assert_eq!(silent(&network, one, 3, port).await, (0, 3));
        assert_eq!(resolver.most(), 2);
        let work = tokio::task::spawn_blocking(|| 7).await;
        assert_eq!(work.expect("a thread for other work"), 7);
        let uri = format!("http://api.example.com:{port}/");
        let mut neighbour = guest_of(&network, other);
        assert_eq!(
            whole(&mut neighbour, get(&uri)).await.expect("answer"),
            "hello"
        );
        let mut own = guest_of(&network, one);
        let by_address = policy(&["127.0.0.1:*"], &["127.0.0.0/8"]);
        let gateway = Gateway::of(
            network.clone(),
            (one, TenantEgress::default()),
            by_address,
            None,
        );
        let mut without = super::guest_of(&gateway);
        let address = format!("http://127.0.0.1:{port}/");
        whole(&mut without, get(&address))
            .await
            .expect("no name, no look-up");
        let refused = whole(&mut own, get(&uri)).await;
        assert!(
            matches!(refused, Err(Error::ConnectionLimitReached)),
            "{refused:?}"
        );
        assert_eq!(seen.lock().expect("lock").len(), 2);

        // The places come back with the answers.
        resolver.answer();
        let answer = whole(&mut own, get(&uri)).await;
        assert_eq!(answer.expect("answer"), "hello");
    });
}

#[tokio::test]
async fn the_node_has_so_many_look_ups_and_those_who_wait_get_a_place() {
    let resolver = Silent::default();
    let settings = NetworkSettings {
        connect_timeout: Duration::from_secs(30),
        total_timeout: Duration::from_secs(60),
        lookups: 2,
        tenant_lookups: 1,
        ..NetworkSettings::default()
    };
    let network = Network::with_resolver(settings, resolver.clone()).expect("network");
    let (port, seen) = answers(HELLO).await;
    let requests = (0..6).map(|number| {
        let mut guest = guest_of(&network, TenantId::new());
        let uri = format!("http://silent-{number}.example.com:{port}/");
        tokio::spawn(async move { whole(&mut guest, get(&uri)).await })
    });
    let requests: Vec<_> = requests.collect();
    while resolver.most() < 2 {
        tokio::task::yield_now().await;
    }
    resolver.answer();
    for request in requests {
        assert_eq!(request.await.expect("no panic").expect("answer"), "hello");
    }
    assert_eq!(resolver.most(), 2);
    assert_eq!(seen.lock().expect("lock").len(), 6);
}
