//! Conditional requests (RFC 9110, section 13), in the order of its section 13.2.2.

use canopy_runtime::blob::{BlobError, Condition, ObjectInfo};
use http::header::{HeaderName, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
use http::{HeaderMap, StatusCode};

use super::dates;
use crate::problem::Cause;

pub(super) fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

/// 200 if the object is to be given, 304 if the client has it.
pub(super) fn look(fields: &HeaderMap, info: &ObjectInfo) -> Result<StatusCode, Cause> {
    let modified = dates::second(info.modified);
    let since = |name| dates::parse(text(fields, &name)?);
    let unchanged = match list(fields, &IF_MATCH) {
        Some(etags) => is_among(&etags, info, false),
        None => since(IF_UNMODIFIED_SINCE).is_none_or(|date| modified <= date),
    };
    if !unchanged {
        return Err(failed(info));
    }
    let known = match list(fields, &IF_NONE_MATCH) {
        Some(etags) => is_among(&etags, info, true),
        None => since(IF_MODIFIED_SINCE).is_some_and(|date| modified <= date),
    };
    Ok(match known {
        true => StatusCode::NOT_MODIFIED,
        false => StatusCode::OK,
    })
}

fn failed(info: &ObjectInfo) -> Cause {
    Cause::Object(BlobError::Condition {
        etag: Some(info.etag.clone()),
    })
}

/// What must hold of the object that an upload is to replace: `If-None-Match: *`, or `If-Match`
/// with one etag. Others are refused, as what is asked for would not be done.
pub(super) fn of_upload(fields: &HeaderMap) -> Result<Option<Condition>, Cause> {
    let conditions = [
        list(fields, &IF_MATCH),
        list(fields, &IF_NONE_MATCH),
        list(fields, &IF_UNMODIFIED_SINCE),
    ];
    match conditions.each_ref().map(|one| one.as_deref()) {
        [None, None, None] => Ok(None),
        [None, Some([any]), None] if any == "*" => Ok(Some(Condition::IfAbsent)),
        [Some([etag]), None, None] => match unquoted(etag) {
            Some(etag) => Ok(Some(Condition::IfMatch(etag.to_owned()))),
            None => Err(Cause::UploadCondition),
        },
        _ => Err(Cause::UploadCondition),
    }
}

fn text<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    fields.get(name)?.to_str().ok()
}

/// The members of a list, if the field is there. The etags that this platform gives have no comma.
fn list(fields: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    fields.contains_key(name).then(|| {
        let values = fields.get_all(name).iter();
        values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|member| member.trim().to_owned())
            .collect()
    })
}

fn unquoted(etag: &str) -> Option<&str> {
    etag.strip_prefix('"')?.strip_suffix('"')
}

fn is_among(etags: &[String], info: &ObjectInfo, weakly: bool) -> bool {
    etags.iter().any(|etag| {
        let strong = match weakly {
            true => etag.strip_prefix("W/").unwrap_or(etag),
            false => etag,
        };
        strong == "*" || unquoted(strong) == Some(&info.etag)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, SystemTime};

    use super::*;

    fn fields(list: &[(HeaderName, &str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in list {
            fields.append(name.clone(), value.parse().expect("a value"));
        }
        fields
    }

    fn looked(list: &[(HeaderName, &str)]) -> u16 {
        let modified = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500);
        let info = ObjectInfo {
            name: "it".into(),
            size: 1,
            etag: "abc".into(),
            content_type: None,
            metadata: BTreeMap::new(),
            created: modified,
            modified,
        };
        match look(&fields(list), &info) {
            Ok(status) => status.as_u16(),
            Err(_) => 412,
        }
    }

    #[test]
    fn conditions_are_looked_at_in_their_order() {
        let (then, before) = (
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:36 GMT",
        );
        for (list, expected) in [
            (vec![], 200),
            (vec![(IF_MATCH, "\"abc\"")], 200),
            (vec![(IF_MATCH, "\"x\", \"abc\"")], 200),
            (vec![(IF_MATCH, "W/\"abc\"")], 412),
            (vec![(IF_MATCH, "*")], 200),
            (vec![(IF_NONE_MATCH, "\"abc\"")], 304),
            (vec![(IF_NONE_MATCH, "W/\"abc\"")], 304),
            (vec![(IF_NONE_MATCH, "\"x\"")], 200),
            (vec![(IF_UNMODIFIED_SINCE, then)], 200),
            (vec![(IF_UNMODIFIED_SINCE, before)], 412),
            (vec![(IF_MODIFIED_SINCE, then)], 304),
            (vec![(IF_MODIFIED_SINCE, before)], 200),
            (vec![(IF_MODIFIED_SINCE, "nonsense")], 200),
            (
                vec![(IF_MATCH, "\"abc\""), (IF_UNMODIFIED_SINCE, before)],
                200,
            ),
            (
                vec![(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, then)],
                200,
            ),
        ] {
            assert_eq!(looked(&list), expected, "{list:?}");
        }
    }

    #[test]
    fn an_upload_is_refused_if_its_condition_cannot_be_kept() {
        let of = |list: &[(HeaderName, &str)]| of_upload(&fields(list)).ok();
        assert_eq!(of(&[]), Some(None));
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]), Some(Some(Condition::IfAbsent)));
        let matching = Some(Some(Condition::IfMatch("abc".into())));
        assert_eq!(of(&[(IF_MATCH, "\"abc\"")]), matching);
        for refused in [
            vec![(IF_MATCH, "*")],
            vec![(IF_MATCH, "\"a\", \"b\"")],
            vec![(IF_NONE_MATCH, "\"a\"")],
            vec![(IF_MATCH, "\"a\""), (IF_NONE_MATCH, "*")],
            vec![(IF_UNMODIFIED_SINCE, "Sun, 06 Nov 1994 08:49:37 GMT")],
        ] {
            assert_eq!(of(&refused), None, "{refused:?}");
        }
    }
}
