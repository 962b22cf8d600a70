//! Which part of the database belongs to whom.
//!
//! Threat: applications write their own statements, and a statement reaches whatever its role may. So
//! each installation has a login role of its own, which owns one schema for each of its databases and
//! nothing else; what it could set or reset in a session gives it no more. Its password is made of the
//! driver's own and never leaves the driver.

use std::cell::RefCell;
use std::collections::HashSet;

use hmac::{Hmac, KeyInit as _, Mac as _};
use net::Stream;
use postgres_protocol::password::scram_sha_256;
use sha2::Sha256;

use crate::connection::{Failure, failure, sign_in};
use crate::session::{Fault, Session, Value};
use crate::settings::Settings;

/// Bytes of the longest name at the server.
const MAX_NAME: usize = 63;

/// The table whose lock an immediate transaction has.
pub const LOCK: &str = "canopy_lock";

/// What all who make roles and schemas wait for.
const MAKING: &str = "SELECT pg_advisory_lock(7160203317094117)";

/// What is made last.
const HAS_LOCK: &str =
    "SELECT 1 FROM pg_tables WHERE tablename = $1 AND schemaname = $2 AND tableowner = $3";

thread_local! {
    static MADE: RefCell<HashSet<Place>> = RefCell::default();
}

/// The role of an installation and the schema of one of its databases. Both are names of small letters,
/// digits and underscores, so nothing else can hide in them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub role: String,
    pub schema: String,
}

impl Place {
    /// That of `database`, or nothing if that is no name of one. `installation` is an identifier that
    /// the platform gave.
    pub fn of(installation: &str, database: &str) -> Option<Self> {
        let sound = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        };
        let role = format!("canopy_{installation}");
        let schema = match database {
            "" | "default" => role.clone(),
            // Identifiers of installations have no underscores at their end.
            other => format!("{role}__{other}"),
        };
        let named = sound(installation) && (database.is_empty() || sound(database));
        (named && schema.len() <= MAX_NAME).then_some(Self { role, schema })
    }

    /// Connects as the role, which is made if it is not there.
    pub fn connect(&self, settings: &Settings) -> Result<Session<Stream>, Failure> {
        let password = self.password(settings)?;
        if !MADE.with_borrow(|made| made.contains(self)) {
            self.make(settings, &password)?;
            MADE.with_borrow_mut(|made| made.insert(self.clone()));
        }
        let enter = || sign_in(settings, &self.role, Some(&password), Some(&self.schema));
        match enter() {
            // The driver's own password has been changed since the role was made.
            Err(Failure::NotLetIn { .. }) => {
                let mut owner = own(settings)?;
                let verifier = scram_sha_256(password.as_bytes());
                let change = format!("ALTER ROLE \"{}\" PASSWORD '{verifier}'", self.role);
                run(settings, &mut owner, &change, &[])?;
                enter()
            }
            entered => entered,
        }
    }

    fn password(&self, settings: &Settings) -> Result<String, Failure> {
        let own = settings.password.as_deref();
        let own = own.ok_or_else(|| Failure::NotLetIn {
            server: settings.server(),
            reason:
                "the passwords of applications' roles are made of the setting `password`, which \
                     is not set"
                    .to_owned(),
        })?;
        let mut mac = Hmac::<Sha256>::new_from_slice(own.as_bytes()).expect("a key of any length");
        mac.update(b"canopy sql ");
        mac.update(self.role.as_bytes());
        let digest = mac.finalize().into_bytes();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn make(&self, settings: &Settings, password: &str) -> Result<(), Failure> {
        let Self { role, schema } = self;
        let verifier = scram_sha_256(password.as_bytes());
        let mut owner = own(settings)?;
        // One at a time, for the server takes no two changes of one thing; it ends with the connection.
        run(settings, &mut owner, MAKING, &[])?;
        let whole = [LOCK, schema, role].map(Value::Text);
        let made = owner.execute("canopy_made", || HAS_LOCK.to_owned(), &whole);
        if !made.map_err(|fault| failure(settings, fault))?.is_empty() {
            return Ok(());
        }
        // 42710, 23505, 42P06: it is there, perhaps made at this moment.
        let there = ["42710", "23505", "42P06", "42P07"];
        for statement in [
            format!("CREATE ROLE \"{role}\" LOGIN PASSWORD '{verifier}'"),
            // Whoever makes a schema for a role has to be one of its members.
            format!("GRANT \"{role}\" TO CURRENT_USER"),
            format!("CREATE SCHEMA IF NOT EXISTS \"{schema}\" AUTHORIZATION \"{role}\""),
            format!("CREATE TABLE IF NOT EXISTS \"{schema}\".{LOCK} ()"),
            format!("ALTER TABLE \"{schema}\".{LOCK} OWNER TO \"{role}\""),
        ] {
            run(settings, &mut owner, &statement, &there)?;
        }
        Ok(())
    }
}

fn own(settings: &Settings) -> Result<Session<Stream>, Failure> {
    sign_in(
        settings,
        &settings.username,
        settings.password.as_deref(),
        None,
    )
}

/// Runs a statement of the driver's own role, whose refusals of these codes are as good as success.
fn run(
    settings: &Settings,
    owner: &mut Session<Stream>,
    statement: &str,
    passed: &[&str],
) -> Result<(), Failure> {
    match owner.run(statement) {
        Err(Fault::Refused(refusal)) if passed.contains(&refusal.code.as_str()) => Ok(()),
        Err(Fault::Refused(mut refusal)) if refusal.code == "42501" => {
            refusal.message.push_str(
                "; to serve SQL, the driver's role needs CREATEROLE, and CREATE on the database",
            );
            Err(Failure::Refused(refusal))
        }
        done => done.map_err(|fault| failure(settings, fault)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_of_an_installation_is_a_schema_of_its_role() {
        let default = Place::of("inst_1", "").unwrap();
        assert_eq!(
            (&*default.role, &*default.schema),
            ("canopy_inst_1", "canopy_inst_1")
        );
        assert_eq!(Place::of("inst_1", "default").unwrap(), default);
        let other = Place::of("inst_1", "search").unwrap();
        assert_eq!(other.role, default.role);
        assert_ne!(other.schema, default.schema);
    }

    #[test]
    fn names_that_could_be_something_else_are_no_databases() {
        for wrong in ["A", "a\"", "a;b", "a b", "ü", "a.b", "-", &"x".repeat(60)] {
            assert_eq!(Place::of("inst_1", wrong), None, "{wrong}");
        }
        assert_eq!(Place::of("inst\"1", ""), None);
        assert_eq!(Place::of("", ""), None);
    }
}
