//! What objects have and values have not.

use canopy_sdk::stream::block_on;
use probe::{Asked, Fault, Outcome, hex};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::interface::canopy::storage::blobs::{
    self, Condition, ListOptions, ObjectId, ObjectInfo, PutOptions, Range,
};
use crate::{Container, bytes, fault, length, plain, send};

/// How an object is put.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct How {
    content_type: Option<String>,
    metadata: Vec<(String, String)>,
    if_match: Option<String>,
    if_absent: bool,
    /// In place of the length that the body has.
    size: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
enum Span {
    #[serde(rename = "from")]
    From(u64),
    #[serde(rename = "slice")]
    Slice(u64, u64),
    #[serde(rename = "last")]
    Last(u64),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    #[serde(default)]
    prefix: String,
    delimiter: Option<String>,
    cursor: Option<String>,
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parts {
    /// Bytes of each part.
    sizes: Vec<usize>,
    abort: bool,
}

pub(crate) fn perform(container: &Container, asked: &Asked) -> Outcome {
    Some(match asked.op.as_str() {
        "put" => asked.with(|how| put(container, asked, how)),
        "read" => asked.with(|span: Span| read(container, asked, span)),
        "head" => head(container, &asked.key),
        "page" => asked.with(|listing| page(container, listing)),
        "copy" => asked.with(|to: String| transfer(container, asked, to, false)),
        "move" => asked.with(|to: String| transfer(container, asked, to, true)),
        "upload" => asked.with(|parts| upload(container, &asked.key, &parts)),
        "whole" => whole(container, asked),
        "container" => lifecycle(container),
        _ => return None,
    })
}

fn told(info: &ObjectInfo) -> Value {
    json!({
        "name": info.name,
        "size": info.size,
        "etag": info.etag,
        "content_type": info.content_type,
        "metadata": info.metadata,
    })
}

fn put(container: &Container, asked: &Asked, how: How) -> Result<Value, Fault> {
    let body = asked.value.0.clone();
    let condition = match how.if_match {
        Some(etag) => Some(Condition::IfMatch(etag)),
        None => how.if_absent.then_some(Condition::IfAbsent),
    };
    let options = PutOptions {
        content_type: how.content_type,
        metadata: how.metadata,
        condition,
        size: how.size.or(Some(length(&body))),
    };
    container
        .put(&asked.key, body, options)
        .map(|info| told(&info))
}

fn read(container: &Container, asked: &Asked, span: Span) -> Result<Value, Fault> {
    let range = match span {
        Span::From(offset) => Range::From(offset),
        Span::Slice(offset, length) => Range::Slice((offset, length)),
        Span::Last(length) => Range::Last(length),
    };
    let reading = container.read(&asked.key, Some(range))?;
    let offset = reading.offset;
    Ok(json!([offset, hex::encode(&bytes(reading)?)]))
}

fn head(container: &Container, name: &str) -> Result<Value, Fault> {
    let info = blobs::head(container.0.clone(), name.to_owned());
    block_on(info).map(|info| told(&info)).map_err(fault)
}

fn page(container: &Container, listing: Listing) -> Result<Value, Fault> {
    let page = container.list(ListOptions {
        prefix: listing.prefix,
        delimiter: listing.delimiter,
        cursor: listing.cursor,
        limit: listing.limit,
    })?;
    let names: Vec<_> = page.objects.iter().map(|object| &object.name).collect();
    Ok(json!({"names": names, "prefixes": page.prefixes, "cursor": page.cursor}))
}

fn transfer(container: &Container, asked: &Asked, to: String, moves: bool) -> Result<Value, Fault> {
    let id = |name: &str| ObjectId {
        container: container.0.clone(),
        name: name.to_owned(),
    };
    let (source, target) = (id(&asked.key), id(&to));
    let done = if moves {
        block_on(blobs::move_(source, target, None))
    } else {
        block_on(blobs::copy(source, target, None))
    };
    done.map(|info| told(&info)).map_err(fault)
}

/// Bytes of part `number`.
fn part(number: usize, size: usize) -> Vec<u8> {
    vec![u8::try_from(number % 251).unwrap_or_default(); size]
}

/// An object that arrives in parts, and whether it is what they were.
fn upload(container: &Container, name: &str, asked: &Parts) -> Result<Value, Fault> {
    let begun = blobs::begin_upload(container.0.clone(), name.to_owned(), plain(None));
    let id = block_on(begun)
        .map_err(|error| Fault::said("not-begun", format!("{error:?}")))?
        .id;
    let (mut parts, mut all) = (Vec::new(), Vec::new());
    for (index, size) in asked.sizes.iter().enumerate() {
        let body = part(index + 1, *size);
        let number = u32::try_from(index + 1).unwrap_or(u32::MAX);
        all.extend_from_slice(&body);
        let info = send(body, |body| blobs::put_part(id.clone(), number, body))?;
        parts.push((number, info.etag));
    }
    if asked.abort {
        block_on(blobs::abort_upload(id.clone())).map_err(fault)?;
        let left = block_on(blobs::list_parts(id, None, u32::MAX));
        return left
            .map(|page| Value::from(page.parts.len()))
            .map_err(fault);
    }
    block_on(blobs::complete_upload(id, parts)).map_err(fault)?;
    let stored = bytes(container.read(name, None)?)?;
    Ok(Value::from(stored == all))
}

/// Puts and reads an object of `bytes` bytes that are not all the same.
fn whole(container: &Container, asked: &Asked) -> Result<Value, Fault> {
    let body: Vec<u8> = (0..asked.bytes)
        .map(|n| u8::try_from(n % 251).unwrap_or_default())
        .collect();
    let size = length(&body);
    container.put(&asked.key, body.clone(), plain(Some(size)))?;
    let stored = bytes(container.read(&asked.key, None)?)?;
    Ok(Value::from(stored == body))
}

/// What each step of a container's life comes to, from one that is there and empty.
fn lifecycle(container: &Container) -> Result<Value, Fault> {
    let Container(name) = container;
    let word = |result: Result<String, Fault>| match result {
        Ok(text) => text,
        Err(fault) => fault.kind.to_owned(),
    };
    let create = || {
        let made = block_on(blobs::create_container(name.clone())).map_err(fault);
        word(made.map(|new| if new { "new" } else { "there" }.to_owned()))
    };
    let delete = |force| {
        let deleted = block_on(blobs::delete_container(name.clone(), force)).map_err(fault);
        word(deleted.map(|()| "deleted".to_owned()))
    };
    let put = || {
        let put = container.put("one", vec![1], plain(Some(1)));
        word(put.map(|info| info.name))
    };
    let counted = || {
        let info = block_on(blobs::container(name.clone())).map_err(fault);
        word(info.map(|info| {
            // Some keep more than they are given.
            let bytes = if info.bytes == 0 { "no bytes" } else { "bytes" };
            format!("{} objects, {bytes}", info.objects)
        }))
    };
    Ok(json!([
        create(),
        put(),
        counted(),
        delete(false),
        delete(true),
        delete(true),
        create(),
        counted(),
        delete(false),
    ]))
}
