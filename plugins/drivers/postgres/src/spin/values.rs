//! What the server gives, from its binary form, as the interface has it.

use bytes::Bytes;
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::types::{self, Range, RangeBound};

use super::moments::{self, DAY, EPOCH};
use crate::bindings::exports::spin::postgres::postgres::{
    DbDataType, DbValue, Interval, RangeBoundKind,
};

/// Why a value is not to be had, or what the server sent that is none.
type Unfit = Box<dyn std::error::Error + Sync + Send>;

/// The bounds of a range.
type Bounds<T> = (Option<(T, RangeBoundKind)>, Option<(T, RangeBoundKind)>);

/// The type of a column by the server's number for it, if the interface has a name for it.
pub fn data_type(oid: u32) -> Option<DbDataType> {
    Some(match oid {
        16 => DbDataType::Boolean,
        17 => DbDataType::Binary,
        20 => DbDataType::Int64,
        21 => DbDataType::Int16,
        23 => DbDataType::Int32,
        // text, char(n), varchar(n)
        25 | 1042 | 1043 => DbDataType::Str,
        700 => DbDataType::Floating32,
        701 => DbDataType::Floating64,
        1007 => DbDataType::ArrayInt32,
        1009 | 1014 | 1015 => DbDataType::ArrayStr,
        1016 => DbDataType::ArrayInt64,
        1082 => DbDataType::Date,
        1083 => DbDataType::Time,
        // Without and with a time zone, which is UTC here.
        1114 | 1184 => DbDataType::Datetime,
        1186 => DbDataType::Interval,
        1231 => DbDataType::ArrayDecimal,
        1700 => DbDataType::Decimal,
        2950 => DbDataType::Uuid,
        3802 => DbDataType::Jsonb,
        3904 => DbDataType::RangeInt32,
        3906 => DbDataType::RangeDecimal,
        3926 => DbDataType::RangeInt64,
        _ => return None,
    })
}

/// A value of a column of this type; what has no type here is its binary form. The error says why
/// the value is not to be had.
pub fn value(oid: u32, bytes: Option<&Bytes>) -> Result<DbValue, String> {
    let Some(bytes) = bytes else {
        return Ok(DbValue::DbNull);
    };
    known(oid, bytes).map_err(|unfit| unfit.to_string())
}

fn known(oid: u32, bytes: &[u8]) -> Result<DbValue, Unfit> {
    let Some(ty) = data_type(oid) else {
        return Ok(DbValue::Unsupported(bytes.to_vec()));
    };
    Ok(match ty {
        DbDataType::Boolean => DbValue::Boolean(types::bool_from_sql(bytes)?),
        DbDataType::Binary => DbValue::Binary(bytes.to_vec()),
        DbDataType::Int16 => DbValue::Int16(types::int2_from_sql(bytes)?),
        DbDataType::Int32 => DbValue::Int32(types::int4_from_sql(bytes)?),
        DbDataType::Int64 => DbValue::Int64(types::int8_from_sql(bytes)?),
        DbDataType::Floating32 => DbValue::Floating32(types::float4_from_sql(bytes)?),
        DbDataType::Floating64 => DbValue::Floating64(types::float8_from_sql(bytes)?),
        DbDataType::Str => DbValue::Str(text(bytes)?),
        DbDataType::Date => match types::date_from_sql(bytes)? {
            i32::MAX | i32::MIN => return Err("an endless time is no date".into()),
            days => DbValue::Date(date(days.into())?),
        },
        DbDataType::Time => DbValue::Time(time(types::time_from_sql(bytes)?)?),
        DbDataType::Datetime => {
            let moment = types::timestamp_from_sql(bytes)?;
            if moment == i64::MAX || moment == i64::MIN {
                return Err("an endless time is no date".into());
            }
            let (year, month, day) = date(moment.div_euclid(DAY))?;
            let (hour, minute, second, nanosecond) = time(moment.rem_euclid(DAY))?;
            DbValue::Datetime((year, month, day, hour, minute, second, nanosecond))
        }
        DbDataType::Uuid => DbValue::Uuid(uuid(types::uuid_from_sql(bytes)?)),
        DbDataType::Jsonb => match bytes {
            // The version of its form.
            [1, json @ ..] => DbValue::Jsonb(json.to_vec()),
            _ => return Err("JSON in a form that is not known".into()),
        },
        DbDataType::Decimal => DbValue::Decimal(decimal(bytes)?),
        DbDataType::RangeInt32 => DbValue::RangeInt32(range(bytes, types::int4_from_sql)?),
        DbDataType::RangeInt64 => DbValue::RangeInt64(range(bytes, types::int8_from_sql)?),
        DbDataType::RangeDecimal => DbValue::RangeDecimal(range(bytes, decimal)?),
        DbDataType::ArrayInt32 => DbValue::ArrayInt32(array(bytes, types::int4_from_sql)?),
        DbDataType::ArrayInt64 => DbValue::ArrayInt64(array(bytes, types::int8_from_sql)?),
        DbDataType::ArrayDecimal => DbValue::ArrayDecimal(array(bytes, decimal)?),
        DbDataType::ArrayStr => DbValue::ArrayStr(array(bytes, text)?),
        DbDataType::Interval => DbValue::Interval(interval(bytes)?),
        // No column has one of these.
        DbDataType::Int8 | DbDataType::Timestamp | DbDataType::Other(_) => {
            DbValue::Unsupported(bytes.to_vec())
        }
    })
}

fn text(bytes: &[u8]) -> Result<String, Unfit> {
    Ok(types::text_from_sql(bytes)?.to_owned())
}

/// The date that is `days` after the server's first one.
fn date(days: i64) -> Result<moments::Date, Unfit> {
    moments::date(days + EPOCH).ok_or_else(|| "a year that is none".into())
}

fn time(microseconds: i64) -> Result<moments::Time, Unfit> {
    moments::time(microseconds).ok_or_else(|| "a time that is in no day".into())
}

fn uuid(bytes: [u8; 16]) -> String {
    let part = |from: usize, to: usize| {
        let bytes = bytes[from..to].iter();
        bytes.map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    [
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 16),
    ]
    .join("-")
}

fn interval(bytes: &[u8]) -> Result<Interval, Unfit> {
    let (micros, rest) = bytes.split_first_chunk().ok_or("half an interval")?;
    let (days, rest) = rest.split_first_chunk().ok_or("half an interval")?;
    let months = rest.try_into().map_err(|_| "half an interval")?;
    Ok(Interval {
        micros: i64::from_be_bytes(*micros),
        days: i32::from_be_bytes(*days),
        months: i32::from_be_bytes(months),
    })
}

/// An exact number: groups of four digits, where the first one belongs, a sign, and how many digits are
/// after the point.
fn decimal(bytes: &[u8]) -> Result<String, Unfit> {
    let numbers: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|two| u16::from_be_bytes([two[0], two[1]]))
        .collect();
    let [count, weight, sign, scale, groups @ ..] = &*numbers else {
        return Err("half a number".into());
    };
    match sign {
        0xC000 => return Ok("NaN".to_owned()),
        0xD000 => return Ok("Infinity".to_owned()),
        0xF000 => return Ok("-Infinity".to_owned()),
        0x0000 | 0x4000 => {}
        _ => return Err("a number with a sign that is none".into()),
    }
    if groups.len() != usize::from(*count) || groups.iter().any(|group| *group > 9999) {
        return Err("half a number".into());
    }
    // Two's complement, as it came.
    let weight = i32::from(i16::from_be_bytes(weight.to_be_bytes()));
    let group = |place: i32| {
        let index = usize::try_from(weight - place).ok();
        index
            .and_then(|index| groups.get(index))
            .copied()
            .unwrap_or(0)
    };
    let mut text = match sign {
        0x4000 => "-".to_owned(),
        _ => String::new(),
    };
    text.push_str(&group(weight.max(0)).to_string());
    for place in (0..weight.max(0)).rev() {
        text.push_str(&format!("{:04}", group(place)));
    }
    let scale = usize::from(*scale);
    if scale > 0 {
        text.push('.');
        let end = text.len() + scale;
        let mut place = -1;
        while text.len() < end {
            text.push_str(&format!("{:04}", group(place)));
            place -= 1;
        }
        text.truncate(end);
    }
    Ok(text)
}

fn range<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, Unfit>) -> Result<Bounds<T>, Unfit> {
    let bound = |bound: RangeBound<Option<&[u8]>>| {
        let (bytes, kind) = match bound {
            RangeBound::Unbounded => return Ok(None),
            RangeBound::Inclusive(bytes) => (bytes, RangeBoundKind::Inclusive),
            RangeBound::Exclusive(bytes) => (bytes, RangeBoundKind::Exclusive),
        };
        Ok::<_, Unfit>(Some((read(bytes.ok_or("half a range")?)?, kind)))
    };
    match types::range_from_sql(bytes)? {
        Range::Empty => Err("an empty range has no bounds".into()),
        Range::Nonempty(lower, upper) => Ok((bound(lower)?, bound(upper)?)),
    }
}

fn array<T>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Unfit>,
) -> Result<Vec<Option<T>>, Unfit> {
    let array = types::array_from_sql(bytes)?;
    if array.dimensions().count()? > 1 {
        return Err("an array of arrays is no list".into());
    }
    array
        .values()
        .map(|item| item.map(&read).transpose())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(oid: u32, bytes: &[u8]) -> Result<DbValue, String> {
        value(oid, Some(&Bytes::copy_from_slice(bytes)))
    }

    fn numeric(parts: &[u16]) -> Result<String, Unfit> {
        decimal(
            &parts
                .iter()
                .flat_map(|part| part.to_be_bytes())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn exact_numbers_have_all_their_digits() {
        const BELOW: u16 = u16::MAX;
        for (parts, expected) in [
            (&[0, 0, 0, 0][..], "0"),
            (&[0, 0, 0, 2], "0.00"),
            (&[1, 0, 0, 0, 7], "7"),
            (&[2, 1, 0, 0, 1, 5], "10005"),
            (&[1, 1, 0, 0, 12], "120000"),
            (&[2, 0, 0x4000, 2, 12, 3400], "-12.34"),
            (&[1, BELOW, 0, 3, 10], "0.001"),
            (&[1, BELOW - 1, 0, 8, 1], "0.00000001"),
            (&[3, 1, 0, 5, 1, 2, 3450], "10002.34500"),
            (&[0, 0, 0xC000, 0], "NaN"),
            (&[0, 0, 0xF000, 0], "-Infinity"),
        ] {
            assert_eq!(numeric(parts).ok().as_deref(), Some(expected));
        }
        for wrong in [&[][..], &[1, 0, 0, 0], &[1, 0, 0, 0, 10_000], &[0, 0, 1, 0]] {
            assert!(numeric(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_the_interface_has_no_words_for_is_an_error_and_not_another_value() {
        let endless = i64::MAX.to_be_bytes();
        let nested = [2_u32, 0, 23, 1, 1, 1, 1, 4, 7].map(u32::to_be_bytes);
        for (oid, bytes, expected) in [
            (1184, &endless[..], "endless"),
            (1082, &i32::MIN.to_be_bytes(), "endless"),
            (3904, &[1], "empty range"),
            (1007, nested.as_flattened(), "array of arrays"),
            (3802, &[2, b'1'], "not known"),
        ] {
            let refused = read(oid, bytes).expect_err("no value");
            assert!(refused.contains(expected), "{oid}: {refused}");
        }
        for (oid, bytes) in [
            (23, &[0, 0][..]),
            (2950, &[1]),
            (1186, &[0; 15]),
            (25, &[0xff]),
        ] {
            assert!(read(oid, bytes).is_err(), "{oid}");
        }
    }

    #[test]
    fn values_have_the_types_of_their_columns() {
        assert!(matches!(value(23, None), Ok(DbValue::DbNull)));
        assert!(matches!(read(16400, b"sad"), Ok(DbValue::Unsupported(bytes)) if bytes == b"sad"));
        assert!(matches!(read(21, &[0xff, 0xfe]), Ok(DbValue::Int16(-2))));
        let moment = (-1_i64).to_be_bytes();
        assert!(matches!(
            read(1114, &moment),
            Ok(DbValue::Datetime((1999, 12, 31, 23, 59, 59, 999_999_000)))
        ));
        let list = [1_i32, 1, 23, 2, 1, -1, 4, 7].map(i32::to_be_bytes);
        assert!(matches!(
            read(1007, list.as_flattened()),
            Ok(DbValue::ArrayInt32(items)) if items == [None, Some(7)]
        ));
        assert!(matches!(
            read(1007, &[0; 12]),
            Ok(DbValue::ArrayInt32(items)) if items.is_empty()
        ));
        // From 1 and without an end.
        let range = [&[2 | 16][..], &4_i32.to_be_bytes(), &1_i32.to_be_bytes()].concat();
        assert!(matches!(
            read(3904, &range),
            Ok(DbValue::RangeInt32((
                Some((1, RangeBoundKind::Inclusive)),
                None
            )))
        ));
        let uuid: Vec<u8> = (0..16).collect();
        assert!(matches!(
            read(2950, &uuid),
            Ok(DbValue::Uuid(text)) if text == "00010203-0405-0607-0809-0a0b0c0d0e0f"
        ));
    }
}
