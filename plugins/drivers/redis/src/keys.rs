//! Which keys on the server belong to whom.
//!
//! Threat: applications of many tenants may share one server, and each chooses its buckets' and
//! keys' names freely. So a key on the server begins with what the platform says of the caller
//! (tenant and installation), then the bucket, whose name takes no separator, and the
//! application's own key comes last, where whatever it contains changes nothing before it.
//!
//! For the bucket `b` of installation `i` of tenant `t`:
//!
//! | key on the server | holds |
//! | --- | --- |
//! | `canopy:{t:i:b}:v:KEY` | the value of `KEY` |
//! | `canopy:{t:i:b}:keys` | the set of all `KEY`s, for listing without looking at anybody else's |
//!
//! The braces keep a bucket on one shard where keys are spread over several servers.

use buckets::{is_bucket, is_sound};

/// Keys in one batch.
pub const MAX_BATCH: usize = 1000;

/// The keys of one bucket of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    base: String,
}

impl Keys {
    /// The keys of `bucket`, or nothing if that is no name of a bucket. `tenant` and
    /// `installation` are identifiers that the platform gave.
    pub fn of(prefix: &str, tenant: &str, installation: &str, bucket: &str) -> Option<Self> {
        let sound = [prefix, tenant, installation].into_iter().all(is_sound);
        (sound && is_bucket(bucket)).then(|| Self {
            base: format!("{prefix}:{{{tenant}:{installation}:{bucket}}}:"),
        })
    }

    /// Where the value of `key` is.
    pub fn value(&self, key: &str) -> Vec<u8> {
        format!("{}v:{key}", self.base).into_bytes()
    }

    /// Where the set of all keys is.
    pub fn index(&self) -> Vec<u8> {
        format!("{}keys", self.base).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_of_a_bucket_or_a_key_leads_to_another_installation() {
        let mine = Keys::of("canopy", "t1", "i1", "b").unwrap();
        let others = [
            Keys::of("canopy", "t1", "i2", "b").unwrap(),
            Keys::of("canopy", "t2", "i1", "b").unwrap(),
            Keys::of("canopy", "t1", "i1", "c").unwrap(),
        ];
        for key in [
            "",
            "x",
            "../",
            "}:v:x",
            "keys",
            ":keys",
            "canopy:{t1:i2:b}:v:x",
        ] {
            for other in &others {
                assert!(!mine.value(key).starts_with(other.base.as_bytes()), "{key}");
            }
            assert_ne!(mine.value(key), mine.index());
        }
    }

    #[test]
    fn names_that_could_blur_the_borders_are_no_buckets() {
        for bucket in ["", "a:b", "}", "a}", "../x", "a b", "ü", &"x".repeat(65)] {
            assert_eq!(Keys::of("canopy", "t", "i", bucket), None, "{bucket}");
        }
    }
}
