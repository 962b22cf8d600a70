//! The driver's requests against a service in memory that can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

use canopy_sdk::header;
use time::macros::datetime;

use super::*;
use crate::counting::{Refusal, increment, prove};

/// A service with one bucket `b`.
#[derive(Default)]
struct Memory {
    objects: RefCell<BTreeMap<String, (Vec<u8>, u32)>>,
    writes: Cell<u32>,
    /// How many of the next requests are answered that the service is too busy.
    busy: Cell<u32>,
    requests: Cell<usize>,
    /// Whether conditions are ignored.
    unconditional: bool,
    /// How many of the next conditional writes come too late.
    late: Cell<u32>,
    unreachable: Cell<bool>,
}

fn refusal(status: u16, code: &str) -> Incoming {
    Incoming {
        status,
        headers: HeaderMap::new(),
        body: format!("<Error><Code>{code}</Code><Message>m</Message></Error>").into_bytes(),
    }
}

fn success(body: &[u8], etag: Option<u32>) -> Incoming {
    let etag = etag.map(|tag| (header::ETAG, format!("\"{tag}\"").parse().unwrap()));
    Incoming {
        status: 200,
        headers: etag.into_iter().collect(),
        body: body.to_vec(),
    }
}

impl Memory {
    fn answer(&self, request: &Outgoing) -> Incoming {
        self.requests.set(self.requests.get() + 1);
        if self.busy.get() > 0 {
            self.busy.set(self.busy.get() - 1);
            return refusal(503, "SlowDown");
        }
        let header = |name: &str| {
            let mut found = request.headers.iter().filter(|(one, _)| *one == name);
            found.next().map(|(_, value)| value.clone())
        };
        assert!(header("authorization").is_some());
        let path = request
            .url
            .strip_prefix("http://s3.test/b")
            .expect("the bucket");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let name = path.trim_start_matches('/').replace("%3D", "=");
        let mut objects = self.objects.borrow_mut();
        match request.method {
            "GET" if query.contains("list-type=2") => {
                let part = |name: &str| {
                    let mut parts = query.split('&').filter_map(|pair| pair.split_once('='));
                    let found = parts.find(|(one, _)| *one == name);
                    found.map(|(_, value)| value.replace("%2F", "/").replace("%3D", "="))
                };
                let prefix = part("prefix").unwrap();
                let after = part("start-after").unwrap_or_default();
                let most: usize = part("max-keys").unwrap().parse().unwrap();
                let all = objects
                    .keys()
                    .filter(|name| name.starts_with(&prefix) && **name > after);
                let all: Vec<_> = all.collect();
                let listed = all
                    .iter()
                    .take(most)
                    .map(|name| format!("<Contents><Key>{name}</Key></Contents>"));
                let text = format!(
                    "<ListBucketResult><IsTruncated>{}</IsTruncated>{}</ListBucketResult>",
                    all.len() > most,
                    listed.collect::<String>()
                );
                success(text.as_bytes(), None)
            }
            "GET" | "HEAD" => match objects.get(&name) {
                Some((value, tag)) => success(value, Some(*tag)),
                None => refusal(404, "NoSuchKey"),
            },
            "PUT" => {
                let conditional = header("if-match").is_some() || header("if-none-match").is_some();
                if conditional && self.late.get() > 0 {
                    self.late.set(self.late.get() - 1);
                    return refusal(412, "PreconditionFailed");
                }
                let tag = objects.get(&name).map(|(_, tag)| format!("\"{tag}\""));
                let holds = header("if-match").is_none_or(|wanted| Some(wanted) == tag)
                    && (header("if-none-match").is_none() || tag.is_none());
                if !holds && !self.unconditional {
                    return refusal(412, "PreconditionFailed");
                }
                self.writes.set(self.writes.get() + 1);
                objects.insert(name, (request.body.to_vec(), self.writes.get()));
                success(b"", Some(self.writes.get()))
            }
            "DELETE" => {
                objects.remove(&name);
                success(b"", None)
            }
            "POST" => {
                assert_eq!(query, "delete=");
                let text = String::from_utf8(request.body.to_vec()).unwrap();
                for part in text.split("<Key>").skip(1) {
                    objects.remove(part.split_once("</Key>").unwrap().0);
                }
                success(b"<DeleteResult/>", None)
            }
            other => panic!("{other}"),
        }
    }
}

impl Transport for &Memory {
    type Body = std::io::Cursor<Vec<u8>>;

    fn fetch(&self, request: Outgoing) -> Result<Incoming<Self::Body>, client::Error> {
        let answer = self.answer(&request);
        Ok(Incoming {
            status: answer.status,
            headers: answer.headers,
            body: std::io::Cursor::new(answer.body),
        })
    }

    fn exchange(&self, requests: Vec<Outgoing>) -> Vec<Result<Incoming, client::Error>> {
        assert!(requests.len() <= AT_ONCE);
        let answer = |request: &Outgoing| match self.unreachable.get() {
            true => Err(client::Error::Connection("refused".to_owned())),
            false => Ok(self.answer(request)),
        };
        requests.iter().map(answer).collect()
    }

    fn pause(&self, _: u32) {}

    fn now(&self) -> OffsetDateTime {
        datetime!(2026-01-01 00:00:00 UTC)
    }
}

fn settings() -> Settings {
    Settings {
        scheme: "http".into(),
        authority: "s3.test".into(),
        region: "us-east-1".into(),
        bucket: "b".into(),
        virtual_host: false,
        access_key_id: "id".into(),
        secret_access_key: "secret".into(),
        session_token: None,
        prefix: "canopy".into(),
        timeout: Duration::from_secs(1),
        max_batch: 100,
        part_bytes: 5 << 20,
        public: None,
    }
}

fn with<R>(memory: &Memory, run: impl FnOnce(Service<'_, &Memory>) -> R) -> R {
    run(Service {
        settings: &settings(),
        transport: memory,
    })
}

#[test]
fn objects_are_written_read_listed_and_removed() {
    with(&Memory::default(), |service| {
        assert_eq!(service.get("p/a").unwrap(), None);
        assert!(!service.exists("p/a").unwrap());
        let many: Vec<_> = (0..40)
            .map(|n| (format!("p/k=2F{n:02}"), vec![n]))
            .collect();
        service.put_many(&many).unwrap();
        assert!(service.exists("p/k=2F07").unwrap());
        let names: Vec<_> = many.iter().map(|(name, _)| name.clone()).collect();
        let read = service.get_many(&names).unwrap();
        assert_eq!(read[39].as_deref(), Some(&[39][..]), "answers are in order");
        let first = service.list("p/", None, 30).unwrap();
        let rest = service
            .list(
                "p/",
                first.objects.last().map(|last| last.name.as_str()),
                30,
            )
            .unwrap();
        assert!(first.more && !rest.more);
        assert_eq!([first.names(), rest.names()].concat(), names);
        service.delete(&names[0]).unwrap();
        service.delete_many(&names).unwrap();
        assert!(service.list("p/", None, 30).unwrap().objects.is_empty());
    });
}

#[test]
fn a_service_that_is_too_busy_is_asked_again_but_not_for_ever() {
    let memory = Memory::default();
    with(&memory, |service| {
        memory.busy.set(2);
        assert!(service.put("p/a", b"x", Condition::Always).unwrap());
        memory.busy.set(3);
        let failure = service.get("p/a").unwrap_err();
        assert!(failure.to_string().contains("503 SlowDown"), "{failure}");
    });
}

#[test]
fn a_write_on_a_condition_is_sent_once() {
    let memory = Memory::default();
    with(&memory, |service| {
        memory.busy.set(1);
        assert!(service.put("p/a", b"x", Condition::Absent).is_err());
        assert_eq!(memory.requests.get(), 1);
    });
}

#[test]
fn numbers_are_counted_on_condition() {
    let memory = Memory::default();
    with(&memory, |service| {
        assert_eq!(increment(&service, "p/n", 3).unwrap(), 3);
        memory.late.set(5);
        assert_eq!(
            increment(&service, "p/n", 4).unwrap(),
            7,
            "others were faster five times"
        );
        assert_eq!(service.get("p/n").unwrap().unwrap().0, b"7");
        memory.late.set(1000);
        assert!(matches!(
            increment(&service, "p/n", 1),
            Err(Refusal::Contended)
        ));
        memory.late.set(0);
        assert!(matches!(
            increment(&service, "p/n", i64::MAX),
            Err(Refusal::Overflow)
        ));
        for value in [
            &b"x"[..],
            b"",
            b"+1",
            b" 1",
            b"1.0",
            b"\xff",
            b"99999999999999999999",
        ] {
            service.put("p/t", value, Condition::Always).unwrap();
            assert!(matches!(
                increment(&service, "p/t", 1),
                Err(Refusal::NotANumber)
            ));
        }
    });
}

#[test]
fn nothing_is_counted_on_a_service_that_ignores_conditions() {
    with(&Memory::default(), |service| prove(&service, "p").unwrap());
    let careless = Memory {
        unconditional: true,
        ..Memory::default()
    };
    with(&careless, |service| {
        assert!(matches!(prove(&service, "p"), Err(Refusal::Unsuitable)));
    });
}

#[test]
fn a_service_that_cannot_be_reached_is_told_so() {
    let memory = Memory::default();
    memory.unreachable.set(true);
    with(&memory, |service| {
        let failure = service.get("p/a").unwrap_err();
        assert!(failure.to_string().contains("cannot be used"), "{failure}");
    });
}

#[test]
fn the_bucket_is_in_the_path_or_in_the_host() {
    let mut settings = settings();
    assert_eq!(
        (settings.host(), settings.path("p/a")),
        ("s3.test".into(), "/b/p/a".into())
    );
    assert_eq!(settings.path(""), "/b");
    settings.virtual_host = true;
    assert_eq!(
        (settings.host(), settings.path("p/a")),
        ("b.s3.test".into(), "/p/a".into())
    );
    assert_eq!(settings.path(""), "/");
}
