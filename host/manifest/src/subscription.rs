//! The messages that a package asks for.

use toml::Table;

use crate::error::Fault;
use crate::reader::Reader;
use crate::schedule::path_fault;

const MAX_TOPIC: usize = 128;
const MAX_PATH: usize = 1_000;
const MAX_REASON: usize = 400;
const MAX_CONCURRENCY: u64 = 1_000;
/// What topics begin with that the platform makes for answers.
const ANSWERS: &str = "canopy-reply.";

/// Messages of one topic that a package asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionAsked {
    /// The topic.
    pub topic: String,
    /// The path and query to which they are posted; `None`: the component takes them by its
    /// `wasmcloud:messaging/handler`.
    pub path: Option<String>,
    /// How many are delivered at once; one: in order.
    pub concurrency: usize,
    /// What they are for, for whoever installs the package to read.
    pub reason: String,
}

pub(crate) fn read(
    tables: Vec<(String, Table)>,
    faults: &mut Vec<Fault>,
) -> Vec<SubscriptionAsked> {
    let mut subscriptions: Vec<SubscriptionAsked> = Vec::with_capacity(tables.len());
    for (path, table) in tables {
        let mut reader = Reader::new(path, table, faults);
        let topic = reader.required_text("topic", MAX_TOPIC);
        if !topic.is_empty() && !topic.bytes().all(is_of_topic) {
            reader.fault(
                "topic",
                "must be a topic such as `orders.created`: of `a-z`, `0-9`, `.`, `-` and `_`, \
                 without wildcards",
            );
        } else if topic.starts_with(ANSWERS) {
            reader.fault(
                "topic",
                format!("`{ANSWERS}…` is for answers, which go to who has asked"),
            );
        } else if subscriptions.iter().any(|other| other.topic == topic) {
            reader.fault("topic", format!("`{topic}` is named twice"));
        }
        let to = reader.short_text("path", MAX_PATH);
        if let Some(fault) = to.as_deref().and_then(path_fault) {
            reader.fault("path", fault);
        }
        let concurrency = reader.number("concurrency", 1, MAX_CONCURRENCY);
        let reason = reader.required_text("reason", MAX_REASON);
        reader.finish();
        subscriptions.push(SubscriptionAsked {
            topic,
            path: to,
            concurrency: concurrency
                .and_then(|number| usize::try_from(number).ok())
                .unwrap_or(1),
            reason,
        });
    }
    subscriptions
}

fn is_of_topic(c: u8) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    fn parse(subscription: &str) -> Result<Manifest, crate::ManifestError> {
        Manifest::parse(&format!(
            "name = \"a/b\"\nversion = \"1.0.0\"\nkind = \"app\"\ntitle = \"t\"\n\
             summary = \"s\"\ncomponent = \"c.wasm\"\n[[subscriptions]]\n{subscription}"
        ))
    }

    #[test]
    fn a_subscription_says_what_and_where() {
        let manifest = parse(
            "topic = \"orders.created\"\npath = \"/on/order\"\nconcurrency = 4\nreason = \"Books.\"",
        );
        let expected = SubscriptionAsked {
            topic: "orders.created".into(),
            path: Some("/on/order".into()),
            concurrency: 4,
            reason: "Books.".into(),
        };
        assert_eq!(manifest.expect("valid").subscriptions, [expected]);
        let one = parse("topic = \"a\"\npath = \"/\"\nreason = \"r\"").expect("valid");
        assert_eq!(one.subscriptions[0].concurrency, 1, "in order");
        let handled = parse("topic = \"a\"\nreason = \"r\"").expect("valid");
        assert_eq!(handled.subscriptions[0].path, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (subscription, key) in [
            ("path = \"/\"\nreason = \"r\"", "subscriptions[0].topic"),
            (
                "topic = \"a.*\"\npath = \"/\"\nreason = \"r\"",
                "subscriptions[0].topic",
            ),
            (
                "topic = \"canopy-reply.a\"\npath = \"/\"\nreason = \"r\"",
                "subscriptions[0].topic",
            ),
            (
                "topic = \"a\"\npath = \"\"\nreason = \"r\"",
                "subscriptions[0].path",
            ),
            (
                "topic = \"a\"\npath = \"x\"\nreason = \"r\"",
                "subscriptions[0].path",
            ),
            ("topic = \"a\"\npath = \"/\"", "subscriptions[0].reason"),
            (
                "topic = \"a\"\npath = \"/\"\nconcurrency = 0\nreason = \"r\"",
                "subscriptions[0].concurrency",
            ),
            (
                "topic = \"a\"\npath = \"/\"\nreason = \"r\"\n[[subscriptions]]\ntopic = \"a\"\n\
                 path = \"/\"\nreason = \"r\"",
                "subscriptions[1].topic",
            ),
        ] {
            let error = parse(subscription).expect_err("refused");
            let found = error.faults().iter().any(|fault| fault.key == key);
            assert!(found, "{key}: {error}");
        }
    }
}
