//! The bytes of documents, as objects whose names mean nothing.

use std::time::Duration;

use canopy_sdk::blobs::{Container, Error, Info, Put};
use canopy_sdk::sql::Statements;
use canopy_sdk::{Body, Problem, Response, StatusCode, header, params};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

use crate::model::{Version, name, now};
use crate::tree::{Content, Tree};
use crate::words;

/// How long an address for downloading works; it is followed at once.
const DOWNLOAD: Duration = Duration::from_secs(120);
/// How long an address for uploading works.
const UPLOAD: Duration = Duration::from_secs(3600);
/// After this time, in milliseconds, an upload that was begun counts as given up.
const GIVEN_UP: i64 = 24 * 3600 * 1000;
/// Objects that are deleted along the way of one request.
const SWEPT: i64 = 100;
const UNKNOWN: &str = "application/octet-stream";
/// What a browser shows without it being able to do any harm.
const SHOWN: [&str; 6] = [
    "application/pdf",
    "image/gif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
];
/// What stands for itself in a parameter of a header (RFC 8187).
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'-').remove(b'_');

fn container() -> Result<Container, Error> {
    Container::create("documents")
}

/// Puts `body` under a new name, to become a version.
pub fn receive(
    tree: &Tree,
    body: Body,
    file: &str,
    kind: Option<&str>,
) -> Result<Content, Problem> {
    sweep(tree)?;
    let blob = fresh_name()?;
    let statement = "INSERT INTO loose (blob, since) VALUES (?, ?)";
    tree.database.execute(statement, params![&blob, now()])?;
    let kind = content_type(kind, file);
    match container()?.put_with(&blob, body, Put::new().content_type(&kind)) {
        Ok(info) => describe(blob, info, kind),
        Err(error) => {
            let statement = "UPDATE loose SET since = 0 WHERE blob = ?";
            tree.database.execute(statement, params![blob])?;
            Err(error.into())
        }
    }
}

/// Where a browser puts a document directly.
#[derive(Serialize)]
pub struct Ticket {
    /// Names the upload when it is finished.
    pub upload: String,
    /// Where the bytes go, by PUT.
    pub url: String,
    /// The content type that the request has to have.
    pub content_type: String,
}

/// What is to be uploaded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announced {
    pub folder: i64,
    pub name: String,
    pub size: u64,
    #[serde(default)]
    pub content_type: Option<String>,
}

/// Lets the caller put a document into the storage without passing through this application, where
/// the storage takes it so.
pub fn begin(tree: &Tree, announced: &Announced) -> Result<Ticket, Problem> {
    sweep(tree)?;
    tree.folder(announced.folder)?;
    let name = name(&announced.name)?;
    let kind = content_type(announced.content_type.as_deref(), &name);
    let blob = fresh_name()?;
    let statement = "INSERT INTO loose (blob, since, folder, name, content_type) \
         VALUES (?, ?, ?, ?, ?)";
    let parameters = params![&blob, now(), announced.folder, name, &kind];
    tree.database.execute(statement, parameters)?;
    // An object has at least one byte's worth of an address.
    let size = announced.size.max(1);
    let url = container()?.presign_put(&blob, UPLOAD, size, Some(&kind));
    let url = given(url)?.unwrap_or_else(|| format!("/api/uploads/{blob}/content"));
    Ok(Ticket {
        upload: blob,
        url,
        content_type: kind,
    })
}

/// Takes the bytes of an upload that was begun, where the storage gives no addresses to put them to.
pub fn accept(tree: &Tree, upload: &str, body: Body) -> Result<(), Problem> {
    let (_, _, kind) = begun(tree, upload)?;
    container()?.put_with(upload, body, Put::new().content_type(&kind))?;
    Ok(())
}

/// Folder, name and type of an upload that was begun.
fn begun(tree: &Tree, upload: &str) -> Result<(i64, String, String), Problem> {
    let statement = "SELECT folder, name, content_type FROM loose \
         WHERE blob = ? AND folder IS NOT NULL";
    let begun = tree.database.row(statement, params![upload])?;
    begun.ok_or_else(|| Problem::not_found("There is no such upload."))
}

/// Makes what has been uploaded a version. Returns the document and whether it is new.
pub fn finish(tree: &Tree, upload: &str) -> Result<(i64, bool), Problem> {
    let (folder, name, kind) = begun(tree, upload)?;
    let info = match container()?.info(upload) {
        Err(Error::NoSuchObject) => {
            return Err(Problem::conflict("Nothing has been uploaded yet."));
        }
        info => info?,
    };
    tree.add(folder, &name, &describe(upload.to_owned(), info, kind)?)
}

/// A name for an object, which nobody else comes upon.
fn fresh_name() -> Result<String, Problem> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The platform gave no random numbers.",
        )
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// An address, or nothing where the storage gives none: not every one has a place of its own that
/// browsers reach.
fn given(address: Result<String, Error>) -> Result<Option<String>, Error> {
    match address {
        Err(Error::Other(_)) => Ok(None),
        address => address.map(Some),
    }
}

fn describe(blob: String, info: Info, kind: String) -> Result<Content, Problem> {
    Ok(Content {
        text: text(&blob, info.size)?,
        blob,
        size: i64::try_from(info.size).unwrap_or(i64::MAX),
        content_type: kind,
        etag: info.etag,
    })
}

/// What of a version is searched for.
pub fn text_of(version: &Version) -> Result<String, Problem> {
    text(&version.blob, version.size.unsigned_abs())
}

fn text(blob: &str, size: u64) -> Result<String, Problem> {
    if size == 0 {
        return Ok(String::new());
    }
    let beginning = container()?.get_range(blob, 0..=words::LOOKED_AT - 1)?;
    let limit = usize::try_from(words::LOOKED_AT).unwrap_or(usize::MAX);
    Ok(words::text(&beginning.body.read_to_vec(limit)?))
}

/// Deletes objects that no version refers to and that nobody is about to make one of.
pub fn sweep(tree: &Tree) -> Result<(), Problem> {
    let statement = "SELECT blob FROM loose WHERE since < ? LIMIT ?";
    let old: Vec<String> = tree
        .database
        .rows(statement, params![now() - GIVEN_UP, SWEPT])?;
    for blob in old {
        container()?.delete(&blob)?;
        let statement = "DELETE FROM loose WHERE blob = ?";
        tree.database.execute(statement, params![blob])?;
    }
    Ok(())
}

/// An address from which a version is downloaded under the name `file`, if the storage gives any.
pub fn address(version: &Version, file: &str) -> Result<Option<String>, Problem> {
    Ok(given(container()?.presign_get(
        &version.blob,
        DOWNLOAD,
        Some(file),
    ))?)
}

/// A response with the content of a version, to be saved or, if `shown`, to be looked at where that
/// is harmless.
pub fn send(version: &Version, file: &str, shown: bool) -> Result<Response, Problem> {
    let kind = if version.content_type.starts_with("text/") {
        "text/plain"
    } else {
        version.content_type.as_str()
    };
    let shown = shown && SHOWN.contains(&kind);
    let mut response = container()?.get(&version.blob)?.into_response();
    let disposition = format!(
        "{}; filename*=UTF-8''{}",
        if shown { "inline" } else { "attachment" },
        utf8_percent_encode(file, PLAIN)
    );
    let kind = match kind {
        "text/plain" => "text/plain; charset=utf-8",
        kind if shown => kind,
        _ => UNKNOWN,
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_DISPOSITION, disposition.as_str()),
        (header::CONTENT_TYPE, kind),
        (
            header::CONTENT_SECURITY_POLICY,
            "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'",
        ),
    ] {
        let value = value.parse().map_err(|_| {
            Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The document's name cannot be written into a header.",
            )
        })?;
        headers.insert(name, value);
    }
    Ok(response)
}

/// Whether a browser shows documents of this type.
pub fn is_shown(kind: &str) -> bool {
    kind.starts_with("text/") || SHOWN.contains(&kind)
}

/// The type that was said, if it is one, or what the name's ending stands for.
fn content_type(said: Option<&str>, file: &str) -> String {
    let said = said.and_then(|said| said.split(';').next()).map(str::trim);
    let token = |text: &str| {
        !text.is_empty()
            && text.len() <= 100
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c))
    };
    let sound = said.filter(|said| {
        said.split_once('/')
            .is_some_and(|(kind, sub)| token(kind) && token(sub))
    });
    if let Some(said) = sound
        && said != UNKNOWN
        && said != "application/x-www-form-urlencoded"
    {
        return said.to_ascii_lowercase();
    }
    let ending = file.rsplit_once('.').map_or("", |(_, ending)| ending);
    match ending.to_ascii_lowercase().as_str() {
        "txt" | "log" => "text/plain",
        "md" => "text/markdown",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "svg" => "image/svg+xml",
        "zip" => "application/zip",
        _ => UNKNOWN,
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_what_was_said_if_it_is_one_and_else_the_endings() {
        for (said, file, expected) in [
            (Some("text/plain; charset=utf-8"), "a", "text/plain"),
            (Some("IMAGE/PNG"), "a", "image/png"),
            (Some("text/\r\nx: y"), "a.pdf", "application/pdf"),
            (Some("nonsense"), "a.MD", "text/markdown"),
            (Some(UNKNOWN), "a.csv", "text/csv"),
            (None, "a.unheard", UNKNOWN),
            (None, "", UNKNOWN),
        ] {
            assert_eq!(content_type(said, file), expected, "{said:?} {file:?}");
        }
    }

    #[test]
    fn pages_and_drawings_with_scripts_are_not_shown_as_what_they_are() {
        assert!(!is_shown("image/svg+xml") && !is_shown("application/xhtml+xml"));
        assert!(is_shown("text/html"), "as plain text");
    }
}
