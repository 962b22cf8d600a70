use std::cell::RefCell;
use std::rc::Rc;

use tokio::task::LocalSet;

use super::*;

fn impatient() -> AdmissionSettings {
    AdmissionSettings {
        max_wait: Duration::ZERO,
        ..AdmissionSettings::default()
    }
}

fn ask(tenant: TenantId, installation: InstallationId) -> Ask {
    let plenty = Allowance {
        concurrency: 10,
        rate: Rate::UNLIMITED,
    };
    Ask {
        tenant,
        installation,
        of_tenant: plenty,
        of_installation: plenty,
        weight: 100,
    }
}

fn anybody() -> Ask {
    ask(TenantId::new(), InstallationId::new())
}

fn busy(refused: Refused) -> (Scope, usize) {
    match refused {
        Refused::Busy { scope, limit, .. } => (scope, limit),
        Refused::TooFast { .. } => panic!("{refused}"),
    }
}

#[tokio::test]
async fn an_installation_has_its_own_limit() {
    let admission = Admission::new(impatient());
    let tenant = TenantId::new();
    let mut first = ask(tenant, InstallationId::new());
    first.of_installation.concurrency = 1;
    let held = admission.admit(&first).await.expect("it is free");
    let refused = admission.admit(&first).await.expect_err("it is taken");
    assert_eq!(busy(refused), (Scope::Installation, 1));
    let second = ask(tenant, InstallationId::new());
    admission.admit(&second).await.expect("another is free");
    drop(held);
    admission.admit(&first).await.expect("free again");
    assert_eq!(admission.in_flight(), 0);
}

#[tokio::test]
async fn a_tenant_at_its_limit_leaves_others_alone() {
    let admission = Admission::new(impatient());
    let greedy = TenantId::new();
    let mut held = Vec::new();
    let request = || {
        let mut ask = ask(greedy, InstallationId::new());
        ask.of_tenant.concurrency = 2;
        ask
    };
    for _ in 0..2 {
        held.push(admission.admit(&request()).await.expect("in limit"));
    }
    let refused = admission.admit(&request()).await.expect_err("over it");
    assert_eq!(busy(refused), (Scope::Tenant, 2));
    admission.admit(&anybody()).await.expect("not affected");
}

#[tokio::test]
async fn a_full_node_refuses_and_recovers() {
    let admission = Admission::new(AdmissionSettings {
        node_concurrency: 1,
        ..impatient()
    });
    let held = admission.admit(&anybody()).await.expect("free");
    let refused = admission.admit(&anybody()).await.expect_err("full");
    assert_eq!(busy(refused), (Scope::Node, 1));
    drop(held);
    admission.admit(&anybody()).await.expect("free again");
}

#[tokio::test(start_paused = true)]
async fn rates_refuse_and_say_when_to_come_back() {
    let admission = Admission::new(impatient());
    let mut request = anybody();
    request.of_tenant.rate = Rate {
        per_second: 10,
        burst: 2,
    };
    for _ in 0..2 {
        admission.admit(&request).await.expect("in its burst");
    }
    let refused = admission.admit(&request).await.expect_err("too fast");
    let Refused::TooFast {
        scope: Scope::Tenant,
        retry_after,
        ..
    } = refused
    else {
        panic!("{refused}");
    };
    assert_eq!(retry_after, Duration::from_millis(100));
    tokio::time::advance(retry_after).await;
    admission.admit(&request).await.expect("as it was told");
}

#[tokio::test(start_paused = true)]
async fn an_installation_over_its_rate_takes_nothing_from_the_others() {
    let admission = Admission::new(impatient());
    let rate = Rate {
        per_second: 1,
        burst: 3,
    };
    let mut wild = anybody();
    wild.of_tenant.rate = rate;
    wild.of_installation.rate = Rate { burst: 1, ..rate };
    admission.admit(&wild).await.expect("the first");
    for _ in 0..50 {
        let refused = admission.admit(&wild).await.expect_err("too fast");
        let scope = Scope::Installation;
        assert!(matches!(refused, Refused::TooFast { scope: found, .. } if found == scope));
    }
    let mut calm = ask(wild.tenant, InstallationId::new());
    calm.of_tenant.rate = rate;
    for _ in 0..2 {
        admission
            .admit(&calm)
            .await
            .expect("what the tenant has left");
    }
    assert!(admission.admit(&calm).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn accounts_that_nobody_needs_are_forgotten() {
    let admission = Admission::new(impatient());
    let mut limited = anybody();
    limited.of_installation.rate = Rate {
        per_second: 1,
        burst: 1,
    };
    admission.admit(&limited).await.expect("the first");
    for _ in 0..5000 {
        let request = ask(limited.tenant, InstallationId::new());
        admission.admit(&request).await.expect("free");
    }
    assert!(admission.installations.accounts.lock().accounts.len() <= 2048);
    let refused = admission.admit(&limited).await;
    assert!(refused.is_err(), "what was taken is still known");
}

/// What came of a load that lasted.
#[derive(Debug, Default)]
struct Outcome {
    served: usize,
    /// How long those waited that were refused.
    refused: Vec<Duration>,
}

/// How long a load is counted.
const LASTS: Duration = Duration::from_secs(20);

/// `a_second` requests each second, so many at once, each of which takes `takes` once it may run.
/// Counts those that come after `warm_up`.
async fn load(
    admission: Admission,
    request: Ask,
    (a_second, at_once): (u32, u32),
    takes: Duration,
    warm_up: Duration,
) -> Outcome {
    let admission = Rc::new(admission);
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let clients = LocalSet::new();
    let began = Instant::now();
    for number in 0..a_second * u32::try_from((warm_up + LASTS).as_secs()).expect("short") {
        let (admission, outcome) = (Rc::clone(&admission), Rc::clone(&outcome));
        clients.spawn_local(async move {
            let before = number / at_once * at_once;
            tokio::time::sleep_until(began + Duration::from_secs(1) * before / a_second).await;
            let came = Instant::now();
            let counts = came.duration_since(began) >= warm_up;
            let admitted = admission.admit(&request).await;
            match admitted {
                Ok(permit) => {
                    tokio::time::sleep(takes).await;
                    drop(permit);
                    outcome.borrow_mut().served += usize::from(counts);
                }
                Err(_) if counts => outcome.borrow_mut().refused.push(came.elapsed()),
                Err(_) => {}
            }
        });
    }
    clients.await;
    outcome.borrow_mut().refused.sort_unstable();
    outcome.take()
}

/// For each of the three limits, requests that take as long as they say: admission, and a request.
fn limited(concurrency: usize) -> Vec<(Scope, Admission, Ask)> {
    let admission = |node_concurrency| {
        Admission::new(AdmissionSettings {
            node_concurrency,
            node_reserve: 0,
            ..AdmissionSettings::default()
        })
    };
    let mut all = Vec::new();
    for scope in [Scope::Installation, Scope::Tenant, Scope::Node] {
        let mut request = anybody();
        for allowance in [&mut request.of_tenant, &mut request.of_installation] {
            allowance.concurrency = 1000;
        }
        match scope {
            Scope::Installation => request.of_installation.concurrency = concurrency,
            Scope::Tenant => request.of_tenant.concurrency = concurrency,
            Scope::Node => {}
        }
        let node = if scope == Scope::Node {
            concurrency
        } else {
            1000
        };
        all.push((scope, admission(node), request));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn under_ten_times_what_is_served_all_slots_are_used_and_refusals_are_quick() {
    // Where one takes as long as anybody waits, the pace says less of who waits in vain.
    for (concurrency, takes, quick) in [(4_u32, 20, 99), (16, 100, 99), (8, 1000, 90)] {
        let takes = Duration::from_millis(takes);
        let a_second = 10 * concurrency * 1000 / u32::try_from(takes.as_millis()).expect("short");
        let capacity = f64::from(a_second) / 10.0;
        for (scope, admission, request) in limited(concurrency as usize) {
            // A load is known to last after a second of long waits.
            let warm_up = Duration::from_secs(4);
            let found = load(admission, request, (a_second, 1), takes, warm_up).await;
            let goodput = found.served as f64 / (LASTS.as_secs_f64() * capacity);
            assert!(goodput >= 0.9, "{scope:?}, {takes:?}: {goodput}");
            let after = found.refused[found.refused.len() * quick / 100];
            assert!(
                after < Duration::from_millis(5),
                "{scope:?}, {takes:?}: {after:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_that_can_be_served_one_after_the_other_lose_nobody() {
    for (scope, admission, request) in limited(4) {
        // Fifty at once take a quarter of a second, and the next come after some more.
        let takes = Duration::from_millis(20);
        let found = load(admission, request, (190, 50), takes, Duration::ZERO).await;
        assert_eq!(found.refused, [], "{scope:?}");
        assert_eq!(found.served, 20 * 190, "{scope:?}");
    }
}
