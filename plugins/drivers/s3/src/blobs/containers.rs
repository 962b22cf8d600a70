//! Containers, each of which is an empty object that says so.

use super::store::{Store, invalid, log_and_tell};
use crate::bindings::exports::canopy::storage::blobs::{ContainerInfo, ContainerPage, Error};
use crate::places;
use crate::service::{Condition, Failure};

/// Objects that are listed or removed by one request.
const PAGE: usize = 1000;

/// Containers of one page, for each is counted.
const CONTAINERS: usize = 20;

impl Store {
    pub(super) fn create_container(&self, name: &str) -> Result<bool, Error> {
        let mark = self.mark(name)?;
        // The longest name in it is one byte longer.
        self.beginning(name, "")?;
        let service = self.service();
        // Looked for each time: another store of this driver may have removed it. Where two make it at
        // once on a service without conditions, both are told that it is new.
        let new = service.head(&mark).map_err(log_and_tell)?.is_none();
        let new = new && self.write_mark(&mark)?;
        self.remember(mark);
        Ok(new)
    }

    fn write_mark(&self, mark: &str) -> Result<bool, Error> {
        let service = self.service();
        match service.put(mark, b"", Condition::Absent) {
            // The service has no conditions.
            Err(Failure::Refused {
                status: 400 | 501, ..
            }) => service.put(mark, b"", Condition::Always),
            done => done,
        }
        .map_err(log_and_tell)
    }

    pub(super) fn delete_container(&self, name: &str, force: bool) -> Result<(), Error> {
        let (mark, inside) = (self.mark(name)?, self.beginning(name, "")?);
        let service = self.service();
        let known = service.head(&mark).map_err(log_and_tell)?;
        known.ok_or(Error::NoSuchContainer)?;
        let uploads = service.uploads(&inside).map_err(log_and_tell)?;
        let first = service.list(&inside, None, 1).map_err(log_and_tell)?;
        let empty = uploads.is_empty() && first.objects.is_empty();
        if !(force || empty) {
            return Err(Error::ContainerNotEmpty);
        }
        self.forget(&mark);
        for upload in uploads {
            let aborted = service.abort(&upload.name, &upload.id);
            aborted.map_err(log_and_tell)?;
        }
        loop {
            let page = service.list(&inside, None, PAGE).map_err(log_and_tell)?;
            if page.objects.is_empty() {
                break;
            }
            let removed = service.delete_many(&page.names());
            removed.map_err(log_and_tell)?;
        }
        service.delete(&mark).map_err(log_and_tell)
    }

    pub(super) fn container(&self, name: &str) -> Result<ContainerInfo, Error> {
        let mark = self.mark(name)?;
        let head = self.service().head(&mark).map_err(log_and_tell)?;
        let head = head.ok_or(Error::NoSuchContainer)?;
        self.counted(name.to_owned(), head.modified)
    }

    /// What is in a container, counted by listing it.
    fn counted(&self, name: String, created: u64) -> Result<ContainerInfo, Error> {
        let inside = self.beginning(&name, "")?;
        let (mut objects, mut bytes, mut after) = (0, 0, None::<String>);
        loop {
            let page = self.service().list(&inside, after.as_deref(), PAGE);
            let page = page.map_err(log_and_tell)?;
            objects += page.objects.len() as u64;
            bytes += page.objects.iter().map(|object| object.size).sum::<u64>();
            match page.objects.last() {
                Some(last) if page.more => after = Some(last.name.clone()),
                _ => break,
            }
        }
        Ok(ContainerInfo {
            name,
            created,
            objects,
            bytes,
        })
    }

    pub(super) fn list_containers(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<ContainerPage, Error> {
        let marks = self.marks();
        let after = cursor.map(|cursor| after(&marks, cursor)).transpose()?;
        let begin = format!("{marks}{}", places::written(prefix));
        let most = usize::try_from(limit)
            .unwrap_or(CONTAINERS)
            .clamp(1, CONTAINERS);
        let page = self.service().list(&begin, after.as_deref(), most);
        let page = page.map_err(log_and_tell)?;
        let last = page.objects.last();
        let cursor = last
            .filter(|_| page.more)
            .map(|last| last.name[marks.len()..].to_owned());
        let named = page.objects.iter().filter_map(|object| {
            let name = places::read(&object.name[marks.len()..])?;
            Some(self.counted(name, object.modified))
        });
        Ok(ContainerPage {
            containers: named.collect::<Result<_, _>>()?,
            cursor,
        })
    }
}

/// The place that a cursor names below `base`.
pub(super) fn after(base: &str, cursor: &str) -> Result<String, Error> {
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"!=^~".contains(&byte);
    if cursor.is_empty() || !cursor.bytes().all(sound) {
        return Err(invalid("the cursor is none of a page before".to_owned()));
    }
    Ok(format!("{base}{cursor}"))
}
