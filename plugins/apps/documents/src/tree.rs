//! Folders and documents, their versions and their history.

use canopy_sdk::sql::{Constraint, Database, Dialect, Error, Statements, Transaction};
use canopy_sdk::{Problem, StatusCode, params};
use serde::Serialize;

use crate::model::{Author, Event, Kind, NODE, Node, ROOT, Version, missing, name, now};
use crate::words;

/// What PostgreSQL is prepared by, where a driver keeps the database there.
const POSTGRES: [(&str, &str); 1] = [(
    "0001-tree",
    include_str!("../migrations/postgres/0001-tree.sql"),
)];

/// Folders within folders.
const MAX_DEPTH: usize = 32;

/// A folder and what is in it.
#[derive(Serialize)]
pub struct Folder {
    #[serde(flatten)]
    pub node: Node,
    /// From the outermost folder to this one.
    pub path: Vec<Node>,
    pub children: Vec<Node>,
}

/// A folder as a place to move something to.
pub struct FolderPlace {
    pub id: i64,
    pub place: String,
    /// Whether what is to be moved is in it.
    pub here: bool,
}

/// An object that has been put, to become a version.
pub struct Content {
    pub blob: String,
    pub size: i64,
    pub content_type: String,
    pub etag: String,
    /// What of it is searched for.
    pub text: String,
}

/// The documents of this installation.
pub struct Tree {
    pub(crate) database: Database,
}

impl Tree {
    pub fn open() -> Result<Self, Problem> {
        let database = Database::open("default")?;
        database.migrate(Dialect::Postgres, &POSTGRES)?;
        Ok(Self { database })
    }

    /// The node `id`, if neither it nor a folder that it is in is in the trash.
    pub fn node(&self, id: i64) -> Result<Node, Problem> {
        self.path(id)?.pop().ok_or_else(missing)
    }

    /// From the outermost folder to the node `id`.
    pub fn path(&self, id: i64) -> Result<Vec<Node>, Problem> {
        path(&self.database, id)
    }

    pub fn folder(&self, id: i64) -> Result<Folder, Problem> {
        let path = self.path(id)?;
        let node = path.last().cloned().ok_or_else(missing)?;
        if node.kind != Kind::Folder {
            return Err(not_a(Kind::Folder));
        }
        let statement = format!(
            "{NODE} WHERE n.parent = ? AND n.trashed IS NULL \
             ORDER BY n.kind = 'document', n.name COLLATE NOCASE"
        );
        let children = self.database.rows(&statement, params![id])?;
        Ok(Folder {
            node,
            path,
            children,
        })
    }

    pub fn document(&self, id: i64) -> Result<Node, Problem> {
        let node = self.node(id)?;
        match node.kind {
            Kind::Document => Ok(node),
            Kind::Folder => Err(not_a(Kind::Document)),
        }
    }

    /// The child `name` of the folder `parent`.
    pub fn child(&self, parent: i64, name: &str) -> Result<Option<Node>, Problem> {
        Ok(child(&self.database, parent, name)?)
    }

    /// The folders that `node`, which is in `parent`, can be moved to.
    pub fn folders_but(&self, node: i64, parent: Option<i64>) -> Result<Vec<FolderPlace>, Problem> {
        let statement = "WITH RECURSIVE folder (id, place) AS ( \
                 SELECT id, '' FROM node WHERE parent IS NULL \
                 UNION ALL \
                 SELECT node.id, folder.place || '/' || node.name \
                 FROM node JOIN folder ON node.parent = folder.id \
                 WHERE node.kind = 'folder' AND node.trashed IS NULL AND node.id <> ? \
             ) SELECT id, place FROM folder ORDER BY place COLLATE NOCASE LIMIT 1000";
        let folders: Vec<(i64, String)> = self.database.rows(statement, params![node])?;
        let place = |(id, place): (i64, String)| FolderPlace {
            id,
            here: Some(id) == parent,
            place: if place.is_empty() {
                "/".to_owned()
            } else {
                place
            },
        };
        Ok(folders.into_iter().map(place).collect())
    }

    /// The versions of a document, the newest first.
    pub fn versions(&self, document: i64) -> Result<Vec<Version>, Problem> {
        let statement = "SELECT number, blob, size, content_type, etag, author, author_name, \
             created FROM version WHERE document = ? ORDER BY number DESC";
        Ok(self.database.rows(statement, params![document])?)
    }

    /// The version `number` of a document, or its newest.
    pub fn version(&self, document: i64, number: Option<i64>) -> Result<Version, Problem> {
        let statement = "SELECT number, blob, size, content_type, etag, author, author_name, \
             created FROM version WHERE document = ?1 AND (number = ?2 OR \
             (?2 IS NULL AND id = (SELECT current FROM node WHERE id = document)))";
        let version = self.database.row(statement, params![document, number])?;
        version.ok_or_else(|| Problem::not_found("There is no such version."))
    }

    /// What happened to a node, the newest first.
    pub fn history(&self, node: i64) -> Result<Vec<Event>, Problem> {
        let statement = "SELECT at, who, who_name, what, detail FROM event WHERE node = ? \
             ORDER BY id DESC LIMIT 500";
        Ok(self.database.rows(statement, params![node])?)
    }

    pub fn create_folder(&self, parent: i64, text: &str) -> Result<i64, Problem> {
        let name = name(text)?;
        self.database.transaction(|change| {
            check_folder(change, parent, MAX_DEPTH)?;
            let id = insert(change, parent, Kind::Folder, &name)?;
            note(change, id, "created", &name)?;
            Ok(id)
        })
    }

    /// The folder at the end of `path`, with folders made on the way that are not there.
    pub fn folder_at(&self, path: &[String]) -> Result<i64, Problem> {
        let mut folder = ROOT;
        for segment in path {
            folder = match self.child(folder, segment)? {
                Some(node) if node.kind == Kind::Folder => node.id,
                Some(_) => return Err(not_a(Kind::Folder)),
                None => self.create_folder(folder, segment)?,
            };
        }
        Ok(folder)
    }

    /// Makes `content` the newest version of the document `text` in `folder`, which is made if it
    /// is not there. Returns the document and whether it is new.
    pub fn add(&self, folder: i64, text: &str, content: &Content) -> Result<(i64, bool), Problem> {
        let name = name(text)?;
        self.database.transaction(|change| {
            check_folder(change, folder, MAX_DEPTH + 1)?;
            let (document, new) = match child(change, folder, &name)? {
                Some(node) if node.kind == Kind::Document => (node.id, false),
                Some(_) => return Err(taken(&name)),
                None => (insert(change, folder, Kind::Document, &name)?, true),
            };
            let number = add_version(change, document, content)?;
            let (what, detail) = match new {
                true => ("created", name.clone()),
                false => ("changed", format!("version {number}")),
            };
            note(change, document, what, &detail)?;
            change.execute("DELETE FROM loose WHERE blob = ?", params![&content.blob])?;
            Ok((document, new))
        })
    }

    /// Makes an old version the newest again, as a new one with the same content.
    pub fn revive(&self, document: i64, number: i64, text: String) -> Result<(), Problem> {
        self.document(document)?;
        let old = self.version(document, Some(number))?;
        let content = Content {
            blob: old.blob,
            size: old.size,
            content_type: old.content_type,
            etag: old.etag,
            text,
        };
        self.database.transaction(|change| {
            let new = add_version(change, document, &content)?;
            let detail = format!("version {new} is version {number} again");
            note(change, document, "changed", &detail)
        })
    }

    /// Gives a node another name, another folder, or both.
    pub fn relocate(
        &self,
        id: i64,
        folder: Option<i64>,
        text: Option<&str>,
    ) -> Result<(), Problem> {
        let new_name = text.map(name).transpose()?;
        self.database.transaction(|change| {
            let node = path(change, id)?.pop().ok_or_else(missing)?;
            let parent = node.parent.ok_or_else(the_root)?;
            let to = folder.unwrap_or(parent);
            let name = new_name.as_ref().unwrap_or(&node.name);
            if to != parent {
                let above = check_folder(change, to, MAX_DEPTH)?;
                if above.iter().any(|folder| folder.id == id) {
                    return Err(Problem::conflict("A folder cannot be moved into itself."));
                }
            }
            let statement = "UPDATE node SET parent = ?, name = ?, changed = ? WHERE id = ?";
            let moved = change.execute(statement, params![to, name, now(), id]);
            moved.map_err(|error| unless_taken(error, name))?;
            if *name != node.name {
                let statement = "UPDATE words SET name = ? WHERE rowid = ?";
                change.execute(statement, params![name, id])?;
                note(change, id, "renamed", &format!("{} to {name}", node.name))?;
            }
            if to != parent {
                let place = place(&path(change, to)?);
                note(change, id, "moved", &format!("to {place}"))?;
            }
            Ok(())
        })
    }
}

/// A path as people write it.
pub fn place(path: &[Node]) -> String {
    let names: Vec<&str> = path.iter().skip(1).map(|node| node.name.as_str()).collect();
    format!("/{}", names.join("/"))
}

/// From the outermost folder to the node `id`; empty if it is not there, or in the trash.
fn path(database: &impl Statements, id: i64) -> Result<Vec<Node>, Problem> {
    let statement = format!(
        "WITH RECURSIVE above (id, parent, trashed, depth) AS ( \
             SELECT id, parent, trashed, 0 FROM node WHERE id = ? \
             UNION ALL \
             SELECT node.id, node.parent, node.trashed, depth + 1 \
             FROM node JOIN above ON node.id = above.parent \
         ) {NODE} JOIN above ON above.id = n.id ORDER BY above.depth DESC"
    );
    let path: Vec<Node> = database.rows(&statement, params![id])?;
    if path.iter().any(|node| node.trashed.is_some()) {
        return Ok(Vec::new());
    }
    Ok(path)
}

fn child(database: &impl Statements, parent: i64, name: &str) -> Result<Option<Node>, Error> {
    let statement =
        format!("{NODE} WHERE n.parent = ? AND n.name = ? COLLATE NOCASE AND n.trashed IS NULL");
    database.row(&statement, params![parent, name])
}

/// The folders from the outermost to `id`, which takes something more.
fn check_folder(change: &Transaction, id: i64, depth: usize) -> Result<Vec<Node>, Problem> {
    let path = path(change, id)?;
    match path.last() {
        None => Err(missing()),
        Some(node) if node.kind != Kind::Folder => Err(not_a(Kind::Folder)),
        Some(_) if path.len() > depth => Err(Problem::conflict(format!(
            "Folders go {MAX_DEPTH} deep at most."
        ))),
        Some(_) => Ok(path),
    }
}

fn insert(change: &Transaction, parent: i64, kind: Kind, name: &str) -> Result<i64, Problem> {
    let kind_name = match kind {
        Kind::Folder => "folder",
        Kind::Document => "document",
    };
    let (now, statement) = (
        now(),
        "INSERT INTO node (parent, kind, name, created, changed) VALUES (?, ?, ?, ?, ?) \
         RETURNING id",
    );
    let made = change.row(statement, params![parent, kind_name, name, now, now]);
    let made: Option<i64> = made.map_err(|error| unless_taken(error, name))?;
    let id = made.ok_or_else(missing)?;
    let statement = "INSERT INTO words (rowid, name, body) VALUES (?, ?, '')";
    change.execute(statement, params![id, name])?;
    Ok(id)
}

fn add_version(change: &Transaction, document: i64, content: &Content) -> Result<i64, Problem> {
    let (author, now) = (Author::current(), now());
    let statement = "INSERT INTO version (document, number, blob, size, content_type, etag, \
         author, author_name, created) VALUES (?1, (SELECT coalesce(max(number), 0) + 1 FROM version \
         WHERE document = ?1), ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING id, number";
    let Content {
        blob,
        size,
        content_type,
        etag,
        text,
    } = content;
    let parameters = params![
        document,
        blob,
        size,
        content_type,
        etag,
        author.subject,
        author.name,
        now
    ];
    let made: Option<(i64, i64)> = change.row(statement, parameters)?;
    let (id, number) = made.ok_or_else(missing)?;
    let statement = "UPDATE node SET current = ?, changed = ? WHERE id = ?";
    change.execute(statement, params![id, now, document])?;
    let statement = "UPDATE words SET body = ? WHERE rowid = ?";
    change.execute(statement, params![words::bounded(text), document])?;
    Ok(number)
}

/// Writes down what the caller did.
pub fn note(change: &Transaction, node: i64, what: &str, detail: &str) -> Result<(), Problem> {
    let author = Author::current();
    let statement = "INSERT INTO event (node, at, who, who_name, what, detail) \
         VALUES (?, ?, ?, ?, ?, ?)";
    let parameters = params![node, now(), author.subject, author.name, what, detail];
    change.execute(statement, parameters)?;
    Ok(())
}

/// That the folder which everything is in cannot be renamed, moved or deleted.
pub fn the_root() -> Problem {
    Problem::conflict("The outermost folder stays where it is.")
}

fn not_a(kind: Kind) -> Problem {
    Problem::conflict(match kind {
        Kind::Folder => "This is a document, not a folder.",
        Kind::Document => "This is a folder, not a document.",
    })
}

fn taken(name: &str) -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        format!("There is something called “{name}” in this folder already."),
    )
    .kind("urn:canopy:documents:taken")
}

pub fn unless_taken(error: Error, name: &str) -> Problem {
    if error.is(Constraint::Unique) {
        taken(name)
    } else {
        error.into()
    }
}
