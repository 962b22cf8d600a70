//! What is known of an object.

use remember::Weighed;

use crate::bindings::canopy::storage::blobs::{ObjectInfo, Range};

/// What was read of an object.
#[derive(Debug, Clone)]
pub enum Known {
    /// There is none.
    Nothing,
    /// What is known about it, and its content if that was read and is small.
    Object(ObjectInfo, Option<Vec<u8>>),
}

impl Weighed for Known {
    fn weight(&self) -> usize {
        let Self::Object(info, content) = self else {
            return 0;
        };
        let metadata = info.metadata.iter();
        let metadata: usize = metadata
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        let content = content.as_ref().map_or(0, Vec::len);
        let kind = info.content_type.as_ref().map_or(0, String::len);
        info.name.len() + info.etag.len() + kind + metadata + content + 120
    }
}

/// Where in an object of `size` bytes a range begins, and its length; nothing if it begins after the
/// end.
pub fn within(range: Option<Range>, size: u64) -> Option<(u64, u64)> {
    let (offset, length) = match range {
        None => (0, u64::MAX),
        Some(Range::From(offset)) => (offset, u64::MAX),
        Some(Range::Slice(slice)) => slice,
        Some(Range::Last(length)) => (size.saturating_sub(length), length),
    };
    Some((offset, length.min(size.checked_sub(offset)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_end_at_the_end_and_do_not_begin_after_it() {
        for (range, expected) in [
            (None, Some((0, 10))),
            (Some(Range::From(3)), Some((3, 7))),
            (Some(Range::From(10)), Some((10, 0))),
            (Some(Range::From(11)), None),
            (Some(Range::Slice((3, 2))), Some((3, 2))),
            (Some(Range::Slice((9, u64::MAX))), Some((9, 1))),
            (Some(Range::Last(4)), Some((6, 4))),
            (Some(Range::Last(40)), Some((0, 10))),
            (Some(Range::Last(0)), Some((10, 0))),
        ] {
            assert_eq!(within(range, 10), expected, "{range:?}");
        }
    }

    #[test]
    fn all_that_is_known_weighs_something() {
        let mut info = ObjectInfo {
            name: "n".to_owned(),
            size: 3,
            etag: "e".to_owned(),
            content_type: None,
            metadata: Vec::new(),
            created: 0,
            modified: 0,
        };
        let light = Known::Object(info.clone(), None).weight();
        assert_eq!(
            Known::Object(info.clone(), Some(vec![0; 3])).weight(),
            light + 3
        );
        info.metadata = vec![("ab".to_owned(), "c".to_owned())];
        assert!(Known::Object(info, None).weight() >= light + 3);
        assert_eq!(Known::Nothing.weight(), 0);
    }
}
