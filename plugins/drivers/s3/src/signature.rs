//! AWS Signature Version 4: what proves that a request comes from the holder of the access key and
//! is as it was sent.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

/// Who signs, and for which region.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub access_key_id: &'a str,
    pub secret_access_key: &'a str,
    pub session_token: Option<&'a str>,
    pub region: &'a str,
}

/// What is signed. `path` and `query` are as they are before they are encoded; names of headers are
/// in lower case.
#[derive(Clone, Copy)]
pub struct Signed<'a> {
    pub method: &'a str,
    pub host: &'a str,
    pub path: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    pub headers: &'a [(&'static str, String)],
    pub body: &'a [u8],
}

/// What signatures are made by.
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

impl Signer<'_> {
    /// The headers that `request` has to be sent with besides its own.
    pub fn sign(
        self,
        request: Signed<'_>,
        now: OffsetDateTime,
    ) -> Result<Vec<(&'static str, String)>, time::error::Format> {
        let moment = Moment::of(now)?;
        let body = hex(&Sha256::digest(request.body));
        let mut added = vec![
            ("x-amz-content-sha256", body.clone()),
            ("x-amz-date", moment.second.clone()),
        ];
        if let Some(token) = self.session_token {
            added.push(("x-amz-security-token", token.to_owned()));
        }
        let all: Vec<_> = request.headers.iter().chain(&added).cloned().collect();
        let signed = Signed {
            headers: &all,
            ..request
        };
        let (names, signature) = self.signature(signed, &body, &moment);
        let scope = self.scope(&moment);
        added.push((
            "authorization",
            format!(
                "{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}",
                self.access_key_id
            ),
        ));
        Ok(added)
    }

    /// The query of an address that whoever has it may follow for `seconds`, with `request.query`
    /// in it and with the headers of `request`, whatever the body.
    pub fn presign(
        self,
        request: Signed<'_>,
        seconds: u32,
        now: OffsetDateTime,
    ) -> Result<String, time::error::Format> {
        let moment = Moment::of(now)?;
        let credential = format!("{}/{}", self.access_key_id, self.scope(&moment));
        let seconds = seconds.to_string();
        let names = request.names();
        let mut query = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &moment.second),
            ("X-Amz-Expires", &seconds),
            ("X-Amz-SignedHeaders", &names),
        ];
        query.extend(
            self.session_token
                .map(|token| ("X-Amz-Security-Token", token)),
        );
        query.extend_from_slice(request.query);
        let signed = Signed {
            query: &query,
            ..request
        };
        let (_, signature) = self.signature(signed, "UNSIGNED-PAYLOAD", &moment);
        Ok(format!(
            "{}&X-Amz-Signature={signature}",
            encoded_query(&query)
        ))
    }

    fn scope(self, moment: &Moment) -> String {
        format!("{}/{}/s3/aws4_request", moment.day, self.region)
    }

    /// The names of the headers that are signed, and the signature.
    fn signature(self, request: Signed<'_>, body: &str, moment: &Moment) -> (String, String) {
        let names = request.names();
        let lines: String = request
            .sorted()
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let canonical = format!(
            "{}\n{}\n{}\n{lines}\n{names}\n{body}",
            request.method,
            encoded_path(request.path),
            encoded_query(request.query),
        );
        let scope = self.scope(moment);
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        let text = format!("{ALGORITHM}\n{}\n{scope}\n{digest}", moment.second);
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [&moment.day, self.region, "s3", "aws4_request"] {
            key = keyed(&key, part.as_bytes());
        }
        (names, hex(&keyed(&key, text.as_bytes())))
    }
}

impl Signed<'_> {
    /// The headers that are signed, the host among them, in the order of their names.
    fn sorted(&self) -> Vec<(&str, &str)> {
        let own = self.headers.iter();
        let mut headers = vec![("host", self.host)];
        headers.extend(own.map(|(name, value)| (*name, value.trim())));
        headers.sort_unstable();
        headers
    }

    fn names(&self) -> String {
        let headers = self.sorted();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        names.join(";")
    }
}

/// When something is signed.
struct Moment {
    second: String,
    day: String,
}

impl Moment {
    fn of(now: OffsetDateTime) -> Result<Self, time::error::Format> {
        Ok(Self {
            second: now.format(format_description!(
                "[year][month][day]T[hour][minute][second]Z"
            ))?,
            day: now.format(format_description!("[year][month][day]"))?,
        })
    }
}

fn keyed(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A path as it is sent; its slashes stay.
pub fn encoded_path(path: &str) -> String {
    encoded(path, b"/")
}

/// A query as it is sent, in the order of its names.
pub fn encoded_query(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<(String, String)> = query
        .iter()
        .map(|(name, value)| (encoded(name, b""), encoded(value, b"")))
        .collect();
    pairs.sort_unstable();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn encoded(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || kept.contains(&byte);
        if plain {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    /// The examples of the service's own documentation.
    const SIGNER: Signer<'_> = Signer {
        access_key_id: "AKIAIOSFODNN7EXAMPLE",
        secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        session_token: None,
        region: "us-east-1",
    };
    const NOW: OffsetDateTime = datetime!(2013-05-24 00:00:00 UTC);

    fn signature(request: Signed<'_>) -> String {
        let added = SIGNER.sign(request, NOW).unwrap();
        let (name, value) = added.last().unwrap();
        assert_eq!(*name, "authorization");
        value.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    const PLAIN: Signed<'_> = Signed {
        method: "GET",
        host: "examplebucket.s3.amazonaws.com",
        path: "/",
        query: &[],
        headers: &[],
        body: b"",
    };

    #[test]
    fn the_documented_examples_are_signed_as_documented() {
        let range = [("range", "bytes=0-9".to_owned())];
        let get = Signed {
            path: "/test.txt",
            headers: &range,
            ..PLAIN
        };
        assert_eq!(
            signature(get),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        let put_headers = [
            ("date", "Fri, 24 May 2013 00:00:00 GMT".to_owned()),
            ("x-amz-storage-class", "REDUCED_REDUNDANCY".to_owned()),
        ];
        let put = Signed {
            method: "PUT",
            path: "/test$file.text",
            headers: &put_headers,
            body: b"Welcome to Amazon S3.",
            ..PLAIN
        };
        assert_eq!(
            signature(put),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
        let list = Signed {
            query: &[("max-keys", "2"), ("prefix", "J")],
            ..PLAIN
        };
        assert_eq!(
            signature(list),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
    }

    #[test]
    fn the_documented_address_is_signed_as_documented() {
        let request = Signed {
            path: "/test.txt",
            ..PLAIN
        };
        let query = SIGNER.presign(request, 86400, NOW).unwrap();
        assert!(
            query.ends_with(
                "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
            ),
            "{query}"
        );
        let other = Signed {
            query: &[("response-content-type", "text/plain")],
            ..request
        };
        let other = SIGNER.presign(other, 86400, NOW).unwrap();
        assert!(
            other.contains("response-content-type=text%2Fplain"),
            "{other}"
        );
        assert_ne!(other.rsplit('=').next(), query.rsplit('=').next());
    }

    #[test]
    fn everything_that_is_sent_is_signed() {
        let one = signature(PLAIN);
        let header = [("if-match", "\"x\"".to_owned())];
        for other in [
            Signed {
                method: "PUT",
                ..PLAIN
            },
            Signed {
                host: "other",
                ..PLAIN
            },
            Signed {
                path: "/x",
                ..PLAIN
            },
            Signed {
                query: &[("prefix", "x")],
                ..PLAIN
            },
            Signed {
                headers: &header,
                ..PLAIN
            },
            Signed {
                body: b"x",
                ..PLAIN
            },
        ] {
            assert_ne!(signature(other), one);
        }
    }

    #[test]
    fn what_has_a_meaning_in_an_address_is_encoded() {
        assert_eq!(encoded_path("/b/a=2Fb c"), "/b/a%3D2Fb%20c");
        assert_eq!(
            encoded_query(&[("prefix", "a/b&c"), ("a", "ü")]),
            "a=%C3%BC&prefix=a%2Fb%26c"
        );
    }
}
