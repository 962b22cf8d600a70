//! The trash: what is deleted stays in it until it is put back or deleted for ever.

use canopy_sdk::sql::Statements;
use canopy_sdk::{Problem, params};
use serde::{Deserialize, Serialize};

use crate::contents;
use crate::model::{NODE, Node, ROOT, missing, now};
use crate::tree::{Tree, note, place, the_root, unless_taken};

/// Names that are tried for what comes back where its name is taken.
const TRIES: usize = 100;

/// What is stored altogether.
#[derive(Debug, Serialize, Deserialize)]
pub struct Usage {
    pub documents: i64,
    pub folders: i64,
    pub versions: i64,
    /// Bytes of all versions; content that several versions share counts once.
    pub bytes: i64,
    /// Bytes of these that are in the trash.
    pub trash_bytes: i64,
}

/// All nodes in and below those of `?`, by their ids.
const BELOW: &str = "WITH RECURSIVE below (id) AS ( \
     SELECT CAST(? AS BIGINT) UNION \
     SELECT node.id FROM node JOIN below ON node.parent = below.id)";

impl Tree {
    /// What has been deleted, the latest first.
    pub fn trash(&self) -> Result<Vec<Node>, Problem> {
        let statement = format!("{NODE} WHERE n.trashed IS NOT NULL ORDER BY n.trashed DESC");
        Ok(self.database.rows(&statement, params![])?)
    }

    /// Puts a node into the trash, with all that is in it.
    pub fn delete(&self, id: i64) -> Result<Node, Problem> {
        let node = self.node(id)?;
        if node.parent.is_none() {
            return Err(the_root());
        }
        self.database.transaction(|change| {
            let statement = "UPDATE node SET trashed = ? WHERE id = ? AND trashed IS NULL";
            if change.execute(statement, params![now(), id])?.changes == 0 {
                return Err(missing());
            }
            note(change, id, "deleted", "")
        })?;
        Ok(node)
    }

    /// Puts a node back to where it was, or into the outermost folder if that is gone. It comes
    /// under another name if its own is taken.
    pub fn restore(&self, id: i64) -> Result<Node, Problem> {
        let node = self.trashed(id)?;
        let home = node.parent.unwrap_or(ROOT);
        let folder = if self.path(home)?.is_empty() {
            ROOT
        } else {
            home
        };
        let name = self.free_name(folder, &node.name)?;
        self.database.transaction(|change| {
            let statement = "UPDATE node SET trashed = NULL, parent = ?, name = ?, changed = ? \
                 WHERE id = ? AND trashed IS NOT NULL";
            let restored = change.execute(statement, params![folder, &name, now(), id]);
            let restored = restored.map_err(|error| unless_taken(error, &name))?;
            if restored.changes == 0 {
                return Err(missing());
            }
            let statement = "UPDATE words SET name = ? WHERE rowid = ?";
            change.execute(statement, params![&name, id])?;
            let place = place(&self.path(folder)?);
            note(change, id, "restored", &format!("to {place} as {name}"))
        })?;
        self.node(id)
    }

    fn free_name(&self, folder: i64, name: &str) -> Result<String, Problem> {
        if self.child(folder, name)?.is_none() {
            return Ok(name.to_owned());
        }
        let (stem, ending) = match name.rsplit_once('.') {
            Some((stem, ending)) if !stem.is_empty() => (stem, format!(".{ending}")),
            _ => (name, String::new()),
        };
        let stem: String = stem.chars().take(150).collect();
        for number in 1..=TRIES {
            let name = format!("{stem} (restored {number}){ending}");
            if self.child(folder, &name)?.is_none() {
                return Ok(name);
            }
        }
        Err(Problem::conflict("Its name and all like it are taken."))
    }

    /// Deletes a node of the trash for ever, with all that is in it.
    pub fn purge(&self, id: i64) -> Result<(), Problem> {
        self.trashed(id)?;
        self.database.transaction(|change| {
            let statement = format!(
                "{BELOW} INSERT INTO loose (blob, since) SELECT DISTINCT blob, 0 FROM version \
                 WHERE document IN (SELECT id FROM below) ON CONFLICT DO NOTHING"
            );
            change.execute(&statement, params![id])?;
            let statement =
                format!("{BELOW} DELETE FROM words WHERE rowid IN (SELECT id FROM below)");
            change.execute(&statement, params![id])?;
            let statement = format!("{BELOW} DELETE FROM node WHERE id IN (SELECT id FROM below)");
            change.execute(&statement, params![id])?;
            Ok::<_, Problem>(())
        })?;
        contents::sweep(self)
    }

    /// Deletes all that is in the trash for ever.
    pub fn empty_trash(&self) -> Result<(), Problem> {
        for node in self.trash()? {
            match self.purge(node.id) {
                // It was in a folder that has gone before it.
                Err(problem) if problem.status() == canopy_sdk::StatusCode::NOT_FOUND => {}
                outcome => outcome?,
            }
        }
        Ok(())
    }

    fn trashed(&self, id: i64) -> Result<Node, Problem> {
        let statement = format!("{NODE} WHERE n.id = ? AND n.trashed IS NOT NULL");
        let node = self.database.row(&statement, params![id])?;
        node.ok_or_else(|| Problem::not_found("This is not in the trash."))
    }

    /// What is stored altogether.
    pub fn usage(&self) -> Result<Usage, Problem> {
        let statement = "WITH RECURSIVE gone (id) AS ( \
                 SELECT id FROM node WHERE trashed IS NOT NULL \
                 UNION SELECT node.id FROM node JOIN gone ON node.parent = gone.id), \
             stored (size, kept) AS ( \
                 SELECT max(size), max(CASE WHEN document IN (SELECT id FROM gone) THEN 0 ELSE 1 END) \
                 FROM version GROUP BY blob) \
             SELECT (SELECT count(*) FROM node WHERE kind = 'document' \
                     AND id NOT IN (SELECT id FROM gone)) AS documents, \
                 (SELECT count(*) FROM node WHERE kind = 'folder' AND parent IS NOT NULL \
                     AND id NOT IN (SELECT id FROM gone)) AS folders, \
                 (SELECT count(*) FROM version \
                     WHERE document NOT IN (SELECT id FROM gone)) AS versions, \
                 (SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM stored) AS bytes, \
                 (SELECT CAST(coalesce(sum(size), 0) AS BIGINT) FROM stored \
                     WHERE kept = 0) AS trash_bytes";
        self.database.row(statement, params![])?.ok_or_else(missing)
    }
}
