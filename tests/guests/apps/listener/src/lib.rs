//! Takes messages by `wasmcloud:messaging/handler`, made from its published WIT, and has no handler of
//! requests. It answers what expects an answer, with `slow` after a second, and passes anything else on
//! to `events`. A message that says `broken` makes it trap, one that says `declined` it does not take.

use std::thread::sleep;
use std::time::Duration;

use bindings::exports::wasmcloud::messaging::handler::Guest;
use bindings::wasmcloud::messaging::consumer;
use bindings::wasmcloud::messaging::types::BrokerMessage;

mod bindings {
    wit_bindgen::generate!({
        inline: "
            package guests:listener;
            world listener {
                import wasmcloud:messaging/consumer@0.2.0;
                export wasmcloud:messaging/handler@0.2.0;
            }
        ",
        path: "../../../../wit/deps/wasmcloud-messaging-0.2.0",
        generate_all,
    });
}

struct Listener;

impl Guest for Listener {
    fn handle_message(message: BrokerMessage) -> Result<(), String> {
        let said = String::from_utf8(message.body).map_err(|_| "not a text")?;
        match said.as_str() {
            "broken" => panic!("on purpose"),
            "declined" => return Err("no such order".to_owned()),
            "slow" => sleep(Duration::from_secs(1)),
            _ => {}
        }
        let (subject, body) = match message.reply_to {
            Some(subject) => (subject, format!("{said}! says listener")),
            None => ("events".to_owned(), format!("{}: {said}", message.subject)),
        };
        consumer::publish(&BrokerMessage {
            subject,
            body: body.into_bytes(),
            reply_to: None,
        })
    }
}

mod exported {
    #![allow(unsafe_code, reason = "generated code")]

    use super::{Listener, bindings};

    bindings::export!(Listener with_types_in bindings);
}
