//! Whom to ask and with which token: flags, else the environment, else what `canopy login` wrote.

use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Error, Globals};

/// Where the control API of a node listens unless its settings say otherwise.
pub(crate) const DEFAULT_URL: &str = "http://127.0.0.1:8081";

/// A node's control API and the token to use there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The address.
    pub url: Url,
    /// The token.
    pub token: String,
    /// File of certificates (PEM) by one of which the node's must be issued; `None`: those that the
    /// system trusts.
    pub ca: Option<PathBuf>,
}

/// The file that `canopy login` writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Profile {
    /// The control API.
    pub(crate) url: Url,
    /// The token.
    pub(crate) token: String,
    /// File of the certificates that are trusted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<PathBuf>,
    /// Set where `canopy demo` wrote the file, which may then replace it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) demo: bool,
}

/// The file's path.
pub(crate) fn path() -> Result<PathBuf, Error> {
    xdg("XDG_CONFIG_HOME", ".config").map(|dir| dir.join("canopy").join("cli.toml"))
}

/// The folder of things that can be made again.
pub(crate) fn cache_dir() -> Result<PathBuf, Error> {
    xdg("XDG_CACHE_HOME", ".cache").map(|dir| dir.join("canopy"))
}

/// The connection that `globals` and the file lead to.
pub(crate) fn connection(globals: &Globals) -> Result<Connection, Error> {
    resolve(globals, load(&path()?)?)
}

fn resolve(globals: &Globals, profile: Option<Profile>) -> Result<Connection, Error> {
    let default =
        || Url::parse(DEFAULT_URL).map_err(|error| Error::local("the default address", error));
    let url = match (&globals.url, &profile) {
        (Some(url), _) => url.clone(),
        (None, Some(profile)) => profile.url.clone(),
        (None, None) => default()?,
    };
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(Error::Usage(format!(
            "{url} is no address of a control API: expected http:// or https://"
        )));
    }
    // A token goes only to the node that it was given for.
    let of_profile = profile.filter(|profile| profile.url.origin() == url.origin());
    let (token, ca) = of_profile
        .map(|profile| (profile.token, profile.ca))
        .unzip();
    let token = globals.token.clone().or(token);
    let ca = globals.ca.clone().or(ca.flatten());
    let token = token.ok_or_else(|| Error::NoToken {
        url: url.to_string(),
    })?;
    Ok(Connection { url, token, ca })
}

/// Reads the file; `None` where there is none.
pub(crate) fn load(path: &Path) -> Result<Option<Profile>, Error> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::local(path.display(), error)),
    };
    toml::from_str(&text)
        .map(Some)
        .map_err(|error| Error::Local {
            message: format!("{} is damaged: {}", path.display(), error.message()),
            advice: Some("write it again with `canopy login --url URL --token TOKEN`".into()),
        })
}

/// Writes the file whole or not at all, readable by its owner alone.
pub(crate) fn save(path: &Path, profile: &Profile) -> Result<(), Error> {
    let text = toml::to_string(profile).map_err(|error| Error::local("the profile", error))?;
    let write = || -> std::io::Result<()> {
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir)?;
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        file.as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Error::local(path.display(), error))
}

/// Writes `contents` to `path` so that only its owner can read it.
pub(crate) fn write_private(path: &Path, contents: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(contents.as_bytes())
}

fn xdg(variable: &str, below_home: &str) -> Result<PathBuf, Error> {
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute(variable)
        .or_else(|| std::env::home_dir().map(|home| home.join(below_home)))
        .ok_or_else(|| {
            Error::advised(
                "this user has no home directory",
                format!("set {variable} to a directory of yours"),
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        Profile {
            url: "https://a.example".parse().expect("a URL"),
            token: "saved".into(),
            ca: Some("/etc/a.pem".into()),
            demo: false,
        }
    }

    fn globals(url: Option<&str>, token: Option<&str>) -> Globals {
        Globals {
            url: url.map(|url| url.parse().expect("a URL")),
            token: token.map(Into::into),
            ca: None,
            json: false,
            no_check: false,
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_default() {
        let connection = resolve(&globals(None, None), Some(profile())).expect("connection");
        assert_eq!(
            (connection.url.as_str(), connection.token.as_str()),
            ("https://a.example/", "saved")
        );
        assert_eq!(connection.ca.as_deref(), Some(Path::new("/etc/a.pem")));
        let own = Globals {
            ca: Some("own.pem".into()),
            ..globals(None, None)
        };
        let connection = resolve(&own, Some(profile())).expect("connection");
        assert_eq!(connection.ca.as_deref(), Some(Path::new("own.pem")));
        let elsewhere = globals(Some("https://b.example"), Some("t"));
        let connection = resolve(&elsewhere, Some(profile())).expect("connection");
        assert_eq!(connection.ca, None, "it is of another node");
        let connection = resolve(&globals(None, Some("t")), None).expect("connection");
        assert_eq!(connection.url.as_str(), "http://127.0.0.1:8081/");
        let connection = resolve(&globals(None, Some("t")), Some(profile())).expect("connection");
        assert_eq!(connection.token, "t");
    }

    #[test]
    fn a_saved_token_is_not_sent_to_another_node() {
        let error = resolve(&globals(Some("https://b.example"), None), Some(profile()))
            .expect_err("no token");
        assert!(error.to_string().contains("no token for https://b.example"));
    }

    #[test]
    fn other_schemes_are_refused() {
        for url in ["ftp://a.example", "file:///tmp", "data:x"] {
            assert_eq!(
                resolve(&globals(Some(url), Some("t")), None)
                    .expect_err("refused")
                    .code(),
                2,
                "{url}"
            );
        }
    }

    #[test]
    fn the_file_is_private_and_comes_back_as_it_was() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("deep/cli.toml");
        assert_eq!(load(&path).expect("no file is no error"), None);
        save(&path, &profile()).expect("saved");
        assert_eq!(load(&path).expect("loaded"), Some(profile()));
        assert_eq!(
            std::fs::metadata(&path)
                .expect("metadata")
                .permissions()
                .mode()
                & 0o777,
            0o600
        );
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("cli.toml");
        std::fs::write(&path, "url = 7").expect("written");
        let error = load(&path).expect_err("damaged");
        assert!(error.to_string().contains("cli.toml is damaged"));
        assert!(error.advice().expect("advice").contains("canopy login"));
    }
}
