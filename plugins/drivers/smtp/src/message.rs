//! From the application's message to the text that goes over the wire (RFC 5322).

use std::hash::{BuildHasher, RandomState};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::address::Mailbox;
use crate::bindings::exports::canopy::mail::sender::{Error, Message};
use crate::mime;

/// Recipients of one message; servers must take this many (RFC 5321, section 4.5.3.1.8).
pub const MAX_RECIPIENTS: usize = 100;

/// Bytes of the subject.
pub const MAX_SUBJECT: usize = 900;

/// Bytes of the text and of the HTML text, each.
pub const MAX_TEXT: usize = 10 << 20;

/// A message that is ready to be sent.
#[derive(Debug)]
pub struct Mail {
    /// Who answers for it, by address.
    pub sender: String,
    /// Who gets it, by address, each once.
    pub recipients: Vec<String>,
    /// Its Message-ID, with angle brackets.
    pub id: String,
    /// Headers and body, with CRLF at the end of each line.
    pub text: String,
}

/// Writes `message` down. `default_from` is the sender of messages that name none.
pub fn compose(message: &Message, default_from: &str, now: OffsetDateTime) -> Result<Mail, Error> {
    let from = mailbox(message.from.as_deref().unwrap_or(default_from))?;
    let to = mailboxes(&message.to)?;
    let cc = mailboxes(&message.cc)?;
    let reply_to = message.reply_to.as_deref().map(mailbox).transpose()?;
    check(message, to.len() + cc.len())?;

    let id = format!("<{}@{}>", token(), from.domain());
    let date = now
        .format(&Rfc2822)
        .map_err(|error| Error::BadMessage(format!("the date: {error}")))?;
    let mut text = String::new();
    header(&mut text, "Date", &date);
    header(
        &mut text,
        "From",
        &address_list(std::slice::from_ref(&from)),
    );
    header(&mut text, "To", &address_list(&to));
    if !cc.is_empty() {
        header(&mut text, "Cc", &address_list(&cc));
    }
    if let Some(reply_to) = reply_to {
        header(&mut text, "Reply-To", &address_list(&[reply_to]));
    }
    header(&mut text, "Subject", &mime::header_text(&message.subject));
    header(&mut text, "Message-ID", &id);
    header(&mut text, "MIME-Version", "1.0");
    match &message.html {
        None => part(&mut text, "plain", &message.text),
        Some(html) => {
            let boundary = format!("part-{}", token());
            let kind = format!("multipart/alternative;\r\n boundary=\"{boundary}\"");
            header(&mut text, "Content-Type", &kind);
            text.push_str("\r\n");
            for (kind, content) in [("plain", &message.text), ("html", html)] {
                text.push_str(&format!("--{boundary}\r\n"));
                part(&mut text, kind, content);
            }
            text.push_str(&format!("--{boundary}--\r\n"));
        }
    }

    let mut recipients: Vec<String> = Vec::new();
    for recipient in to.into_iter().chain(cc) {
        if !recipients.contains(&recipient.address) {
            recipients.push(recipient.address);
        }
    }
    Ok(Mail {
        sender: from.address,
        recipients,
        id,
        text,
    })
}

fn check(message: &Message, recipients: usize) -> Result<(), Error> {
    let bad = |text: String| Err(Error::BadMessage(text));
    if message.to.is_empty() {
        return bad("there is no recipient".to_owned());
    }
    if recipients > MAX_RECIPIENTS {
        return bad(format!(
            "{recipients} recipients are over the limit of {MAX_RECIPIENTS}"
        ));
    }
    for (what, text, limit) in [
        ("the subject", message.subject.as_str(), MAX_SUBJECT),
        ("the text", &message.text, MAX_TEXT),
        (
            "the HTML text",
            message.html.as_deref().unwrap_or_default(),
            MAX_TEXT,
        ),
    ] {
        if text.len() > limit {
            return bad(format!(
                "{what} of {} bytes is over the limit of {limit}",
                text.len()
            ));
        }
    }
    if message.subject.chars().any(char::is_control) {
        return bad("the subject has a line break or another control character in it".to_owned());
    }
    Ok(())
}

fn mailbox(text: &str) -> Result<Mailbox, Error> {
    Mailbox::parse(text).ok_or_else(|| Error::BadAddress(text.chars().take(320).collect()))
}

fn mailboxes(texts: &[String]) -> Result<Vec<Mailbox>, Error> {
    texts.iter().map(|text| mailbox(text)).collect()
}

fn header(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push_str(": ");
    out.push_str(value);
    out.push_str("\r\n");
}

/// One address on a line.
fn address_list(list: &[Mailbox]) -> String {
    list.iter()
        .map(|mailbox| match &mailbox.name {
            Some(name) => format!("{} <{}>", mime::phrase(name), mailbox.address),
            None => mailbox.address.clone(),
        })
        .collect::<Vec<_>>()
        .join(",\r\n ")
}

fn part(out: &mut String, kind: &str, content: &str) {
    header(out, "Content-Type", &format!("text/{kind}; charset=utf-8"));
    header(out, "Content-Transfer-Encoding", "quoted-printable");
    out.push_str("\r\n");
    out.push_str(&mime::quoted_printable(content));
    out.push_str("\r\n");
}

/// Text that nobody else has used and nobody can guess: two keys of the standard library's hasher,
/// which are random.
fn token() -> String {
    let random = || RandomState::new().hash_one(0_u8);
    format!("{:016x}{:016x}", random(), random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn message() -> Message {
        Message {
            from: None,
            to: vec!["Ünal <unal@example.com>".into(), "bob@example.com".into()],
            cc: vec!["bob@example.com".into()],
            reply_to: Some("desk@example.com".into()),
            subject: "Rechnung für März".into(),
            text: "Guten Tag,\n.\nviele Grüße".into(),
            html: Some("<p>Guten Tag</p>".into()),
        }
    }

    fn composed(message: &Message) -> Result<Mail, Error> {
        compose(
            message,
            "Desk <desk@shop.example>",
            datetime!(2026-11-23 09:08:07 UTC),
        )
    }

    #[test]
    fn a_message_of_two_kinds_is_multipart_alternative() {
        let mail = composed(&message()).unwrap();
        assert_eq!(mail.sender, "desk@shop.example");
        assert_eq!(mail.recipients, ["unal@example.com", "bob@example.com"]);
        assert!(mail.id.ends_with("@shop.example>"));
        for expected in [
            "Date: Mon, 23 Nov 2026 09:08:07 +0000\r\n",
            "From: Desk <desk@shop.example>\r\n",
            "To: =?UTF-8?B?w5xuYWw=?= <unal@example.com>,\r\n bob@example.com\r\n",
            "Reply-To: desk@example.com\r\n",
            "Subject: =?UTF-8?B?UmVjaG51bmcgZsO8ciBNw6Ryeg==?=\r\n",
            "Content-Type: multipart/alternative;\r\n boundary=\"part-",
            "Content-Type: text/plain; charset=utf-8\r\n",
            "\r\nGuten Tag,\r\n.\r\nviele Gr=C3=BC=C3=9Fe\r\n",
            "Content-Type: text/html; charset=utf-8\r\n",
            "\r\n<p>Guten Tag</p>\r\n",
        ] {
            assert!(
                mail.text.contains(expected),
                "{expected:?} in {}",
                mail.text
            );
        }
        assert!(mail.text.ends_with("--\r\n"));
        assert!(!mail.text.replace("\r\n", "").contains(['\r', '\n']));
    }

    #[test]
    fn a_message_of_text_alone_has_one_part() {
        let mail = composed(&Message {
            html: None,
            ..message()
        })
        .unwrap();
        assert!(!mail.text.contains("multipart"));
        assert!(mail.text.contains("\r\n\r\nGuten Tag,\r\n"));
    }

    #[test]
    fn headers_cannot_be_smuggled_in() {
        let subject = Message {
            subject: "a\r\nBcc: x@y.z".into(),
            ..message()
        };
        assert!(matches!(composed(&subject), Err(Error::BadMessage(_))));
        for bad in ["x@y.z\r\nBcc: a@b.c", "A\nB <x@y.z>"] {
            let to = Message {
                to: vec![bad.into()],
                ..message()
            };
            assert!(matches!(composed(&to), Err(Error::BadAddress(text)) if text == bad));
            let from = Message {
                from: Some(bad.into()),
                ..message()
            };
            assert!(matches!(composed(&from), Err(Error::BadAddress(_))));
        }
    }

    #[test]
    fn a_message_to_nobody_or_to_too_many_is_refused() {
        let nobody = Message {
            to: Vec::new(),
            ..message()
        };
        assert!(matches!(composed(&nobody), Err(Error::BadMessage(_))));
        let many = Message {
            to: vec!["a@b.c".into(); MAX_RECIPIENTS + 1],
            ..message()
        };
        assert!(matches!(composed(&many), Err(Error::BadMessage(text)) if text.contains("limit")));
    }
}
