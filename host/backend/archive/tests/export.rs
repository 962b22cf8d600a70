//! Archives of tenants: what goes in comes out, and nothing else than what the manifest says.

use std::fs;
use std::path::{Path, PathBuf};

use canopy_backend_archive::export::{self, ExportManifest};
use canopy_backend_archive::{ArchiveError, Progress};
use canopy_ids::TenantId;
use proptest::prelude::*;
use tempfile::TempDir;
use time::OffsetDateTime;

fn manifest() -> ExportManifest {
    ExportManifest {
        kind: ExportManifest::KIND.into(),
        format: ExportManifest::FORMAT,
        made_by: "test".into(),
        exported_at: OffsetDateTime::now_utc(),
        tenant_id: TenantId::new(),
        tenant: "acme".parse().expect("a name"),
        packages: Vec::new(),
        files: Vec::new(),
    }
}

fn packed(files: &[(&str, &[u8])]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source");
    for (path, bytes) in files {
        let path = source.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(path, bytes).expect("written");
    }
    let archive = folder.path().join("a.tar");
    export::pack(&source, manifest(), &archive, &Progress::default()).expect("packed");
    (folder, archive)
}

fn unpack(archive: &Path) -> Result<(TempDir, ExportManifest), ArchiveError> {
    let into = tempfile::tempdir().expect("a folder");
    let manifest = export::unpack(archive, into.path(), &Progress::default())?;
    Ok((into, manifest))
}

const FILES: &[(&str, &[u8])] = &[
    ("installations/shop/installation.json", b"{}"),
    (
        "installations/shop/key-value/entries.ndjson",
        b"{\"key\":\"a\"}\n",
    ),
    ("tenant.json", b"{\"name\":\"acme\"}"),
];

#[test]
fn what_goes_in_comes_out() {
    let (_folder, archive) = packed(FILES);
    let (into, manifest) = unpack(&archive).expect("unpacked");
    for (path, bytes) in FILES {
        assert_eq!(fs::read(into.path().join(path)).expect("a file"), *bytes);
    }
    assert_eq!(manifest.files.len(), FILES.len());
    assert_eq!(
        export::read_manifest(&archive)
            .expect("read")
            .tenant
            .as_str(),
        "acme"
    );
}

#[test]
fn ordinary_tools_can_read_it() {
    let (_folder, archive) = packed(FILES);
    let mut plain = tar::Archive::new(fs::File::open(archive).expect("opened"));
    let names: Vec<_> = plain
        .entries()
        .expect("entries")
        .map(|entry| {
            entry
                .expect("an entry")
                .path()
                .expect("a path")
                .display()
                .to_string()
        })
        .collect();
    assert_eq!(names[0], "manifest.json");
    assert_eq!(names.len(), FILES.len() + 1);
}

/// An archive with a manifest as given and then these entries.
fn forged(manifest: &ExportManifest, entries: &[(tar::EntryType, &str, &[u8])]) -> PathBuf {
    let path = tempfile::NamedTempFile::new()
        .expect("a file")
        .into_temp_path();
    let path = path.keep().expect("kept");
    let mut builder = tar::Builder::new(fs::File::create(&path).expect("made"));
    let mut add = |kind, name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(bytes.len() as u64);
        // Written by hand: the library refuses to write names that lead elsewhere.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, bytes).expect("added");
    };
    let text = serde_json::to_vec(manifest).expect("JSON");
    add(tar::EntryType::Regular, "manifest.json", &text);
    for (kind, name, bytes) in entries {
        add(*kind, name, bytes);
    }
    builder.finish().expect("finished");
    path
}

fn refusal(archive: &Path) -> String {
    let refused = unpack(archive).expect_err("refused").to_string();
    let _ = fs::remove_file(archive);
    refused
}

fn one_file() -> ExportManifest {
    let (_folder, archive) = packed(&[("a", b"one")]);
    export::read_manifest(&archive).expect("a manifest")
}

#[test]
fn whatever_the_manifest_does_not_say_is_refused_by_name() {
    use tar::EntryType::{Link, Regular, Symlink};
    let (empty, one) = (manifest(), one_file());
    for (manifest, entries, named) in [
        (&empty, &[(Regular, "x", &b"?"[..])][..], "x"),
        (&empty, &[(Regular, "../evil", b"?")], "../evil"),
        (&one, &[(Regular, "a", b"two")], "a is damaged: its SHA-256"),
        (
            &one,
            &[(Regular, "a", b"on")],
            "a is damaged: it is shorter",
        ),
        (
            &one,
            &[(Regular, "a", b"one!")],
            "a is damaged: it is longer",
        ),
        (&one, &[], "a is damaged: it is missing"),
        (
            &one,
            &[(Regular, "a", b"one"), (Regular, "a", b"one")],
            "a is damaged",
        ),
        (&one, &[(Symlink, "a", b"")], "no regular file"),
        (&one, &[(Link, "a", b"")], "no regular file"),
    ] {
        let said = refusal(&forged(manifest, entries));
        assert!(said.contains(named), "{said} should say {named}");
    }
}

#[test]
fn a_manifest_that_leads_elsewhere_or_is_newer_is_refused() {
    let mut hostile = one_file();
    hostile.files[0].path = "../../evil".into();
    assert!(refusal(&forged(&hostile, &[])).contains("no path of a file"));
    let mut newer = one_file();
    newer.format = 2;
    assert!(refusal(&forged(&newer, &[])).contains("newer version"));
    let mut other = one_file();
    other.kind = "something".into();
    assert!(refusal(&forged(&other, &[])).contains("kind"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_flipped_byte_is_refused_or_changes_nothing(place in 0.0..1.0f64, flip in 1u8..) {
        let (_folder, archive) = packed(FILES);
        let mut bytes = fs::read(&archive).expect("read");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                 clippy::cast_precision_loss, reason = "any place will do")]
        let index = (bytes.len() as f64 * place) as usize;
        bytes[index] ^= flip;
        fs::write(&archive, bytes).expect("written");
        // Padding, and what a header says beside name, size and kind, is nobody's data.
        if let Ok((into, _)) = unpack(&archive) {
            for (path, bytes) in FILES {
                prop_assert_eq!(&fs::read(into.path().join(path)).expect("a file"), bytes);
            }
        }
    }

    #[test]
    fn a_cut_archive_is_refused(keep in 0.0..0.6f64) {
        let (_folder, archive) = packed(FILES);
        let bytes = fs::read(&archive).expect("read");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss,
                 clippy::cast_precision_loss, reason = "any place will do")]
        let end = (bytes.len() as f64 * keep) as usize;
        fs::write(&archive, &bytes[..end]).expect("written");
        prop_assert!(unpack(&archive).is_err());
    }
}
