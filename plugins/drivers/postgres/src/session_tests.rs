//! Conversations with a server whose words are written down beforehand.

use super::*;

/// Says `script` whatever it hears, and keeps what it heard.
pub(super) struct Scripted {
    script: io::Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Scripted {
    /// In small pieces, as a network may.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let end = out.len().min(3);
        self.script.read(&mut out[..end])
    }
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.heard.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn authentication(kind: u32, rest: &[u8]) -> Vec<u8> {
    message(b'R', &[&kind.to_be_bytes(), rest].concat())
}

pub(super) fn error(severity: &str, code: &str) -> Vec<u8> {
    message(
        b'E',
        format!("S{severity}\0V{severity}\0C{code}\0Msaid so\0\0").as_bytes(),
    )
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

pub(super) fn row(columns: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for column in columns {
        match column {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                body.extend(*bytes);
            }
        }
    }
    message(b'D', &body)
}

const LOGIN: Login<'_> = Login {
    username: "ada",
    password: Some("secret-word"),
    database: "books",
    timeout_ms: 5000,
    schema: None,
};

fn begin(script: &[Vec<u8>], login: Login<'_>) -> Result<Session<Scripted>, Fault> {
    let stream = Scripted {
        script: io::Cursor::new(script.concat()),
        heard: Vec::new(),
    };
    Session::begin(stream, login)
}

/// A session that is logged in, and whose server then says `script`.
pub(super) fn logged_in(script: &[Vec<u8>]) -> Session<Scripted> {
    let begun = [
        authentication(0, b""),
        message(b'S', b"server_version\x0016.1\0"),
        message(b'K', &[0; 8]),
        ready(),
    ];
    begin(&[&begun[..], script].concat(), LOGIN).ok().unwrap()
}

#[test]
fn passwords_are_given_neither_in_clear_text_nor_as_md5() {
    for (asked, told) in [
        (authentication(3, b""), "clear text"),
        (authentication(5, b"salt"), "MD5"),
        (authentication(9, b""), "another kind of login"),
        (authentication(10, b"SCRAM-SHA-512\0\0"), "no SCRAM-SHA-256"),
    ] {
        let fault = begin(&[asked], LOGIN).err().unwrap();
        assert!(fault.to_string().contains(told), "{fault}");
    }
    let nameless = Login {
        password: None,
        ..LOGIN
    };
    let asked = authentication(10, b"SCRAM-SHA-256\0\0");
    let fault = begin(&[asked], nameless).err().unwrap();
    assert!(fault.to_string().contains("asks for a password"), "{fault}");
}

#[test]
fn a_server_that_does_not_prove_that_it_knows_the_password_is_not_used() {
    let script = [
        authentication(10, b"SCRAM-SHA-256\0\0"),
        authentication(0, b""),
        ready(),
    ];
    let fault = begin(&script, LOGIN).err().unwrap();
    assert!(fault.to_string().contains("did not prove"), "{fault}");
}

#[test]
fn the_password_itself_is_never_sent() {
    let script = [authentication(10, b"SCRAM-SHA-256\0\0")];
    let mut stream = Scripted {
        script: io::Cursor::new(script.concat()),
        heard: Vec::new(),
    };
    assert!(
        Session::begin(&mut stream, LOGIN).is_err(),
        "the script ends"
    );
    assert!(!String::from_utf8_lossy(&stream.heard).contains("secret-word"));
    assert!(String::from_utf8_lossy(&stream.heard).contains("SCRAM-SHA-256"));
}

#[test]
fn a_statement_is_prepared_once() {
    let answer = [
        message(b'1', b""),
        message(b'2', b""),
        row(&[Some(b"x"), None]),
        message(b'C', b"SELECT 1\0"),
        ready(),
        message(b'2', b""),
        message(b'C', b"SELECT 0\0"),
        ready(),
    ];
    let mut session = logged_in(&answer);
    let rows = session
        .execute("s", || "SELECT first".to_owned(), &[Value::Bytes(b"k")])
        .unwrap();
    assert_eq!(rows, [[Some(Bytes::from_static(b"x")), None]]);
    let rows = session.execute("s", || "SELECT second".to_owned(), &[Value::Bytes(b"k")]);
    assert!(rows.unwrap().is_empty());
    let heard = String::from_utf8_lossy(&session.stream.heard).into_owned();
    assert!(heard.contains("SELECT first") && !heard.contains("SELECT second"));
}

#[test]
fn a_refused_statement_is_prepared_anew_and_the_session_goes_on() {
    let mut session = logged_in(&[
        error("ERROR", "42P01"),
        ready(),
        message(b'1', b""),
        message(b'2', b""),
        message(b'C', b"SELECT 0\0"),
        ready(),
    ]);
    let refused = session.execute("s", || "SELECT 1".to_owned(), &[]);
    let Err(Fault::Refused(refusal)) = refused else {
        panic!("a refusal");
    };
    assert_eq!((refusal.code.as_str(), refusal.fatal), ("42P01", false));
    assert!(session.execute("s", || "SELECT 1".to_owned(), &[]).is_ok());
}

#[test]
fn a_server_that_goes_away_says_so() {
    let mut session = logged_in(&[error("FATAL", "57P01")]);
    let Err(Fault::Refused(refusal)) = session.run("SELECT 1") else {
        panic!("a refusal");
    };
    assert!(refusal.is_away() && !refusal.is_passing());
    assert!(!session.is_alive());
}

#[test]
fn what_is_broken_or_boundless_is_refused() {
    for script in [
        vec![],
        b"HTTP/1.1 400 Bad Request\r\n".to_vec(),
        vec![b'D', 0xff, 0xff, 0xff, 0xff],
        vec![b'D', 0x7f, 0xff, 0xff, 0xff],
        vec![b'D', 0, 0, 0, 1],
    ] {
        let mut session = logged_in(&[script]);
        assert!(matches!(session.run("SELECT 1"), Err(Fault::Broken(_))));
    }
}

#[test]
fn a_list_has_the_form_of_an_array() {
    let mut out = BytesMut::new();
    Value::ListOfBytes(&[b"a", b""]).encode(&mut out).unwrap();
    let expected = [1, 0, 17, 2, 1, 1].map(u32::to_be_bytes).concat();
    assert_eq!(out, [expected.as_slice(), b"a", &[0; 4]].concat());
}

#[test]
fn a_server_without_tls_is_not_talked_to_in_the_clear() {
    let ask = |answer: &[u8]| {
        let mut stream = Scripted {
            script: io::Cursor::new(answer.to_vec()),
            heard: Vec::new(),
        };
        let asked = ask_for_tls(&mut stream);
        assert_eq!(stream.heard, [0, 0, 0, 8, 4, 210, 22, 47]);
        (asked, stream.script.position())
    };
    let (asked, read) = ask(b"Sand more");
    assert!(asked.is_ok() && read == 1, "nothing before TLS is taken");
    assert!(ask(b"N").0.unwrap_err().to_string().contains("no TLS"));
    assert!(ask(b"E").0.is_err());
    assert!(ask(b"").0.is_err());
}
