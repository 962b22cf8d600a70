//! Listing objects, one by one or by common beginnings.

use canopy_backend::blob::{BlobError, Listing, ObjectInfo, ObjectPage};
use rusqlite::{Connection, OptionalExtension, params};

use super::container_id;
use super::row::{self, OBJECT, Unsigned, failed};

/// How much of a page there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Objects and common beginnings.
    pub(crate) entries: usize,
    /// Bytes of their names and metadata, beyond which there is one object at most.
    pub(crate) bytes: usize,
}

impl Room {
    /// Takes what an entry needs; `false` where there is too little.
    fn take(&mut self, bytes: usize, is_first: bool) -> bool {
        let fits = self.entries > 0 && (bytes <= self.bytes || is_first);
        if fits {
            self.entries -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        fits
    }
}

fn bytes_of(object: &ObjectInfo) -> usize {
    let metadata = object.metadata.iter();
    let metadata = metadata.map(|(name, value)| name.len() + value.len());
    let content_type = object.content_type.as_ref().map_or(0, String::len);
    object.name.len() + content_type + metadata.sum::<usize>()
}

/// A page of objects and common beginnings.
pub(crate) fn objects(
    conn: &Connection,
    container: &str,
    listing: &Listing,
    room: Room,
) -> Result<ObjectPage, BlobError> {
    let container = container_id(conn, container)?;
    let delimiter = listing.delimiter.as_deref().filter(|text| !text.is_empty());
    let names = Names {
        conn,
        container,
        end: row::end_of(&listing.prefix),
    };
    let start = start(listing, delimiter);
    match delimiter {
        None => plain(&names, start, room),
        Some(delimiter) => grouped(&names, &listing.prefix, delimiter, start, room),
    }
}

/// The bytes from which on names are wanted.
fn start(listing: &Listing, delimiter: Option<&str>) -> Vec<u8> {
    let from_prefix = listing.prefix.as_bytes().to_vec();
    let Some(after) = &listing.after else {
        return from_prefix;
    };
    let group = delimiter.and_then(|delimiter| group_of(after, &listing.prefix, delimiter));
    let after = match group {
        Some(group) => row::end_of(group),
        // The least bytes that are greater.
        None => [after.as_bytes(), &[0]].concat(),
    };
    after.max(from_prefix)
}

/// The common beginning that stands for `name`.
fn group_of<'a>(name: &'a str, prefix: &str, delimiter: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&name[..prefix.len() + at + delimiter.len()])
}

/// The names of a container up to an end.
struct Names<'a> {
    conn: &'a Connection,
    container: i64,
    end: Vec<u8>,
}

impl Names<'_> {
    fn sql(limit: &str) -> String {
        format!(
            "SELECT {OBJECT} FROM object WHERE container = ?1 AND name >= ?2 AND name < ?3
             ORDER BY name LIMIT {limit}"
        )
    }

    /// Those for which there is room, and whether there are more.
    fn some(&self, start: &[u8], mut room: Room) -> rusqlite::Result<(Vec<ObjectInfo>, bool)> {
        let mut statement = self.conn.prepare_cached(&Self::sql("?4"))?;
        // One more than asked for tells whether there are more.
        let limit = Unsigned(room.entries as u64 + 1);
        let bounds = params![self.container, start, self.end, limit];
        let mut objects = Vec::new();
        for object in statement.query_map(bounds, row::object)? {
            let object = object?;
            if !room.take(bytes_of(&object), objects.is_empty()) {
                return Ok((objects, true));
            }
            objects.push(object);
        }
        Ok((objects, false))
    }

    fn first(&self, start: &[u8]) -> rusqlite::Result<Option<ObjectInfo>> {
        self.conn
            .prepare_cached(&Self::sql("1"))?
            .query_row(params![self.container, start, self.end], row::object)
            .optional()
    }
}

fn plain(names: &Names<'_>, start: Vec<u8>, room: Room) -> Result<ObjectPage, BlobError> {
    let (objects, more) = names.some(&start, room).map_err(failed)?;
    let last = objects.last().map(|last| last.name.clone());
    Ok(ObjectPage {
        objects,
        prefixes: Vec::new(),
        next: last.filter(|_| more),
    })
}

/// One look-up for each entry: what is below a common beginning is passed over, not read.
fn grouped(
    names: &Names<'_>,
    prefix: &str,
    delimiter: &str,
    mut start: Vec<u8>,
    mut room: Room,
) -> Result<ObjectPage, BlobError> {
    let mut page = ObjectPage::default();
    let mut last = None;
    while let Some(object) = names.first(&start).map_err(failed)? {
        // A common beginning is no longer than the object's name.
        if !room.take(bytes_of(&object), last.is_none()) {
            page.next = last;
            break;
        }
        match group_of(&object.name, prefix, delimiter) {
            Some(group) => {
                start = row::end_of(group);
                last = Some(group.to_owned());
                page.prefixes.push(group.to_owned());
            }
            None => {
                start = [object.name.as_bytes(), &[0]].concat();
                last = Some(object.name.clone());
                page.objects.push(object);
            }
        }
    }
    Ok(page)
}
