//! Serves `acme:errands`: fetches whatever it is asked for, in as many stores as a driver may have.

use bindings::exports::acme::errands::errand::Guest;
use canopy_sdk::client;

#[canopy_sdk::driver("acme:errands/errand@0.1.0", wit = ["../../wit/errands/0.1.0"])]
struct Errands;

impl Guest for Errands {
    fn fetch(url: String) -> Result<String, String> {
        let reply = client::get(url.as_str()).send();
        let reply = reply.map_err(|error| error.to_string())?;
        let status = reply.status.as_u16();
        let body = reply.text().map_err(|error| format!("{status} {error}"))?;
        Ok(format!("{status} {body}"))
    }
}
