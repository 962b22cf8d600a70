//! The pages. They work without scripts; the one script uploads with a bar of progress.
//!
//! Everything that is shown goes through the templates, which escape it.

use askama::Template;
use canopy_sdk::extract::SameOrigin;
use canopy_sdk::{
    Body, Form, HeaderMap, Html, IntoResponse, Path, Problem, Query, Redirect, Response, Router,
    StatusCode, Uri, config, get, header, post,
};
use serde::Deserialize;
use time::OffsetDateTime;
use time::macros::format_description;

use crate::model::{Event, Kind, Node, ROOT, Version, bytes};
use crate::multipart::Multipart;
use crate::search::Piece;
use crate::tree::{FolderPlace, Tree};
use crate::{access, contents};

/// The pages' routes.
pub fn routes() -> Router {
    Router::new()
        .route("/", get(home))
        .route("/folders/{id}", get(folder))
        .route("/folders/{id}/upload", post(upload))
        .route("/folders/{id}/folders", post(create_folder))
        .route("/documents/{id}", get(document))
        .route("/documents/{id}/content", get(content))
        .route("/documents/{id}/versions/{number}/revive", post(revive))
        .route("/nodes/{id}/rename", post(rename))
        .route("/nodes/{id}/move", post(relocate))
        .route("/nodes/{id}/delete", post(delete))
        .route("/search", get(search))
        .route("/trash", get(trash))
        .route("/trash/empty", post(empty_trash))
        .route("/trash/{id}/restore", post(restore))
        .route("/trash/{id}/purge", post(purge))
        .route(
            "/static/style.css",
            get(|| asset("text/css", include_str!("../static/style.css"))),
        )
        .route(
            "/static/upload.js",
            get(|| asset("text/javascript", include_str!("../static/upload.js"))),
        )
        .route(
            "/static/icon.svg",
            get(|| asset("image/svg+xml", include_str!("../static/icon.svg"))),
        )
        .fallback(nothing)
}

fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [("content-type", kind), ("cache-control", "max-age=300")];
    (headers, text).into_response()
}

/// What is not there, as a page for people and as a document for programs.
fn nothing(uri: Uri) -> Response {
    let problem = Problem::not_found(format!("There is nothing at {}.", uri.path()));
    match uri.path().starts_with("/api/") {
        true => problem.into_response(),
        false => Failure(problem).into_response(),
    }
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

/// What is around every page.
struct Chrome {
    title: String,
    query: String,
    usage: String,
}

impl Chrome {
    fn of(tree: &Tree, query: &str) -> Result<Self, Problem> {
        let usage = tree.usage()?;
        let mut text = format!(
            "Documents: {}, folders: {}, {} with all versions",
            usage.documents,
            usage.folders,
            bytes(usage.bytes)
        );
        if usage.trash_bytes > 0 {
            text.push_str(&format!(
                ", {} of it in the trash",
                bytes(usage.trash_bytes)
            ));
        }
        Ok(Self {
            title: config::get("title")?.unwrap_or_else(|| "Documents".to_owned()),
            query: query.to_owned(),
            usage: text,
        })
    }
}

struct Crumb {
    name: String,
    href: String,
}

/// The folders that something is in; the outermost has the name of the whole.
fn crumbs(above: &[Node], title: &str) -> Vec<Crumb> {
    let crumb = |node: &Node| Crumb {
        name: shown_name(node, title),
        href: href(node.kind, node.id),
    };
    above.iter().map(crumb).collect()
}

fn shown_name(node: &Node, title: &str) -> String {
    if node.id == ROOT {
        title.to_owned()
    } else {
        node.name.clone()
    }
}

fn href(kind: Kind, id: i64) -> String {
    match (kind, id) {
        (_, ROOT) => "/".to_owned(),
        (Kind::Folder, id) => format!("/folders/{id}"),
        (Kind::Document, id) => format!("/documents/{id}"),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Folder => "folder",
        Kind::Document => "document",
    }
}

/// A time for programs and for people.
fn times(at: i64) -> (String, String) {
    let at = OffsetDateTime::from_unix_timestamp(at / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let machine = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    let human = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let text = |format: &[time::format_description::BorrowedFormatItem<'_>]| {
        at.format(format).unwrap_or_default()
    };
    (text(machine), text(human))
}

/// One row of a list of nodes.
struct Row {
    id: i64,
    kind: &'static str,
    name: String,
    href: String,
    size: String,
    changed: String,
    changed_text: String,
    author: String,
    versions: String,
}

impl From<&Node> for Row {
    fn from(node: &Node) -> Self {
        let (changed, changed_text) = times(node.trashed.unwrap_or(node.changed));
        let versions = node.version.filter(|version| *version > 1);
        Self {
            id: node.id,
            kind: kind_name(node.kind),
            name: node.name.clone(),
            href: href(node.kind, node.id),
            size: node.size.map(bytes).unwrap_or_default(),
            changed,
            changed_text,
            author: node.author_name.clone().unwrap_or_default(),
            versions: versions.map_or(String::new(), |version| format!("version {version}")),
        }
    }
}

#[derive(Template)]
#[template(path = "folder.html")]
struct FolderPage {
    chrome: Chrome,
    id: i64,
    name: String,
    is_root: bool,
    crumbs: Vec<Crumb>,
    rows: Vec<Row>,
    folders: Vec<FolderPlace>,
    may_write: bool,
}

fn home() -> Result<Response, Failure> {
    folder(Path(ROOT))
}

fn folder(Path(id): Path<i64>) -> Result<Response, Failure> {
    access::read()?;
    let tree = Tree::open()?;
    let folder = tree.folder(id)?;
    let chrome = Chrome::of(&tree, "")?;
    let above = &folder.path[..folder.path.len().saturating_sub(1)];
    let is_root = id == ROOT;
    Ok(show(&FolderPage {
        id,
        name: shown_name(&folder.node, &chrome.title),
        is_root,
        crumbs: crumbs(above, &chrome.title),
        rows: folder.children.iter().map(Row::from).collect(),
        folders: match is_root {
            true => Vec::new(),
            false => tree.folders_but(id, folder.node.parent)?,
        },
        may_write: access::write().is_ok(),
        chrome,
    }))
}

/// One version of the list of a document's.
struct VersionRow {
    number: i64,
    newest: bool,
    size: String,
    when: String,
    when_text: String,
    author: String,
}

struct EventRow {
    when: String,
    when_text: String,
    who: String,
    what: String,
    detail: String,
}

#[derive(Template)]
#[template(path = "document.html")]
struct DocumentPage {
    chrome: Chrome,
    id: i64,
    name: String,
    kind: String,
    size: String,
    shown: bool,
    crumbs: Vec<Crumb>,
    versions: Vec<VersionRow>,
    history: Vec<EventRow>,
    folders: Vec<FolderPlace>,
    may_write: bool,
}

fn document(Path(id): Path<i64>) -> Result<Response, Failure> {
    access::read()?;
    let tree = Tree::open()?;
    let node = tree.document(id)?;
    let mut above = tree.path(id)?;
    above.pop();
    let versions = tree.versions(id)?;
    let newest = versions.first().map(|version| version.number);
    let version = |version: &Version| {
        let (when, when_text) = times(version.created);
        VersionRow {
            number: version.number,
            newest: Some(version.number) == newest,
            size: bytes(version.size),
            when,
            when_text,
            author: version.author_name.clone(),
        }
    };
    let event = |event: Event| {
        let (when, when_text) = times(event.at);
        EventRow {
            when,
            when_text,
            who: event.who_name,
            what: event.what,
            detail: event.detail,
        }
    };
    let kind = node.content_type.unwrap_or_default();
    let chrome = Chrome::of(&tree, "")?;
    Ok(show(&DocumentPage {
        id,
        crumbs: crumbs(&above, &chrome.title),
        name: node.name,
        shown: contents::is_shown(&kind),
        kind,
        size: bytes(node.size.unwrap_or_default()),
        versions: versions.iter().map(version).collect(),
        history: tree.history(id)?.into_iter().map(event).collect(),
        folders: tree.folders_but(id, node.parent)?,
        may_write: access::write().is_ok(),
        chrome,
    }))
}

#[derive(Deserialize)]
struct Wanted {
    version: Option<i64>,
    #[serde(default)]
    show: bool,
}

/// The content of a document: shown here, or fetched by the browser, from the storage itself where
/// that gives addresses.
fn content(Path(id): Path<i64>, Query(wanted): Query<Wanted>) -> Result<Response, Failure> {
    access::read()?;
    let tree = Tree::open()?;
    let node = tree.document(id)?;
    let version = tree.version(id, wanted.version)?;
    if !wanted.show
        && let Some(address) = contents::address(&version, &node.name)?
    {
        return Ok(Redirect::to(address).into_response());
    }
    Ok(contents::send(&version, &node.name, wanted.show)?)
}

fn upload(
    _: SameOrigin,
    Path(id): Path<i64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Redirect, Failure> {
    access::write()?;
    let tree = Tree::open()?;
    tree.folder(id)?;
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let mut form = Multipart::of(kind, body).ok_or_else(|| {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "The content type must be multipart/form-data.",
        )
    })?;
    let broken = |error: std::io::Error| Problem::bad_request(format!("The form: {error}."));
    while let Some(part) = form.next().map_err(broken)? {
        let Some(file) = part
            .file
            .filter(|file| part.name == "file" && !file.is_empty())
        else {
            continue;
        };
        let content = Body::from_reader(form.content());
        let content = contents::receive(&tree, content, &file, part.content_type.as_deref())?;
        tree.add(id, &file, &content)?;
    }
    Ok(Redirect::to(href(Kind::Folder, id)))
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn create_folder(
    _: SameOrigin,
    Path(id): Path<i64>,
    Form(new): Form<Named>,
) -> Result<Redirect, Failure> {
    access::write()?;
    let made = Tree::open()?.create_folder(id, &new.name)?;
    Ok(Redirect::to(href(Kind::Folder, made)))
}

fn revive(_: SameOrigin, Path((id, number)): Path<(i64, i64)>) -> Result<Redirect, Failure> {
    access::write()?;
    let tree = Tree::open()?;
    let text = contents::text_of(&tree.version(id, Some(number))?)?;
    tree.revive(id, number, text)?;
    Ok(Redirect::to(href(Kind::Document, id)))
}

fn rename(_: SameOrigin, Path(id): Path<i64>, Form(new): Form<Named>) -> Result<Redirect, Failure> {
    access::write()?;
    let tree = Tree::open()?;
    tree.relocate(id, None, Some(&new.name))?;
    Ok(Redirect::to(href(tree.node(id)?.kind, id)))
}

#[derive(Deserialize)]
struct To {
    folder: i64,
}

fn relocate(_: SameOrigin, Path(id): Path<i64>, Form(to): Form<To>) -> Result<Redirect, Failure> {
    access::write()?;
    let tree = Tree::open()?;
    tree.relocate(id, Some(to.folder), None)?;
    Ok(Redirect::to(href(tree.node(id)?.kind, id)))
}

fn delete(_: SameOrigin, Path(id): Path<i64>) -> Result<Redirect, Failure> {
    access::write()?;
    let deleted = Tree::open()?.delete(id)?;
    Ok(Redirect::to(href(
        Kind::Folder,
        deleted.parent.unwrap_or(ROOT),
    )))
}

struct HitRow {
    kind: &'static str,
    name: String,
    href: String,
    folder: String,
    excerpt: Vec<Piece>,
}

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    chrome: Chrome,
    hits: Vec<HitRow>,
}

#[derive(Deserialize)]
struct Search {
    #[serde(default)]
    q: String,
}

fn search(Query(search): Query<Search>) -> Result<Response, Failure> {
    access::read()?;
    let tree = Tree::open()?;
    let hits = tree.search(&search.q)?.into_iter().map(|hit| HitRow {
        kind: kind_name(hit.kind),
        href: href(hit.kind, hit.id),
        name: hit.name,
        folder: hit.folder,
        excerpt: hit.excerpt,
    });
    Ok(show(&SearchPage {
        hits: hits.collect(),
        chrome: Chrome::of(&tree, &search.q)?,
    }))
}

#[derive(Template)]
#[template(path = "trash.html")]
struct TrashPage {
    chrome: Chrome,
    rows: Vec<Row>,
    may_write: bool,
}

fn trash() -> Result<Response, Failure> {
    access::read()?;
    let tree = Tree::open()?;
    Ok(show(&TrashPage {
        rows: tree.trash()?.iter().map(Row::from).collect(),
        may_write: access::write().is_ok(),
        chrome: Chrome::of(&tree, "")?,
    }))
}

fn restore(_: SameOrigin, Path(id): Path<i64>) -> Result<Redirect, Failure> {
    access::write()?;
    let node = Tree::open()?.restore(id)?;
    Ok(Redirect::to(href(node.kind, node.id)))
}

fn purge(_: SameOrigin, Path(id): Path<i64>) -> Result<Redirect, Failure> {
    access::write()?;
    Tree::open()?.purge(id)?;
    Ok(Redirect::to("/trash"))
}

fn empty_trash(_: SameOrigin) -> Result<Redirect, Failure> {
    access::write()?;
    Tree::open()?.empty_trash()?;
    Ok(Redirect::to("/trash"))
}

#[cfg(test)]
#[path = "pages_tests.rs"]
mod tests;
