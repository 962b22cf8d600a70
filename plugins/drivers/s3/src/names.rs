//! Which objects belong to whom.
//!
//! Threat: applications of many tenants may share one bucket, and each chooses its buckets' and
//! keys' names freely. So an object's name begins with what the platform says of the caller (tenant
//! and installation), then the bucket, whose name takes no separator, and the application's key
//! comes last, in letters that no service, proxy or file system behind it reads as anything else:
//! no slash, no leading dot, nothing that is percent-encoded.

use std::fmt::Write as _;

use buckets::{is_bucket, is_sound};

/// Bytes of the longest name of an object, by S3.
pub const MAX_NAME: usize = 1024;

/// Keys that are removed by one request, by S3.
pub const MAX_REMOVED: usize = 1000;

/// The objects of one bucket of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    base: String,
}

impl Names {
    /// The names of `bucket`, or nothing if that is no name of a bucket. `tenant` and
    /// `installation` are identifiers that the platform gave.
    pub fn of(prefix: &str, tenant: &str, installation: &str, bucket: &str) -> Option<Self> {
        let parts = [prefix, tenant, installation, bucket];
        let sound = |part: &&str| is_sound(part) && !part.starts_with('.');
        (is_bucket(bucket) && parts.iter().all(sound)).then(|| Self {
            base: format!("{prefix}/{tenant}/{installation}/{bucket}/"),
        })
    }

    /// What the names of all objects begin with.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The object that holds the value of `key`.
    pub fn object(&self, key: &str) -> String {
        let mut name = self.base.clone();
        if key.is_empty() {
            // No byte is written so.
            name.push('=');
        }
        for (index, byte) in key.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'-' | b'_')
                || byte == b'.' && index > 0;
            if plain {
                name.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(name, "={byte:02X}");
            }
        }
        name
    }

    /// The key whose value `object` holds, or nothing if that is none of this bucket's.
    pub fn key(&self, object: &str) -> Option<String> {
        let mut rest = object.strip_prefix(&self.base)?;
        if rest == "=" {
            return Some(String::new());
        }
        let mut bytes = Vec::with_capacity(rest.len());
        while let Some((plain, after)) = rest.split_once('=') {
            bytes.extend_from_slice(plain.as_bytes());
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = after;
        }
        bytes.extend_from_slice(rest.as_bytes());
        let key = String::from_utf8(bytes).ok()?;
        // Only what this driver writes is its own: no two objects hold the value of one key.
        (!key.is_empty() && self.object(&key) == object).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 14] = [
        "",
        "k",
        "=",
        "=2F",
        "a/b",
        "/",
        "..",
        ".",
        "../../t2/i2/b/x",
        "a.b",
        "ü€\0\n",
        "a b",
        "%2F",
        "+",
    ];

    fn mine() -> Names {
        Names::of("canopy", "t1", "i1", "b").unwrap()
    }

    #[test]
    fn every_key_is_read_back_from_its_object() {
        for key in KEYS {
            let object = mine().object(key);
            assert_eq!(mine().key(&object).as_deref(), Some(key), "{object}");
        }
    }

    #[test]
    fn objects_have_names_that_mean_the_same_everywhere() {
        for key in KEYS {
            let object = mine().object(key);
            let last = object.strip_prefix("canopy/t1/i1/b/").unwrap();
            assert!(
                !last.is_empty() && !last.starts_with('.') && !last.contains(['/', '%', '+', ' '])
            );
            assert!(last.is_ascii());
        }
        assert_eq!(mine().object("invoice/12"), "canopy/t1/i1/b/invoice=2F12");
    }

    #[test]
    fn no_name_of_a_bucket_or_a_key_leads_to_another_installation() {
        for other in [
            Names::of("canopy", "t1", "i2", "b").unwrap(),
            Names::of("canopy", "t2", "i1", "b").unwrap(),
            Names::of("canopy", "t1", "i1", "c").unwrap(),
        ] {
            for key in KEYS {
                assert!(!mine().object(key).starts_with(other.base()), "{key}");
                assert_eq!(other.key(&mine().object(key)), None, "{key}");
            }
        }
        for bucket in ["", "a/b", "..", ".", "a=", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Names::of("canopy", "t", "i", bucket), None, "{bucket}");
        }
    }

    #[test]
    fn what_this_driver_did_not_write_is_no_key() {
        for rest in ["", "=2", "=ZZ", "=6b", "=6B", "a/b", ".a", "=FF"] {
            assert_eq!(
                mine().key(&format!("canopy/t1/i1/b/{rest}")),
                None,
                "{rest}"
            );
        }
    }
}
