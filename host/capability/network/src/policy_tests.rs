//! The policy, without any network.

use super::*;

fn rule(text: &str) -> EgressRule {
    text.parse().expect(text)
}

fn host(text: &str) -> Host {
    text.parse().expect(text)
}

fn policy(rules: &[&str], opened: &[&str]) -> EgressPolicy {
    let opened = opened
        .iter()
        .map(|text| text.parse().expect(text))
        .collect();
    EgressPolicy::new(rules.iter().map(|text| rule(text)).collect(), opened)
}

#[test]
fn nothing_is_reachable_by_default() {
    let policy = EgressPolicy::default();
    assert!(
        policy
            .check_host(&host("example.com"), 443, Way::Tcp)
            .is_err()
    );
    assert!(
        policy
            .check_address("127.0.0.1".parse().expect("address"))
            .is_err()
    );
}

#[test]
fn a_rule_names_its_host_and_port_alone() {
    let policy = policy(&["api.example.com:443", "db.example.com:*"], &[]);
    assert!(
        policy
            .check_host(&host("api.example.com"), 443, Way::Tcp)
            .is_ok()
    );
    assert!(
        policy
            .check_host(&host("API.EXAMPLE.COM."), 443, Way::Tcp)
            .is_ok()
    );
    assert!(
        policy
            .check_host(&host("db.example.com"), 1, Way::Tcp)
            .is_ok()
    );
    for (name, port) in [
        ("api.example.com", 80),
        ("api.example.com", 0),
        ("db.example.com", 0),
        ("example.com", 443),
        ("x.api.example.com", 443),
        ("api.example.com.evil.test", 443),
        ("evilapi.example.com", 443),
    ] {
        assert!(
            policy.check_host(&host(name), port, Way::Tcp).is_err(),
            "{name}:{port}"
        );
    }
}

#[test]
fn a_wildcard_names_what_is_below_and_nothing_beside() {
    let policy = policy(&["*.example.com:443"], &[]);
    assert!(
        policy
            .check_host(&host("a.example.com"), 443, Way::Tcp)
            .is_ok()
    );
    assert!(
        policy
            .check_host(&host("a.b.example.com"), 443, Way::Tcp)
            .is_ok()
    );
    for name in [
        "example.com",
        "evilexample.com",
        "a.example.com.evil.test",
        "8.8.8.8",
    ] {
        assert!(
            policy.check_host(&host(name), 443, Way::Tcp).is_err(),
            "{name}"
        );
    }
}

#[test]
fn a_grant_of_a_private_address_needs_the_operator_too() {
    let address = "127.0.0.1".parse().expect("address");
    let alone = policy(&["127.0.0.1:*"], &[]);
    assert!(alone.check_host(&host("127.0.0.1"), 80, Way::Tcp).is_ok());
    assert_eq!(
        alone.check_address(address),
        Err(Refusal::Prohibited { address })
    );
    assert!(rule("127.0.0.1:*").check(&[]).is_err());

    let opened = policy(&["127.0.0.1:*"], &["127.0.0.0/8"]);
    assert!(opened.check_address(address).is_ok());
    assert!(
        opened
            .check_address("::ffff:127.0.0.1".parse().expect("address"))
            .is_ok()
    );
    assert!(
        opened
            .check_address("10.0.0.1".parse().expect("address"))
            .is_err()
    );
    assert!(
        opened
            .check_address("::1".parse().expect("address"))
            .is_err()
    );
    assert!(
        rule("127.0.0.1:*")
            .check(&["127.0.0.0/8".parse().expect("network")])
            .is_ok()
    );
}

#[test]
fn what_is_no_destination_cannot_be_opened() {
    let policy = policy(&[], &["0.0.0.0/0", "::/0"]);
    for text in ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1"] {
        assert!(
            policy.check_address(text.parse().expect(text)).is_err(),
            "{text}"
        );
    }
}

#[test]
fn an_ipv4_grant_is_not_reached_by_a_translated_address() {
    let policy = policy(&["127.0.0.1:80"], &["127.0.0.0/8"]);
    for text in ["[64:ff9b::7f00:1]", "[::127.0.0.1]", "[2002:7f00:1::]"] {
        let host = host(text);
        assert!(policy.check_host(&host, 80, Way::Tcp).is_err(), "{text}");
        let Host::Address(address) = host else {
            unreachable!("an address")
        };
        assert!(policy.check_address(address).is_err(), "{text}");
    }
}

/// A package's rules, a grant, the operator's lists.
fn layers(asked: &[&str], granted: &[&str], allow: &[&str], deny: &[&str]) -> EgressPolicy {
    let wide = |text: &&str| EgressRule::wide(text).expect(text);
    let operator = OperatorEgress {
        allow: allow.iter().map(|text| text.parse().expect(text)).collect(),
        deny: deny.iter().map(|text| text.parse().expect(text)).collect(),
    };
    policy(granted, &[])
        .asked(asked.iter().map(wide).collect())
        .under(Arc::new(operator))
}

#[test]
fn what_is_reached_is_asked_for_and_granted_and_allowed() {
    let get = Way::Https("GET");
    let check = |policy: &EgressPolicy| policy.check_host(&host("a.example.com"), 443, get);
    let granted = ["https://a.example.com"];
    for asked in [
        "*",
        "*:443",
        "a.example.com:443",
        "GET https://*.example.com",
    ] {
        check(&layers(&[asked], &granted, &["*"], &[])).expect(asked);
    }
    let grant = rule("https://a.example.com");
    for asked in [&[][..], &["b.example.com:443"], &["http://*:*"]] {
        let policy = layers(asked, &granted, &["*"], &[]);
        let refusal = check(&policy).expect_err("not asked for");
        let is_such = matches!(&refusal, Refusal::NotAsked { grant: by, .. } if **by == grant);
        assert!(is_such, "{refusal}");
    }
    let refusal = check(&layers(&["*"], &granted, &["*.example.org:*"], &[]));
    assert!(
        matches!(refusal, Err(Refusal::NotAllowed { .. })),
        "{refusal:?}"
    );
    let refusal = check(&layers(&["*"], &granted, &["*"], &["*.example.com:*"]));
    let refusal = refusal.expect_err("denied");
    assert!(
        refusal.to_string().contains("`*.example.com:*`"),
        "{refusal}"
    );
    assert!(!refusal.is_of_address());
}

#[test]
fn a_refusal_names_the_rule_that_is_for_other_methods() {
    let policy = layers(&["*"], &["GET https://a.example.com"], &["*"], &[]);
    let refused = policy.check_host(&host("a.example.com"), 443, Way::Https("POST"));
    assert_eq!(
        refused.expect_err("another method").to_string(),
        "no grant of the tenant names `POST https://a.example.com:443`; \
         `GET https://a.example.com:443` is for other ways"
    );
}

#[test]
fn what_the_operator_denies_by_address_no_name_leads_to() {
    let address = "93.184.216.34".parse().expect("an address");
    for denied in [
        "93.184.216.0/24",
        "93.184.216.34:443",
        "tcp://93.184.216.34:*",
    ] {
        let policy = layers(&["*"], &["a.example.com:443"], &["*"], &[denied]);
        let refusal = policy.check_destination(address, 443, Way::Tcp);
        let refusal = refusal.expect_err(denied);
        assert!(refusal.is_of_address(), "{refusal}");
        assert!(refusal.to_string().contains(denied), "{refusal}");
        let other = "93.184.217.1".parse().expect("an address");
        policy
            .check_destination(other, 443, Way::Tcp)
            .expect(denied);
    }
}

#[test]
fn a_network_opened_to_one_is_open_to_that_one_alone() {
    let address = "10.2.0.7".parse().expect("an address");
    let network: IpNet = "10.2.0.0/16".parse().expect("a network");
    let policy = policy(&["db.example.com:5432"], &["127.0.0.0/8"]);
    assert!(policy.check_address(address).is_err());
    let opened = policy.clone().opening(vec![network]);
    assert!(opened.check_address(address).is_ok());
    assert!(
        opened
            .check_address("10.3.0.1".parse().expect("address"))
            .is_err()
    );
    assert!(
        opened
            .check_address("127.0.0.1".parse().expect("address"))
            .is_ok()
    );
    let denied = OperatorEgress {
        deny: vec![Denial::Network(network)],
        ..OperatorEgress::default()
    };
    assert!(
        opened
            .under(Arc::new(denied))
            .check_address(address)
            .is_err()
    );
}

#[test]
fn nothing_is_looked_up_that_some_layer_does_not_name() {
    let name = host("db.example.com");
    assert!(layers(&["*"], &["db.example.com:1"], &["*"], &[]).names(&name));
    assert!(!layers(&[], &["db.example.com:1"], &["*"], &[]).names(&name));
    assert!(!layers(&["*"], &["other.example.com:1"], &["*"], &[]).names(&name));
    assert!(!layers(&["*"], &["db.example.com:1"], &["*.example.org:1"], &[]).names(&name));
}
