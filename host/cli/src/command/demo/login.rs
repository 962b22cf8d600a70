//! Logs the command line in to the demo's node while it runs, unless the user has logged in to
//! another node or another demo runs.

use canopy_api_types::Status;

use crate::client::Client;
use crate::profile::{self, Profile};
use crate::{Connection, Error};

/// Logs in and says whether it did.
pub(super) async fn remember(connection: &Connection) -> Result<bool, Error> {
    let path = profile::path()?;
    let free = match profile::load(&path)? {
        None => true,
        Some(profile) if profile.url == connection.url => true,
        Some(profile) => profile.demo && !answers(&profile).await?,
    };
    if free {
        let (url, token) = (connection.url.clone(), connection.token.clone());
        profile::save(
            &path,
            &Profile {
                url,
                token,
                ca: None,
                demo: true,
            },
        )?;
    }
    Ok(free)
}

async fn answers(profile: &Profile) -> Result<bool, Error> {
    let connection = Connection {
        url: profile.url.clone(),
        token: profile.token.clone(),
        ca: profile.ca.clone(),
    };
    let answer = Client::new(&connection)?.get::<Status>(&["status"]).await;
    Ok(!matches!(answer, Err(Error::Unreachable { .. })))
}

/// Logs out of a demo's node that ends.
pub(super) fn forget(connection: &Connection) -> Result<(), Error> {
    let path = profile::path()?;
    let profile = profile::load(&path)?;
    if profile.is_some_and(|profile| profile.demo && profile.url == connection.url) {
        std::fs::remove_file(&path).map_err(|error| Error::local(path.display(), error))?;
    }
    Ok(())
}
