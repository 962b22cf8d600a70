//! What installations and driver instances may reach: grants as they are written, and the policy
//! that comes of them.
//!
//! A grant is a rule, `api.example.com:443`, or a network that is not public, `10.2.0.0/16`. The
//! second opens addresses that no tenant may open, so that the operator alone can add one. A rule
//! must name something that the package asks for: one that does not would never have an effect.

use std::collections::BTreeMap;

use canopy_ids::Label;
use canopy_manifest::Manifest;
use canopy_runtime::{EgressPolicy, EgressRule, TlsIdentity};
use ipnet::IpNet;

use crate::catalog::Release;
use crate::{Action, AppError, AppSettings, Context, Resource, validate};

/// One grant.
enum Grant {
    Rule(EgressRule),
    Network(IpNet),
}

fn read(text: &str) -> Result<Grant, AppError> {
    if let Ok(network) = text.parse::<IpNet>() {
        return Ok(Grant::Network(network.trunc()));
    }
    let rule = text
        .parse()
        .map_err(|error| AppError::field("egress", format!("has a fault: {error}")))?;
    Ok(Grant::Rule(rule))
}

/// What a package asks for.
pub(crate) fn asked(manifest: &Manifest) -> Result<Vec<EgressRule>, AppError> {
    let hosts = manifest.needs.iter().flat_map(|need| &need.hosts);
    hosts
        .map(|text| {
            EgressRule::wide(text)
                .map_err(|error| AppError::field("needs.hosts", format!("has a fault: {error}")))
        })
        .collect()
}

/// Grants in their canonical form, each once, in the order in which they were sent. `old` are those
/// that are there.
pub(crate) fn check(
    context: &Context,
    tenant: &Label,
    release: &Release,
    (old, new): (&[String], &[String]),
    settings: &AppSettings,
) -> Result<Vec<String>, AppError> {
    let asked = asked(&release.manifest)?;
    canonical(new, settings, |text, grant| {
        if old.iter().any(|old| old == text) {
            return Ok(());
        }
        match grant {
            Grant::Network(_) => context.authorize(Action::Write, Resource::Tenant(tenant)),
            Grant::Rule(rule) if asked.iter().any(|asked| asked.overlaps(rule)) => Ok(()),
            Grant::Rule(_) => Err(AppError::field(
                "egress",
                format!("has `{text}`, and {}", asks_for(release, &asked)),
            )),
        }
    })
}

/// Grants that the operator brings from elsewhere.
pub(crate) fn imported(new: &[String], settings: &AppSettings) -> Result<Vec<String>, AppError> {
    canonical(new, settings, |_, _| Ok(()))
}

fn asks_for(release: &Release, asked: &[EgressRule]) -> String {
    let (package, version) = (&release.package, &release.version);
    if asked.is_empty() {
        return format!("{package} {version} asks for no host");
    }
    let texts: Vec<_> = asked.iter().map(|rule| format!("`{rule}`")).collect();
    format!("{package} {version} asks for {} alone", texts.join(", "))
}

fn canonical(
    texts: &[String],
    settings: &AppSettings,
    may: impl Fn(&str, &Grant) -> Result<(), AppError>,
) -> Result<Vec<String>, AppError> {
    validate::count("egress", texts.len(), settings.egress_rules)?;
    let grants = texts.iter().map(|text| read(text));
    let grants = grants.collect::<Result<Vec<_>, _>>()?;
    let mut opened = settings.opened_networks.to_vec();
    for grant in &grants {
        if let Grant::Network(network) = grant {
            check_network(*network)?;
            opened.push(*network);
        }
    }
    let mut canonical: Vec<String> = Vec::with_capacity(grants.len());
    for grant in grants {
        let text = match &grant {
            Grant::Network(network) => network.to_string(),
            Grant::Rule(rule) => {
                rule.check(&opened).map_err(|refusal| {
                    let message = format!(
                        "has `{rule}`, which cannot be granted: {refusal}; an operator grants the \
                         network beside it, as `10.2.0.0/16` or one address alone as \
                         `10.2.0.5/32`, or opens it to all by `egress.private_networks`"
                    );
                    AppError::field("egress", message)
                })?;
                rule.to_string()
            }
        };
        may(&text, &grant)?;
        if !canonical.contains(&text) {
            canonical.push(text);
        }
    }
    Ok(canonical)
}

fn check_network(network: IpNet) -> Result<(), AppError> {
    let (shortest, first) = match network {
        IpNet::V4(_) => (8, network.network()),
        IpNet::V6(_) => (16, network.network()),
    };
    let fault = if network.prefix_len() < shortest {
        format!("is wider than a /{shortest}")
    } else if canopy_runtime::is_public(first) {
        "is public; grant `host:port` instead".into()
    } else {
        return Ok(());
    };
    let message = format!("has the network `{network}`, which {fault}");
    Err(AppError::field("egress", message))
}

/// What a package's connections by TLS have of its configuration, which is that of
/// [`effective`](canopy_manifest::ConfigSchema::effective). An empty text is none.
pub(crate) fn tls(manifest: &Manifest, config: &BTreeMap<String, String>) -> TlsIdentity {
    let value = |key: &Option<String>| {
        let value = config.get(key.as_ref()?)?;
        (!value.trim().is_empty()).then(|| value.clone())
    };
    TlsIdentity {
        roots: value(&manifest.tls.roots),
        certificate: value(&manifest.tls.certificate),
        key: value(&manifest.tls.key),
    }
}

/// The policy of `grants`, as they are stored, for a package of this manifest and configuration.
pub(crate) fn policy(
    grants: &[String],
    manifest: &Manifest,
    config: &BTreeMap<String, String>,
    settings: &AppSettings,
) -> Result<EgressPolicy, AppError> {
    let stored = |error: AppError| AppError::Internal(format!("stored egress grant: {error}"));
    let (mut rules, mut networks) = (Vec::new(), Vec::new());
    for text in grants {
        match read(text).map_err(stored)? {
            Grant::Rule(rule) => rules.push(rule),
            Grant::Network(network) => networks.push(network),
        }
    }
    let asked = asked(manifest).map_err(stored)?;
    let opened = settings.opened_networks.clone();
    Ok(EgressPolicy::new(rules, opened)
        .asked(asked)
        .under(settings.operator_egress.clone())
        .opening(networks)
        .speaking(tls(manifest, config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> AppSettings {
        AppSettings::new(canopy_tenant::HostName::from_name("localhost").expect("a name"))
    }

    fn imported(texts: &[&str], settings: &AppSettings) -> Result<Vec<String>, AppError> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        super::imported(&texts, settings)
    }

    #[test]
    fn grants_are_kept_once_and_refused_where_out_of_reach() {
        let mut settings = settings();
        assert_eq!(
            imported(&["API.example.com:443", "api.example.com:443"], &settings).expect("valid"),
            ["api.example.com:443"]
        );
        assert!(imported(&["127.0.0.1:25"], &settings).is_err());
        settings.opened_networks = ["127.0.0.0/8".parse().expect("a network")].into();
        assert!(imported(&["127.0.0.1:25"], &settings).is_ok());
        assert!(imported(&["*:*"], &settings).is_err());
        settings.egress_rules = 0;
        assert!(imported(&["api.example.com:443"], &settings).is_err());
    }

    #[test]
    fn a_network_is_granted_beside_the_rules_that_need_it() {
        let settings = settings();
        let grants = ["tcp://10.2.0.5:5432", "10.2.7.7/16"];
        assert_eq!(
            imported(&grants, &settings).expect("valid"),
            ["tcp://10.2.0.5:5432", "10.2.0.0/16"]
        );
        for network in ["0.0.0.0/0", "::/0", "93.184.216.0/24", "8.0.0.0/8"] {
            assert!(imported(&[network], &settings).is_err(), "{network}");
        }
        assert!(imported(&["10.3.0.5:5432", "10.2.0.0/16"], &settings).is_err());
    }
}
