//! Listing objects, and removing several.

use super::containers::after;
use super::store::{Store, invalid, log_and_tell};
use crate::answers::Listed;
use crate::bindings::exports::canopy::storage::blobs::{
    Condition, Error, ListOptions, ObjectInfo, ObjectPage,
};
use crate::objects::unquoted;
use crate::places::{self, LAST};

/// Objects of one page, by S3.
const PAGE: usize = 1000;

/// Requests for one page: one that consists of many groups of names is as short as that.
const REQUESTS: usize = 20;

/// Requests of a removal besides one for each name: whether there is the container, and the removal.
const BESIDES: usize = 2;

impl Store {
    /// Groups are made here and not by the service: not every one takes a delimiter of several
    /// characters, and what is written here for one character are three.
    pub(super) fn list(&self, container: &str, options: &ListOptions) -> Result<ObjectPage, Error> {
        let delimiter = options.delimiter.as_deref();
        if delimiter == Some("") {
            return Err(invalid("the delimiter is empty".to_owned()));
        }
        self.require(container)?;
        let base = self.beginning(container, "")?;
        let begin = self.beginning(container, &options.prefix)?;
        let cursor = options.cursor.as_deref();
        let mut position = cursor.map(|cursor| after(&base, cursor)).transpose()?;
        let most = usize::try_from(options.limit)
            .unwrap_or(PAGE)
            .clamp(1, PAGE);
        let (mut objects, mut prefixes) = (Vec::new(), Vec::<String>::new());
        let mut more = true;
        for _ in 0..REQUESTS {
            let mut grouped = false;
            let room = most - objects.len() - prefixes.len();
            let page = self.service().list(&begin, position.as_deref(), room);
            let page = page.map_err(log_and_tell)?;
            more = page.more;
            for listed in page.objects {
                if position.as_ref().is_some_and(|after| listed.name <= *after) {
                    // Of a group that is told already.
                    continue;
                }
                let name = places::read(&listed.name[base.len()..]);
                let Some(name) = name else {
                    position = Some(listed.name);
                    continue;
                };
                match group(&name, &options.prefix, delimiter) {
                    None => {
                        position = Some(listed.name.clone());
                        objects.push(described(name, listed));
                    }
                    Some(group) => {
                        position = Some(format!("{base}{}{LAST}", places::written(group)));
                        prefixes.push(group.to_owned());
                        grouped = true;
                    }
                }
            }
            // What the service says is about the names after a group whose others were passed over.
            more |= grouped;
            if !more || objects.len() + prefixes.len() == most {
                break;
            }
        }
        if more && !prefixes.is_empty() {
            // The rest may have been of the last group.
            let rest = self.service().list(&begin, position.as_deref(), 1);
            more = !rest.map_err(log_and_tell)?.objects.is_empty();
        }
        Ok(ObjectPage {
            objects,
            prefixes,
            cursor: position
                .filter(|_| more)
                .map(|place| place[base.len()..].to_owned()),
        })
    }

    pub(super) fn delete(
        &self,
        container: &str,
        name: &str,
        condition: Option<&Condition>,
    ) -> Result<bool, Error> {
        let place = self.object(container, name)?;
        let service = self.service();
        let Some(head) = service.head(&place).map_err(log_and_tell)? else {
            self.require(container)?;
            return match condition {
                Some(Condition::IfMatch(_)) => Err(Error::ConditionFailed(None)),
                Some(Condition::IfAbsent) | None => Ok(false),
            };
        };
        match condition {
            None => service.delete(&place).map_err(log_and_tell)?,
            Some(Condition::IfMatch(etag)) if *etag == head.etag => {
                let etag = format!("\"{etag}\"");
                let removed = service.delete_unchanged(&place, &etag);
                if !removed.map_err(log_and_tell)? {
                    return Err(self.unheld(&place));
                }
            }
            Some(_) => return Err(Error::ConditionFailed(Some(head.etag))),
        }
        Ok(true)
    }

    /// They are looked for one by one, for the service does not say how many there were, and removed
    /// by one request.
    pub(super) fn delete_many(&self, container: &str, names: &[String]) -> Result<u64, Error> {
        let most = self.settings.max_batch.saturating_sub(BESIDES).max(1);
        if names.len() > most {
            return Err(Error::TooLarge(format!(
                "a batch of {} names is over the limit of {most}",
                names.len(),
            )));
        }
        self.require(container)?;
        let places = names.iter().map(|name| self.object(container, name));
        let mut places = places.collect::<Result<Vec<_>, _>>()?;
        places.sort_unstable();
        places.dedup();
        let heads = self.service().heads(&places).map_err(log_and_tell)?;
        let there = places.into_iter().zip(heads);
        let there: Vec<String> = there
            .filter_map(|(place, head)| head.map(|_| place))
            .collect();
        if !there.is_empty() {
            let removed = self.service().delete_many(&there);
            removed.map_err(log_and_tell)?;
        }
        Ok(there.len() as u64)
    }
}

/// The beginning of `name` up to and with the delimiter after the prefix, if it is there.
fn group<'n>(name: &'n str, prefix: &str, delimiter: Option<&str>) -> Option<&'n str> {
    let delimiter = delimiter?;
    let rest = name.strip_prefix(prefix)?;
    let at = rest.find(delimiter)?;
    Some(&name[..prefix.len() + at + delimiter.len()])
}

/// A listing knows neither types nor metadata.
fn described(name: String, listed: Listed) -> ObjectInfo {
    ObjectInfo {
        name,
        size: listed.size,
        etag: unquoted(&listed.etag),
        content_type: None,
        metadata: Vec::new(),
        created: listed.modified,
        modified: listed.modified,
    }
}
