//! Parameters as the server takes them: as text of the type that it finds for them, so that they need
//! not be of the very type that a column has.

use crate::bindings::exports::spin::postgres::postgres::{
    Interval, ParameterValue, RangeBoundKind,
};
use crate::session::Parameter;
use crate::sql::values::real;

use super::moments::{Date, Time, date, is_date, is_time};

/// The bounds of a range.
type Range<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

/// A parameter, or why it is none.
pub fn parameter(value: ParameterValue) -> Result<Parameter, String> {
    Ok(Parameter::Text(match value {
        ParameterValue::DbNull => return Ok(Parameter::Null),
        ParameterValue::Binary(bytes) => return Ok(Parameter::Bytes(bytes)),
        ParameterValue::Boolean(truth) => truth.to_string(),
        ParameterValue::Int8(number) => number.to_string(),
        ParameterValue::Int16(number) => number.to_string(),
        ParameterValue::Int32(number) => number.to_string(),
        ParameterValue::Int64(number) => number.to_string(),
        // As short as it can be, which is the same number again.
        ParameterValue::Floating32(number) if number.is_finite() => number.to_string(),
        ParameterValue::Floating32(number) => real(f64::from(number)),
        ParameterValue::Floating64(number) => real(number),
        ParameterValue::Str(text) | ParameterValue::Uuid(text) | ParameterValue::Decimal(text) => {
            text
        }
        ParameterValue::Jsonb(bytes) => {
            String::from_utf8(bytes).map_err(|_| "JSON is text in UTF-8".to_owned())?
        }
        ParameterValue::Date(date) => of_date(date)?,
        ParameterValue::Time(time) => of_time(time)?,
        ParameterValue::Datetime((year, month, day, hour, minute, second, nanosecond)) => {
            of_moment((year, month, day), (hour, minute, second, nanosecond))?
        }
        ParameterValue::Timestamp(seconds) => {
            let day = date(seconds.div_euclid(86_400));
            let day = day.ok_or_else(|| format!("{seconds} s is in no year"))?;
            let left = seconds.rem_euclid(86_400);
            let part = |unit: i64| u8::try_from(left / unit % 60).unwrap_or_default();
            let hour = u8::try_from(left / 3600).unwrap_or_default();
            of_moment(day, (hour, part(60), part(1), 0))?
        }
        ParameterValue::RangeInt32(range) => of_range(&range, i32::to_string),
        ParameterValue::RangeInt64(range) => of_range(&range, i64::to_string),
        ParameterValue::RangeDecimal(range) => of_range(&range, |text| quoted(text)),
        ParameterValue::ArrayInt32(items) => of_array(&items, i32::to_string),
        ParameterValue::ArrayInt64(items) => of_array(&items, i64::to_string),
        ParameterValue::ArrayDecimal(items) | ParameterValue::ArrayStr(items) => {
            of_array(&items, |text| quoted(text))
        }
        ParameterValue::Interval(interval) => of_interval(interval),
    }))
}

fn of_date(date: Date) -> Result<String, String> {
    let (year, month, day) = date;
    if !is_date(date) {
        return Err(format!("there is no day {year}-{month}-{day}"));
    }
    let (year, before) = era(year);
    Ok(format!("{year:04}-{month:02}-{day:02}{before}"))
}

/// The server has no year 0, and counts those before year 1 down.
fn era(year: i32) -> (i64, &'static str) {
    match i64::from(year) {
        year @ 1.. => (year, ""),
        year => (1 - year, " BC"),
    }
}

/// The server has microseconds.
fn of_time(time: Time) -> Result<String, String> {
    let (hour, minute, second, nanosecond) = time;
    if !is_time(time) {
        return Err(format!(
            "there is no time {hour}:{minute}:{second} with {nanosecond} ns"
        ));
    }
    let microsecond = nanosecond / 1000;
    Ok(format!(
        "{hour:02}:{minute:02}:{second:02}.{microsecond:06}"
    ))
}

/// In UTC: a type that has no time zone leaves it out.
fn of_moment(date: Date, time: Time) -> Result<String, String> {
    let (day, time) = (of_date(date)?, of_time(time)?);
    let (day, before) = day.split_at(day.find(' ').unwrap_or(day.len()));
    Ok(format!("{day} {time}+00{before}"))
}

/// Each field has a sign, so that none is another's, whatever the session's style.
fn of_interval(interval: Interval) -> String {
    let Interval {
        micros,
        days,
        months,
    } = interval;
    let sign = if micros < 0 { '-' } else { '+' };
    let (seconds, micros) = (
        micros.unsigned_abs() / 1_000_000,
        micros.unsigned_abs() % 1_000_000,
    );
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{months:+} mons {days:+} days {sign}{hours:02}:{minutes:02}:{seconds:02}.{micros:06}")
}

fn of_range<T>((lower, upper): &Range<T>, text: impl Fn(&T) -> String) -> String {
    let bound = |bound: &Option<(T, RangeBoundKind)>, marks: [char; 2]| match bound {
        None => (String::new(), marks[1]),
        Some((value, RangeBoundKind::Inclusive)) => (text(value), marks[0]),
        Some((value, RangeBoundKind::Exclusive)) => (text(value), marks[1]),
    };
    let (lower, opening) = bound(lower, ['[', '(']);
    let (upper, closing) = bound(upper, [']', ')']);
    format!("{opening}{lower},{upper}{closing}")
}

fn of_array<T>(items: &[Option<T>], text: impl Fn(&T) -> String) -> String {
    let items = items.iter().map(|item| match item {
        None => "NULL".to_owned(),
        Some(item) => text(item),
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}

/// Whatever it contains, it is one item of an array or one bound of a range.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: ParameterValue) -> String {
        match parameter(value) {
            Ok(Parameter::Text(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn moments_are_written_so_that_no_setting_changes_them() {
        for (value, expected) in [
            (ParameterValue::Date((2024, 2, 29)), "2024-02-29"),
            (ParameterValue::Date((0, 1, 1)), "0001-01-01 BC"),
            (ParameterValue::Date((-43, 3, 15)), "0044-03-15 BC"),
            (
                ParameterValue::Time((1, 2, 3, 4_005_999)),
                "01:02:03.004005",
            ),
            (
                ParameterValue::Datetime((1999, 12, 31, 23, 59, 58, 0)),
                "1999-12-31 23:59:58.000000+00",
            ),
            (
                ParameterValue::Datetime((-43, 3, 15, 12, 0, 0, 0)),
                "0044-03-15 12:00:00.000000+00 BC",
            ),
            (
                ParameterValue::Timestamp(0),
                "1970-01-01 00:00:00.000000+00",
            ),
            (
                ParameterValue::Timestamp(-1),
                "1969-12-31 23:59:59.000000+00",
            ),
        ] {
            assert_eq!(text(value), expected);
        }
        let interval = |micros, days, months| {
            text(ParameterValue::Interval(Interval {
                micros,
                days,
                months,
            }))
        };
        assert_eq!(
            interval(3_661_000_001, 2, 14),
            "+14 mons +2 days +01:01:01.000001"
        );
        assert_eq!(interval(-1, -2, 3), "+3 mons -2 days -00:00:00.000001");
    }

    #[test]
    fn what_there_is_not_is_refused_and_said() {
        for (value, expected) in [
            (ParameterValue::Date((2023, 2, 29)), "2023-2-29"),
            (ParameterValue::Time((24, 0, 0, 0)), "24:0:0"),
            (
                ParameterValue::Datetime((2024, 1, 1, 0, 61, 0, 0)),
                "0:61:0",
            ),
            (ParameterValue::Timestamp(i64::MAX), "in no year"),
            (ParameterValue::Jsonb(vec![0xff]), "UTF-8"),
        ] {
            let refused = parameter(value).expect_err("no parameter");
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn items_and_bounds_are_one_each_whatever_they_contain() {
        let items = ["a,b", "", "NULL", "{\"}", "\\", "ü"].map(|text| Some(text.to_owned()));
        let items = [&items[..], &[None]].concat();
        assert_eq!(
            text(ParameterValue::ArrayStr(items)),
            r#"{"a,b","","NULL","{\"}","\\","ü",NULL}"#
        );
        assert_eq!(text(ParameterValue::ArrayInt32(Vec::new())), "{}");
        let from = |kind| Some((1, kind));
        assert_eq!(
            text(ParameterValue::RangeInt32((
                from(RangeBoundKind::Exclusive),
                None
            ))),
            "(1,)"
        );
        assert_eq!(
            text(ParameterValue::RangeInt32((
                None,
                from(RangeBoundKind::Inclusive)
            ))),
            "(,1]"
        );
        let bound = |text: &str| Some((text.to_owned(), RangeBoundKind::Inclusive));
        assert_eq!(
            text(ParameterValue::RangeDecimal((bound("1.5"), bound("2,3]")))),
            r#"["1.5","2,3]"]"#
        );
    }

    #[test]
    fn numbers_keep_all_that_they_are() {
        assert_eq!(text(ParameterValue::Floating32(0.1)), "0.1");
        assert_eq!(text(ParameterValue::Floating32(f32::NAN)), "NaN");
        assert_eq!(
            text(ParameterValue::Floating64(f64::NEG_INFINITY)),
            "-Infinity"
        );
        assert_eq!(text(ParameterValue::Int64(i64::MIN)), i64::MIN.to_string());
        assert_eq!(text(ParameterValue::Boolean(true)), "true");
        assert_eq!(parameter(ParameterValue::DbNull), Ok(Parameter::Null));
    }
}
