//! What the demo tells the user in the end: addresses, and lines to try.

use serde_json::json;

use super::setup::{Done, Places};
use crate::{Connection, Context};

/// Prints it.
pub(super) fn print(
    context: &Context,
    places: &Places<'_>,
    connection: &Connection,
    done: &Done,
    remembered: bool,
) {
    let value = json!({
        "api": connection.url,
        "operator_token_file": places.dir.join("operator.token"),
        "installations": [done.acme_invoices, done.globex_invoices, done.mailroom, done.documents],
        "token_file": done.token,
        "mail": places.dir.join("mail"),
        "data": places.dir,
    });
    context
        .ui
        .result(&value, |_| text(places, connection, done, remembered));
}

fn text(places: &Places<'_>, connection: &Connection, done: &Done, remembered: bool) -> String {
    let installed = [
        &done.acme_invoices,
        &done.globex_invoices,
        &done.mailroom,
        &done.documents,
    ];
    let [acme, globex, mail, documents] = installed.map(|place| {
        place
            .url
            .as_deref()
            .unwrap_or_default()
            .trim_end_matches('/')
    });
    let store = match &places.redis {
        Some(server) => format!(
            "stores in Redis (port {}) through the driver redis",
            server.port
        ),
        None => "stores in the embedded engine; there is no redis-server on the PATH".into(),
    };
    let login = if remembered {
        "The command line is logged in: try `canopy status`, `canopy logs invoices -t acme -f`, or\n\
         `canopy installation show invoices -t globex`."
            .to_owned()
    } else {
        format!(
            "The command line is logged in elsewhere. For this node:\n  export CANOPY_URL={} \
             CANOPY_TOKEN=$(cat {})",
            connection.url,
            places.dir.join("operator.token").display()
        )
    };
    let json = "-H 'content-type: application/json'";
    format!(
        "\nCanopy runs. Applications answer on port {}, the control API at {}.\n\
         \n\
         \x20 {acme}    acme's invoices; stores in the embedded engine\n\
         \x20 {globex}  globex's invoices, the same component; {store}\n\
         \x20 {mail}    acme's mailroom; sends through the driver smtp to {}\n\
         \x20 {documents}   acme's documents, with versions and search; SQL and objects of the embedded engine\n\
         \n\
         Try:\n\
         \x20 curl {acme}/api/customers {json} -d '{{\"name\":\"Ada Lovelace\"}}'\n\
         \x20 curl {acme}/api/customers\n\
         \x20 curl {globex}/api/customers\n\
         \x20 curl {mail}/api/messages {json} -d '{{\"to\":[\"ada@example.com\"],\"subject\":\"Hello\",\"text\":\"It works.\"}}'\n\
         \x20 curl -T README.md {documents}/api/files/reading/README.md\n\
         \x20 curl '{documents}/api/search?q=tenant'\n\
         \x20 curl {acme}/api/customers -H \"authorization: Bearer $(cat {})\"\n\
         \n\
         {login}\n\
         Everything is in {}. Ctrl-C ends the demo.",
        places.apps,
        connection.url,
        places.dir.join("mail").display(),
        done.token.display(),
        places.dir.display(),
    )
}
