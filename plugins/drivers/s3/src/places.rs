//! Which objects of the service are the objects of `canopy:storage/blobs`, and whose they are.
//!
//! Threat: as in [`names`](crate::names), applications of many tenants may share one bucket and
//! choose names freely. So what is kept for one of them begins with what the platform says of it:
//!
//! | on the service | is |
//! | --- | --- |
//! | `PREFIX/TENANT/INSTALLATION/!containers/CONTAINER` | that there is a container, an empty object |
//! | `PREFIX/TENANT/INSTALLATION/!objects/CONTAINER/NAME` | an object |
//!
//! No bucket of `wasi:keyvalue` has a `!` in its name. Names of containers and objects are written
//! so that the order of what is written is the order of the names' bytes, which listings rely on,
//! and that no slash, dot or blank is left in them for anybody to read otherwise. Digits and letters
//! stand for themselves; any other byte is a mark and two hexadecimal digits, and the mark is one
//! that sorts where the byte does.

use std::fmt::Write as _;

use crate::names::MAX_NAME;

/// What sorts after all names that begin with something.
pub const LAST: &str = "~~";

/// The containers and objects of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    base: String,
}

/// A name that is too long to be one of the service.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the name of the object on the S3 service would have {0} bytes, which is over its limit of {MAX_NAME}"
)]
pub struct TooLong(usize);

impl Places {
    /// Those of `installation`. Both are identifiers that the platform gave; the prefix is a setting
    /// with a pattern.
    pub fn of(prefix: &str, tenant: &str, installation: &str) -> Self {
        Self {
            base: format!("{prefix}/{tenant}/{installation}/"),
        }
    }

    /// What says that there is the container `name`.
    pub fn container(&self, name: &str) -> Result<String, TooLong> {
        fitting(format!("{}{}", self.containers(), written(name)))
    }

    /// What the names of all containers' marks begin with.
    pub fn containers(&self) -> String {
        format!("{}!containers/", self.base)
    }

    /// The object `name` in `container`; with an empty name, what all in it begin with.
    pub fn object(&self, container: &str, name: &str) -> Result<String, TooLong> {
        fitting(format!(
            "{}!objects/{}/{}",
            self.base,
            written(container),
            written(name)
        ))
    }
}

fn fitting(place: String) -> Result<String, TooLong> {
    match place.len() {
        0..=MAX_NAME => Ok(place),
        length => Err(TooLong(length)),
    }
}

/// A name as it is written.
pub fn written(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        let mark = match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                out.push(char::from(byte));
                continue;
            }
            ..b'0' => '!',
            b'0'..b'A' => '=',
            b'A'..b'a' => '^',
            b'a'.. => '~',
        };
        // Writing to a string does not fail.
        let _ = write!(out, "{mark}{byte:02X}");
    }
    out
}

/// The name that is written so, or nothing if none is.
pub fn read(written_name: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(written_name.len());
    let mut rest = written_name;
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphanumeric() {
            bytes.push(u8::try_from(first).ok()?);
            rest = &rest[1..];
        } else {
            let digits = rest.get(1..3)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[3..];
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    // Only what this driver writes is its own: no two objects of the service are one.
    (written(&name) == written_name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 16] = [
        "", "a", "A", "_", "-", "a/b", "a//b", "a.b", "a-b", "a0", "ab", "..", "/", "ü€", "\0\n",
        "~!",
    ];

    #[test]
    fn names_are_read_back_and_keep_their_order() {
        for one in NAMES {
            assert_eq!(read(&written(one)).as_deref(), Some(one));
            for other in NAMES {
                assert_eq!(
                    written(one).cmp(&written(other)),
                    one.as_bytes().cmp(other.as_bytes()),
                    "{one:?} {other:?}"
                );
                assert_eq!(
                    written(one).starts_with(&written(other)),
                    one.starts_with(other),
                    "{one:?} {other:?}"
                );
            }
            let begun = format!("{}{LAST}", written("a/"));
            assert_eq!(
                written(one) < begun,
                one.as_bytes() < &b"a/\xff"[..],
                "{one:?}"
            );
        }
    }

    #[test]
    fn every_byte_has_its_place() {
        let all: Vec<String> = (0..=0x2ff_u32)
            .filter_map(char::from_u32)
            .map(String::from)
            .collect();
        assert!(
            all.windows(2)
                .all(|two| written(&two[0]) < written(&two[1]))
        );
        assert!(all.iter().all(|name| {
            written(name)
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'/')
        }));
    }

    #[test]
    fn what_this_driver_did_not_write_is_no_name() {
        for wrong in [
            "-", "!", "!2", "!2f", "!61", "=61", "~2F", "!FF", "a.b", "é", "!é",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_name_leads_to_another_installation_or_container() {
        let mine = Places::of("canopy", "t1", "i1");
        let inside = mine.object("c", "").unwrap();
        for name in ["../../i2/!objects/c/x", "/", "..", "\0", "!containers/c"] {
            let place = mine.object("c", name).unwrap();
            assert!(
                place.starts_with(&inside) && !place[inside.len()..].contains('/'),
                "{place}"
            );
            let place = mine.object(name, "x").unwrap();
            assert!(!place.starts_with(&inside), "{place}");
        }
        assert_ne!(mine.container("c").unwrap(), mine.object("c", "").unwrap());
        assert_eq!(
            mine.object("c", &"/".repeat(400)),
            Err(TooLong(inside.len() + 1200))
        );
    }
}
