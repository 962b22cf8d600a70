//! Gives and lends the streams of requests and responses to a driver, by WASI 0.2 itself: `/count`
//! gives the body away, `/some` lends it, `/line` lends what it answers with, `/journal` writes to
//! the driver's log, `/keep` gives a stream that comes back, `/trap` lends it to a driver that breaks
//! down and reads on, `/held` gives away what it still waits for. `/nap/{ms}` has the driver wait,
//! `/token` asks for its secret.

#[allow(
    missing_docs,
    dead_code,
    unused_qualifications,
    unsafe_code,
    clippy::all,
    reason = "generated code"
)]
mod bindings {
    wit_bindgen::generate!({
        inline: "package guests:plumber;
            world plumber {
                import wasi:http/types@0.2.12;
                import acme:pipes/pipes@0.1.0;
                export wasi:http/incoming-handler@0.2.12;
            }",
        path: [
            "../../../../wit/deps/io-0.2.12",
            "../../../../wit/deps/clocks-0.2.12",
            "../../../../wit/deps/random-0.2.12",
            "../../../../wit/deps/filesystem-0.2.12",
            "../../../../wit/deps/sockets-0.2.12",
            "../../../../wit/deps/cli-0.2.12",
            "../../../../wit/deps/http-0.2.12",
            "../../wit/pipes/0.1.0",
        ],
        generate_all,
    });
}

use bindings::acme::pipes::pipes;
use bindings::exports::wasi::http::incoming_handler::Guest;
use bindings::wasi::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};
use bindings::wasi::io::streams::{InputStream, StreamError};

struct Plumber;

#[allow(unsafe_code, reason = "generated code")]
const _: () = {
    bindings::export!(Plumber with_types_in bindings);
};

impl Guest for Plumber {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let path = request.path_with_query().unwrap_or_default();
        let body = request.consume().expect("the first");
        let stream = body.stream().expect("the first");
        let text = match path.as_str() {
            "/count" => said(pipes::count(stream).map(|bytes| bytes.to_string())),
            "/some" => {
                let some =
                    pipes::some(&stream, 4).map(|some| String::from_utf8_lossy(&some).into());
                format!("{}|{}", said(some), rest(&stream))
            }
            "/journal" => {
                let journal = pipes::journal();
                let written = journal.blocking_write_and_flush(b"written by the application\n");
                said(
                    written
                        .map(|()| "written".to_owned())
                        .map_err(|error| error.to_string()),
                )
            }
            "/keep" => {
                pipes::keep(stream);
                pipes::back().map_or("gone".to_owned(), |stream| rest(&stream))
            }
            "/trap" => {
                let trap = pipes::trap(&stream).is_err();
                format!("{trap}|{}", rest(&stream))
            }
            "/held" => {
                let _pollable = stream.subscribe();
                said(pipes::count(stream).map(|bytes| bytes.to_string()))
            }
            "/token" => said(pipes::token()),
            "/line" => return line(out),
            path => match path.strip_prefix("/nap/").map(str::parse) {
                Some(Ok(ms)) => said(pipes::nap(ms).map(|()| "rested".to_owned())),
                _ => "plumber".to_owned(),
            },
        };
        answer(out, &text);
    }
}

fn said(outcome: Result<String, String>) -> String {
    outcome.unwrap_or_else(|error| format!("error: {error}"))
}

fn rest(stream: &InputStream) -> String {
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(1024) {
            Ok(chunk) => all.extend(chunk),
            Err(StreamError::Closed) => return String::from_utf8_lossy(&all).into(),
            Err(error) => return format!("error: {error}"),
        }
    }
}

fn begin(out: ResponseOutparam) -> OutgoingBody {
    let response = OutgoingResponse::new(Fields::new());
    let body = response.body().expect("the first");
    ResponseOutparam::set(out, Ok(response));
    body
}

fn answer(out: ResponseOutparam, text: &str) {
    let body = begin(out);
    {
        let stream = body.write().expect("the first");
        stream
            .blocking_write_and_flush(text.as_bytes())
            .expect("written");
    }
    OutgoingBody::finish(body, None).expect("whole");
}

fn line(out: ResponseOutparam) {
    let body = begin(out);
    {
        let stream = body.write().expect("the first");
        pipes::line(&stream, "by the driver").expect("written");
        stream
            .blocking_write_and_flush(b"by the application\n")
            .expect("written");
    }
    OutgoingBody::finish(body, None).expect("whole");
}
