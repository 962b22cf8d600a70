//! Objects behind pre-signed addresses: what begins with `/.canopy/` is answered here, for every
//! application, without running it.
//!
//! The threat: content that anybody has uploaded is served from the application's own host name.
//! So, in this order: the address is believed only with its signature and before its time is over;
//! what it allows is all that is done; and a browser is told to take the content for nothing but
//! what it is said to be (`nosniff`), to run nothing in it as this origin (a sandbox without
//! rights), and to save what it has no harmless way to show.

mod conditions;
mod dates;
mod range;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use canopy_runtime::blob::{BlobBody, BlobError, Blobs, ObjectId, ObjectInfo, PutOptions, Reading};
use canopy_runtime::{
    Address, AddressMethod, Addresses, InstallationSpec, RequestBody, Scope, ServeError,
};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, LAST_MODIFIED, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;

use crate::problem::Cause;
use crate::request::declared_length;

/// An object's content on its way to a client, and what is held until it has ended.
pub(crate) struct Content {
    body: Option<BlobBody>,
    length: u64,
    _permit: Box<dyn std::any::Any + Send>,
}

/// What a response's body comes from.
pub(crate) enum Source<B> {
    /// An application.
    Guest(B),
    /// An object.
    Object(Content),
}

impl Body for Content {
    type Data = Bytes;
    type Error = ServeError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ServeError>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let next = std::task::ready!(body.as_mut().poll_next(cx));
        if !matches!(next, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(next.map(|next| match next {
            Ok(bytes) => {
                self.length = self.length.saturating_sub(bytes.len() as u64);
                Ok(Frame::data(bytes))
            }
            Err(error) => Err(ServeError::Internal(format!(
                "an object broke off: {error}"
            ))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none() || self.length == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

impl<B: Body<Data = Bytes, Error = ServeError> + Unpin> Body for Source<B> {
    type Data = Bytes;
    type Error = ServeError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ServeError>>> {
        match self.get_mut() {
            Self::Guest(body) => Pin::new(body).poll_frame(cx),
            Self::Object(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Guest(body) => body.is_end_stream(),
            Self::Object(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Guest(body) => body.size_hint(),
            Self::Object(body) => body.size_hint(),
        }
    }
}

/// What a request for an object is about.
pub(crate) struct Asked {
    address: Address,
    scope: Scope,
    /// The most that its body may have.
    pub(crate) limit: u64,
}

/// Whether the request may do what it asks for.
pub(crate) async fn verify(
    addresses: &Addresses,
    spec: &InstallationSpec,
    head: &Parts,
) -> Result<Asked, Cause> {
    let scope = Scope {
        tenant: spec.tenant.id,
        installation: spec.id,
    };
    let address = addresses
        .verify(scope, head.uri.path(), head.uri.query())
        .await?;
    let allowed = match address.method {
        AddressMethod::Get => [Method::GET, Method::HEAD].contains(&head.method),
        AddressMethod::Put => head.method == Method::PUT,
    };
    if !allowed {
        return Err(Cause::AddressMethod(head.method.to_string()));
    }
    let limit = match address.method {
        AddressMethod::Get => 0,
        AddressMethod::Put => address
            .max_size
            .unwrap_or(u64::MAX)
            .min(addresses.object_bytes()),
    };
    if declared_length(&head.headers).is_some_and(|length| length > limit) {
        return Err(Cause::BodyTooLarge { limit });
    }
    Ok(Asked {
        address,
        scope,
        limit,
    })
}

/// Does it, before `deadline` if it is an upload. `permit` is held until the response has ended.
pub(crate) async fn answer(
    addresses: &Addresses,
    asked: Asked,
    head: &Parts,
    body: RequestBody,
    deadline: Instant,
    permit: impl std::any::Any + Send,
) -> Result<Response<Content>, Cause> {
    let objects = addresses
        .objects(asked.scope)
        .await
        .map_err(BlobError::from)?;
    let (head_only, permit) = (head.method == Method::HEAD, Box::new(permit));
    match asked.address.method {
        AddressMethod::Get => download(&objects, &asked.address, head, head_only, permit).await,
        AddressMethod::Put => {
            let upload = upload(&objects, &asked, &head.headers, body);
            let response = tokio::time::timeout_at(deadline.into(), upload)
                .await
                .map_err(|_| Cause::TransferTooSlow)??;
            Ok(response.map(|()| empty(permit)))
        }
    }
}

fn empty(permit: Box<dyn std::any::Any + Send>) -> Content {
    Content {
        body: None,
        length: 0,
        _permit: permit,
    }
}

async fn download(
    objects: &Arc<dyn Blobs>,
    address: &Address,
    head: &Parts,
    head_only: bool,
    permit: Box<dyn std::any::Any + Send>,
) -> Result<Response<Content>, Cause> {
    let id = ObjectId::new(&address.container, &address.name);
    let fields = &head.headers;
    let mut range = (!head_only).then(|| range::wanted(fields)).flatten();
    if head_only || (range.is_some() && !range::is_still_wanted(fields, &objects.head(id).await?)) {
        range = None;
    }
    let reading = match head_only {
        true => {
            let info = objects.head(id).await?;
            Reading {
                offset: 0,
                length: info.size,
                body: Box::pin(futures::stream::empty()),
                info,
            }
        }
        false => objects.get(id, range).await?,
    };
    let status = conditions::look(fields, &reading.info)?;
    let mut response = Response::new(());
    describe(response.headers_mut(), address, &reading.info);
    if status == StatusCode::NOT_MODIFIED {
        *response.status_mut() = status;
        return Ok(response.map(|()| empty(permit)));
    }
    let size = reading.info.size;
    if range.is_some() {
        if reading.length == 0 {
            return Err(BlobError::Range { size }.into());
        }
        let last = reading.offset + reading.length - 1;
        let text = format!("bytes {}-{last}/{size}", reading.offset);
        insert(response.headers_mut(), CONTENT_RANGE, &text);
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(reading.length));
    let length = if head_only { 0 } else { reading.length };
    Ok(response.map(|()| Content {
        body: Some(reading.body),
        length,
        _permit: permit,
    }))
}

async fn upload(
    objects: &Arc<dyn Blobs>,
    asked: &Asked,
    fields: &HeaderMap,
    body: RequestBody,
) -> Result<Response<()>, Cause> {
    // A part in the place of the whole would be worse than nothing (RFC 9110, section 14.5).
    if fields.contains_key(CONTENT_RANGE) {
        return Err(Cause::PartialUpload);
    }
    let address = &asked.address;
    let content_type = match fields.get(CONTENT_TYPE) {
        Some(value) => Some(value.to_str().map_err(|_| Cause::UploadType {
            expected: address.content_type.clone(),
        })?),
        None => None,
    };
    if let Some(expected) = &address.content_type
        && !content_type.is_some_and(|given| given.eq_ignore_ascii_case(expected))
    {
        return Err(Cause::UploadType {
            expected: Some(expected.clone()),
        });
    }
    let options = PutOptions {
        content_type: content_type.map(str::to_owned),
        condition: conditions::of_upload(fields)?,
        size: declared_length(fields),
        max_size: Some(asked.limit),
        ..PutOptions::default()
    };
    let body = body.into_data_stream();
    let body = futures::StreamExt::map(body, |bytes| {
        bytes.map_err(|error| BlobError::Body(error.to_string()))
    });
    let id = ObjectId::new(&address.container, &address.name);
    let info = objects.put(id, options, Box::pin(body)).await?;
    let mut response = Response::new(());
    *response.status_mut() = match info.created == info.modified {
        true => StatusCode::CREATED,
        false => StatusCode::NO_CONTENT,
    };
    insert(
        response.headers_mut(),
        ETAG,
        &conditions::quoted(&info.etag),
    );
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// What the header says of an object.
fn describe(fields: &mut HeaderMap, address: &Address, info: &ObjectInfo) {
    let content_type = address
        .content_type
        .as_deref()
        .or(info.content_type.as_deref())
        .unwrap_or("application/octet-stream");
    insert(fields, CONTENT_TYPE, content_type);
    insert(fields, ETAG, &conditions::quoted(&info.etag));
    insert(fields, LAST_MODIFIED, &dates::format(info.modified));
    insert(
        fields,
        CONTENT_DISPOSITION,
        &disposition(address.file_name.as_deref(), content_type),
    );
    for (name, value) in [
        (ACCEPT_RANGES, "bytes"),
        (CACHE_CONTROL, "private, no-cache"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        fields.insert(name, HeaderValue::from_static(value));
    }
}

fn insert(fields: &mut HeaderMap, name: HeaderName, value: &str) {
    // Names and types were checked when the object was put or the address was made.
    if let Ok(value) = HeaderValue::from_str(value) {
        fields.insert(name, value);
    }
}

/// Shown in the browser only what can do nothing there.
fn disposition(file_name: Option<&str>, content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    let harmless = ["text/plain", "application/pdf"].contains(&&*essence)
        || ["image/", "audio/", "video/"]
            .iter()
            .any(|kind| essence.starts_with(kind));
    match file_name {
        Some(name) => format!("attachment; filename*=UTF-8''{}", encoded(name)),
        None if harmless => "inline".to_owned(),
        None => "attachment".to_owned(),
    }
}

/// As RFC 8187 has it.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_harmless_is_shown() {
        for shown in [
            "image/png",
            "IMAGE/SVG+XML",
            "text/plain; charset=utf-8",
            "video/mp4",
        ] {
            assert_eq!(disposition(None, shown), "inline", "{shown}");
        }
        for saved in ["text/html", "application/xhtml+xml", "text/xml", "", "x"] {
            assert_eq!(disposition(None, saved), "attachment", "{saved}");
        }
        assert_eq!(
            disposition(Some("a \"b\"\r\nü.html"), "image/png"),
            "attachment; filename*=UTF-8''a%20%22b%22%0D%0A%C3%BC.html"
        );
    }
}
