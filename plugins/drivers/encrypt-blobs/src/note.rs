//! The note of an object by which its content is read: the data key, the type and the metadata,
//! sealed together for the object's place.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use vault::envelope::{self, Failure};
use vault::keyring::{KEY, Keyring};

/// The name of the note.
const NAME: &str = "canopy-encrypted";

/// Metadata as the interface has them.
pub type Metadata = Vec<(String, String)>;

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub key: [u8; KEY],
    pub content_type: Option<String>,
    pub metadata: Metadata,
}

/// Why an object is not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the object is not encrypted: it was not written by this driver")]
    NotEncrypted,
    #[error(transparent)]
    Envelope(#[from] Failure),
}

impl Note {
    /// One with a fresh key.
    pub fn fresh(content_type: Option<String>, metadata: Metadata) -> Result<Self, Failure> {
        Ok(Self {
            key: envelope::random()?,
            content_type,
            metadata,
        })
    }

    /// The metadata that the object is kept with.
    pub fn seal(&self, keys: &Keyring, place: &[u8]) -> Result<Metadata, Failure> {
        let mut text = self.key.to_vec();
        let rest = serde_json::to_vec(&(&self.content_type, &self.metadata));
        text.extend(rest.map_err(|_| Failure::Changed)?);
        let sealed = envelope::seal(keys, place, &text)?;
        Ok(vec![(
            NAME.to_owned(),
            BASE64_URL_SAFE_NO_PAD.encode(sealed),
        )])
    }

    /// What was sealed for this place.
    pub fn open(keys: &Keyring, place: &[u8], kept: &Metadata) -> Result<Self, Unreadable> {
        let note = kept.iter().find(|(name, _)| name == NAME);
        let (_, sealed) = note.ok_or(Unreadable::NotEncrypted)?;
        let sealed = BASE64_URL_SAFE_NO_PAD
            .decode(sealed)
            .map_err(|_| Failure::Changed)?;
        let text = envelope::open(keys, place, &sealed)?;
        let (key, rest) = text.split_first_chunk::<KEY>().ok_or(Failure::Changed)?;
        let (content_type, metadata) =
            serde_json::from_slice(rest).map_err(|_| Failure::Changed)?;
        Ok(Self {
            key: *key,
            content_type,
            metadata,
        })
    }
}

/// What tells an object from all others. Identifiers of installations have no slash; the length of
/// the container's name keeps it apart from the object's.
pub fn place(installation: &str, container: &str, name: &str) -> Vec<u8> {
    format!("{installation}/{}/{container}/{name}", container.len()).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(name: &str) -> Keyring {
        let key = format!("{name}:{}QUE=", "QUFB".repeat(10));
        Keyring::read(&key, None, None).ok().unwrap()
    }

    #[test]
    fn a_note_is_read_at_its_own_place_alone() {
        let note = Note::fresh(
            Some("text/plain".to_owned()),
            vec![("a".to_owned(), "b".to_owned())],
        )
        .unwrap();
        let kept = note.seal(&keys("k"), &place("i", "c", "n")).unwrap();
        let open = |place: &[u8]| Note::open(&keys("k"), place, &kept);
        assert_eq!(open(&place("i", "c", "n")), Ok(note.clone()));
        for other in [
            place("j", "c", "n"),
            place("i", "d", "n"),
            place("i", "c", "m"),
        ] {
            assert_eq!(open(&other), Err(Failure::Changed.into()));
        }
        assert_eq!(
            Note::open(&keys("other"), &place("i", "c", "n"), &kept),
            Err(Failure::UnknownKey("k".to_owned()).into())
        );
        assert!(!kept[0].1.contains("text/plain"));
        assert_eq!(
            Note::open(&keys("k"), b"", &Vec::new()),
            Err(Unreadable::NotEncrypted)
        );
    }

    #[test]
    fn places_do_not_blur() {
        assert_ne!(place("i", "a/b", "c"), place("i", "a", "b/c"));
        assert_ne!(place("i", "a", "1/b"), place("i", "a/1", "b"));
    }
}
