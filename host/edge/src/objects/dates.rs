//! Dates of HTTP (RFC 9110, section 5.6.7), of which only the preferred form is written and read.

use std::time::SystemTime;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const FORMAT: &[BorrowedFormatItem<'_>] = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

pub(super) fn format(time: SystemTime) -> String {
    OffsetDateTime::from(time)
        .format(FORMAT)
        .unwrap_or_default()
}

/// The second that `text` names, if it is a date.
pub(super) fn parse(text: &str) -> Option<i64> {
    let date = PrimitiveDateTime::parse(text, FORMAT).ok()?;
    Some(date.assume_utc().unix_timestamp())
}

/// The second in which something happened.
pub(super) fn second(time: SystemTime) -> i64 {
    OffsetDateTime::from(time).unix_timestamp()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_comes_back() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(format(time), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse(&format(time)), Some(784_111_777));
        assert_eq!(second(time), 784_111_777);
        for wrong in [
            "",
            "yesterday",
            "1994-11-06",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
