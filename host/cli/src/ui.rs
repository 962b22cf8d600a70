//! What the user sees: results on standard output, everything else on standard error.
//!
//! Texts of the platform were chosen by publishers and tenants, so control characters are taken
//! out before they reach a terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use canopy_ids::InterfaceName;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::Error;

/// How to print.
pub(crate) struct Ui {
    json: bool,
    colour: bool,
}

/// Writes a line to standard error. Where nobody reads it the work goes on all the same.
pub(crate) fn tell(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

impl Ui {
    /// Colours are used on a terminal unless `NO_COLOR` is set and not empty.
    pub(crate) fn new(json: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            json,
            colour: !refused && std::io::stderr().is_terminal(),
        }
    }

    /// Whether results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: `value` as JSON, or else the text made of it.
    pub(crate) fn result<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce(&T) -> String) {
        if self.json {
            match serde_json::to_string_pretty(value) {
                Ok(json) => print_out(&json),
                Err(error) => self.warn(format_args!("the result has no JSON form: {error}")),
            }
        } else {
            print_out(text(value).trim_end());
        }
    }

    /// Prints one line of a stream of results.
    pub(crate) fn line(&self, text: &str) {
        print_out(text);
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&self, bytes: &[u8]) {
        let mut out = std::io::stdout().lock();
        if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
            std::process::exit(0);
        }
    }

    /// Tells the user how things go; never part of the result.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            tell(text);
        }
    }

    /// Tells the user about something that may surprise.
    pub(crate) fn warn(&self, text: impl Display) {
        tell(format_args!("{} {text}", self.paint("33", "warning:")));
    }

    /// Prints an error and returns its exit code.
    pub(crate) fn fail(&self, error: &Error) -> ExitCode {
        if self.json {
            tell(error.to_json());
        } else {
            tell(format_args!(
                "{} {}",
                self.paint("1;31", "error:"),
                describe(error)
            ));
        }
        error.exit_code()
    }

    /// Shows that something takes long; on what is no terminal, one line at its start.
    pub(crate) fn spinner(&self, message: impl Into<String>) -> Progress {
        let message = message.into();
        if self.json || !std::io::stderr().is_terminal() {
            self.note(&message);
            return Progress(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(120));
        Progress(bar)
    }

    /// Shows how much of `bytes` has been done.
    pub(crate) fn transfer(&self, message: impl Into<String>, bytes: u64) -> Progress {
        let progress = self.spinner(message);
        if !progress.0.is_hidden() {
            progress.0.set_length(bytes);
            let template = "{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                progress.0.set_style(style);
            }
        }
        progress
    }

    fn paint<'a>(&self, code: &str, text: &'a str) -> Cow<'a, str> {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m").into()
        } else {
            text.into()
        }
    }
}

/// Something that takes long and is shown until this is dropped.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Says what happens now.
    pub(crate) fn step(&self, message: impl Into<String>) {
        self.0.set_message(message.into());
    }

    /// The bar itself, to count on.
    pub(crate) fn bar(&self) -> &ProgressBar {
        &self.0
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A table with a head; without rows, the sentence `none`.
pub(crate) fn table<const N: usize>(
    none: &str,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.map(str::to_uppercase));
    let mut empty = true;
    for row in rows {
        empty = false;
        table.add_row(row.map(|cell| printable(&cell).into_owned()));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    if empty {
        none.to_owned()
    } else {
        trimmed_lines(&table.to_string())
    }
}

/// A table whose columns are not known beforehand.
pub(crate) fn grid(head: &[String], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header(head.iter().map(|name| printable(name).into_owned()));
    for row in rows {
        table.add_row(row.iter().map(|cell| printable(cell).into_owned()));
    }
    trimmed_lines(&table.to_string())
}

/// Names and values below each other; a value of several lines is indented.
pub(crate) fn fields<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0) + 1;
    let mut text = String::new();
    for (name, value) in rows {
        for (index, line) in value.lines().enumerate() {
            let name = if index == 0 {
                format!("{name}:")
            } else {
                String::new()
            };
            text.push_str(&format!("{name:width$} {}\n", printable(line)));
        }
    }
    text
}

/// `text` without control characters and without characters that turn the reading direction.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(bad) {
        text.chars()
            .map(|c| if bad(c) { '\u{fffd}' } else { c })
            .collect::<String>()
            .into()
    } else {
        text.into()
    }
}

/// Interfaces and who serves them, one line for each WIT package that one party serves.
pub(crate) fn interfaces<'a>(
    served: impl IntoIterator<Item = (&'a InterfaceName, String)>,
) -> String {
    let mut lines: Vec<(String, String, Vec<&str>)> = Vec::new();
    for (name, by) in served {
        let version = name
            .version
            .as_ref()
            .map(|version| format!("@{version}"))
            .unwrap_or_default();
        let package = format!("{}{version}", name.package);
        match lines
            .iter_mut()
            .find(|line| line.0 == package && line.1 == by)
        {
            Some(line) => line.2.push(&name.interface),
            None => lines.push((package, by, vec![&name.interface])),
        }
    }
    let line = |(package, by, names): &(String, String, Vec<&str>)| {
        format!("{package} {} ({by})", names.join(", "))
    };
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Bytes as people write them.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::HumanBytes(count).to_string()
}

/// A point in time to the second, in UTC.
pub(crate) fn moment(time: time::OffsetDateTime) -> String {
    let format =
        time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");
    time.to_offset(time::UtcOffset::UTC)
        .format(format)
        .unwrap_or_else(|_| time.to_string())
}

/// Everything the user should know about an error, over several lines.
fn describe(error: &Error) -> String {
    let mut text = String::new();
    for (index, line) in headline(error).lines().enumerate() {
        let indent = if index == 0 { "" } else { "\n  " };
        text.push_str(indent);
        text.push_str(&printable(line));
    }
    if let Error::Problem { problem, .. } = error {
        for (name, value) in problem
            .members
            .iter()
            .filter(|(_, value)| !is_said(value, &problem.detail))
        {
            text.push_str(&format!("\n  {}: {}", printable(name), member(value)));
        }
        if let Some(id) = &problem.request_id {
            text.push_str(&format!("\n  request id: {}", printable(id)));
        }
    }
    if let Some(advice) = error.advice() {
        text.push_str(&format!("\n  next: {advice}"));
    }
    text
}

/// The error in a sentence; a problem whose detail begins with its title does not say it twice.
fn headline(error: &Error) -> String {
    match error {
        Error::Problem { problem, .. }
            if problem
                .detail
                .to_lowercase()
                .starts_with(&problem.title.to_lowercase()) =>
        {
            problem.detail.clone()
        }
        other => other.to_string(),
    }
}

/// Whether all that a member of a problem says is in its detail already.
fn is_said(value: &serde_json::Value, detail: &str) -> bool {
    match value {
        serde_json::Value::Null => true,
        serde_json::Value::String(text) => detail.contains(text.as_str()),
        serde_json::Value::Array(items) => items.iter().all(|item| is_said(item, detail)),
        serde_json::Value::Object(members) => members.values().all(|item| is_said(item, detail)),
        other => detail.contains(&other.to_string()),
    }
}

fn member(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => printable(text).into_owned(),
        serde_json::Value::Array(items) if !items.is_empty() => items
            .iter()
            .map(|item| format!("\n    - {}", member(item)))
            .collect(),
        other => printable(&other.to_string()).into_owned(),
    }
}

fn trimmed_lines(text: &str) -> String {
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Prints to standard output; a reader that has gone away (`| head`) ends the output quietly.
fn print_out(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{202e}c"), "a\u{fffd}[31mb\u{fffd}c");
        assert_eq!(printable("plain – ü"), "plain – ü");
    }

    #[test]
    fn a_table_has_a_head_and_no_trailing_spaces() {
        let text = table(
            "none",
            ["name", "plan"],
            [["acme".into(), "pro\x07".into()]],
        );
        assert_eq!(text, "NAME  PLAN\nacme  pro\u{fffd}");
        assert_eq!(table("No tenants.", ["name"], []), "No tenants.");
    }

    #[test]
    fn interfaces_of_a_package_share_a_line() {
        let names: Vec<InterfaceName> = ["a:b/c@1.0.0", "x:y/z", "a:b/d@1.0.0", "a:b/e@1.0.0"]
            .iter()
            .map(|name| name.parse().expect("an interface"))
            .collect();
        let served = names
            .iter()
            .zip(["p", "p", "p", "q"])
            .map(|(name, by)| (name, by.to_owned()));
        assert_eq!(
            interfaces(served),
            "a:b@1.0.0 c, d (p)\nx:y z (p)\na:b@1.0.0 e (q)"
        );
    }

    #[test]
    fn fields_are_aligned_and_empty_ones_left_out() {
        let text = fields([
            ("name", "a".into()),
            ("nothing", String::new()),
            ("needs", "x\ny".into()),
        ]);
        assert_eq!(text, "name:  a\nneeds: x\n       y\n");
    }

    #[test]
    fn nothing_is_said_twice() {
        let problem = |detail: &str| {
            let problem = serde_json::json!({
                "type": "urn:canopy:problem:x", "title": "Not valid", "status": 422,
                "detail": detail, "faults": [{ "key": "port", "nearest": null }]
            });
            let problem = Box::new(serde_json::from_value(problem).expect("a problem"));
            describe(&Error::Problem {
                problem,
                advice: None,
            })
        };
        assert_eq!(problem("not valid: the port"), "not valid: the port");
        assert_eq!(problem("the port"), "Not valid: the port");
        assert!(problem("something").contains("port"));
    }

    #[test]
    fn a_refusal_shows_its_members_its_request_and_what_to_do() {
        let problem = serde_json::json!({
            "type": "urn:canopy:problem:unserved", "title": "Unserved import", "status": 401,
            "detail": "nobody serves it", "request_id": "r-1", "imports": ["a:b/c", {"x": "\u{1b}"}]
        });
        let problem = Box::new(serde_json::from_value(problem).expect("a problem"));
        let text = describe(&Error::Problem {
            problem,
            advice: None,
        });
        assert!(
            text.starts_with("Unserved import: nobody serves it\n  imports: \n    - a:b/c\n"),
            "{text}"
        );
        assert!(
            text.contains("request id: r-1") && text.contains("next: run `canopy login"),
            "{text}"
        );
        assert!(!text.contains('\x1b'));
    }
}
