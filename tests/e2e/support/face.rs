//! An installation whose versions do what a query says, each by an interface of another name.

use reqwest::{Body, Method, Response};
use serde_json::Value;

use super::{Answer, Node};

/// An operation's name, and what it is done with.
type Fields<'a> = [(&'a str, &'a str)];

/// The installation.
pub(crate) struct Face<'a> {
    node: &'a Node,
    app: String,
}

impl<'a> Face<'a> {
    /// The installation at the host name `app`, as `faces.acme`.
    pub(crate) fn new(node: &'a Node, app: impl Into<String>) -> Self {
        Self {
            node,
            app: app.into(),
        }
    }

    /// Goes on as `version`.
    pub(crate) fn run_as(&self, version: &str) {
        let (name, tenant) = self.app.split_once('.').expect("a tenant");
        self.node
            .run(&format!("upgrade {name} {version} --tenant {tenant}"));
    }

    /// What `op` answers, whatever it is.
    pub(crate) async fn answer(&self, op: &str, fields: &Fields<'_>) -> Answer {
        self.node.get(&self.app, &path(op, fields)).await
    }

    /// The outcome of `op`, which must succeed.
    pub(crate) async fn ask(&self, op: &str, fields: &Fields<'_>) -> Value {
        let answer = self.answer(op, fields).await;
        assert_eq!(answer.status, 200, "{op} {fields:?}: {answer:?}");
        answer.json()
    }

    /// Why `op` is refused, as small letters and digits alone: some interfaces tell an error by its
    /// name and others in words.
    pub(crate) async fn refusal(&self, op: &str, fields: &Fields<'_>) -> String {
        let answer = self.answer(op, fields).await;
        assert_eq!(answer.status, 500, "{op} {fields:?}: {answer:?}");
        bare(&answer.body)
    }

    /// Sends `body` along.
    pub(crate) async fn send(
        &self,
        op: &str,
        fields: &Fields<'_>,
        body: impl Into<Body>,
    ) -> Response {
        let request = self.node.request(Method::PUT, &self.app, &path(op, fields));
        request.body(body).send().await.expect("an answer")
    }
}

/// The small letters and digits of a text.
pub(crate) fn bare(text: &str) -> String {
    let letters = text.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

fn path(op: &str, fields: &Fields<'_>) -> String {
    let fields = [("op", op)].into_iter().chain(fields.iter().copied());
    let url = reqwest::Url::parse_with_params("http://any/", fields).expect("a URL");
    format!("/?{}", url.query().unwrap_or_default())
}
