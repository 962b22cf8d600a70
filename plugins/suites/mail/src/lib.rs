//! The suite of `canopy:mail/sender@0.1.0`.

use interface::canopy::mail::sender::{self, Error, Message};
use probe::{Asked, Outcome};
use serde::Deserialize;
use serde_json::Value;

canopy_sdk::import!(
    interface: "canopy:mail/sender@0.1.0",
    wit = ["../../../wit/mail/0.1.0"]
);

probe::suite! { perform, Error {
    Error::BadAddress(address) => "bad-address", address;
    Error::Refused(text) => "refused", text;
    Error::Unavailable(text) => "unavailable", text;
    Error::BadMessage(text) => "bad-message", text;
}}

/// A message as it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Letter {
    from: Option<String>,
    to: Vec<String>,
    #[serde(default)]
    cc: Vec<String>,
    reply_to: Option<String>,
    #[serde(default)]
    subject: String,
    #[serde(default)]
    text: String,
    html: Option<String>,
}

fn perform(asked: &Asked) -> Outcome {
    Some(match asked.op.as_str() {
        "send" => asked.with(|letter: Letter| {
            let sent = sender::send(&letter.message());
            sent.map(Value::from).map_err(fault)
        }),
        "churn" => asked.with(|letter: Letter| {
            let mut message = letter.message();
            message.text = long_text(asked.bytes);
            let identifiers = (0..asked.count).map(|_| sender::send(&message).map_err(fault));
            identifiers.collect()
        }),
        _ => return None,
    })
}

impl Letter {
    fn message(self) -> Message {
        Message {
            from: self.from,
            to: self.to,
            cc: self.cc,
            reply_to: self.reply_to,
            subject: self.subject,
            text: self.text,
            html: self.html,
        }
    }
}

/// A text of so many bytes, in lines.
fn long_text(bytes: usize) -> String {
    let mut text =
        "A line of an ordinary length, of which there are many.\r\n".repeat(bytes.div_ceil(56));
    text.truncate(bytes);
    text
}
