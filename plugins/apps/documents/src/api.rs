//! The JSON API.
//!
//! Nodes are named by their numbers, or by paths below `/files`, where folders are made as they are
//! needed: `curl -T report.pdf …/api/files/reports/2026/report.pdf`.

use canopy_sdk::http::Uri;
use canopy_sdk::{
    Body, Created, HeaderMap, IntoResponse, Json, Path, Problem, Query, Response, Router,
    StatusCode, delete, get, header, patch, post, put,
};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use crate::access::{MayRead, MayWrite};
use crate::contents::{self, Announced, Ticket};
use crate::model::{Event, Kind, Node, ROOT, Version, missing};
use crate::search::Hit;
use crate::trash::Usage;
use crate::tree::{Folder, Tree};

/// The operations below `/api`.
pub fn routes() -> Router {
    Router::new()
        .route("/folders", get(root).post(create_folder))
        .route("/folders/{id}", get(folder))
        .route("/documents/{id}", get(document))
        .route("/documents/{id}/content", get(content))
        .route("/documents/{id}/versions/{number}/revive", post(revive))
        .route("/nodes/{id}", patch(relocate).delete(remove))
        .route("/nodes/{id}/history", get(history))
        .route("/files/{*path}", get(fetch).put(store).delete(remove_file))
        .route("/uploads", post(begin))
        .route("/uploads/{upload}", post(finish))
        .route("/uploads/{upload}/content", put(accept))
        .route("/search", get(search))
        .route("/trash", get(trash).delete(empty_trash))
        .route("/trash/{id}", delete(purge))
        .route("/trash/{id}/restore", post(restore))
        .route("/usage", get(usage))
}

fn root(_: MayRead) -> Result<Json<Folder>, Problem> {
    Ok(Json(Tree::open()?.folder(ROOT)?))
}

fn folder(_: MayRead, Path(id): Path<i64>) -> Result<Json<Folder>, Problem> {
    Ok(Json(Tree::open()?.folder(id)?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewFolder {
    #[serde(default = "root_id")]
    parent: i64,
    name: String,
}

fn root_id() -> i64 {
    ROOT
}

fn create_folder(_: MayWrite, Json(new): Json<NewFolder>) -> Result<Created<Json<Node>>, Problem> {
    let tree = Tree::open()?;
    let id = tree.create_folder(new.parent, &new.name)?;
    Ok(Created::at(
        format!("/api/folders/{id}"),
        Json(tree.node(id)?),
    ))
}

/// A document with all its versions, the newest first.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    node: Node,
    versions: Vec<Version>,
}

fn described(tree: &Tree, id: i64) -> Result<Json<Document>, Problem> {
    Ok(Json(Document {
        node: tree.document(id)?,
        versions: tree.versions(id)?,
    }))
}

fn document(_: MayRead, Path(id): Path<i64>) -> Result<Json<Document>, Problem> {
    described(&Tree::open()?, id)
}

#[derive(Deserialize)]
struct Wanted {
    version: Option<i64>,
}

fn content(
    _: MayRead,
    Path(id): Path<i64>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Problem> {
    let tree = Tree::open()?;
    let node = tree.document(id)?;
    contents::send(&tree.version(id, wanted.version)?, &node.name, false)
}

fn revive(_: MayWrite, Path((id, number)): Path<(i64, i64)>) -> Result<Json<Document>, Problem> {
    let tree = Tree::open()?;
    let text = contents::text_of(&tree.version(id, Some(number))?)?;
    tree.revive(id, number, text)?;
    described(&tree, id)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Relocation {
    name: Option<String>,
    parent: Option<i64>,
}

fn relocate(
    _: MayWrite,
    Path(id): Path<i64>,
    Json(to): Json<Relocation>,
) -> Result<Json<Node>, Problem> {
    let tree = Tree::open()?;
    tree.relocate(id, to.parent, to.name.as_deref())?;
    Ok(Json(tree.node(id)?))
}

fn remove(_: MayWrite, Path(id): Path<i64>) -> Result<(), Problem> {
    Tree::open()?.delete(id).map(drop)
}

fn history(_: MayRead, Path(id): Path<i64>) -> Result<Json<Vec<Event>>, Problem> {
    let tree = Tree::open()?;
    tree.node(id)?;
    Ok(Json(tree.history(id)?))
}

/// The names in a path below `/api/files/`. It is taken apart before it is decoded, so that a name
/// never becomes two.
fn names(uri: &Uri) -> Result<Vec<String>, Problem> {
    let path = uri.path();
    let path = path.strip_prefix("/api/files/").unwrap_or(path);
    let names = path.trim_end_matches('/').split('/').map(|name| {
        let name = percent_decode_str(name).decode_utf8();
        let name = name.map_err(|_| Problem::bad_request("The path is not UTF-8."))?;
        crate::model::name(&name)
    });
    names.collect()
}

fn find(tree: &Tree, names: &[String]) -> Result<Node, Problem> {
    let mut node = tree.node(ROOT)?;
    for name in names {
        node = tree.child(node.id, name)?.ok_or_else(missing)?;
    }
    Ok(node)
}

fn fetch(_: MayRead, uri: Uri, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    let tree = Tree::open()?;
    let node = find(&tree, &names(&uri)?)?;
    match node.kind {
        Kind::Folder => Ok(Json(tree.folder(node.id)?).into_response()),
        Kind::Document => {
            contents::send(&tree.version(node.id, wanted.version)?, &node.name, false)
        }
    }
}

fn store(_: MayWrite, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let tree = Tree::open()?;
    let names = names(&uri)?;
    let Some((name, folders)) = names.split_last() else {
        return Err(missing());
    };
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok());
    let content = contents::receive(&tree, body, name, kind)?;
    let folder = tree.folder_at(folders)?;
    let added = tree.add(folder, name, &content)?;
    added_response(&tree, added)
}

fn added_response(tree: &Tree, (id, new): (i64, bool)) -> Result<Response, Problem> {
    let document = described(tree, id)?;
    Ok(match new {
        true => Created::at(format!("/api/documents/{id}"), document).into_response(),
        false => document.into_response(),
    })
}

fn remove_file(_: MayWrite, uri: Uri) -> Result<(), Problem> {
    let tree = Tree::open()?;
    let node = find(&tree, &names(&uri)?)?;
    tree.delete(node.id).map(drop)
}

fn begin(
    _: MayWrite,
    Json(announced): Json<Announced>,
) -> Result<(StatusCode, Json<Ticket>), Problem> {
    let ticket = contents::begin(&Tree::open()?, &announced)?;
    Ok((StatusCode::CREATED, Json(ticket)))
}

fn accept(_: MayWrite, Path(upload): Path<String>, body: Body) -> Result<(), Problem> {
    contents::accept(&Tree::open()?, &upload, body)
}

fn finish(_: MayWrite, Path(upload): Path<String>) -> Result<Response, Problem> {
    let tree = Tree::open()?;
    let added = contents::finish(&tree, &upload)?;
    added_response(&tree, added)
}

#[derive(Deserialize)]
struct Search {
    q: String,
}

fn search(_: MayRead, Query(search): Query<Search>) -> Result<Json<Vec<Hit>>, Problem> {
    Ok(Json(Tree::open()?.search(&search.q)?))
}

fn trash(_: MayRead) -> Result<Json<Vec<Node>>, Problem> {
    Ok(Json(Tree::open()?.trash()?))
}

fn restore(_: MayWrite, Path(id): Path<i64>) -> Result<Json<Node>, Problem> {
    Ok(Json(Tree::open()?.restore(id)?))
}

fn purge(_: MayWrite, Path(id): Path<i64>) -> Result<(), Problem> {
    Tree::open()?.purge(id)
}

fn empty_trash(_: MayWrite) -> Result<(), Problem> {
    Tree::open()?.empty_trash()
}

fn usage(_: MayRead) -> Result<Json<Usage>, Problem> {
    Ok(Json(Tree::open()?.usage()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_apart_before_it_is_decoded() {
        let names = |path: &str| names(&path.parse().unwrap());
        assert_eq!(
            names("/api/files/a%20b/%C3%BC.txt").unwrap(),
            ["a b", "ü.txt"]
        );
        assert_eq!(names("/api/files/a/").unwrap(), ["a"]);
        for wrong in [
            "/api/files/a%2Fb",
            "/api/files/%2E%2E/x",
            "/api/files/a//b",
            "/api/files/%FF",
        ] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
    }
}
