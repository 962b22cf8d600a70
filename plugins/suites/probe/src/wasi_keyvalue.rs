//! What the drafts of `wasi:keyvalue` have in common.

use crate::Fault;

/// The suite's component for a draft of `wasi:keyvalue`. `$interface` is the module of its generated
/// bindings; what the draft has in a way of its own follows.
#[macro_export]
macro_rules! wasi_keyvalue {
    ($interface:ident, $($own:item)*) => {
        use $interface::wasi::keyvalue::store::{self, Bucket, Error};
        use $interface::wasi::keyvalue::{atomics, batch};

        struct Store(Bucket);

        $crate::suite! { $crate::perform::<Store>, Error {
            Error::NoSuchStore => "no-such-store";
            Error::AccessDenied => "access-denied";
            Error::Other(text) => "other", text;
        }}

        impl $crate::KeyValue for Store {
            fn open(name: &str) -> Result<Self, $crate::Fault> {
                store::open(name).map(Self).map_err(fault)
            }

            fn get(&self, key: &str) -> Result<Option<Vec<u8>>, $crate::Fault> {
                self.0.get(key).map_err(fault)
            }

            fn set(&self, key: &str, value: &[u8]) -> Result<(), $crate::Fault> {
                self.0.set(key, value).map_err(fault)
            }

            fn delete(&self, key: &str) -> Result<(), $crate::Fault> {
                self.0.delete(key).map_err(fault)
            }

            fn exists(&self, key: &str) -> Result<bool, $crate::Fault> {
                self.0.exists(key).map_err(fault)
            }

            fn set_many(&self, pairs: &[(String, Vec<u8>)]) -> Result<(), $crate::Fault> {
                batch::set_many(&self.0, pairs).map_err(fault)
            }

            fn delete_many(&self, keys: &[String]) -> Result<(), $crate::Fault> {
                batch::delete_many(&self.0, keys).map_err(fault)
            }

            $($own)*
        }
    };
}

/// The keys of all pages. `page` gets the cursor of the page before, and gives keys and a cursor.
pub fn pages<C>(
    mut page: impl FnMut(Option<C>) -> Result<(Vec<String>, Option<C>), Fault>,
) -> Result<Vec<String>, Fault> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let (more, next) = page(cursor)?;
        keys.extend(more);
        cursor = next;
        if cursor.is_none() {
            return Ok(keys);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_asked_for_until_there_are_no_more() {
        let page = |cursor: Option<u8>| {
            let n = cursor.unwrap_or(0);
            Ok((vec![n.to_string()], (n < 2).then_some(n + 1)))
        };
        assert_eq!(pages(page), Ok(["0", "1", "2"].map(str::to_owned).into()));
        let broken = |_: Option<u8>| Err(Fault::bare("other"));
        assert_eq!(pages(broken), Err(Fault::bare("other")));
    }
}
