//! Writes outgoing bodies as nobody should, by WASI 0.2 itself and without any SDK: `/tiny` a byte at a
//! time, `/endless` without end, `/large` 32 MiB in one write, `/beyond` two GiB that it does not have,
//! `/unfinished` a part, and waits for an hour; `/abandoned` a part, and ends. The body is that of a request
//! to the authority `?AUTHORITY`, and of the answer itself where the query is empty.

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    Fields, IncomingRequest, Method, OutgoingBody, OutgoingRequest, OutgoingResponse,
    ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

struct Gusher;

wasip2::http::proxy::export!(Gusher);

const HOUR: u64 = 3_600_000_000_000;

impl Guest for Gusher {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let target = request.path_with_query().unwrap_or_default();
        let (way, authority) = target.split_once('?').unwrap_or((&target, ""));
        if authority.is_empty() {
            let body = begin(out);
            pour(way, body);
            return;
        }
        let told = send(way, authority);
        let body = begin(out);
        let stream = body.write().expect("the first");
        stream
            .blocking_write_and_flush(told.as_bytes())
            .expect("sent");
        drop(stream);
        OutgoingBody::finish(body, None).expect("whole");
    }
}

fn begin(out: ResponseOutparam) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the first");
    ResponseOutparam::set(out, Ok(response));
    body
}

/// Sends a request with such a body, and tells what came of both.
fn send(way: &str, authority: &str) -> String {
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).expect("a method");
    request.set_scheme(Some(&Scheme::Http)).expect("a scheme");
    request
        .set_authority(Some(authority))
        .expect("an authority");
    request.set_path_with_query(Some("/")).expect("a path");
    let body = request.body().expect("the first");
    let answer = match outgoing_handler::handle(request, None) {
        Ok(answer) => answer,
        Err(error) => return format!("not sent: {error:?}"),
    };
    let written = pour(way, body);
    answer.subscribe().block();
    let status = match answer.get() {
        Some(Ok(Ok(response))) => response.status().to_string(),
        other => format!("{other:?}"),
    };
    format!("{written}; {status}")
}

/// Writes a body, and tells how much of it was taken.
fn pour(way: &str, body: OutgoingBody) -> String {
    let stream = body.write().expect("the first");
    let again = |piece: &[u8], times: usize| {
        for taken in 0..times {
            if let Err(error) = stream.blocking_write_and_flush(piece) {
                return format!("{} bytes, {}", taken * piece.len(), told(&error));
            }
        }
        format!("{} bytes", times * piece.len())
    };
    let written = match way {
        "/tiny" => again(b"x", 10_000_000),
        "/endless" => again(&[b'x'; 4096], usize::MAX / 4096),
        "/large" => match stream.write(&vec![b'x'; 32 << 20]) {
            Ok(()) => "taken".to_owned(),
            Err(error) => told(&error),
        },
        "/beyond" => match stream.write(beyond()) {
            Ok(()) => "taken".to_owned(),
            Err(error) => told(&error),
        },
        "/unfinished" => {
            let written = again(&[b'x'; 1000], 1);
            monotonic_clock::subscribe_duration(HOUR).block();
            written
        }
        "/abandoned" => {
            let written = again(&[b'x'; 1000], 1);
            drop(stream);
            drop(body);
            return written;
        }
        _ => again(b"gusher", 1),
    };
    drop(stream);
    // A body that was not taken to its end is not finished.
    if written.ends_with(" bytes") {
        OutgoingBody::finish(body, None).expect("whole");
    }
    written
}

fn told(error: &StreamError) -> String {
    match error {
        StreamError::Closed => "closed".to_owned(),
        StreamError::LastOperationFailed(error) => error.to_debug_string(),
    }
}

/// Two GiB, of which hardly anything is in memory. It is only ever handed to the host.
#[expect(unsafe_code, reason = "the host has to find out")]
fn beyond() -> &'static [u8] {
    static FIRST: u8 = b'x';
    // SAFETY: there is none. Nothing in this component reads it; the host checks where it ends.
    unsafe { std::slice::from_raw_parts(&raw const FIRST, isize::MAX as usize) }
}
