//! Finding documents and folders by their names and the words in them.

use canopy_sdk::sql::{Dialect, Error, Statements};
use canopy_sdk::{Problem, params};
use serde::{Deserialize, Serialize};

use crate::model::Kind;
use crate::tree::{Tree, place};

/// Hits of one search.
const HITS: i64 = 50;
/// Words of one search.
const WORDS: usize = 16;
/// What stands around a word that was found, until it is shown: characters that no text has.
const FOUND: [char; 2] = ['\u{1}', '\u{2}'];

/// A piece of a text, and whether it was looked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Piece {
    pub text: String,
    pub found: bool,
}

/// Something that was found.
#[derive(Debug, Serialize)]
pub struct Hit {
    pub id: i64,
    pub kind: Kind,
    pub name: String,
    /// The folder that it is in.
    pub folder: String,
    pub excerpt: Vec<Piece>,
}

#[derive(Deserialize)]
struct Row {
    id: i64,
    kind: Kind,
    name: String,
    excerpt: String,
}

impl Tree {
    /// What has all words of `text` in its name or content, the best first. The last word may be
    /// the beginning of one.
    pub fn search(&self, text: &str) -> Result<Vec<Hit>, Problem> {
        let words = words(text);
        if words.is_empty() {
            return Ok(Vec::new());
        }
        let (statement, query) = match self.database.dialect()? {
            Dialect::Sqlite => (SQLITE, for_sqlite(&words)),
            Dialect::Postgres => (POSTGRES, for_postgres(&words)),
            other => return Err(Error::Other(format!("no search in {other:?}")).into()),
        };
        let rows: Vec<Row> = self.database.rows(statement, params![query, HITS])?;
        let mut hits = Vec::with_capacity(rows.len());
        for row in rows {
            let mut path = self.path(row.id)?;
            // It is in a folder that is in the trash.
            if path.pop().is_none() {
                continue;
            }
            hits.push(Hit {
                id: row.id,
                kind: row.kind,
                name: row.name,
                folder: place(&path),
                excerpt: pieces(&row.excerpt),
            });
        }
        Ok(hits)
    }
}

/// By the index of SQLite.
const SQLITE: &str = "SELECT n.id, n.kind, n.name, \
     snippet(words, 1, char(1), char(2), '…', 24) AS excerpt \
     FROM words JOIN node n ON n.id = words.rowid \
     WHERE words MATCH ? AND n.trashed IS NULL ORDER BY bm25(words, 8.0, 1.0) LIMIT ?";

/// By that of PostgreSQL.
const POSTGRES: &str = "SELECT n.id, n.kind, n.name, \
     ts_headline('simple', words.body, query, 'StartSel=\"' || chr(1) || '\", StopSel=\"' || chr(2) \
         || '\", MaxWords=24, MinWords=12') AS excerpt \
     FROM words JOIN node n ON n.id = words.rowid, to_tsquery('simple', ?) AS query \
     WHERE words.looked @@ query AND n.trashed IS NULL \
     ORDER BY ts_rank(words.looked, query) DESC, n.id LIMIT ?";

/// The words of `text`. In them is nothing that means anything to an index.
fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS)
        .collect()
}

fn for_sqlite(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    format!("{}*", quoted.join(" "))
}

fn for_postgres(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    format!("{}:*", quoted.join(" & "))
}

fn pieces(excerpt: &str) -> Vec<Piece> {
    let mut found = false;
    let mut pieces = Vec::new();
    for text in excerpt.split(FOUND) {
        if !text.is_empty() {
            pieces.push(Piece {
                text: text.to_owned(),
                found,
            });
        }
        found = !found;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_only_ever_words() {
        for (typed, sqlite, postgres) in [
            (
                "annual report",
                "\"annual\" \"report\"*",
                "'annual' & 'report':*",
            ),
            (
                "a OR b NEAR(c) \"d",
                "\"a\" \"OR\" \"b\" \"NEAR\" \"c\" \"d\"*",
                "'a' & 'OR' & 'b' & 'NEAR' & 'c' & 'd':*",
            ),
            (
                "name:x -y ^z",
                "\"name\" \"x\" \"y\" \"z\"*",
                "'name' & 'x' & 'y' & 'z':*",
            ),
            ("a'b\\ | !c", "\"a\" \"b\" \"c\"*", "'a' & 'b' & 'c':*"),
            ("Übersicht", "\"Übersicht\"*", "'Übersicht':*"),
        ] {
            let words = words(typed);
            assert_eq!(for_sqlite(&words), sqlite, "{typed:?}");
            assert_eq!(for_postgres(&words), postgres, "{typed:?}");
        }
        for nothing in [" \" * ( ", ""] {
            assert!(words(nothing).is_empty(), "{nothing:?}");
        }
    }

    #[test]
    fn what_was_found_is_told_apart() {
        let found = pieces("the \u{1}annual\u{2} report");
        let told: Vec<_> = found
            .iter()
            .map(|piece| (&*piece.text, piece.found))
            .collect();
        assert_eq!(
            told,
            [("the ", false), ("annual", true), (" report", false)]
        );
    }
}
