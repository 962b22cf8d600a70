//! A statement of an application, as the server takes it: its parameters numbered, and what would end
//! or begin transactions refused.

/// A statement for the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    pub text: String,
    /// How many parameters it has.
    pub parameters: usize,
}

/// Why a statement is not one for the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// It is a function of the interface, or nothing that fits one statement.
    #[error("{0} is no statement here: {1}")]
    Closed(String, &'static str),
    /// `?` alone and `?1` or `$1` do not go together.
    #[error("parameters are written `?`, or with numbers, and not both in one statement")]
    Mixed,
    /// The number of a parameter is none.
    #[error("parameters have numbers from 1 to 65535")]
    Number,
}

const TRANSACTIONS: &str = "use the functions for transactions";
const SETTINGS: &str = "a connection is used by many requests";

/// What no statement begins with here, and why.
const CLOSED: [(&str, &str); 16] = [
    ("abort", TRANSACTIONS),
    ("begin", TRANSACTIONS),
    ("commit", TRANSACTIONS),
    ("end", TRANSACTIONS),
    ("start", TRANSACTIONS),
    ("prepare", TRANSACTIONS),
    ("copy", "read and write rows"),
    ("declare", "rows are streamed by themselves"),
    ("discard", SETTINGS),
    ("listen", SETTINGS),
    ("load", SETTINGS),
    ("lock", "begin an immediate transaction"),
    ("reset", SETTINGS),
    ("set", SETTINGS),
    ("unlisten", SETTINGS),
    ("vacuum", "the server sees to it"),
];

/// Reads a statement. `?` becomes a number in the order of its places, `?2` that number; `??` is the
/// operator `?`. What stands in quotes and comments is left as it is.
pub fn prepared(statement: &str) -> Result<Prepared, Flaw> {
    let mut text = String::with_capacity(statement.len() + 8);
    let mut words = Vec::new();
    let (mut plain, mut numbered) = (0_usize, 0_usize);
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = quoted(rest);
        if length > 0 {
            text.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
            let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
            if words.len() < 3 {
                words.push(word.to_ascii_lowercase());
            }
            text.push_str(word);
            rest = after;
            continue;
        }
        if let Some(after) = rest.strip_prefix("??") {
            text.push('?');
            rest = after;
            continue;
        }
        if first == '?' || first == '$' {
            let after = &rest[1..];
            let end = after.find(|c: char| !c.is_ascii_digit());
            let (digits, after) = after.split_at(end.unwrap_or(after.len()));
            let number = match digits {
                "" if first == '?' => {
                    plain += 1;
                    plain
                }
                "" => 0,
                digits => {
                    let number = digits.parse().unwrap_or(0);
                    numbered = numbered.max(number);
                    number
                }
            };
            if !(1..=65535).contains(&number) {
                return Err(Flaw::Number);
            }
            text.push_str(&format!("${number}"));
            rest = after;
            continue;
        }
        text.push(first);
        rest = &rest[first.len_utf8()..];
    }
    if plain > 0 && numbered > 0 {
        return Err(Flaw::Mixed);
    }
    check(&words)?;
    Ok(Prepared {
        text,
        parameters: plain.max(numbered),
    })
}

fn check(words: &[String]) -> Result<(), Flaw> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(first) = words.first() else {
        return Ok(());
    };
    let closed = CLOSED.iter().find(|(word, _)| word == first);
    let reason = match (closed, *first) {
        (Some((_, reason)), _) => reason,
        // Savepoints are statements within a transaction.
        (None, "rollback") if words.get(1) != Some(&"to") => TRANSACTIONS,
        _ => return Ok(()),
    };
    Err(Flaw::Closed(first.to_ascii_uppercase(), reason))
}

/// Bytes of the text, name or comment in quotes that `rest` begins with, or none.
fn quoted(rest: &str) -> usize {
    let ended = |end: Option<usize>, mark: usize| end.map_or(rest.len(), |at| at + mark);
    match rest.as_bytes() {
        [b'-', b'-', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => comment(rest),
        [b'\'', ..] => string(rest, 1, false),
        [b'e' | b'E', b'\'', ..] => string(rest, 2, true),
        [b'"', ..] => ended(rest[1..].find('"').map(|at| at + 1), 1),
        [b'$', ..] => {
            let tag = rest[1..].find('$').map(|at| &rest[..at + 2]);
            let is_tag = |tag: &str| {
                let name = &tag[1..tag.len() - 1];
                !name.starts_with(|c: char| c.is_ascii_digit())
                    && name.chars().all(|c| c.is_alphanumeric() || c == '_')
            };
            match tag.filter(|tag| is_tag(tag)) {
                Some(tag) => {
                    let end = rest[tag.len()..].find(tag);
                    ended(end.map(|at| at + tag.len()), tag.len())
                }
                None => 0,
            }
        }
        _ => 0,
    }
}

/// Comments may hold comments.
fn comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        match bytes[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// Two quotes are one in it, and with `escapes` a quote after a backslash is one, too.
fn string(rest: &str, begin: usize, escapes: bool) -> usize {
    let bytes = rest.as_bytes();
    let mut at = begin;
    while at < bytes.len() {
        match bytes[at..] {
            [b'\\', ..] if escapes => at += 2,
            [b'\'', b'\'', ..] => at += 2,
            [b'\'', ..] => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbered_as_they_are_written() {
        for (statement, text, parameters) in [
            ("SELECT ?, ?", "SELECT $1, $2", 2),
            ("SELECT ?2, ?1, ?2", "SELECT $2, $1, $2", 2),
            ("SELECT $1::text", "SELECT $1::text", 1),
            ("SELECT 1", "SELECT 1", 0),
            (
                "SELECT a ?? 'b' WHERE c = ?",
                "SELECT a ? 'b' WHERE c = $1",
                1,
            ),
            (
                "SELECT '?', \"?\", ? -- ?\n, ?",
                "SELECT '?', \"?\", $1 -- ?\n, $2",
                2,
            ),
            (
                "SELECT /* ? /* ? */ ? */ ?",
                "SELECT /* ? /* ? */ ? */ $1",
                1,
            ),
            (
                "SELECT 'it''s ?', E'\\'?', ?",
                "SELECT 'it''s ?', E'\\'?', $1",
                1,
            ),
            (
                "SELECT $$?$$, $x$ ? $$ $x$, ?",
                "SELECT $$?$$, $x$ ? $$ $x$, $1",
                1,
            ),
            ("SELECT 'open ?", "SELECT 'open ?", 0),
            ("SELECT name_$1 ü?", "SELECT name_$1 ü$1", 1),
        ] {
            let expected = Prepared {
                text: text.to_owned(),
                parameters,
            };
            assert_eq!(prepared(statement), Ok(expected), "{statement}");
        }
        assert_eq!(prepared("SELECT ?, ?1"), Err(Flaw::Mixed));
        for wrong in [
            "SELECT ?0",
            "SELECT ?65536",
            "SELECT $ 1",
            "?99999999999999999999",
        ] {
            assert_eq!(prepared(wrong), Err(Flaw::Number), "{wrong}");
        }
    }

    #[test]
    fn what_is_a_function_of_the_interface_is_no_statement() {
        for closed in [
            "BEGIN",
            " commit;",
            "-- x\nROLLBACK",
            "/* SELECT */ start transaction",
            "Set role x",
            "COPY t FROM STDIN",
            "rollback prepared 'x'",
            "VACUUM FULL",
        ] {
            assert!(
                matches!(prepared(closed), Err(Flaw::Closed(..))),
                "{closed}"
            );
        }
        for open in [
            "",
            "SELECT 1 -- commit",
            "ROLLBACK TO here",
            "SAVEPOINT here",
            "WITH x AS (SELECT 1) SELECT * FROM x",
            "beginning",
        ] {
            assert!(prepared(open).is_ok(), "{open}");
        }
    }

    #[test]
    fn any_text_is_read_to_its_end() {
        let pieces = [
            "'", "\"", "$", "$$", "$a$", "--", "/*", "*/", "?", "?1", "E'", "\\", "ü", " ", "x",
        ];
        // All texts of four pieces.
        for number in 0..pieces.len().pow(4) {
            let mut left = number;
            let mut text = String::new();
            for _ in 0..4 {
                text.push_str(pieces[left % pieces.len()]);
                left /= pieces.len();
            }
            let _ = prepared(&text);
        }
    }
}
