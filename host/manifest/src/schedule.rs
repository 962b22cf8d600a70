//! Calls that a package asks to get at certain times.

use std::fmt;

use canopy_ids::Label;
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use toml::Table;

use crate::error::{Fault, nearest};
use crate::reader::Reader;

const MAX_CRON: usize = 200;
const MAX_PATH: usize = 1_000;
const MAX_REASON: usize = 400;
const METHODS: [&str; 5] = ["POST", "GET", "PUT", "PATCH", "DELETE"];
/// From where occurrences are looked for to judge an expression: the same everywhere and always, so
/// that a manifest that was read once can be read again. 2024-01-01, at the beginning of a leap
/// year.
const JUDGED_FROM: i64 = 1_704_067_200;
/// Occurrences that are compared to find how close two of them can be.
const JUDGED: usize = 64;

/// A call that a package asks to get at certain times.
#[derive(Debug, Clone)]
pub struct ScheduleAsked {
    /// Its name within the package.
    pub name: Label,
    /// When.
    pub timetable: Timetable,
    /// The method of the request.
    pub method: String,
    /// Its path and query.
    pub path: String,
    /// Whether a call may begin while the one before is not done.
    pub overlap: bool,
    /// What it is for, for whoever installs the package to read.
    pub reason: String,
}

/// A cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Timetable {
    cron: Cron,
    zone: TimeZone,
    text: String,
    zone_name: String,
}

/// The same times, as far as the texts say so.
impl PartialEq for Timetable {
    fn eq(&self, other: &Self) -> bool {
        (&self.text, &self.zone_name) == (&other.text, &other.zone_name)
    }
}

impl Eq for Timetable {}

/// A text that is no timetable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimetable {
    /// The expression cannot be read.
    #[error("is not a cron expression such as `0 3 * * 1-5`: {0}")]
    Cron(String),
    /// The expression fits no date.
    #[error("never comes: no date fits it")]
    Never,
    /// The time zone is unknown.
    #[error("is not a time zone such as `Europe/Berlin` or `UTC`")]
    Zone,
}

impl Timetable {
    /// Reads a cron expression of five fields, or six with seconds before them, and the name of a
    /// time zone of the IANA's database.
    pub fn new(cron: &str, zone: &str) -> Result<Self, InvalidTimetable> {
        let time_zone = TimeZone::get(zone).map_err(|_| InvalidTimetable::Zone)?;
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed);
        let parsed = parser
            .build()
            .parse(cron)
            .map_err(|error| InvalidTimetable::Cron(error.to_string()))?;
        let this = Self {
            cron: parsed,
            zone_name: time_zone.iana_name().unwrap_or(zone).to_owned(),
            zone: time_zone,
            text: cron.to_owned(),
        };
        match this.next_after(JUDGED_FROM) {
            Some(_) => Ok(this),
            None => Err(InvalidTimetable::Never),
        }
    }

    /// The expression as it was written.
    pub fn cron(&self) -> &str {
        &self.text
    }

    /// The time zone's name.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    fn at(&self, unix_seconds: i64) -> Option<Zoned> {
        let timestamp = Timestamp::from_second(unix_seconds).ok()?;
        Some(timestamp.to_zoned(self.zone.clone()))
    }

    /// The first occurrence after a moment, both in seconds since 1970.
    pub fn next_after(&self, unix_seconds: i64) -> Option<i64> {
        let next = self
            .cron
            .find_next_occurrence(&self.at(unix_seconds)?, false)
            .ok()?;
        Some(next.timestamp().as_second())
    }

    /// The last occurrence not after a moment, both in seconds since 1970.
    pub fn last_until(&self, unix_seconds: i64) -> Option<i64> {
        let last = self
            .cron
            .find_previous_occurrence(&self.at(unix_seconds)?, true)
            .ok()?;
        Some(last.timestamp().as_second())
    }

    /// Seconds between the two occurrences that are closest to one another.
    pub fn shortest_gap(&self) -> u64 {
        let mut last = JUDGED_FROM;
        let mut shortest = u64::MAX;
        for index in 0..JUDGED {
            let Some(next) = self.next_after(last) else {
                break;
            };
            if index > 0 {
                shortest = shortest.min(next.abs_diff(last));
            }
            last = next;
        }
        shortest
    }
}

impl fmt::Display for Timetable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.zone_name)
    }
}

pub(crate) fn read(tables: Vec<(String, Table)>, faults: &mut Vec<Fault>) -> Vec<ScheduleAsked> {
    let mut schedules: Vec<ScheduleAsked> = Vec::with_capacity(tables.len());
    for (path, table) in tables {
        let mut reader = Reader::new(path, table, faults);
        let name = reader.required_parsed::<Label>("name");
        let cron = reader.required_text("cron", MAX_CRON);
        let zone = reader.text("timezone").unwrap_or_else(|| "UTC".into());
        let timetable = match cron.is_empty() {
            true => None,
            false => match Timetable::new(&cron, &zone) {
                Ok(timetable) => Some(timetable),
                Err(fault) => {
                    let key = match fault {
                        InvalidTimetable::Zone => "timezone",
                        _ => "cron",
                    };
                    reader.fault(key, fault.to_string());
                    None
                }
            },
        };
        let method = reader.text("method").unwrap_or_else(|| "POST".into());
        if !METHODS.contains(&method.as_str()) {
            let meant = nearest(&method.to_ascii_uppercase(), METHODS)
                .map(|meant| format!("; did you mean `{meant}`?"))
                .unwrap_or_default();
            let message = format!("must be one of {}{meant}", METHODS.join(", "));
            reader.fault("method", message);
        }
        let to = reader.required_text("path", MAX_PATH);
        if let Some(fault) = path_fault(&to) {
            reader.fault("path", fault);
        }
        let overlap = reader.boolean("overlap").unwrap_or(false);
        let reason = reader.required_text("reason", MAX_REASON);
        if let Some(name) = &name
            && schedules.iter().any(|other| other.name == *name)
        {
            reader.fault("name", format!("`{name}` is named twice"));
        }
        reader.finish();
        if let (Some(name), Some(timetable)) = (name, timetable) {
            schedules.push(ScheduleAsked {
                name,
                timetable,
                method,
                path: to,
                overlap,
                reason,
            });
        }
    }
    schedules
}

/// What is wrong with the path and query of a request that the platform itself sends. An empty one
/// has been reported as missing.
pub(crate) fn path_fault(path: &str) -> Option<&'static str> {
    const PLAIN: &[u8] = b"-._~!$&'()*+,;=:@/?%";
    if path.is_empty() {
        None
    } else if !path.starts_with('/')
        || !path
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || PLAIN.contains(&c))
    {
        Some("must be a path such as `/jobs/nightly`, with everything else percent-encoded")
    } else if path.starts_with("/.canopy/") {
        Some("must not be below `/.canopy/`, which the platform answers itself")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Manifest;

    const DAY: i64 = 86_400;

    fn parse(schedule: &str) -> Result<Manifest, crate::ManifestError> {
        Manifest::parse(&format!(
            "name = \"a/b\"\nversion = \"1.0.0\"\nkind = \"app\"\ntitle = \"t\"\n\
             summary = \"s\"\ncomponent = \"c.wasm\"\n[[schedules]]\n{schedule}"
        ))
    }

    #[test]
    fn a_schedule_says_when_and_what() {
        let manifest = parse(
            "name = \"nightly\"\ncron = \"0 3 * * *\"\npath = \"/jobs/nightly?all=1\"\n\
             reason = \"Sends reminders.\"",
        )
        .expect("valid");
        let [schedule] = &manifest.schedules[..] else {
            panic!("{:?}", manifest.schedules);
        };
        assert_eq!(schedule.name.as_str(), "nightly");
        assert_eq!(schedule.method, "POST");
        assert!(!schedule.overlap);
        assert_eq!(schedule.timetable.zone(), "UTC");
        assert_eq!(schedule.timetable.shortest_gap(), DAY.unsigned_abs());
        let next = schedule.timetable.next_after(JUDGED_FROM);
        assert_eq!(next, Some(JUDGED_FROM + 3 * 3600));
        let last = schedule.timetable.last_until(JUDGED_FROM + 5 * 3600);
        assert_eq!(last, next);
        assert_eq!(schedule.timetable.last_until(JUDGED_FROM + 3 * 3600), next);
    }

    #[test]
    fn a_time_zone_has_its_summer() {
        let timetable = Timetable::new("0 3 * * *", "Europe/Berlin").expect("valid");
        // 2024-07-01, when Berlin is two hours ahead.
        let july = JUDGED_FROM + 182 * DAY;
        assert_eq!(timetable.next_after(july), Some(july + 3600));
        assert_eq!(
            timetable.next_after(JUDGED_FROM),
            Some(JUDGED_FROM + 2 * 3600)
        );
        // 2024-03-31: the clock goes from two to three.
        let skipped = Timetable::new("30 2 * * *", "Europe/Berlin").expect("valid");
        let before = JUDGED_FROM + 90 * DAY;
        let next = skipped.next_after(before).expect("an occurrence");
        assert!(next > before && next < before + 2 * DAY);
    }

    #[test]
    fn the_closest_two_occurrences_count() {
        for (cron, gap) in [
            ("* * * * *", 60),
            ("* * * * * *", 1),
            ("0,1 0 1 1 *", 60),
            ("*/15 8-17 * * 1-5", 900),
        ] {
            let timetable = Timetable::new(cron, "UTC").expect(cron);
            assert_eq!(timetable.shortest_gap(), gap, "{cron}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let rest = "path = \"/x\"\nreason = \"r\"";
        for (schedule, key, message) in [
            (
                format!("cron = \"* * * * *\"\n{rest}"),
                "schedules[0].name",
                "missing",
            ),
            (
                format!("name = \"n\"\n{rest}"),
                "schedules[0].cron",
                "missing",
            ),
            (
                format!("name = \"n\"\ncron = \"61 * * * *\"\n{rest}"),
                "schedules[0].cron",
                "cron",
            ),
            (
                format!("name = \"n\"\ncron = \"tomorrow\"\n{rest}"),
                "schedules[0].cron",
                "cron",
            ),
            (
                format!("name = \"n\"\ncron = \"0 0 30 2 *\"\n{rest}"),
                "schedules[0].cron",
                "never",
            ),
            (
                format!("name = \"n\"\ncron = \"@daily\"\ntimezone = \"Mars/Olympus\"\n{rest}"),
                "schedules[0].timezone",
                "time zone",
            ),
            (
                format!("name = \"n\"\ncron = \"@daily\"\nmethod = \"post\"\n{rest}"),
                "schedules[0].method",
                "did you mean `POST`",
            ),
            (
                "name = \"n\"\ncron = \"@daily\"\npath = \"/.canopy/x\"\nreason = \"r\"".into(),
                "schedules[0].path",
                "/.canopy/",
            ),
            (
                "name = \"n\"\ncron = \"@daily\"\npath = \"x y\"\nreason = \"r\"".into(),
                "schedules[0].path",
                "must be a path",
            ),
            (
                format!("name = \"n\"\ncron = \"@daily\"\ntime_zone = \"UTC\"\n{rest}"),
                "schedules[0].time_zone",
                "did you mean `timezone`",
            ),
            (
                format!(
                    "name = \"n\"\ncron = \"@daily\"\n{rest}\n[[schedules]]\nname = \"n\"\n\
                     cron = \"@daily\"\n{rest}"
                ),
                "schedules[1].name",
                "twice",
            ),
        ] {
            let error = parse(&schedule).expect_err("refused");
            let faults = error.faults();
            let found = faults.iter().find(|fault| fault.key == key);
            let found = found.unwrap_or_else(|| panic!("{key} in {faults:?}"));
            assert!(found.message.contains(message), "{found}");
        }
    }

    #[test]
    fn a_driver_is_called_by_nobody_but_apps() {
        let error = Manifest::parse(
            "name = \"a/b\"\nversion = \"1.0.0\"\nkind = \"driver\"\ntitle = \"t\"\n\
             summary = \"s\"\ncomponent = \"c.wasm\"\n[serves]\ninterfaces = [\"a:b/c@1.0.0\"]\n\
             [[schedules]]\nname = \"n\"\ncron = \"@daily\"\npath = \"/\"\nreason = \"r\"",
        )
        .expect_err("refused");
        assert!(error.to_string().contains("schedules"), "{error}");
    }
}
