//! What `#[app]` exports by WASI 0.3: a request comes in, the router answers, the response's head
//! goes out, and its body after it.

use std::io::{self, Read};

use wasip3::http::types::{ErrorCode, Fields, Method as WasiMethod, Request as WasiRequest};
use wasip3::http::types::{Response as WasiResponse, Scheme, Trailers};
use wasip3::wit_bindgen::rt::async_support::{FutureWriter, StreamReader, StreamWriter};
use wasip3::{wit_future, wit_stream};

use crate::stream::{ByteStream, CHUNK};
use crate::{
    Body, HeaderMap, HeaderName, HeaderValue, IntoResponse, Method, Problem, Request, Response,
    Router, StatusCode, header,
};

/// Exports `$app` as the component's `wasi:http/handler`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_app {
    ($app:ident) => {
        const _: () = {
            struct Component;

            impl $crate::__private::wasi::exports::http::handler::Guest for Component {
                async fn handle(
                    request: $crate::__private::wasi::http::types::Request,
                ) -> Result<
                    $crate::__private::wasi::http::types::Response,
                    $crate::__private::wasi::http::types::ErrorCode,
                > {
                    $crate::__private::serve($app, request)
                }
            }

            $crate::__private::wasi::http::service::export!(
                Component with_types_in $crate::__private::wasi
            );
        };
    };
}

/// Answers `request` by the router that `app` makes.
#[doc(hidden)]
pub fn serve(
    app: impl FnOnce() -> Router,
    request: WasiRequest,
) -> Result<WasiResponse, ErrorCode> {
    let response = match read(request) {
        Ok(request) => app().call(request),
        Err(detail) => Problem::new(StatusCode::BAD_REQUEST, detail).into_response(),
    };
    write(response)
}

fn read(incoming: WasiRequest) -> Result<Request, String> {
    let method = method(incoming.get_method()).map_err(|error| error.to_string())?;
    let scheme = match incoming.get_scheme() {
        Some(Scheme::Https) => "https",
        _ => "http",
    };
    let path = incoming.get_path_with_query();
    let mut uri = http::Uri::builder().path_and_query(path.unwrap_or_else(|| "/".to_owned()));
    if let Some(authority) = incoming.get_authority() {
        uri = uri.scheme(scheme).authority(authority);
    }
    let headers = headers(&incoming.get_headers());
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri.build().map_err(|error| error.to_string())?)
        .body(body(incoming, &headers))
        .map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    Ok(request)
}

fn body(incoming: WasiRequest, headers: &HeaderMap) -> Body {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|text| text.to_str().ok()?.parse().ok());
    let (_, done) = wit_future::new(|| Ok(()));
    let (bytes, trailers) = WasiRequest::consume_body(incoming, done);
    let end = async move {
        match trailers.await {
            Ok(_) => Ok(()),
            Err(code) => Err(io::Error::other(format!("{code:?}"))),
        }
    };
    Body::from(ByteStream::new(bytes, length, end))
}

/// The headers of a message from outside. What is no header by the crate `http` is left out; the
/// platform does not let it through.
fn headers(fields: &Fields) -> HeaderMap {
    let entries = fields.copy_all();
    let mut map = HeaderMap::with_capacity(entries.len());
    for (name, value) in entries {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_maybe_shared(value),
        ) {
            map.append(name, value);
        }
    }
    map
}

fn method(method: WasiMethod) -> Result<Method, http::method::InvalidMethod> {
    Ok(match method {
        WasiMethod::Get => Method::GET,
        WasiMethod::Head => Method::HEAD,
        WasiMethod::Post => Method::POST,
        WasiMethod::Put => Method::PUT,
        WasiMethod::Delete => Method::DELETE,
        WasiMethod::Connect => Method::CONNECT,
        WasiMethod::Options => Method::OPTIONS,
        WasiMethod::Trace => Method::TRACE,
        WasiMethod::Patch => Method::PATCH,
        WasiMethod::Other(name) => Method::from_bytes(name.as_bytes())?,
    })
}

fn write(response: Response) -> Result<WasiResponse, ErrorCode> {
    let (mut head, content) = response.into_parts();
    let bodiless = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
    if let (Some(length), false) = (content.length(), bodiless) {
        head.headers
            .entry(header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    let entries: Vec<(String, Vec<u8>)> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
        .collect();
    let fields = Fields::from_list(&entries).map_err(|error| {
        let text = format!("the response's headers are not sendable: {error:?}");
        crate::log::error!("{text}");
        ErrorCode::InternalError(Some(text))
    })?;
    let (end, trailers) = wit_future::new(|| Ok(None));
    let body = if content.length() == Some(0) {
        None
    } else {
        Some(send(content, end))
    };
    let (outgoing, _) = WasiResponse::new(fields, body, trailers);
    // `StatusCode` holds 100..=999 and the interface takes any of them.
    let _ = outgoing.set_status_code(head.status.as_u16());
    Ok(outgoing)
}

type End = FutureWriter<Result<Option<Trailers>, ErrorCode>>;

/// Lets the body follow the head. A stream that nobody has read from is handed over as it is; its
/// bytes never come into this component's memory.
fn send(content: Body, end: End) -> StreamReader<u8> {
    match content.into_stream() {
        Ok(stream) => {
            let (bytes, _, outcome) = stream.into_parts();
            wasip3::spawn_local(async move { finish(outcome.await, end).await });
            bytes
        }
        Err(content) => {
            let (writer, reader) = wit_stream::new();
            wasip3::spawn_local(async move {
                // The end of the bytes comes before the word on how they ended.
                let outcome = pump(content, writer).await.0;
                finish(outcome, end).await;
            });
            reader
        }
    }
}

/// Sends what `content` yields; ends early without an error if nobody takes it any more. The writer
/// is given back, so that the caller decides when the bytes end.
pub(crate) async fn pump(
    mut content: Body,
    mut writer: StreamWriter<u8>,
) -> (io::Result<()>, StreamWriter<u8>) {
    loop {
        let mut buffer = vec![0; CHUNK];
        let read = match content.read(&mut buffer) {
            Ok(0) => return (Ok(()), writer),
            Ok(read) => read,
            Err(error) => return (Err(error), writer),
        };
        buffer.truncate(read);
        if !writer.write_all(buffer).await.is_empty() {
            return (Ok(()), writer);
        }
    }
}

async fn finish(outcome: io::Result<()>, end: End) {
    if let Err(error) = outcome {
        crate::log::warn!("the response was broken off: {error}");
        // It fails if nobody waits for the end any more; then nobody misses it.
        let _ = end
            .write(Err(ErrorCode::InternalError(Some(error.to_string()))))
            .await;
    }
}
