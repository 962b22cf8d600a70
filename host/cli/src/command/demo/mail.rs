//! A mail server for trying things out: it accepts every message over SMTP (RFC 5321) on this
//! machine and keeps it as a file instead of delivering it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Bytes of one message.
const MESSAGE_LIMIT: usize = 10 << 20;
/// Bytes of one line; RFC 5321 asks for at least 1000.
const LINE_LIMIT: usize = 8 << 10;
/// Recipients of one message; RFC 5321 asks for at least 100.
const RECIPIENT_LIMIT: usize = 100;
/// How long a client may be silent.
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// Connections served at once; further ones wait.
const CONNECTION_LIMIT: usize = 32;

/// Called with the recipients and the file of a message.
pub(super) type OnMessage = Box<dyn Fn(&[String], &Path) + Send + Sync>;

/// Where messages are kept, and who is told of each.
pub(super) struct Mailbox {
    /// The folder.
    pub(super) dir: PathBuf,
    /// Is told of each message.
    pub(super) on_message: OnMessage,
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>) {
    let permits = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    loop {
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let mailbox = mailbox.clone();
                tokio::spawn(async move {
                    // A client that breaks off in the middle has nobody left to be told.
                    let _ = converse(stream, &mailbox).await;
                    drop(permit);
                });
            }
            // Out of file descriptors, say; accepting again at once would only spin.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(stream: TcpStream, mailbox: &Mailbox) -> io::Result<()> {
    let (read, write) = stream.into_split();
    Session {
        input: BufReader::new(read),
        output: write,
        mailbox,
        from: None,
        to: Vec::new(),
    }
    .run()
    .await
}

struct Session<'a, R, W> {
    input: R,
    output: W,
    mailbox: &'a Mailbox,
    from: Option<String>,
    to: Vec<String>,
}

impl<R: AsyncBufRead + Unpin, W: AsyncWrite + Unpin> Session<'_, R, W> {
    async fn run(mut self) -> io::Result<()> {
        self.answer("220 localhost ESMTP Canopy demo").await?;
        while let Some(line) = self.line().await? {
            let Line::Whole(line) = line else {
                self.answer("500 5.5.2 Line too long").await?;
                continue;
            };
            let line = String::from_utf8_lossy(&line).into_owned();
            let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => {
                    self.reset();
                    let size = format!("250-SIZE {MESSAGE_LIMIT}");
                    for line in [
                        "250-localhost",
                        "250-8BITMIME",
                        "250-SMTPUTF8",
                        &size,
                        "250 ENHANCEDSTATUSCODES",
                    ] {
                        self.answer(line).await?;
                    }
                }
                "HELO" => {
                    self.reset();
                    self.answer("250 localhost").await?;
                }
                "MAIL" => self.mail(rest).await?,
                "RCPT" => self.recipient(rest).await?,
                "DATA" => self.data().await?,
                "RSET" => {
                    self.reset();
                    self.answer("250 2.0.0 Reset").await?;
                }
                "NOOP" => self.answer("250 2.0.0 Here").await?,
                "VRFY" => self.answer("252 2.5.0 Send and see").await?,
                "QUIT" => return self.answer("221 2.0.0 Bye").await,
                _ => self.answer("502 5.5.1 Not implemented").await?,
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        self.from = None;
        self.to.clear();
    }

    async fn mail(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_some() {
            return self.answer("503 5.5.1 One sender a message").await;
        }
        match address(rest, "FROM:") {
            Some(from) => {
                self.from = Some(from);
                self.answer("250 2.1.0 Sender taken").await
            }
            None => self.answer("501 5.1.7 Expected MAIL FROM:<address>").await,
        }
    }

    async fn recipient(&mut self, rest: &str) -> io::Result<()> {
        if self.from.is_none() {
            return self.answer("503 5.5.1 MAIL comes first").await;
        }
        if self.to.len() >= RECIPIENT_LIMIT {
            return self.answer("452 4.5.3 Too many recipients").await;
        }
        match address(rest, "TO:").filter(|to| to.contains('@')) {
            Some(to) => {
                self.to.push(to);
                self.answer("250 2.1.5 Recipient taken").await
            }
            None => self.answer("501 5.1.3 Expected RCPT TO:<name@host>").await,
        }
    }

    async fn data(&mut self) -> io::Result<()> {
        let Some(from) = self.from.clone().filter(|_| !self.to.is_empty()) else {
            return self.answer("503 5.5.1 MAIL and RCPT come first").await;
        };
        self.answer("354 End with a line that is a dot").await?;
        let mut message = format!("Return-Path: <{from}>\r\n").into_bytes();
        for to in &self.to {
            message.extend_from_slice(format!("Delivered-To: {to}\r\n").as_bytes());
        }
        let mut fits = true;
        loop {
            match self.line().await? {
                None => return Ok(()),
                Some(Line::TooLong) => fits = false,
                Some(Line::Whole(line)) if line == b"." => break,
                Some(Line::Whole(line)) => {
                    let line = line.strip_prefix(b".").unwrap_or(&line);
                    fits = fits && message.len() + line.len() < MESSAGE_LIMIT;
                    if fits {
                        message.extend_from_slice(line);
                        message.extend_from_slice(b"\r\n");
                    }
                }
            }
        }
        let to = std::mem::take(&mut self.to);
        self.reset();
        if !fits {
            return self.answer("552 5.3.4 Message too big").await;
        }
        let dir = self.mailbox.dir.clone();
        match tokio::task::spawn_blocking(move || keep(&dir, &message))
            .await
            .map_err(io::Error::other)?
        {
            Ok(path) => {
                (self.mailbox.on_message)(&to, &path);
                self.answer("250 2.0.0 Kept").await
            }
            Err(_) => self.answer("451 4.3.0 Could not be kept").await,
        }
    }

    async fn answer(&mut self, text: &str) -> io::Result<()> {
        self.output.write_all(text.as_bytes()).await?;
        self.output.write_all(b"\r\n").await?;
        self.output.flush().await
    }

    /// The next line without its end; `None` once the client has gone or been silent for too long.
    async fn line(&mut self) -> io::Result<Option<Line>> {
        match tokio::time::timeout(SILENCE_LIMIT, read_line(&mut self.input)).await {
            Ok(line) => line,
            Err(_) => Ok(None),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Line {
    Whole(Vec<u8>),
    TooLong,
}

async fn read_line(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let piece = input.fill_buf().await?;
        if piece.is_empty() {
            return Ok(None);
        }
        let end = piece.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(piece.len(), |end| end + 1);
        if line.len() + taken > LINE_LIMIT {
            too_long = true;
            line.clear();
        } else if !too_long {
            line.extend_from_slice(&piece[..taken]);
        }
        input.consume(taken);
        if end.is_some() {
            break;
        }
    }
    if too_long {
        return Ok(Some(Line::TooLong));
    }
    line.pop();
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(Line::Whole(line)))
}

/// The address in `FROM:<address> parameters`.
fn address(text: &str, keyword: &str) -> Option<String> {
    let start = text.get(..keyword.len())?;
    let rest = text.get(keyword.len()..)?.trim_start();
    let address = rest.strip_prefix('<')?.split_once('>')?.0;
    let sound = start.eq_ignore_ascii_case(keyword) && !address.contains(char::is_control);
    sound.then(|| address.to_owned())
}

/// Writes a message so that it is there whole or not at all.
fn keep(dir: &Path, message: &[u8]) -> io::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let mut file = tempfile::Builder::new()
        .prefix(".incoming-")
        .tempfile_in(dir)?;
    io::Write::write_all(&mut file, message)?;
    file.as_file().sync_all()?;
    let now = time::OffsetDateTime::now_utc().unix_timestamp_nanos();
    let path = dir.join(format!("{now}.eml"));
    file.persist_noclobber(&path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn talk(dir: &Path, said: &str) -> String {
        let mailbox = Mailbox {
            dir: dir.to_owned(),
            on_message: Box::new(|_, _| {}),
        };
        let mut output = Vec::new();
        let session = Session {
            input: said.as_bytes(),
            output: &mut output,
            mailbox: &mailbox,
            from: None,
            to: Vec::new(),
        };
        session.run().await.expect("a conversation");
        String::from_utf8(output).expect("text")
    }

    fn codes(answer: &str) -> Vec<&str> {
        answer.lines().map(|line| &line[..3]).collect()
    }

    #[tokio::test]
    async fn a_message_is_kept_with_its_envelope_and_without_the_dots_of_the_wire() {
        let dir = tempfile::tempdir().expect("a folder");
        let said = "HELO x\r\nMAIL FROM:<a@x> SIZE=9\r\nRCPT TO:<b@y>\r\nDATA\r\nSubject: s\r\n\r\n..dot\r\n.\r\nQUIT\r\n";
        let answer = talk(dir.path(), said).await;
        assert_eq!(
            codes(&answer),
            ["220", "250", "250", "250", "354", "250", "221"]
        );
        let file = std::fs::read_dir(dir.path())
            .expect("folder")
            .next()
            .expect("a file")
            .expect("entry")
            .path();
        assert_eq!(
            std::fs::read_to_string(file).expect("read"),
            "Return-Path: <a@x>\r\nDelivered-To: b@y\r\nSubject: s\r\n\r\n.dot\r\n"
        );
    }

    #[tokio::test]
    async fn what_comes_out_of_order_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let said = "RCPT TO:<b@y>\r\nDATA\r\nMAIL FROM:a@x\r\nMAIL FROM:<>\r\nMAIL FROM:<c@z>\r\nRCPT TO:<b>\r\nSTARTTLS\r\n";
        let answer = talk(dir.path(), said).await;
        assert_eq!(
            codes(&answer),
            ["220", "503", "503", "501", "250", "503", "501", "502"]
        );
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
    }

    #[tokio::test]
    async fn an_overlong_line_is_refused_and_the_conversation_goes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let answer = talk(
            dir.path(),
            &format!("{}\r\nNOOP\r\n", "x".repeat(LINE_LIMIT * 3)),
        )
        .await;
        assert_eq!(codes(&answer), ["220", "500", "250"]);
    }

    #[tokio::test]
    async fn a_message_that_breaks_off_is_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let answer = talk(
            dir.path(),
            "MAIL FROM:<a@x>\r\nRCPT TO:<b@y>\r\nDATA\r\nSubject: s\r\n",
        )
        .await;
        assert_eq!(codes(&answer), ["220", "250", "250", "354"]);
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 0);
    }
}
