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
    assert!(admission.installations.0.lock().accounts.len() <= 2048);
    let refused = admission.admit(&limited).await;
    assert!(refused.is_err(), "what was taken is still known");
}
