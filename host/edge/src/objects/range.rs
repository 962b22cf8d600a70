//! Which bytes are asked for (RFC 9110, section 14). Of several ranges at once none is given: the
//! whole is a valid answer too.

use canopy_runtime::blob::{ByteRange, ObjectInfo};
use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

use super::{conditions, dates};

/// The range that the header asks for; `None` if it asks for none, or none that is understood.
pub(super) fn wanted(fields: &HeaderMap) -> Option<ByteRange> {
    let (unit, set) = fields.get(RANGE)?.to_str().ok()?.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    match (first, last) {
        ("", last) => number(last).map(ByteRange::Last),
        (first, "") => number(first).map(ByteRange::From),
        (first, last) => {
            let (offset, last) = (number(first)?, number(last)?);
            let length = last.checked_sub(offset)?.saturating_add(1);
            Some(ByteRange::Slice { offset, length })
        }
    }
}

/// Whether the object is still the one that the range is asked of.
pub(super) fn is_still_wanted(fields: &HeaderMap, info: &ObjectInfo) -> bool {
    let Some(field) = fields.get(IF_RANGE) else {
        return true;
    };
    let text = field.to_str().unwrap_or_default();
    text == conditions::quoted(&info.etag)
        || dates::parse(text).is_some_and(|date| date == dates::second(info.modified))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Option<ByteRange> {
        let mut fields = HeaderMap::new();
        fields.insert(RANGE, text.parse().ok()?);
        wanted(&fields)
    }

    #[test]
    fn single_ranges_are_read_and_others_ignored() {
        let slice = |offset, length| Some(ByteRange::Slice { offset, length });
        assert_eq!(of("bytes=0-0"), slice(0, 1));
        assert_eq!(of("Bytes=5-9"), slice(5, 5));
        assert_eq!(of("bytes=0-18446744073709551615"), slice(0, u64::MAX));
        assert_eq!(of("bytes=7-"), Some(ByteRange::From(7)));
        assert_eq!(of("bytes=-7"), Some(ByteRange::Last(7)));
        for ignored in [
            "bytes=0-1,3-4",
            "bytes=5-4",
            "bytes=-",
            "bytes=+1-2",
            "items=0-1",
            "bytes",
            "bytes=a-b",
            "",
        ] {
            assert_eq!(of(ignored), None, "{ignored}");
        }
    }

    proptest! {
        #[test]
        fn any_field_is_read_or_ignored(text in ".*") {
            let _ = of(&text);
        }
    }
}
