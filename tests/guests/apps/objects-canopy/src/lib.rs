//! Objects by `canopy:storage/blobs`: takes and gives `/o/{name}` in the container `box`, lists it at
//! `/list` and by slashes at `/groups`, copies and moves at `/copy/{name}/{to}` and `/move/{name}/{to}`,
//! puts an object in parts at `/parts/{name}`, the first of `?first=` bytes, and gives addresses at `/get/{name}` and
//! `/put/{name}`, the latter for 16 bytes of text, `/large/{name}` for any type and a gigabyte, and
//! `/short/{name}` for a second.

use std::time::Duration;

use canopy_sdk::blobs::{Condition, Container, Error, Object, Put};
use canopy_sdk::{Body, Path, Problem, Query, Response, Router, get, put};
use serde::Deserialize;

const MINUTE: Duration = Duration::from_secs(60);

#[canopy_sdk::app]
fn app() -> Router {
    Router::new()
        .route("/o/{name}", put(take).get(give).delete(remove))
        .route("/new/{name}", put(take_new))
        .route("/from/{name}/{offset}", get(give_from))
        .route("/list", get(list))
        .route("/groups", get(groups))
        .route("/copy/{name}/{to}", put(copy))
        .route("/move/{name}/{to}", put(rename))
        .route("/parts/{name}", put(parts))
        .route(
            "/get/{name}",
            get(|Path(name): Path<String>| {
                Container::named("box")
                    .presign_get(&name, MINUTE, None)
                    .map_err(Problem::from)
            }),
        )
        .route(
            "/put/{name}",
            get(|Path(name): Path<String>| {
                Container::named("box")
                    .presign_put(&name, MINUTE, 16, Some("text/plain"))
                    .map_err(Problem::from)
            }),
        )
        .route(
            "/large/{name}",
            get(|Path(name): Path<String>| {
                Container::named("box")
                    .presign_put(&name, MINUTE, 1 << 30, None)
                    .map_err(Problem::from)
            }),
        )
        .route(
            "/short/{name}",
            get(|Path(name): Path<String>| {
                let second = Duration::from_secs(1);
                Container::named("box")
                    .presign_get(&name, second, None)
                    .map_err(Problem::from)
            }),
        )
}

fn take(Path(name): Path<String>, body: Body) -> Result<String, Problem> {
    let options = Put::new()
        .content_type("text/html")
        .metadata("by", "canopy");
    Ok(Container::create("box")?
        .put_with(&name, body, options)?
        .etag)
}

fn take_new(Path(name): Path<String>, body: Body) -> Result<String, Problem> {
    let options = Put::new().only_if(Condition::Absent);
    Ok(Container::create("box")?
        .put_with(&name, body, options)?
        .etag)
}

fn found(object: Result<Object, Error>) -> Result<Option<Response>, Problem> {
    match object {
        Ok(object) => Ok(Some(object.into_response())),
        Err(Error::NoSuchObject | Error::NoSuchContainer) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn give(Path(name): Path<String>) -> Result<Option<Response>, Problem> {
    found(Container::named("box").get(&name))
}

fn give_from(Path((name, offset)): Path<(String, u64)>) -> Result<Option<Response>, Problem> {
    found(Container::named("box").get_from(&name, offset))
}

fn remove(Path(name): Path<String>) -> Result<String, Problem> {
    Ok(Container::named("box").delete(&name)?.to_string())
}

fn list() -> Result<String, Problem> {
    let mut lines = String::new();
    for object in Container::named("box").list("") {
        let object = object?;
        lines += &format!("{} {}\n", object.name, object.size);
    }
    Ok(lines)
}

fn groups() -> Result<String, Problem> {
    let (mut lines, mut cursor) = (String::new(), None);
    loop {
        let page = Container::named("box").page("", Some("/"), cursor)?;
        lines.extend(page.prefixes.iter().map(|prefix| format!("{prefix}\n")));
        lines.extend(
            page.objects
                .iter()
                .map(|object| format!("{}\n", object.name)),
        );
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(lines);
        }
    }
}

fn copy(Path((name, to)): Path<(String, String)>) -> Result<String, Problem> {
    let container = Container::named("box");
    Ok(container.copy(&name, &container, &to)?.etag)
}

fn rename(Path((name, to)): Path<(String, String)>) -> Result<String, Problem> {
    let container = Container::named("box");
    Ok(container.rename(&name, &container, &to)?.etag)
}

#[derive(Deserialize)]
struct Parts {
    first: Option<usize>,
}

fn parts(Path(name): Path<String>, Query(parts): Query<Parts>) -> Result<String, Problem> {
    let upload = Container::create("box")?.begin_upload(&name, Put::new())?;
    let second = upload.put(2, "two")?;
    let first = match parts.first {
        Some(length) => upload.put(1, vec![b'x'; length])?,
        None => upload.put(1, "one, ")?,
    };
    Ok(upload.complete(&[first, second])?.etag)
}
