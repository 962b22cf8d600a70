//! Composes and sends mail: a page for people, a JSON API for programs.

mod access;
mod outbox;

use askama::Template;
use canopy_sdk::extract::SameOrigin;
use canopy_sdk::{
    Created, Form, HeaderValue, Html, IntoResponse, Json, Path, Problem, Query, Redirect, Response,
    Router, StatusCode, get, header,
};
use outbox::{Entry, Message, Outbox, Outcome, Reason};
use serde::{Deserialize, Serialize};

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/", get(home).post(send_form))
        .route("/messages/{id}", get(show_message))
        .route("/api/messages", get(list).post(send))
        .route("/api/messages/{id}", get(one))
        .route("/static/style.css", get(style))
        .map_response(with_safe_headers)
}

/// What makes a slip in a page harmless.
fn with_safe_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
             frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn style() -> impl IntoResponse {
    let headers = [
        ("content-type", "text/css"),
        ("cache-control", "max-age=300"),
    ];
    (headers, include_str!("../static/style.css"))
}

#[derive(Deserialize)]
struct Below {
    below: Option<u32>,
}

#[derive(Serialize)]
struct Items {
    items: Vec<Entry>,
    /// `?below=` of the next page.
    next: Option<u32>,
}

fn list(Query(page): Query<Below>) -> Result<Json<Items>, Problem> {
    access::read()?;
    let page = Outbox::open()?.page(page.below)?;
    Ok(Json(Items {
        items: page.entries,
        next: page.next,
    }))
}

fn one(Path(id): Path<u32>) -> Result<Json<Entry>, Problem> {
    access::read()?;
    let entry = Outbox::open()?.entry(id)?;
    Ok(Json(entry.ok_or_else(missing)?))
}

fn missing() -> Problem {
    Problem::not_found("There is no such message in the log.")
}

/// 201 with the entry once the mail server has the message. Else a problem that says why, with the
/// entry's identifier.
fn send(message: Result<Json<Message>, Problem>) -> Result<Created<Json<Entry>>, Problem> {
    access::write()?;
    let Json(message) = message?;
    let entry = Outbox::open()?.send(message)?;
    if let Outcome::Failed { reason, detail } = &entry.outcome {
        let status = match reason {
            Reason::BadAddress | Reason::BadMessage => StatusCode::UNPROCESSABLE_ENTITY,
            Reason::Refused => StatusCode::BAD_GATEWAY,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        let name = serde_json::to_value(reason).unwrap_or_default();
        return Err(Problem::new(status, format!("{}: {detail}", reason.text()))
            .kind("urn:canopy:mailroom:not-sent")
            .with("reason", name)
            .with("id", entry.id));
    }
    Ok(Created::at(
        format!("/api/messages/{}", entry.id),
        Json(entry),
    ))
}

/// A problem, shown as a page.
struct Failure(Problem);

impl<E: Into<Problem>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[derive(Template)]
#[template(path = "failure.html")]
struct FailurePage<'a> {
    title: &'a str,
    detail: String,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.0.status();
        let page = FailurePage {
            title: status.canonical_reason().unwrap_or("Problem"),
            detail: self.0.to_string(),
        };
        (status, show(&page)).into_response()
    }
}

fn show(page: &impl Template) -> Response {
    match page.render() {
        Ok(text) => Html(text).into_response(),
        Err(error) => {
            canopy_sdk::log::error!("a page could not be written: {error}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The form as it was sent.
#[derive(Deserialize, Default, Clone)]
#[serde(default)]
struct Typed {
    to: String,
    cc: String,
    reply_to: String,
    subject: String,
    text: String,
}

impl Typed {
    fn message(&self) -> Message {
        let reply_to = self.reply_to.trim();
        Message {
            to: addresses(&self.to),
            cc: addresses(&self.cc),
            reply_to: (!reply_to.is_empty()).then(|| reply_to.to_owned()),
            subject: self.subject.trim().to_owned(),
            text: self.text.clone(),
            ..Message::default()
        }
    }
}

/// Addresses with commas, semicolons or line breaks between them.
fn addresses(typed: &str) -> Vec<String> {
    typed
        .split([',', ';', '\n'])
        .map(str::trim)
        .filter(|address| !address.is_empty())
        .map(str::to_owned)
        .collect()
}

/// An entry of the log for people.
struct Row {
    id: u32,
    at: String,
    to: String,
    subject: String,
    state: &'static str,
    detail: String,
}

impl From<Entry> for Row {
    fn from(entry: Entry) -> Self {
        let (state, detail) = match &entry.outcome {
            Outcome::Sending => (
                "unknown",
                "Interrupted: whether it went out is not known.".to_owned(),
            ),
            Outcome::Sent { message_id } => ("sent", message_id.clone()),
            Outcome::Failed { reason, detail } => {
                ("failed", format!("{}: {detail}", reason.text()))
            }
        };
        Self {
            id: entry.id,
            at: entry.at.get(..16).unwrap_or_default().replace('T', " "),
            to: entry.message.to.join(", "),
            subject: entry.message.subject,
            state,
            detail,
        }
    }
}

#[derive(Template)]
#[template(path = "home.html")]
struct Home {
    may_write: bool,
    typed: Typed,
    problem: Option<String>,
    rows: Vec<Row>,
    next: Option<u32>,
}

fn home(Query(page): Query<Below>) -> Result<Response, Failure> {
    access::read()?;
    home_page(page.below, Typed::default(), None)
}

fn home_page(
    below: Option<u32>,
    typed: Typed,
    problem: Option<String>,
) -> Result<Response, Failure> {
    let page = Outbox::open()?.page(below)?;
    Ok(show(&Home {
        may_write: access::write().is_ok(),
        typed,
        problem,
        rows: page.entries.into_iter().map(Row::from).collect(),
        next: page.next,
    }))
}

fn send_form(_: SameOrigin, Form(typed): Form<Typed>) -> Result<Response, Failure> {
    access::write()?;
    let entry = Outbox::open()?.send(typed.message())?;
    match &entry.outcome {
        Outcome::Failed { reason, detail } => {
            let problem = format!("Not sent. {}: {detail}", reason.text());
            let page = home_page(None, typed, Some(problem))?;
            Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
        }
        _ => Ok(Redirect::to(format!("/messages/{}", entry.id)).into_response()),
    }
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    message: Message,
    row: Row,
}

fn show_message(Path(id): Path<u32>) -> Result<Response, Failure> {
    access::read()?;
    let entry = Outbox::open()?.entry(id)?.ok_or_else(missing)?;
    Ok(show(&MessagePage {
        message: entry.message.clone(),
        row: entry.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACK: &str = "</textarea><script>alert(1)</script>\" autofocus onfocus=\"x";

    #[test]
    fn what_people_typed_is_escaped_in_every_place() {
        let typed = Typed {
            to: ATTACK.into(),
            cc: ATTACK.into(),
            reply_to: ATTACK.into(),
            subject: ATTACK.into(),
            text: ATTACK.into(),
        };
        let entry = Entry {
            id: 1,
            at: "2026-11-23T10:11:12Z".into(),
            message: typed.message(),
            outcome: Outcome::Failed {
                reason: Reason::Refused,
                detail: ATTACK.into(),
            },
        };
        let pages = [
            FailurePage {
                title: ATTACK,
                detail: ATTACK.into(),
            }
            .render(),
            MessagePage {
                message: entry.message.clone(),
                row: entry.clone().into(),
            }
            .render(),
            Home {
                may_write: true,
                typed,
                problem: Some(ATTACK.into()),
                rows: vec![entry.into()],
                next: None,
            }
            .render(),
        ];
        for page in pages {
            let page = page.unwrap();
            assert!(
                !page.contains("<script>") && !page.contains("\" autofocus"),
                "{page}"
            );
        }
    }

    #[test]
    fn addresses_may_be_separated_as_people_do() {
        let typed = "a@b.c, Ada <ada@x.example>;\r\n d@e.f\n;";
        assert_eq!(addresses(typed), ["a@b.c", "Ada <ada@x.example>", "d@e.f"]);
    }

    #[test]
    fn the_log_reads_back_what_it_wrote() {
        for outcome in [
            Outcome::Sending,
            Outcome::Sent {
                message_id: "<1@x>".into(),
            },
            Outcome::Failed {
                reason: Reason::BadAddress,
                detail: "x".into(),
            },
        ] {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(
                serde_json::from_str::<Outcome>(&text).unwrap(),
                outcome,
                "{text}"
            );
        }
    }
}
