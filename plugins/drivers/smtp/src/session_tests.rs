use super::*;

/// Plays a server whose answers are written down, and keeps what was said to it.
struct Script {
    answers: io::Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for &mut Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.answers.read(buffer)
    }
}

impl Write for &mut Script {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Secure for &mut Script {
    fn secure(self) -> io::Result<Self> {
        self.heard.extend_from_slice(b"[TLS]");
        Ok(self)
    }
}

fn mail() -> Mail {
    Mail {
        sender: "a@x.example".into(),
        recipients: vec!["b@y.example".into(), "c@y.example".into()],
        id: "<1@x.example>".into(),
        text: "Subject: s\r\n\r\n.hidden\r\n..\r\nend\r\n".into(),
    }
}

fn talk(answers: &str, credentials: Option<Credentials<'_>>) -> (Result<(), Failure>, String) {
    talk_by(false, answers, credentials)
}

fn talk_by(
    start_tls: bool,
    answers: &str,
    credentials: Option<Credentials<'_>>,
) -> (Result<(), Failure>, String) {
    let conversation = Conversation {
        hello: "me.example",
        start_tls,
    };
    let mut script = Script {
        answers: io::Cursor::new(answers.replace('\n', "\r\n").into_bytes()),
        heard: Vec::new(),
    };
    let outcome = deliver(&mut script, conversation, credentials, &mail());
    (outcome, String::from_utf8(script.heard).unwrap())
}

const ADA: Credentials<'_> = Credentials {
    username: "ada",
    password: "pässword",
};

#[test]
fn a_message_is_handed_over_with_its_dots_stuffed() {
    let (outcome, heard) = talk(
        "220 hi\n250-mx\n250-SIZE 1000\n250 8BITMIME\n250 ok\n250 ok\n251 ok\n354 go\n250 queued\n221 bye\n",
        None,
    );
    outcome.unwrap();
    assert_eq!(
        heard,
        "EHLO me.example\r\nMAIL FROM:<a@x.example> SIZE=32\r\nRCPT TO:<b@y.example>\r\n\
         RCPT TO:<c@y.example>\r\nDATA\r\nSubject: s\r\n\r\n..hidden\r\n...\r\nend\r\n.\r\nQUIT\r\n"
    );
}

#[test]
fn an_old_server_is_greeted_by_helo() {
    let (outcome, heard) = talk(
        "220 hi\n502 what\n250 mx\n250 ok\n250 ok\n250 ok\n354 go\n250 queued\n",
        None,
    );
    outcome.unwrap();
    assert!(heard.starts_with("EHLO me.example\r\nHELO me.example\r\nMAIL FROM:<a@x.example>\r\n"));
}

#[test]
fn signing_in_is_by_plain_or_by_login() {
    let rest = "235 ok\n250 ok\n250 ok\n250 ok\n354 go\n250 queued\n";
    let (outcome, heard) = talk(
        &format!("220 hi\n250-mx\n250 AUTH LOGIN PLAIN\n{rest}"),
        Some(ADA),
    );
    outcome.unwrap();
    assert!(
        heard.contains("AUTH PLAIN AGFkYQBww6Rzc3dvcmQ=\r\n"),
        "{heard}"
    );
    let login = format!("220 hi\n250-mx\n250 AUTH LOGIN\n334 u\n334 p\n{rest}");
    let (outcome, heard) = talk(&login, Some(ADA));
    outcome.unwrap();
    assert!(
        heard.contains("AUTH LOGIN\r\nYWRh\r\ncMOkc3N3b3Jk\r\n"),
        "{heard}"
    );
}

#[test]
fn a_password_is_not_sent_where_it_is_not_asked_for() {
    let (outcome, heard) = talk("220 hi\n250 mx\n", Some(ADA));
    assert!(matches!(outcome, Err(Failure::NoAuth)));
    assert!(!heard.contains("AUTH"));
}

#[test]
fn one_refused_recipient_ends_it_before_the_message() {
    let (outcome, heard) = talk("220 hi\n250 mx\n250 ok\n250 ok\n550 no such user\n", None);
    let Err(Failure::Recipient { address, answer }) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(
        (address.as_str(), answer.to_string().as_str()),
        ("c@y.example", "550 no such user")
    );
    assert!(!heard.contains("DATA") && heard.ends_with("QUIT\r\n"));
}

#[test]
fn answers_of_the_4xx_kind_mean_later_and_of_the_5xx_kind_never() {
    for (answers, later) in [
        ("421 closing\n", true),
        ("554 no\n", false),
        ("220 hi\n250 mx\n450 busy\n", true),
        ("220 hi\n250 mx\n550 not you\n", false),
        (
            "220 hi\n250 mx\n250 ok\n250 ok\n250 ok\n354 go\n451 full\n",
            true,
        ),
        (
            "220 hi\n250 mx\n250 ok\n250 ok\n250 ok\n354 go\n554 spam\n",
            false,
        ),
    ] {
        let (outcome, _) = talk(answers, None);
        match outcome {
            Err(Failure::Later { .. }) => assert!(later, "{answers}"),
            Err(Failure::Refused { .. }) => assert!(!later, "{answers}"),
            other => panic!("{answers}: {other:?}"),
        }
    }
}

#[test]
fn what_is_not_smtp_is_an_error_and_not_a_message() {
    for answers in [
        "",
        "220 hi\n",
        "HTTP/1.1 400 Bad Request\n",
        "220-a\n250 b\n",
        "22",
        "220hi\n",
    ] {
        assert!(
            matches!(talk(answers, None).0, Err(Failure::Broken(_))),
            "{answers:?}"
        );
    }
    let endless = "220-more\n".repeat(MAX_LINES + 2);
    assert!(matches!(talk(&endless, None).0, Err(Failure::Broken(_))));
}

#[test]
fn a_message_over_the_servers_limit_is_not_sent() {
    let (outcome, heard) = talk("220 hi\n250-mx\n250 SIZE 10\n", None);
    assert!(matches!(
        outcome,
        Err(Failure::TooLong {
            actual: 32,
            limit: 10
        })
    ));
    assert!(!heard.contains("MAIL"));
}

#[test]
fn a_check_signs_in_and_sends_nothing() {
    let ask = |answers: &str| {
        let mut script = Script {
            answers: io::Cursor::new(answers.replace('\n', "\r\n").into_bytes()),
            heard: Vec::new(),
        };
        let conversation = Conversation {
            hello: "me.example",
            start_tls: false,
        };
        let outcome = check(&mut script, conversation, Some(ADA));
        (outcome, String::from_utf8(script.heard).unwrap())
    };
    let (outcome, heard) = ask("220 hi\n250-mx\n250 AUTH PLAIN\n235 welcome\n221 bye\n");
    outcome.unwrap();
    assert!(
        heard.ends_with("QUIT\r\n") && !heard.contains("MAIL"),
        "{heard}"
    );
    let (outcome, _) = ask("220 hi\n250-mx\n250 AUTH PLAIN\n535 wrong password\n");
    let refused = outcome.unwrap_err().to_string();
    assert!(refused.contains("535 wrong password"), "{refused}");
}

#[test]
fn what_is_said_before_tls_is_forgotten() {
    // The script comes in one piece, which is how an injected answer comes, too.
    let (outcome, heard) = talk_by(
        true,
        "220 hi\n250-mx\n250-AUTH PLAIN\n250 STARTTLS\n220 go\n250 injected\n",
        Some(ADA),
    );
    assert!(matches!(outcome, Err(Failure::Broken(_))), "{outcome:?}");
    assert!(
        !heard.contains("AUTH") && !heard.contains("[TLS]"),
        "{heard}"
    );
}

#[test]
fn without_the_offer_of_tls_nothing_is_said_that_somebody_should_not_hear() {
    let (outcome, heard) = talk_by(true, "220 hi\n250-mx\n250 AUTH PLAIN\n221 bye\n", Some(ADA));
    assert!(matches!(outcome, Err(Failure::NoTls)), "{outcome:?}");
    assert_eq!(heard, "EHLO me.example\r\nQUIT\r\n");
}
