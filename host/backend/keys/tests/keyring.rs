//! A keyring as an operator meets it: first start, wrong key, changed key, erased tenant.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use canopy_backend::Scope;
use canopy_backend_keys::{KeyError, Keyring, OperatorKey, OperatorKeys};
use canopy_ids::{InstallationId, TenantId};
use proptest::prelude::*;

fn scope(tenant: TenantId) -> Scope {
    Scope {
        tenant,
        installation: InstallationId::new(),
    }
}

fn operator() -> OperatorKey {
    OperatorKey::generate().expect("a key")
}

fn ring(key: &OperatorKey, folder: &Path) -> Keyring {
    Keyring::open(key.duplicate(), folder).expect("opens")
}

fn changed(from: &OperatorKey, to: &OperatorKey) -> OperatorKeys {
    OperatorKeys {
        current: to.duplicate(),
        previous: Some(from.duplicate()),
    }
}

/// Every file below `folder` with what is in it.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("a file"));
        }
    }
    found
}

#[test]
fn keys_are_the_same_after_a_restart_and_differ_between_tenants() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = operator();
    let (one, other) = (scope(TenantId::new()), scope(TenantId::new()));
    let first = ring(&key, folder.path());
    let before = first.tenant(one.tenant).expect("made").file_key(one, "a");
    let node = first.node_key("control");
    let again = ring(&key, folder.path());
    let tenant = again.tenant(one.tenant).expect("found");
    assert_eq!(tenant.file_key(one, "a").bytes(), before.bytes());
    assert_eq!(again.node_key("control").bytes(), node.bytes());
    assert_ne!(again.node_key("other").bytes(), node.bytes());
    let others = again.tenant(other.tenant).expect("made");
    assert_ne!(others.file_key(one, "a").bytes(), before.bytes());
}

#[test]
fn no_key_is_on_the_disk_unwrapped() {
    let folder = tempfile::tempdir().expect("a folder");
    let ring = ring(&operator(), folder.path());
    let scope = scope(TenantId::new());
    let key = ring
        .tenant(scope.tenant)
        .expect("made")
        .file_key(scope, "a");
    for (path, bytes) in files(folder.path()) {
        assert!(
            !bytes.windows(32).any(|window| window == key.bytes()),
            "{path:?}"
        );
        let mode = fs::metadata(&path).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{path:?}");
    }
}

#[test]
fn a_wrong_operator_key_is_refused_and_nothing_is_touched() {
    let folder = tempfile::tempdir().expect("a folder");
    let (key, wrong) = (operator(), operator());
    let tenant = TenantId::new();
    ring(&key, folder.path()).tenant(tenant).expect("made");
    let before = files(folder.path());
    let third = operator();
    for given in [wrong.duplicate().into(), changed(&third, &wrong)] {
        match Keyring::open(given, folder.path()) {
            Err(KeyError::WrongOperatorKey { expected, given }) => {
                assert_eq!(expected, key.fingerprint());
                assert_eq!(given, wrong.fingerprint());
            }
            other => panic!("expected a refusal, found {other:?}"),
        }
    }
    assert_eq!(files(folder.path()), before);
}

#[test]
fn data_without_the_nodes_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = operator();
    ring(&key, folder.path())
        .tenant(TenantId::new())
        .expect("made");
    fs::remove_file(folder.path().join("node.key")).expect("removed");
    let before = files(folder.path());
    let refused = Keyring::open(key, folder.path());
    assert!(
        matches!(refused, Err(KeyError::NodeKeyMissing { .. })),
        "{refused:?}"
    );
    assert_eq!(files(folder.path()), before);
}

#[test]
fn a_new_version_leaves_the_older_ones_readable() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = operator();
    let scope = scope(TenantId::new());
    let first = ring(&key, folder.path());
    let old = first
        .tenant(scope.tenant)
        .expect("made")
        .file_key(scope, "a");
    assert_eq!(first.rotate(scope.tenant).expect("rotated"), 2);
    for ring in [first, ring(&key, folder.path())] {
        let keys = ring.tenant(scope.tenant).expect("found");
        assert_eq!(keys.newest(), 2);
        assert_ne!(keys.file_key(scope, "a").bytes(), old.bytes());
        let again = keys.file_key_of(1, scope, "a").expect("version 1");
        assert_eq!(again.bytes(), old.bytes());
    }
}

#[test]
fn another_operator_key_rewraps_everything_and_changes_no_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (old, new) = (operator(), operator());
    let scopes: Vec<_> = (0..5).map(|_| scope(TenantId::new())).collect();
    let before = ring(&old, folder.path());
    before.tenant(scopes[0].tenant).expect("made");
    before.rotate(scopes[0].tenant).expect("rotated");
    let keys: Vec<_> = scopes
        .iter()
        .map(|scope| {
            before
                .tenant(scope.tenant)
                .expect("made")
                .file_key(*scope, "a")
        })
        .collect();
    Keyring::open(changed(&old, &new), folder.path()).expect("changed");
    let refused = Keyring::open(old.duplicate(), folder.path());
    assert!(
        matches!(refused, Err(KeyError::WrongOperatorKey { .. })),
        "{refused:?}"
    );
    let after = ring(&new, folder.path());
    assert_eq!(
        after.node_key("control").bytes(),
        before.node_key("control").bytes()
    );
    for (scope, key) in scopes.iter().zip(&keys) {
        let tenant = after.tenant(scope.tenant).expect("found");
        assert_eq!(tenant.file_key(*scope, "a").bytes(), key.bytes());
    }
    // Done already, and so it may stay in the settings.
    Keyring::open(changed(&old, &new), folder.path()).expect("opens");
}

/// A crash leaves each file old or new, in the order in which they are written: the node's says
/// that a change is under way, then tenants' follow, then the node's again.
#[test]
fn a_change_of_the_operator_key_that_was_cut_short_is_finished() {
    let (old, new) = (operator(), operator());
    let scopes: Vec<_> = (0..3).map(|_| scope(TenantId::new())).collect();
    for done in 0..=scopes.len() {
        let folder = tempfile::tempdir().expect("a folder");
        let before = ring(&old, folder.path());
        let keys: Vec<_> = scopes
            .iter()
            .map(|scope| {
                before
                    .tenant(scope.tenant)
                    .expect("made")
                    .file_key(*scope, "a")
            })
            .collect();
        let originals = files(folder.path());
        // A tenant whose file is damaged stops the change after the node's first write.
        let broken = folder.path().join(scopes[2].tenant.to_string()).join("key");
        fs::write(&broken, "{").expect("damaged");
        let stopped = Keyring::open(changed(&old, &new), folder.path());
        assert!(
            matches!(stopped, Err(KeyError::Damaged { .. })),
            "{stopped:?}"
        );
        for scope in &scopes[done..] {
            let path = folder.path().join(scope.tenant.to_string()).join("key");
            fs::write(&path, &originals[&path]).expect("as before");
        }
        fs::write(&broken, &originals[&broken]).expect("repaired");

        for alone in [&old, &new] {
            let refused = Keyring::open(alone.duplicate(), folder.path());
            assert!(
                matches!(refused, Err(KeyError::ChangeUnderWay { .. })),
                "{refused:?}"
            );
        }
        let after = Keyring::open(changed(&old, &new), folder.path()).expect("finished");
        for (scope, key) in scopes.iter().zip(&keys) {
            let tenant = after.tenant(scope.tenant).expect("found");
            assert_eq!(tenant.file_key(*scope, "a").bytes(), key.bytes());
        }
        ring(&new, folder.path());
    }
}

#[test]
fn an_erased_tenant_has_no_key_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let ring = ring(&operator(), folder.path());
    let (gone, stays) = (TenantId::new(), TenantId::new());
    for tenant in [gone, stays] {
        ring.tenant(tenant).expect("made");
    }
    ring.rotate(gone).expect("rotated");
    let wrapped = ring.wrapped(gone).expect("read").expect("a file");
    for _ in 0..2 {
        ring.erase(gone).expect("erased");
        assert!(matches!(ring.tenant(gone), Err(KeyError::Erased(_))));
        assert!(matches!(ring.rotate(gone), Err(KeyError::Erased(_))));
        assert!(matches!(
            ring.adopt(gone, &wrapped),
            Err(KeyError::Erased(_))
        ));
        let left = files(&folder.path().join(gone.to_string()));
        assert!(left.is_empty(), "{left:?}");
    }
    ring.tenant(stays).expect("untouched");
    ring.erase(TenantId::new()).expect("never had any");
}

#[test]
fn keys_of_a_backup_are_adopted_and_others_refused() {
    let (here, there) = (
        tempfile::tempdir().expect("one"),
        tempfile::tempdir().expect("two"),
    );
    let key = operator();
    let scope = scope(TenantId::new());
    let first = ring(&key, here.path());
    let old = first
        .tenant(scope.tenant)
        .expect("made")
        .file_key(scope, "a");
    let backup = first.wrapped(scope.tenant).expect("read").expect("there");
    first.rotate(scope.tenant).expect("rotated");
    // Nothing new in it.
    first.adopt(scope.tenant, &backup).expect("known");
    assert_eq!(first.tenant(scope.tenant).expect("there").newest(), 2);

    let second = ring(&key, there.path());
    assert_eq!(second.wrapped(scope.tenant).expect("read"), None);
    second.adopt(scope.tenant, &backup).expect("adopted");
    let found = second
        .tenant(scope.tenant)
        .expect("there")
        .file_key(scope, "a");
    assert_eq!(found.bytes(), old.bytes());

    let other = TenantId::new();
    assert!(matches!(
        second.adopt(other, &backup),
        Err(KeyError::Damaged { .. })
    ));
    assert!(second.adopt(other, b"{}").is_err());
    let foreign = ring(&operator(), tempfile::tempdir().expect("three").path());
    assert!(matches!(
        foreign.adopt(scope.tenant, &backup),
        Err(KeyError::WrongOperatorKey { .. })
    ));
    // The same version, but another key.
    let third = tempfile::tempdir().expect("three");
    let clash = ring(&key, third.path());
    clash.tenant(scope.tenant).expect("made");
    assert!(matches!(
        clash.adopt(scope.tenant, &backup),
        Err(KeyError::Damaged { .. })
    ));
}

#[test]
fn an_operators_key_is_made_once_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("operator.key");
    let missing = OperatorKey::from_file(&path, false);
    assert!(
        matches!(missing, Err(KeyError::OperatorKeyMissing { .. })),
        "{missing:?}"
    );
    let made = OperatorKey::from_file(&path, true).expect("made");
    let mode = fs::metadata(&path).expect("metadata").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for create in [true, false] {
        let found = OperatorKey::from_file(&path, create).expect("found");
        assert_eq!(found.fingerprint(), made.fingerprint());
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("chmod");
    let refused = OperatorKey::from_file(&path, true).expect_err("readable by others");
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
}

#[test]
fn what_is_no_key_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("operator.key");
    let digits = "0123456789abcdef".repeat(4);
    let cases = [
        (String::new(), "empty"),
        (digits[1..].to_owned(), "length"),
        (format!("{digits}00"), "length"),
        (digits.replace('a', "x"), "characters"),
        ("00\n".repeat(200), "length"),
    ];
    for (text, expected) in cases {
        fs::write(&path, text).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        let error = OperatorKey::from_file(&path, true)
            .expect_err("no key")
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    fs::write(&path, format!("  {}\n\n", digits.to_uppercase())).expect("written");
    OperatorKey::from_file(&path, false).expect("white space and capitals are fine");
}

#[tokio::test]
async fn a_command_prints_the_key() {
    let limit = std::time::Duration::from_secs(60);
    let run = |script: &str| {
        let command = ["sh", "-c", script].map(str::to_owned);
        async move { OperatorKey::from_command(&command, limit).await }
    };
    let digits = "0123456789abcdef".repeat(4);
    run(&format!("echo {digits}")).await.expect("a key");
    let failures = [
        (format!("echo {digits}; exit 3"), "exit status: 3"),
        ("echo".into(), "empty"),
        ("head -c 300 /dev/zero".into(), "length"),
    ];
    for (script, expected) in failures {
        let error = run(&script).await.expect_err("no key").to_string();
        assert!(error.contains(expected), "{script}: {error}");
    }
    let absent = OperatorKey::from_command(&["/absent".into()], limit).await;
    assert!(
        matches!(absent, Err(KeyError::Command { .. })),
        "{absent:?}"
    );
    let empty = OperatorKey::from_command(&[], limit).await;
    assert!(matches!(empty, Err(KeyError::Command { .. })), "{empty:?}");
    let slow = ["sh", "-c", "exec sleep 600"].map(str::to_owned);
    let slow = OperatorKey::from_command(&slow, std::time::Duration::from_millis(50)).await;
    assert!(slow.is_err_and(|error| error.to_string().contains("within")));
}

proptest! {
    #[test]
    fn files_of_any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().expect("a folder");
        let ring = ring(&operator(), folder.path());
        prop_assert!(ring.adopt(TenantId::new(), &bytes).is_err());
    }
}
