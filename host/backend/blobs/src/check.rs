//! What may be a name, a content type, metadata.

use canopy_backend::blob::{BlobError, BlobLimits, PutOptions};

/// Any text but none may name a container or an object.
pub(crate) fn name(what: &'static str, name: &str, limits: &BlobLimits) -> Result<(), BlobError> {
    if name.is_empty() {
        return Err(BlobError::Invalid {
            what,
            why: "is empty",
        });
    }
    if name.len() > limits.name_bytes {
        return Err(BlobError::TooLarge {
            what: "name",
            limit: limits.name_bytes as u64,
        });
    }
    Ok(())
}

pub(crate) fn options(options: &PutOptions, limits: &BlobLimits) -> Result<(), BlobError> {
    let content_type = options.content_type.as_deref();
    if let Some(content_type) = content_type
        && !is_field_text(content_type)
    {
        return Err(BlobError::Invalid {
            what: "the content type",
            why: "is not a text of visible ASCII characters and single spaces",
        });
    }
    if options.metadata.keys().any(String::is_empty) {
        return Err(BlobError::Invalid {
            what: "a name in the metadata",
            why: "is empty",
        });
    }
    let metadata = options.metadata.iter();
    let bytes = metadata
        .map(|(name, value)| name.len() + value.len())
        .sum::<usize>()
        + content_type.map_or(0, str::len);
    if bytes > limits.metadata_bytes {
        return Err(BlobError::TooLarge {
            what: "metadata",
            limit: limits.metadata_bytes as u64,
        });
    }
    Ok(())
}

/// Whether a text can stand in a field of an HTTP header.
fn is_field_text(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

pub(crate) fn part(number: u32, limits: &BlobLimits) -> Result<(), BlobError> {
    if number == 0 {
        return Err(BlobError::Part {
            number,
            why: "is not a number of a part: they begin with 1",
        });
    }
    if number > limits.parts {
        return Err(BlobError::TooMany {
            what: "parts",
            limit: limits.parts.into(),
        });
    }
    Ok(())
}

pub(crate) fn parts(parts: &[(u32, String)], limits: &BlobLimits) -> Result<(), BlobError> {
    if parts.len() > limits.parts as usize {
        return Err(BlobError::TooMany {
            what: "parts",
            limit: limits.parts.into(),
        });
    }
    Ok(())
}
