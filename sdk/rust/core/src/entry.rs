//! What `#[app]` exports by WASI 0.2: a request comes in, the router answers, the response goes out.

use wasip2::http::types::{
    ErrorCode, IncomingRequest, Method as WasiMethod, OutgoingResponse, ResponseOutparam, Scheme,
};

use crate::{Body, IntoResponse, Method, Problem, Request, Response, Router, StatusCode, wire};

/// Exports `$app` as the component's `wasi:http/incoming-handler`.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_app {
    ($app:ident) => {
        const _: () = {
            struct Component;

            impl $crate::__private::wasi::exports::http::incoming_handler::Guest for Component {
                fn handle(
                    request: $crate::__private::wasi::http::types::IncomingRequest,
                    out: $crate::__private::wasi::http::types::ResponseOutparam,
                ) {
                    $crate::__private::serve($app, request, out);
                }
            }

            $crate::__private::wasi::http::proxy::export!(
                Component with_types_in $crate::__private::wasi
            );
        };
    };
}

/// Answers `request` by the router that `app` makes.
#[doc(hidden)]
pub fn serve(app: impl FnOnce() -> Router, request: IncomingRequest, out: ResponseOutparam) {
    let response = match read(request) {
        Ok(request) => app().call(request),
        Err(detail) => Problem::new(StatusCode::BAD_REQUEST, detail).into_response(),
    };
    write(response, out);
}

fn read(incoming: IncomingRequest) -> Result<Request, String> {
    let method = method(incoming.method()).map_err(|error| error.to_string())?;
    let scheme = match incoming.scheme() {
        Some(Scheme::Https) => "https",
        _ => "http",
    };
    let path = incoming.path_with_query().unwrap_or_else(|| "/".to_owned());
    let mut uri = http::Uri::builder().path_and_query(path);
    if let Some(authority) = incoming.authority() {
        uri = uri.scheme(scheme).authority(authority);
    }
    let headers = wire::headers(&incoming.headers());
    let body = match incoming.consume() {
        Ok(body) => wire::body(body, std::io::Error::other),
        Err(()) => Body::empty(),
    };
    let mut request = http::Request::builder()
        .method(method)
        .uri(uri.build().map_err(|error| error.to_string())?)
        .body(body)
        .map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    Ok(request)
}

/// A method of `wasi:http` as one of the crate `http`.
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

fn write(response: Response, out: ResponseOutparam) {
    let (mut head, content) = response.into_parts();
    let bodiless = head.status.is_informational() || matches!(head.status.as_u16(), 204 | 304);
    if let (Some(length), false) = (content.len_hint(), bodiless) {
        head.headers
            .entry(http::header::CONTENT_LENGTH)
            .or_insert_with(|| length.into());
    }
    let fields = match wire::fields(&head.headers) {
        Ok(fields) => fields,
        Err(error) => {
            let text = format!("the response's headers are not sendable: {error}");
            crate::log::error!("{text}");
            ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some(text))));
            return;
        }
    };
    let outgoing = OutgoingResponse::new(fields);
    // `StatusCode` holds 100..=999 and the interface takes any of them.
    let _ = outgoing.set_status_code(head.status.as_u16());
    let Ok(body) = outgoing.body() else {
        ResponseOutparam::set(out, Err(ErrorCode::InternalError(None)));
        return;
    };
    ResponseOutparam::set(out, Ok(outgoing));
    if let Err(error) = wire::send(body, content) {
        crate::log::warn!("the response was broken off: {error}");
    }
}
