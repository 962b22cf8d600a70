//! What sending mail comes to. Whether it arrives is between the server and its users: what is tried is
//! what the driver says about it.

use std::collections::BTreeSet;

use futures::future::try_join_all;
use serde_json::{Value, json};

use super::callers::through_restarts;
use super::faults::{during, slowly};
use super::{Case, cases};
use crate::command::driver::test::bench::{At, Bench};
use crate::command::driver::test::probe::{Answer, Stop, failed, skipped};
use crate::command::driver::test::proxy::Weather;

pub(super) const CASES: &[Case] = cases! {
    "behaviour/sent" => sent,
    "behaviour/all-parts" => all_parts,
    "behaviour/odd-texts" => odd_texts,
    "behaviour/bad-addresses" => bad_addresses,
    "behaviour/no-recipient" => no_recipient,
    "limits/long-texts" => long_texts,
    "limits/many-recipients" => many_recipients,
    "callers/concurrent" => concurrent,
    "restart/in-mid-use" => restart_in_mid_use,
    "leaks/memory" => memory,
    "faults/refused" => refused,
    "faults/broken-idle" => broken_idle,
    "faults/broken-answer" => broken_answer,
    "faults/silent" => silent,
    "faults/slow" => slow,
    "faults/garbled" => garbled,
};

/// A message to whom mail of the cases may go, changed by what is given.
fn letter(bench: &Bench, changes: Value) -> Result<Value, Stop> {
    let Some(to) = &bench.given.mail_to else {
        return skipped("no --mail-to was named");
    };
    let mut with = json!({"to": [to], "subject": "A test of a driver", "text": "It is one."});
    if let (Some(with), Value::Object(changes)) = (with.as_object_mut(), changes) {
        with.extend(changes);
    }
    Ok(json!({"op": "send", "with": with}))
}

async fn send(bench: &Bench, at: At, changes: Value) -> Result<Answer, Stop> {
    Ok(bench.ask(at, &letter(bench, changes)?).await)
}

/// The Message-ID, which has to look like one.
fn identifier(answer: Answer, what: &str) -> Result<String, Stop> {
    let value = answer.done(what)?;
    match value.as_str() {
        Some(text) if text.contains('@') && !text.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => failed(format!("{what}: {value} is no Message-ID")),
    }
}

async fn sent(bench: &Bench) -> Result<(), Stop> {
    let one = identifier(send(bench, At::First, json!({})).await?, "a message")?;
    let two = identifier(send(bench, At::First, json!({})).await?, "the same again")?;
    if one == two {
        return failed("two messages have one Message-ID");
    }
    Ok(())
}

async fn all_parts(bench: &Bench) -> Result<(), Stop> {
    let Some(to) = &bench.given.mail_to else {
        return skipped("no --mail-to was named");
    };
    let whole = json!({
        "to": [format!("\"Ü, of tests\" <{to}>")],
        "cc": [to],
        "reply_to": to,
        "subject": "Grüße: a €-sign and 日本語, in a subject that does not fit into one line of a header",
        "text": "A text with ü and €.",
        "html": "<p>And as <b>HTML</b>: ü</p>",
    });
    identifier(send(bench, At::First, whole).await?, "a message with all").map(drop)
}

/// What means something to the protocol means nothing in a message: it is sent, or refused as it is,
/// and the next one is not touched by it.
async fn odd_texts(bench: &Bench) -> Result<(), Stop> {
    for (part, text) in [
        ("text", ".\r\nQUIT\r\n.\r\n"),
        ("text", "\n.\n..\n.x\r.\r"),
        ("text", "\0\u{1b}"),
        ("subject", "one\r\nBcc: nobody@example.invalid"),
        ("subject", "one\r\n\r\nAnother text"),
        ("reply_to", "a@example.com\r\nBcc: nobody@example.invalid"),
        ("from", "a@example.com>\r\nRCPT TO:<nobody@example.invalid"),
    ] {
        let odd = send(bench, At::First, json!({part: text})).await?;
        let odd = odd.defined(&format!("{part} {text:?}"))?;
        if odd.is_ok() && matches!(part, "from" | "reply_to") {
            return failed(format!("{part} {text:?} is taken for an address"));
        }
        let next = send(bench, At::First, json!({})).await?;
        identifier(next, "the message after it")?;
    }
    Ok(())
}

async fn bad_addresses(bench: &Bench) -> Result<(), Stop> {
    for address in [
        "",
        "nobody",
        "@example.invalid",
        "a b@example.invalid",
        "a@example.invalid\r\nRCPT TO:<b@example.invalid>",
        "<a@example.invalid",
    ] {
        let said = send(bench, At::First, json!({"to": [address]})).await?;
        let said = said.refused(&format!("mail to {address:?}"))?;
        if !said.starts_with("bad-address ") {
            return failed(format!("mail to {address:?} is {said}"));
        }
    }
    Ok(())
}

async fn no_recipient(bench: &Bench) -> Result<(), Stop> {
    let said = send(bench, At::First, json!({"to": []})).await?;
    said.refused("mail to nobody").map(drop)
}

/// Taken or refused, and in neither case broken.
async fn long_texts(bench: &Bench) -> Result<(), Stop> {
    for (part, text) in [
        ("text", "x".repeat(100_000)),
        ("text", "A line.\n".repeat(100_000)),
        ("subject", "long ".repeat(2_000)),
        ("html", "<p>ü</p>".repeat(50_000)),
        ("reply_to", format!("{}@example.com", "a".repeat(5_000))),
    ] {
        let said = send(bench, At::First, json!({part: text})).await?;
        said.defined(&format!("a long {part}"))?.ok();
        identifier(send(bench, At::First, json!({})).await?, "the next message")?;
    }
    Ok(())
}

async fn many_recipients(bench: &Bench) -> Result<(), Stop> {
    let to: Vec<_> = std::iter::repeat_n(&bench.given.mail_to, 150)
        .flatten()
        .collect();
    let said = send(bench, At::First, json!({"to": to})).await?;
    said.defined("a message to one person 150 times")?.ok();
    identifier(send(bench, At::First, json!({})).await?, "the next message").map(drop)
}

async fn concurrent(bench: &Bench) -> Result<(), Stop> {
    let one = |at: At| async move {
        identifier(send(bench, at, json!({})).await?, "one of many at once")
    };
    let all = At::ALL.into_iter().cycle().take(24).map(one);
    let identifiers: BTreeSet<_> = try_join_all(all).await?.into_iter().collect();
    match identifiers.len() {
        24 => Ok(()),
        different => failed(format!("24 messages have {different} Message-IDs")),
    }
}

async fn restart_in_mid_use(bench: &Bench) -> Result<(), Stop> {
    let ask = letter(bench, json!({}))?;
    through_restarts(bench, |_, _| ask.clone()).await?;
    identifier(
        send(bench, At::First, json!({})).await?,
        "a message afterwards",
    )
    .map(drop)
}

/// More bytes through the driver than its memory holds.
async fn memory(bench: &Bench) -> Result<(), Stop> {
    const BYTES: u64 = 1 << 20;
    const ROUNDS: u64 = 8;
    let needed = bench.given.memory + bench.given.memory / 4;
    for _ in 0..needed.div_ceil(BYTES * ROUNDS) {
        let mut churn = letter(bench, json!({}))?;
        churn["op"] = json!("churn");
        churn["count"] = json!(ROUNDS);
        churn["bytes"] = json!(BYTES);
        bench.ask(At::First, &churn).await.done("many messages")?;
    }
    Ok(())
}

/// During `weather` a message does not go out, and is said not to for that reason.
async fn errs(bench: &Bench, weather: Weather) -> Result<(), Stop> {
    let ask = letter(bench, json!({}))?;
    for answer in during(bench, weather, &[ask]).await? {
        let said = answer.refused("a message")?;
        if !said.starts_with("unavailable ") {
            return failed(format!("a message that could go out later is {said}"));
        }
    }
    Ok(())
}

async fn refused(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Refused).await
}

async fn silent(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Silent).await
}

async fn garbled(bench: &Bench) -> Result<(), Stop> {
    errs(bench, Weather::Garbled).await
}

/// A connection that the driver may have kept is gone when it wants it again.
async fn broken_idle(bench: &Bench) -> Result<(), Stop> {
    let proxy = bench.proxy()?;
    let ask = letter(bench, json!({}))?;
    bench.ask(At::First, &ask).await.done("a message")?;
    proxy.break_all();
    let answer = bench.ask(At::First, &ask).await;
    answer.defined("a message after the connection broke")?.ok();
    bench.recovers().await
}

async fn broken_answer(bench: &Bench) -> Result<(), Stop> {
    for bytes in [0, 1, 7] {
        errs(bench, Weather::Cut(bytes)).await?;
    }
    Ok(())
}

async fn slow(bench: &Bench) -> Result<(), Stop> {
    let ask = letter(bench, json!({}))?;
    for answer in slowly(bench, &[ask]).await? {
        identifier(answer, "a message by a slow server")?;
    }
    Ok(())
}
