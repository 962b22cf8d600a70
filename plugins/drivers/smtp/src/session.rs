//! One conversation with a mail server (RFC 5321).

use std::io::{self, BufRead, BufReader, Read, Write};

use net::describe;

use crate::message::Mail;
use crate::mime::base64;

/// Bytes of one line of an answer, and lines of one answer.
const MAX_LINE: u64 = 4096;
const MAX_LINES: usize = 100;

/// Why a message was not handed over.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The connection broke, or what came is not SMTP.
    #[error("the conversation broke: {}", describe(.0))]
    Broken(#[from] io::Error),
    /// The server refused for good.
    #[error("{step}: {answer}")]
    Refused { step: &'static str, answer: Answer },
    /// The server does not take this recipient.
    #[error("{address}: {answer}")]
    Recipient { address: String, answer: Answer },
    /// The server cannot do it now.
    #[error("{step}: {answer}")]
    Later { step: &'static str, answer: Answer },
    /// The message is longer than the server takes.
    #[error("the message of {actual} bytes is over the server's limit of {limit}")]
    TooLong { actual: usize, limit: usize },
    /// The server offers no way to sign in that this driver knows.
    #[error("the server offers neither AUTH PLAIN nor AUTH LOGIN")]
    NoAuth,
    /// The server offers no encryption, and it is asked for.
    #[error("the server offers no STARTTLS")]
    NoTls,
}

/// A connection on which TLS can begin.
pub trait Secure: Read + Write + Sized {
    /// The same connection by TLS.
    fn secure(self) -> io::Result<Self>;
}

/// How a conversation begins.
#[derive(Debug, Clone, Copy)]
pub struct Conversation<'a> {
    /// What this side calls itself.
    pub hello: &'a str,
    /// Whether encryption begins after the greeting.
    pub start_tls: bool,
}

/// What the server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    code: u16,
    lines: Vec<String>,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.code, self.lines.join(" "))
    }
}

/// How to sign in.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    pub username: &'a str,
    pub password: &'a str,
}

/// Greets the server and signs in, as before a message, and says good-bye.
pub fn check<S: Secure>(
    stream: S,
    conversation: Conversation<'_>,
    credentials: Option<Credentials<'_>>,
) -> Result<(), Failure> {
    let (mut session, offers) = Session::begin(stream, conversation)?;
    if let Some(credentials) = credentials {
        session.sign_in(&offers, credentials)?;
    }
    session.quit();
    Ok(())
}

/// Hands `mail` over and returns once the server has taken responsibility for it.
pub fn deliver<S: Secure>(
    stream: S,
    conversation: Conversation<'_>,
    credentials: Option<Credentials<'_>>,
    mail: &Mail,
) -> Result<(), Failure> {
    let (mut session, offers) = Session::begin(stream, conversation)?;
    let limit = offers.size.filter(|limit| *limit > 0);
    if let Some(limit) = limit.filter(|limit| mail.text.len() > *limit) {
        session.quit();
        return Err(Failure::TooLong {
            actual: mail.text.len(),
            limit,
        });
    }
    if let Some(credentials) = credentials {
        session.sign_in(&offers, credentials)?;
    }
    let size = offers.size.map(|_| format!(" SIZE={}", mail.text.len()));
    let from = format!("MAIL FROM:<{}>{}", mail.sender, size.unwrap_or_default());
    session.command("MAIL", &from, &[250])?;
    for address in &mail.recipients {
        session
            .command("RCPT", &format!("RCPT TO:<{address}>"), &[250, 251, 252])
            .map_err(|failure| match failure {
                Failure::Refused { answer, .. } => Failure::Recipient {
                    address: address.clone(),
                    answer,
                },
                other => other,
            })?;
    }
    session.command("DATA", "DATA", &[354])?;
    session.send(stuffed(&mail.text).as_bytes())?;
    session.expect("the message", &[250])?;
    // The message is the server's now; how it says good-bye changes nothing.
    session.quit();
    Ok(())
}

/// The message as it goes after `DATA`: a dot before each dot that begins a line, and a dot alone
/// at the end (RFC 5321, section 4.5.2).
fn stuffed(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.strip_suffix("\r\n").unwrap_or(text).split("\r\n") {
        if line.starts_with('.') {
            out.push('.');
        }
        out.push_str(line);
        out.push_str("\r\n");
    }
    out.push_str(".\r\n");
    out
}

/// What the server can do beyond the minimum.
#[derive(Debug, Default)]
struct Offers {
    start_tls: bool,
    size: Option<usize>,
    auth_plain: bool,
    auth_login: bool,
}

impl Offers {
    fn read(lines: &[String]) -> Self {
        let mut offers = Self::default();
        for line in lines.iter().skip(1) {
            let line = line.to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("SIZE") => {
                    offers.size = Some(words.next().and_then(|n| n.parse().ok()).unwrap_or(0))
                }
                Some("STARTTLS") => offers.start_tls = true,
                Some("AUTH") => {
                    for way in words {
                        offers.auth_plain |= way == "PLAIN";
                        offers.auth_login |= way == "LOGIN";
                    }
                }
                _ => {}
            }
        }
        offers
    }
}

struct Session<S> {
    stream: BufReader<S>,
}

impl<S: Secure> Session<S> {
    /// Is greeted and greets, and does so again by TLS if that is asked for: what the server said in
    /// the clear is nobody's word.
    fn begin(stream: S, conversation: Conversation<'_>) -> Result<(Self, Offers), Failure> {
        let mut session = Self {
            stream: BufReader::new(stream),
        };
        session.expect("the greeting", &[220])?;
        let offers = session.hello(conversation.hello)?;
        if !conversation.start_tls {
            return Ok((session, offers));
        }
        if !offers.start_tls {
            session.quit();
            return Err(Failure::NoTls);
        }
        session.command("STARTTLS", "STARTTLS", &[220])?;
        if !session.stream.buffer().is_empty() {
            // Somebody put it there to be taken for what comes by TLS.
            return Err(not_smtp().into());
        }
        let mut session = Self {
            stream: BufReader::new(session.stream.into_inner().secure()?),
        };
        let offers = session.hello(conversation.hello)?;
        Ok((session, offers))
    }

    /// Greets by `EHLO`, or by `HELO` where the server knows no other.
    fn hello(&mut self, name: &str) -> Result<Offers, Failure> {
        match self.command("EHLO", &format!("EHLO {name}"), &[250]) {
            Ok(answer) => Ok(Offers::read(&answer.lines)),
            Err(Failure::Refused { .. }) => {
                self.command("HELO", &format!("HELO {name}"), &[250])?;
                Ok(Offers::default())
            }
            Err(other) => Err(other),
        }
    }

    fn sign_in(&mut self, offers: &Offers, with: Credentials<'_>) -> Result<(), Failure> {
        if offers.auth_plain {
            let secret = base64(format!("\0{}\0{}", with.username, with.password).as_bytes());
            self.command("AUTH", &format!("AUTH PLAIN {secret}"), &[235])?;
        } else if offers.auth_login {
            self.command("AUTH", "AUTH LOGIN", &[334])?;
            self.command("AUTH", &base64(with.username.as_bytes()), &[334])?;
            self.command("AUTH", &base64(with.password.as_bytes()), &[235])?;
        } else {
            self.quit();
            return Err(Failure::NoAuth);
        }
        Ok(())
    }

    fn command(
        &mut self,
        step: &'static str,
        line: &str,
        expected: &[u16],
    ) -> Result<Answer, Failure> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.expect(step, expected)
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stream.get_mut().write_all(bytes)?;
        Ok(self.stream.get_mut().flush()?)
    }

    fn expect(&mut self, step: &'static str, expected: &[u16]) -> Result<Answer, Failure> {
        let answer = self.answer()?;
        match answer.code {
            code if expected.contains(&code) => Ok(answer),
            // The server closes the conversation.
            421 => Err(Failure::Later { step, answer }),
            400..=499 => {
                self.quit_unless(step);
                Err(Failure::Later { step, answer })
            }
            _ => {
                self.quit_unless(step);
                Err(Failure::Refused { step, answer })
            }
        }
    }

    /// After a refused `EHLO` comes `HELO`; after any other refusal there is nothing more to say.
    fn quit_unless(&mut self, step: &'static str) {
        if step != "EHLO" {
            self.quit();
        }
    }

    fn quit(&mut self) {
        let _ = self.stream.get_mut().write_all(b"QUIT\r\n");
        let _ = self.stream.get_mut().flush();
    }

    fn answer(&mut self) -> Result<Answer, Failure> {
        let mut lines = Vec::new();
        let mut code = None;
        loop {
            let line = self.line()?;
            let (digits, rest) = line.split_at_checked(3).ok_or_else(not_smtp)?;
            let number: u16 = digits.parse().map_err(|_| not_smtp())?;
            if *code.get_or_insert(number) != number || lines.len() == MAX_LINES {
                return Err(not_smtp().into());
            }
            let last = match rest.as_bytes().first() {
                Some(b'-') => false,
                Some(b' ') | None => true,
                Some(_) => return Err(not_smtp().into()),
            };
            lines.push(rest.get(1..).unwrap_or_default().trim().to_owned());
            if last {
                return Ok(Answer {
                    code: number,
                    lines,
                });
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut bytes = Vec::new();
        (&mut self.stream)
            .take(MAX_LINE)
            .read_until(b'\n', &mut bytes)?;
        if bytes.pop() != Some(b'\n') {
            return Err(match bytes.is_empty() {
                true => io::Error::new(io::ErrorKind::UnexpectedEof, "the server hung up"),
                false => not_smtp(),
            });
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text
            .trim_end_matches('\r')
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect())
    }
}

fn not_smtp() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the answer is not SMTP")
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
