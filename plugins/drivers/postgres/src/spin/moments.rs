//! Dates and times of day between their parts and the numbers that the server keeps.

/// Days from the beginning of 1970 to that of 2000, where the server's days begin.
pub const EPOCH: i64 = 10_957;

/// Microseconds of a day.
pub const DAY: i64 = 86_400_000_000;

/// Year, month and day. Year 0 is that before year 1.
pub type Date = (i32, u8, u8);

/// Hour, minute, second and nanosecond.
pub type Time = (u8, u8, u8, u32);

/// Days of 400 years, after which the calendar begins anew.
const CYCLE: i64 = 146_097;

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: u8) -> u8 {
    match month {
        2 => 28 + u8::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Whether there is such a day.
pub fn is_date((year, month, day): Date) -> bool {
    (1..=12).contains(&month) && (1..=days_of_month(i64::from(year), month)).contains(&day)
}

/// Whether there is such a time of day.
pub fn is_time((hour, minute, second, nanosecond): Time) -> bool {
    hour < 24 && minute < 60 && second < 60 && nanosecond < 1_000_000_000
}

/// The date that is `days` after the beginning of 1970, unless its year is no number of 32 bits.
pub fn date(days: i64) -> Option<Date> {
    // Counted from the beginning of year 0.
    let days = days.checked_add(719_528)?;
    let mut year = days.div_euclid(CYCLE).checked_mul(400)?;
    let mut left = days.rem_euclid(CYCLE);
    // At most one year too few, for no year is longer than that.
    let years = left / 366;
    left -= years * 365 + leap_days_before(years);
    year += years;
    let mut length = 365 + i64::from(is_leap(year));
    while left >= length {
        left -= length;
        year += 1;
        length = 365 + i64::from(is_leap(year));
    }
    let mut month = 1;
    while left >= i64::from(days_of_month(year, month)) {
        left -= i64::from(days_of_month(year, month));
        month += 1;
    }
    let day = u8::try_from(left + 1).ok()?;
    Some((i32::try_from(year).ok()?, month, day))
}

/// Leap days in the first `years` years of a cycle.
fn leap_days_before(years: i64) -> i64 {
    match years {
        0 => 0,
        years => (years - 1) / 4 - (years - 1) / 100 + 1,
    }
}

/// The time of day at `microseconds` of it; the end of a day is 24:00.
pub fn time(microseconds: i64) -> Option<Time> {
    let part = |unit: i64, of: i64| u8::try_from(microseconds / unit % of).ok();
    let hour = u8::try_from(microseconds / 3_600_000_000).ok()?;
    let nanosecond = u32::try_from(microseconds % 1_000_000).ok()? * 1000;
    (0..=DAY).contains(&microseconds).then_some(())?;
    Some((
        hour,
        part(60_000_000, 60)?,
        part(1_000_000, 60)?,
        nanosecond,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates_in_their_order() {
        for (days, expected) in [
            (0, (1970, 1, 1)),
            (-1, (1969, 12, 31)),
            (EPOCH, (2000, 1, 1)),
            (EPOCH + 59, (2000, 2, 29)),
            (EPOCH + 60, (2000, 3, 1)),
            (EPOCH + 365, (2000, 12, 31)),
            (EPOCH + 366, (2001, 1, 1)),
            (19_782, (2024, 2, 29)),
            (-719_528, (0, 1, 1)),
            (-719_529, (-1, 12, 31)),
            (-25_509, (1900, 2, 28)),
            (-25_508, (1900, 3, 1)),
        ] {
            assert_eq!(date(days), Some(expected), "{days}");
        }
        let mut before = date(-1_000_000).unwrap();
        for days in -999_999..1_000_000 {
            let (year, month, day) = before;
            let next = date(days).unwrap();
            let follows = match next {
                (y, m, 1) if m > 1 => {
                    (y, m) == (year, month + 1) && !is_date((year, month, day + 1))
                }
                (y, 1, 1) => y == year + 1 && (month, day) == (12, 31),
                (y, m, d) => (y, m, d) == (year, month, day + 1),
            };
            assert!(follows && is_date(next), "{before:?}, {next:?}");
            before = next;
        }
        assert_eq!(date(i64::MAX), None);
        assert_eq!(date(i64::MIN), None);
    }

    #[test]
    fn times_of_day_have_their_parts() {
        assert_eq!(time(0), Some((0, 0, 0, 0)));
        assert_eq!(time(3_723_000_004), Some((1, 2, 3, 4_000)));
        assert_eq!(time(DAY - 1), Some((23, 59, 59, 999_999_000)));
        assert_eq!(time(DAY), Some((24, 0, 0, 0)));
        assert_eq!(time(DAY + 1), None);
        assert_eq!(time(-1), None);
    }

    #[test]
    fn what_is_no_date_or_time_is_known() {
        for date in [
            (2023, 2, 29),
            (2024, 0, 1),
            (2024, 13, 1),
            (2024, 4, 31),
            (2024, 1, 0),
        ] {
            assert!(!is_date(date), "{date:?}");
        }
        assert!(is_date((2024, 2, 29)) && is_date((-44, 3, 15)));
        for time in [
            (24, 0, 0, 0),
            (0, 60, 0, 0),
            (0, 0, 60, 0),
            (0, 0, 0, 1_000_000_000),
        ] {
            assert!(!is_time(time), "{time:?}");
        }
    }
}
