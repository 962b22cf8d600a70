//! Snapshots: routing by host, verifying callers, and swapping one for another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use canopy_ids::{Digest, InstallationId, TenantId, TokenId};
use canopy_runtime::{
    Caller, CallerKind, ComponentSpec, EgressPolicy, InstallationSpec, Limits, TenantLimits,
    TenantSpec,
};
use canopy_tenant::{
    AnonymousPaths, AuthenticationError, HostName, Routes, Snapshot, SnapshotBuilder, TokenHash,
    TokenKind, TokenText, authenticate,
};
use http::HeaderMap;
use http::header::AUTHORIZATION;

fn tenant(name: &str) -> Arc<TenantSpec> {
    Arc::new(TenantSpec {
        id: TenantId::new(),
        name: name.parse().expect("a name"),
        display_name: name.to_owned(),
        plan: "standard".into(),
        region: "local".into(),
        attributes: BTreeMap::new(),
        limits: TenantLimits::default(),
    })
}

fn installation(tenant: &Arc<TenantSpec>, name: &str, generation: u64) -> Arc<InstallationSpec> {
    Arc::new(InstallationSpec {
        id: InstallationId::new(),
        name: name.parse().expect("a name"),
        generation,
        tenant: Arc::clone(tenant),
        component: ComponentSpec {
            package: "acme/app".parse().expect("a package name"),
            version: semver::Version::new(1, 0, 0),
            digest: Digest::of(b""),
            reuse: false,
            config: Arc::default(),
            egress: Arc::new(EgressPolicy::default()),
            limits: Limits::default(),
        },
        stores: Arc::default(),
        databases: Arc::default(),
        bindings: BTreeMap::new(),
    })
}

fn host(name: &str) -> HostName {
    HostName::from_authority(name).expect("a host name")
}

fn builder() -> SnapshotBuilder {
    Snapshot::builder(host("localhost"))
}

fn open() -> AnonymousPaths {
    AnonymousPaths::parse(["/"]).expect("a pattern")
}

/// Adds a service token of `tenant` and returns its text.
fn token(builder: &mut SnapshotBuilder, tenant: &TenantSpec, subject: &str) -> String {
    let id = TokenId::new();
    let text = TokenText::compose(TokenKind::Service, id, &[0x5a; 32]);
    let hash = TokenText::parse(&text).expect("a token").hash();
    let caller = Caller {
        kind: CallerKind::Service,
        subject: subject.to_owned(),
        ..Caller::default()
    };
    builder.token(id, tenant.id, hash, Arc::new(caller));
    text
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        format!("Bearer {token}").parse().expect("a value"),
    );
    headers
}

#[test]
fn an_installation_is_found_by_its_name_and_its_domains() {
    let acme = tenant("acme");
    let invoices = installation(&acme, "invoices", 1);
    let mut builder = builder();
    let domain = host("invoices.example.com");
    builder
        .installation(Arc::clone(&invoices), open(), [domain])
        .expect("free names");
    let snapshot = builder.build();
    for name in [
        "invoices.acme.localhost",
        "INVOICES.acme.localhost.:8080",
        "invoices.example.com",
    ] {
        assert_eq!(
            snapshot.route(&host(name)).expect(name).spec.id,
            invoices.id
        );
    }
    for name in [
        "localhost",
        "acme.localhost",
        "invoices.globex.localhost",
        "x.invoices.acme.localhost",
        "invoices.acme.localhost.evil.test",
        "www.invoices.example.com",
        "127.0.0.1",
    ] {
        assert!(snapshot.route(&host(name)).is_none(), "{name}");
    }
}

#[test]
fn a_domain_cannot_be_taken_from_another_installation() {
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let (first, second) = (installation(&acme, "a", 1), installation(&globex, "b", 1));
    let mut builder = builder();
    builder
        .installation(Arc::clone(&first), open(), [host("x.test")])
        .expect("free");
    let domains = [host("x.test"), host("a.acme.localhost"), host("y.test")];
    let error = builder
        .installation(Arc::clone(&second), open(), domains)
        .expect_err("taken");
    assert_eq!(error.owner, first.id);
    let snapshot = builder.build();
    assert_eq!(
        snapshot.route(&host("x.test")).expect("there").spec.id,
        first.id
    );
    assert_eq!(
        snapshot
            .route(&host("a.acme.localhost"))
            .expect("there")
            .spec
            .id,
        first.id
    );
    assert_eq!(
        snapshot
            .route(&host("b.globex.localhost"))
            .expect("there")
            .spec
            .id,
        second.id
    );
    assert_eq!(
        snapshot.route(&host("y.test")).expect("there").spec.id,
        second.id
    );
}

#[test]
fn a_token_is_valid_for_its_tenant_alone_and_never_reaches_the_application() {
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let mut builder = builder();
    for tenant in [&acme, &globex] {
        builder
            .installation(installation(tenant, "app", 1), open(), [])
            .expect("free");
    }
    let text = token(&mut builder, &acme, "robot");
    let snapshot = builder.build();
    let own = snapshot.route(&host("app.acme.localhost")).expect("there");
    let foreign = snapshot
        .route(&host("app.globex.localhost"))
        .expect("there");

    let mut headers = bearer(&text);
    let caller = authenticate(&snapshot, own, "/private", &mut headers).expect("valid");
    assert_eq!(
        (caller.kind, &*caller.subject),
        (CallerKind::Service, "robot")
    );
    assert!(headers.is_empty());

    let mut headers = bearer(&text);
    let refused = authenticate(&snapshot, foreign, "/", &mut headers);
    assert_eq!(refused.expect_err("foreign"), AuthenticationError::Invalid);
    assert!(headers.is_empty());
}

#[test]
fn whatever_claims_to_be_ours_and_is_not_valid_is_refused_and_removed() {
    let acme = tenant("acme");
    let mut builder = builder();
    builder
        .installation(installation(&acme, "app", 1), open(), [])
        .expect("free");
    let good = token(&mut builder, &acme, "robot");
    let snapshot = builder.build();
    let route = snapshot.route(&host("app.acme.localhost")).expect("there");

    let last = if good.ends_with('0') { "1" } else { "0" };
    let wrong_secret = format!("{}{last}", &good[..good.len() - 1]);
    let unknown = TokenText::compose(TokenKind::Service, TokenId::new(), &[0x5a; 32]);
    let operator = TokenText::compose(TokenKind::Operator, TokenId::new(), &[0x5a; 32]);
    for text in [
        &wrong_secret,
        &unknown,
        &operator,
        "canopy_",
        "canopy_svc_\u{e9}",
        "CANOPY_svc_x",
    ] {
        let mut headers = bearer(text);
        let refused = authenticate(&snapshot, route, "/", &mut headers);
        assert_eq!(
            refused.expect_err("not valid"),
            AuthenticationError::Invalid,
            "{text}"
        );
        assert!(headers.is_empty(), "{text}");
    }

    let mut headers = bearer(&good);
    headers.append(AUTHORIZATION, "Basic eDp5".parse().expect("a value"));
    let refused = authenticate(&snapshot, route, "/", &mut headers);
    assert_eq!(
        refused.expect_err("two credentials"),
        AuthenticationError::Invalid
    );
    assert!(headers.is_empty());

    for spelling in [format!("bearer {good}"), format!("BEARER \t {good} ")] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, spelling.parse().expect("a value"));
        authenticate(&snapshot, route, "/private", &mut headers).expect("valid in this spelling");
    }
}

#[test]
fn an_application_has_its_own_schemes_for_anonymous_callers() {
    let acme = tenant("acme");
    let mut builder = builder();
    builder
        .installation(installation(&acme, "app", 1), open(), [])
        .expect("free");
    let snapshot = builder.build();
    let route = snapshot.route(&host("app.acme.localhost")).expect("there");
    for value in [
        "Basic eDp5",
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Digest canopy_svc_x",
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().expect("a value"));
        let caller = authenticate(&snapshot, route, "/", &mut headers).expect("anonymous");
        assert_eq!(caller.kind, CallerKind::Anonymous);
        assert_eq!(headers[AUTHORIZATION], value);
        let refused = authenticate(&snapshot, route, "/private", &mut headers);
        assert_eq!(
            refused.expect_err("not open"),
            AuthenticationError::Required
        );
    }
}

#[test]
fn hashes_that_were_kept_still_match() {
    let text = TokenText::compose(TokenKind::Service, TokenId::new(), &[1; 32]);
    let hash = TokenText::parse(&text).expect("a token").hash();
    assert!(TokenHash::from_bytes(*hash.as_bytes()).matches(&hash));
}

#[test]
fn a_request_keeps_the_snapshot_it_began_with() {
    let acme = tenant("acme");
    let mut with = builder();
    with.installation(installation(&acme, "app", 1), open(), [])
        .expect("free");
    let routes = Routes::new(with.build());
    let before = routes.current();
    routes.publish(builder().build());
    assert!(before.route(&host("app.acme.localhost")).is_some());
    assert!(
        routes
            .current()
            .route(&host("app.acme.localhost"))
            .is_none()
    );
    assert_eq!(
        (before.installations(), routes.current().installations()),
        (1, 0)
    );
}

#[test]
fn readers_see_one_snapshot_or_the_other_and_never_a_mixture() {
    let acme = tenant("acme");
    let build = |generation| {
        let mut builder = builder();
        for name in ["a", "b"] {
            builder
                .installation(installation(&acme, name, generation), open(), [])
                .expect("free");
        }
        builder.build()
    };
    let routes = Routes::new(build(0));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (a, b) = (host("a.acme.localhost"), host("b.acme.localhost"));
                let mut newest = 0;
                while !stop.load(Ordering::Relaxed) {
                    let snapshot = routes.current();
                    let generation = |name| snapshot.route(name).expect("there").spec.generation;
                    assert_eq!(generation(&a), generation(&b));
                    assert!(generation(&a) >= newest);
                    newest = generation(&a);
                }
            });
        }
        for generation in 1..500 {
            routes.publish(build(generation));
        }
        stop.store(true, Ordering::Relaxed);
    });
}
