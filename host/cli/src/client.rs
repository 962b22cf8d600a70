//! The client of the control API: paths, pages, problems.

use std::path::Path;
use std::time::Duration;

use canopy_api_types::{PROBLEM_JSON, Page, Problem};
use canopy_ids::RequestId;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::{Connection, Error, distrust};

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may be silent. Publishing compiles before it answers.
const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// How much of an answer that is no problem document is quoted.
const QUOTED_CHARS: usize = 200;

/// A client of one node's control API.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// For answers that may be silent for as long as nothing happens.
    patient: reqwest::Client,
    base: Url,
    token: String,
    check: bool,
}

/// The certificates of a PEM file.
fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::Usage(format!("--ca: {}: {error}", file.display()));
    let text = std::fs::read(file).map_err(|error| failed(&error))?;
    let found = reqwest::Certificate::from_pem_bundle(&text).map_err(|error| failed(&error))?;
    match found.is_empty() {
        true => Err(failed(&"there is no certificate in it")),
        false => Ok(found),
    }
}

/// On what a write depends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    /// Nothing.
    Always,
    /// That there is nothing yet.
    Absent,
    /// That it is at this revision still.
    Revision(u64),
}

impl Client {
    /// A client for `connection`.
    pub(crate) fn new(connection: &Connection) -> Result<Self, Error> {
        let trusted = connection.ca.as_deref().map(certificates).transpose()?;
        let build = |builder: reqwest::ClientBuilder| {
            let builder = match &trusted {
                Some(certificates) => builder.tls_certs_only(certificates.clone()),
                None => builder,
            };
            let client = builder
                .user_agent(concat!("canopy-cli/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(CONNECT_TIMEOUT)
                .redirect(reqwest::redirect::Policy::none());
            client
                .build()
                .map_err(|error| Error::local("the HTTP client could not be made", error))
        };
        Ok(Self {
            http: build(reqwest::Client::builder().read_timeout(READ_TIMEOUT))?,
            patient: build(reqwest::Client::builder())?,
            base: connection.url.clone(),
            token: connection.token.clone(),
            check: true,
        })
    }

    /// Reads one noun.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Error> {
        self.json(self.request(Method::GET, path, &[])?).await
    }

    /// Reads one noun, or `None` where it does not exist.
    pub(crate) async fn find<T: DeserializeOwned>(
        &self,
        path: &[&str],
    ) -> Result<Option<T>, Error> {
        match self.get(path).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.status() == Some(404) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one noun with a query.
    pub(crate) async fn query<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Error> {
        self.json(self.request(Method::GET, path, query)?).await
    }

    /// Reads a whole list, page by page.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Vec<T>, Error> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.query(path, &query).await?;
            items.extend(page.items);
            match page.next_cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(items),
            }
        }
    }

    /// Creates or replaces.
    pub(crate) async fn put<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
        condition: Condition,
    ) -> Result<T, Error> {
        let request = self.request(Method::PUT, path, &[])?.json(body);
        self.json(match condition {
            Condition::Always => request,
            Condition::Absent => request.header(IF_NONE_MATCH, "*"),
            Condition::Revision(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
        })
        .await
    }

    /// Creates or replaces, with an answer that nobody reads.
    pub(crate) async fn put_only<B: Serialize + ?Sized>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<(), Error> {
        self.send(self.request(Method::PUT, path, &[])?.json(body))
            .await
            .map(drop)
    }

    /// Changes some members.
    pub(crate) async fn patch<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<T, Error> {
        self.json(self.request(Method::PATCH, path, &[])?.json(body))
            .await
    }

    /// Does something that is not repeatable in itself; its key makes it so.
    pub(crate) async fn post<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<T, Error> {
        let key = RequestId::new().to_string();
        self.json(
            self.request(Method::POST, path, &[])?
                .header("idempotency-key", key)
                .json(body),
        )
        .await
    }

    /// Does something, with an answer that nobody reads.
    pub(crate) async fn post_only<B: Serialize + ?Sized>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<(), Error> {
        self.send(self.request(Method::POST, path, &[])?.json(body))
            .await
            .map(drop)
    }

    /// Removes.
    pub(crate) async fn delete(&self, path: &[&str]) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, path, &[])?)
            .await
            .map(drop)
    }

    /// Sends a form.
    pub(crate) async fn put_form<T: DeserializeOwned>(
        &self,
        path: &[&str],
        form: reqwest::multipart::Form,
    ) -> Result<T, Error> {
        self.json(self.request(Method::PUT, path, &[])?.multipart(form))
            .await
    }

    /// Sends a piece of something longer.
    pub(crate) async fn put_piece<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        bytes: Vec<u8>,
    ) -> Result<T, Error> {
        self.json(self.request(Method::PUT, path, query)?.body(bytes))
            .await
    }

    /// Opens an answer that is read as it comes, from the byte `offset` on.
    pub(crate) async fn stream_from(&self, path: &[&str], offset: u64) -> Result<Response, Error> {
        let request = self.request(Method::GET, path, &[])?;
        self.send(request.header(reqwest::header::RANGE, format!("bytes={offset}-")))
            .await
    }

    /// Opens an answer that is read as it comes.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<Response, Error> {
        let address = address(&self.base, path, query)?;
        self.send(self.patient.get(address).bearer_auth(&self.token))
            .await
    }

    /// Sends bytes as they are, with their media type and length where these are known.
    pub(crate) async fn put_bytes(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        body: reqwest::Body,
        known: Option<(&str, Option<u64>)>,
    ) -> Result<Response, Error> {
        let (kind, length) = known.unwrap_or(("application/octet-stream", None));
        let address = address(&self.base, path, query)?;
        let mut request = self.patient.put(address).bearer_auth(&self.token);
        request = request.header(CONTENT_TYPE, kind);
        if let Some(length) = length {
            request = request.header(CONTENT_LENGTH, length);
        }
        self.send(request.body(body)).await
    }

    /// Removes what a query names.
    pub(crate) async fn delete_one(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<(), Error> {
        self.send(self.request(Method::DELETE, path, query)?)
            .await
            .map(drop)
    }

    /// Asks for something whose answer is read as it comes.
    pub(crate) async fn post_stream<B: Serialize + ?Sized>(
        &self,
        path: &[&str],
        body: &B,
    ) -> Result<Response, Error> {
        self.send(self.request(Method::POST, path, &[])?.json(body))
            .await
    }

    /// The whole body of an answer.
    pub(crate) async fn whole(&self, response: Response) -> Result<Vec<u8>, Error> {
        let body = response.bytes().await;
        body.map(Vec::from)
            .map_err(|error| self.unreachable(&error))
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<RequestBuilder, Error> {
        let unchecked = !self.check
            && matches!(
                method,
                Method::PUT | Method::PATCH | Method::DELETE | Method::POST
            );
        let mut query = query.to_vec();
        if unchecked {
            query.push(("check", "false".to_owned()));
        }
        Ok(self
            .http
            .request(method, address(&self.base, path, &query)?)
            .bearer_auth(&self.token))
    }

    /// Whether drivers are asked if what is changed works.
    pub(crate) fn checking(mut self, check: bool) -> Self {
        self.check = check;
        self
    }

    async fn json<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Error> {
        let response = self.send(request).await?;
        self.read_json(response).await
    }

    /// The answer's body as JSON.
    pub(crate) async fn read_json<T: DeserializeOwned>(
        &self,
        response: Response,
    ) -> Result<T, Error> {
        let url = response.url().clone();
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&body).map_err(|error| Error::Foreign {
            url: url.to_string(),
            status: format!("something that this version of canopy does not understand ({error})"),
        })
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, Error> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let is_problem = response
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with(PROBLEM_JSON));
        let url = response.url().to_string();
        let body = response.bytes().await.unwrap_or_default();
        Err(refusal(&url, status.as_u16(), is_problem, &body))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Error {
        if let Some(untrusted) = distrust::explained(self.base.as_str(), error) {
            return untrusted;
        }
        let mut reason = error.to_string();
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
        while let Some(inner) = cause {
            reason = inner.to_string();
            cause = inner.source();
        }
        Error::Unreachable {
            url: self.base.to_string(),
            reason,
        }
    }
}

/// The address of `path` below `base`; every part is escaped.
fn address(base: &Url, path: &[&str], query: &[(&str, String)]) -> Result<Url, Error> {
    if let Some(part) = path.iter().find(|part| matches!(**part, "" | "." | "..")) {
        return Err(Error::Usage(format!("{part:?} is not a name")));
    }
    let mut url = base.clone();
    url.path_segments_mut()
        .map_err(|()| Error::Usage(format!("{base} is no address of a control API")))?
        .pop_if_empty()
        .extend(["api", "v1"])
        .extend(path);
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// What a failed answer means.
fn refusal(url: &str, status: u16, is_problem: bool, body: &[u8]) -> Error {
    if is_problem && let Ok(problem) = serde_json::from_slice::<Problem>(body) {
        return Error::Problem {
            problem: Box::new(problem),
            advice: None,
        };
    }
    let text = String::from_utf8_lossy(body);
    let quoted: String = text.trim().chars().take(QUOTED_CHARS).collect();
    let status = if quoted.is_empty() {
        status.to_string()
    } else {
        format!("{status} ({quoted:?})")
    };
    Error::Foreign {
        url: url.to_owned(),
        status,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_path_is_escaped() {
        let base = Url::parse("http://h:1/prefix/").expect("a URL");
        let url = address(
            &base,
            &["tenants", "a/../b", "secrets", "x y"],
            &[("q", "1&2".into())],
        );
        assert_eq!(
            url.expect("an address").as_str(),
            "http://h:1/prefix/api/v1/tenants/a%2F..%2Fb/secrets/x%20y?q=1%262"
        );
    }

    #[test]
    fn what_would_lead_to_another_path_is_refused() {
        let base = Url::parse("http://h:1").expect("a URL");
        for part in ["", ".", ".."] {
            assert_eq!(
                address(&base, &["secrets", part], &[])
                    .expect_err("refused")
                    .code(),
                2
            );
        }
    }

    #[test]
    fn a_problem_document_is_kept_whole() {
        let body =
            br#"{"type":"urn:canopy:problem:not-found","title":"t","status":404,"detail":"d"}"#;
        match refusal("http://h", 404, true, body) {
            Error::Problem { problem, .. } => assert_eq!(problem.code(), "not-found"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_of_something_else_is_quoted_short() {
        let error = refusal("http://h", 502, false, "<html>".repeat(1000).as_bytes());
        assert_eq!(error.code(), 6);
        assert!(error.to_string().len() < 400);
    }
}
