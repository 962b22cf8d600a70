//! What can be told from a statement's text before SQLite sees it.

use canopy_backend::sql::{SqlError, SqlLimits};

/// The first word of `sql`, past white space, comments and empty statements.
pub(crate) fn first_word(sql: &str) -> Option<&str> {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches(|c: char| {
            matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0c' | ';' | '\u{feff}')
        });
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            break;
        }
    }
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    match (rest.is_empty(), end) {
        (true, _) => None,
        (false, 0) => Some(rest),
        (false, end) => Some(&rest[..end]),
    }
}

/// Refuses what is no statement for applications, whatever it does. SQLite's authorizer refuses
/// the rest when it compiles the statement; what it compiled once it does not ask about again, so
/// what depends on the moment is decided here.
pub(crate) fn screen(sql: &str, limits: &SqlLimits, in_transaction: bool) -> Result<(), SqlError> {
    if sql.len() > limits.statement_bytes {
        return Err(SqlError::TooLarge(format!(
            "a statement of {} bytes is over the limit of {}",
            sql.len(),
            limits.statement_bytes
        )));
    }
    if sql.contains('\0') {
        return Err(SqlError::Invalid(
            "the statement has a NUL character in it".into(),
        ));
    }
    let Some(word) = first_word(sql) else {
        return Err(SqlError::Invalid("the text has no statement in it".into()));
    };
    let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
    if is(&["BEGIN", "COMMIT", "END"]) {
        return Err(SqlError::Denied(format!(
            "{word} is no statement here: a transaction is begun and ended by the interface's own \
             functions"
        )));
    }
    if !in_transaction && is(&["SAVEPOINT", "RELEASE", "ROLLBACK"]) {
        return Err(SqlError::Denied(format!(
            "{word} is a statement only within a transaction"
        )));
    }
    if !in_transaction && seems_to_read(sql) && counts_changes(sql) {
        return Err(SqlError::Denied(
            "changes() and total_changes() count within a transaction only: every statement tells \
             its own count"
                .into(),
        ));
    }
    if is(&["VACUUM"]) {
        return Err(SqlError::Denied(
            "VACUUM is closed to applications: the platform gives space back by itself".into(),
        ));
    }
    Ok(())
}

/// Whether `changes(` is in it: outside of a transaction the connection that it asks is another one
/// than that which wrote.
fn counts_changes(sql: &str) -> bool {
    sql.as_bytes()
        .windows(8)
        .any(|window| window.eq_ignore_ascii_case(b"changes("))
}

/// Whether a statement that begins so often only reads. Merely a guess at where to try first.
pub(crate) fn seems_to_read(sql: &str) -> bool {
    first_word(sql).is_some_and(|word| {
        ["SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA"]
            .iter()
            .any(|name| word.eq_ignore_ascii_case(name))
    })
}

/// The statements of a script, each with the semicolon that ends it.
pub(crate) fn statements(script: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut words = 0;
    // Whether the statement is CREATE TRIGGER, which has statements in it and ends with `; END;`.
    let (mut creates, mut is_temp, mut trigger) = (false, false, false);
    let (mut after_semicolon, mut after_end) = (false, false);
    while at < script.len() {
        let rest = &script[at..];
        let (token, length) = token(rest);
        at += length;
        match token {
            Token::Space => {}
            Token::Semicolon if trigger && !after_end => after_semicolon = true,
            Token::Semicolon => {
                found.push(&script[start..at]);
                start = at;
                words = 0;
                (creates, is_temp, trigger) = (false, false, false);
                (after_semicolon, after_end) = (false, false);
            }
            Token::Word => {
                let is = |name: &str| rest[..length].eq_ignore_ascii_case(name);
                words += 1;
                creates |= words == 1 && is("CREATE");
                is_temp |= words == 2 && (is("TEMP") || is("TEMPORARY"));
                trigger |= creates && words == 2 + u32::from(is_temp) && is("TRIGGER");
                after_end = after_semicolon && is("END");
                after_semicolon = false;
            }
            Token::Other => {
                words += 1;
                (after_semicolon, after_end) = (false, false);
            }
        }
    }
    found.push(&script[start..]);
    found.retain(|statement| first_word(statement).is_some());
    found
}

enum Token {
    /// Also comments.
    Space,
    Semicolon,
    Word,
    Other,
}

/// What `rest` begins with, and how long it is.
fn token(rest: &str) -> (Token, usize) {
    let to = |end: Option<usize>, more: usize| end.map_or(rest.len(), |end| end + more);
    let Some(first) = rest.chars().next() else {
        return (Token::Space, 0);
    };
    match first {
        ';' => (Token::Semicolon, 1),
        '-' if rest.starts_with("--") => (Token::Space, to(rest.find('\n'), 1)),
        '/' if rest.starts_with("/*") => (Token::Space, to(rest[2..].find("*/"), 4)),
        '\'' | '"' | '`' => (Token::Other, to(rest[1..].find(first), 2)),
        '[' => (Token::Other, to(rest.find(']'), 1)),
        c if c.is_ascii_whitespace() => (Token::Space, 1),
        c if c.is_ascii_alphanumeric() || c == '_' => {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            (Token::Word, to(end, 0))
        }
        c => (Token::Other, c.len_utf8()),
    }
}

/// The beginning of a statement, for a message.
pub(crate) fn excerpt(sql: &str) -> String {
    const LONGEST: usize = 60;
    let mut words = sql.split_whitespace();
    let mut text = String::new();
    for word in words.by_ref() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
        if text.len() > LONGEST {
            let end = text.floor_char_boundary(LONGEST);
            text.truncate(end);
            text.push('…');
            return text;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_found_behind_comments() {
        for (sql, word) in [
            ("SELECT 1", Some("SELECT")),
            ("  \n;;-- c\n/* ; */ begin", Some("begin")),
            ("select(1)", Some("select")),
            ("\u{feff}values (1)", Some("values")),
            ("/* open", None),
            ("-- all", None),
            (" ; ", None),
            ("(1)", Some("(1)")),
            ("ünder", Some("ünder")),
        ] {
            assert_eq!(first_word(sql), word, "{sql:?}");
        }
    }

    #[test]
    fn a_script_falls_into_its_statements() {
        let trigger = "CREATE TRIGGER x AFTER INSERT ON t BEGIN\n  UPDATE t SET a = CASE WHEN 1 \
                       THEN 2 END;\n  SELECT 1; END;";
        let quoted = "SELECT ';''', \";\", [;], `;`;";
        for (script, expected) in [
            ("", vec![]),
            (" ; -- a;b\n ; ", vec![]),
            ("SELECT 1", vec!["SELECT 1"]),
            ("A; B;C", vec!["A;", " B;", "C"]),
            (quoted, vec![quoted]),
            ("SELECT /* ; */ 1; B", vec!["SELECT /* ; */ 1;", " B"]),
            (trigger, vec![trigger]),
            (
                "CREATE TABLE trigger (a); END; B",
                vec!["CREATE TABLE trigger (a);", " END;", " B"],
            ),
            ("SELECT 'open; B", vec!["SELECT 'open; B"]),
        ] {
            assert_eq!(statements(script), expected, "{script:?}");
        }
        assert_eq!(statements(&format!("{trigger}\n{trigger}")).len(), 2);
    }

    #[test]
    fn an_excerpt_is_short_and_on_one_line() {
        assert_eq!(excerpt("CREATE\n  TABLE t"), "CREATE TABLE t");
        let long = excerpt(&"ä".repeat(100));
        assert!(long.ends_with('…') && long.len() < 70, "{long}");
    }
}
