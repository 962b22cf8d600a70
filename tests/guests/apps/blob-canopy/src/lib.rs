//! Objects by `canopy:storage/blobs@0.1.0`, made from its WIT by `wit-bindgen` and `wasip3`. `put`
//! takes the request's body and `get` gives the bytes as they come, both as streams; `whole` gives
//! them in one piece. `presign` gives an address for the method `value` that works for `from`
//! seconds, with the size `to`, the content type `other` and the file name `expected`.

use bindings::canopy::storage::blobs::{
    self, Error, ListOptions, Method, ObjectId, PresignOptions, PutOptions, Range, Reading,
};
use faces::{Asked, Outcome, text};
use serde_json::{Value, json};
use wasip3::http::types::{ErrorCode, Fields, Request, Response};
use wasip3::{wit_bindgen, wit_future, wit_stream};

mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:objects; world objects { import canopy:storage/blobs@0.1.0; }",
        path: "../../../../wit/storage/0.1.0",
        generate_all,
    });
}

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let asked = Asked::read(&request.get_path_with_query().unwrap_or_default());
        let outcome = match asked.op.as_str() {
            "put" => Some(put(asked, request).await),
            "get" => match get(&asked).await {
                Ok(reading) => return Ok(streamed(reading)),
                Err(error) => Some(Err(error)),
            },
            _ => run(asked).await,
        };
        let (status, text) = faces::answer(outcome);
        let (mut writer, body) = wit_stream::new();
        let (_, trailers) = wit_future::new(|| Ok(None));
        let (response, _) = Response::new(Fields::new(), Some(body), trailers);
        response
            .set_status_code(status)
            .map_err(|()| ErrorCode::InternalError(None))?;
        wit_bindgen::spawn_local(async move {
            writer.write_all(text.into_bytes()).await;
        });
        Ok(response)
    }
}

/// A response whose body is the object's, and which breaks off if that does.
fn streamed(reading: Reading) -> Response {
    let (told, trailers) = wit_future::new(|| Ok(None));
    wit_bindgen::spawn_local(async move {
        let ended = reading.outcome.await;
        let failed = |error| ErrorCode::InternalError(Some(format!("{error:?}")));
        // It fails if nobody reads any more.
        let _ = told.write(ended.map(|()| None).map_err(failed)).await;
    });
    let (response, _) = Response::new(Fields::new(), Some(reading.body), trailers);
    response
}

async fn run(asked: Asked) -> Outcome<Error> {
    let Asked { op, store, key, .. } = &asked;
    let (store, key) = (store.clone(), key.clone());
    Some(match op.as_str() {
        "create" => {
            let made = blobs::create_container(store.clone()).await;
            made.map(|_| json!(store))
        }
        "drop" => blobs::delete_container(store, true)
            .await
            .map(|()| json!(null)),
        "contained" => match blobs::container(store).await {
            Ok(_) => Ok(json!(true)),
            Err(Error::NoSuchContainer) => Ok(json!(false)),
            Err(error) => Err(error),
        },
        "container" => blobs::container(store)
            .await
            .map(|info| json!({ "name": info.name, "created": info.created / 1000 })),
        "whole" => whole(&asked).await,
        "size" => get(&asked).await.map(|reading| json!(reading.length)),
        "held" => held(&asked).await,
        "object" => blobs::head(store.clone(), key).await.map(|info| {
            json!({
                "name": info.name,
                "container": store,
                "created": info.created / 1000,
                "size": info.size,
            })
        }),
        "has" => match blobs::head(store, key).await {
            Ok(_) => Ok(json!(true)),
            Err(Error::NoSuchObject) => Ok(json!(false)),
            Err(error) => Err(error),
        },
        "delete" => blobs::delete(store, key, None).await.map(|_| json!(null)),
        "delete-many" => blobs::delete_many(store, asked.names())
            .await
            .map(|_| json!(null)),
        "clear" => clear(store).await,
        "list" => list(&asked).await,
        "copy" => blobs::copy(source(&asked), target(&asked), None)
            .await
            .map(|_| json!(null)),
        "move" => blobs::move_(source(&asked), target(&asked), None)
            .await
            .map(|_| json!(null)),
        "unfinished" => unfinished(&asked).await,
        "presign" => presign(&asked).await,
        _ => return None,
    })
}

fn source(asked: &Asked) -> ObjectId {
    ObjectId {
        container: asked.store.clone(),
        name: asked.key.clone(),
    }
}

fn target(asked: &Asked) -> ObjectId {
    ObjectId {
        container: asked.other.clone(),
        name: asked.text(),
    }
}

fn options(size: Option<u64>) -> PutOptions {
    PutOptions {
        content_type: None,
        metadata: Vec::new(),
        condition: None,
        size,
    }
}

async fn presign(asked: &Asked) -> Result<Value, Error> {
    let file_name = asked.expected.clone();
    let options = PresignOptions {
        method: match asked.text().as_str() {
            "get" => Method::Get,
            _ => Method::Put,
        },
        expires_in: u32::try_from(asked.from).unwrap_or(u32::MAX),
        max_size: (asked.to != u64::MAX).then_some(asked.to),
        content_type: (!asked.other.is_empty()).then(|| asked.other.clone()),
        file_name: file_name.map(|name| String::from_utf8_lossy(&name).into_owned()),
    };
    let address = blobs::presign(asked.store.clone(), asked.key.clone(), options).await?;
    Ok(json!(address))
}

async fn put(asked: Asked, request: Request) -> Result<Value, Error> {
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, _) = Request::consume_body(request, done);
    let info = blobs::put(asked.store, asked.key, body, options(None)).await?;
    Ok(json!(info.size))
}

/// Writes half of the bytes that it said there would be. It is refused, and that is no failure here.
async fn unfinished(asked: &Asked) -> Result<Value, Error> {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        writer.write_all(b"half of it".to_vec()).await;
    });
    let put = blobs::put(
        asked.store.clone(),
        asked.key.clone(),
        body,
        options(Some(20)),
    );
    match put.await {
        Err(Error::WrongSize) => Ok(json!(null)),
        Err(error) => Err(error),
        Ok(_) => Err(Error::Other("half an object was taken".to_owned())),
    }
}

async fn get(asked: &Asked) -> Result<Reading, Error> {
    let length = (asked.to.saturating_sub(asked.from)).saturating_add(1);
    let range = Range::Slice((asked.from, length));
    blobs::get(asked.store.clone(), asked.key.clone(), Some(range)).await
}

async fn read(reading: Reading) -> Result<Value, Error> {
    let bytes = reading.body.collect().await;
    reading.outcome.await?;
    Ok(text(Some(bytes)))
}

async fn whole(asked: &Asked) -> Result<Value, Error> {
    read(get(asked).await?).await
}

/// Reads an object that is deleted meanwhile.
async fn held(asked: &Asked) -> Result<Value, Error> {
    let reading = get(asked).await?;
    blobs::delete(asked.store.clone(), asked.key.clone(), None).await?;
    read(reading).await
}

async fn page(store: &str, cursor: Option<String>, limit: u32) -> Result<blobs::ObjectPage, Error> {
    let options = ListOptions {
        prefix: String::new(),
        delimiter: None,
        cursor,
        limit,
    };
    blobs::list(store.to_owned(), options).await
}

async fn clear(store: String) -> Result<Value, Error> {
    loop {
        let page = page(&store, None, 1000).await?;
        let names = page.objects.into_iter().map(|object| object.name).collect();
        blobs::delete_many(store.clone(), names).await?;
        if page.cursor.is_none() {
            return Ok(json!(null));
        }
    }
}

async fn list(asked: &Asked) -> Result<Value, Error> {
    let (mut skipped, mut cursor) = (0, None);
    while skipped < asked.from {
        let limit = u32::try_from(asked.from - skipped).unwrap_or(u32::MAX);
        let page = page(&asked.store, cursor, limit).await?;
        skipped += page.objects.len() as u64;
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(json!({ "skipped": skipped, "pages": [] }));
        }
    }
    let mut pages = Vec::new();
    loop {
        let limit = u32::try_from(asked.delta).unwrap_or(u32::MAX);
        let page = page(&asked.store, cursor, limit).await?;
        let names = page.objects.into_iter().map(|object| object.name);
        pages.push(names.collect::<Vec<_>>());
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(json!({ "skipped": skipped, "pages": pages }));
        }
    }
}
