//! The chain that is tested, as it is written on the command line: the driver under test, and behind each
//! `--link` one that it builds on. The options after a `--link` are that link's.

use canopy_ids::{BindingKey, Label};
use clap::{ArgMatches, Command, FromArgMatches};

use crate::command::install::{BINDING, binding};
use crate::command::settings::Settings;

/// How one driver of the chain is set up.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) settings: Settings,
    pub(super) bindings: Vec<(BindingKey, Label)>,
}

/// The driver under test, and what it builds on.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    pub(super) tested: Part,
    /// The folder or the package of each further driver, and how it is set up. Each is bound to those after
    /// it, and the last stands before the server.
    pub(super) links: Vec<(String, Part)>,
}

/// The options, as the parser knows them.
#[derive(Debug, clap::Args)]
struct Options {
    #[command(flatten)]
    settings: Settings,
    /// Which other driver serves a WIT package or an interface that it imports: a link after it, or
    /// `platform`; may be repeated
    #[arg(long = "bind", value_name = BINDING, value_parser = binding)]
    bindings: Vec<(BindingKey, Label)>,
    /// A driver that the one before builds on, called by its package's name in --bind; may be repeated.
    /// Every --set, --secret-env, --egress and --bind after it is its own
    #[arg(long = "link", value_name = "DIR|PUBLISHER/NAME[@VERSION]")]
    links: Vec<String>,
}

impl clap::Args for Chain {
    fn augment_args(command: Command) -> Command {
        Options::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Options::augment_args_for_update(command)
    }
}

impl FromArgMatches for Chain {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut matches.clone())
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        let places = |matches: &ArgMatches, option: &str| -> Vec<usize> {
            matches.indices_of(option).into_iter().flatten().collect()
        };
        let links = places(matches, "links");
        let owners = |option: &str| -> Vec<usize> {
            let owner = |place: usize| links.partition_point(|link| *link < place);
            let places = places(matches, option);
            places.into_iter().map(owner).collect()
        };
        let options = ["settings", "secrets", "egress", "bindings"];
        let owners = options.map(|option| (option, owners(option)));
        let of = |option: &str| -> Vec<usize> {
            let found = owners.iter().find(|(name, _)| *name == option);
            found.map(|(_, owners)| owners.clone()).unwrap_or_default()
        };
        let given = Options::from_arg_matches_mut(matches)?;
        let shares = given.settings.share(given.links.len() + 1, of);
        let part = |settings| Part {
            settings,
            bindings: Vec::new(),
        };
        let mut parts: Vec<Part> = shares.into_iter().map(part).collect();
        for (owner, binding) in of("bindings").into_iter().zip(given.bindings) {
            parts[owner].bindings.push(binding);
        }
        let tested = parts.remove(0);
        let links = given.links.into_iter().zip(parts).collect();
        Ok(Self { tested, links })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        package: String,
        #[command(flatten)]
        chain: Chain,
    }

    fn parse(line: &str) -> Line {
        Line::try_parse_from(line.split_whitespace()).expect("a command line")
    }

    fn part(part: &Part) -> String {
        let bindings = part.bindings.iter();
        let bindings: Vec<_> = bindings.map(|(key, by)| format!("{key}={by}")).collect();
        let settings = &part.settings;
        format!("{settings:?} {bindings:?}")
    }

    fn alone(line: &str) -> String {
        part(&parse(line).chain.tested)
    }

    #[test]
    fn what_comes_after_a_link_is_its_own() {
        let line = parse(
            "test --set ttl_ms=5 --bind wasi:keyvalue=encrypt cache \
             --link encrypt --secret-env key=KEY --bind wasi:keyvalue=redis \
             --link a/redis@1.2.3 --set host={host} --set port={port} --egress redis.example:6379",
        );
        assert_eq!(line.package, "cache");
        let Chain { tested, links } = line.chain;
        assert_eq!(
            part(&tested),
            alone("test x --set ttl_ms=5 --bind wasi:keyvalue=encrypt")
        );
        let names: Vec<_> = links.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["encrypt", "a/redis@1.2.3"]);
        assert_eq!(
            part(&links[0].1),
            alone("test x --secret-env key=KEY --bind wasi:keyvalue=redis")
        );
        assert_eq!(
            part(&links[1].1),
            alone("test x --set host={host} --set port={port} --egress redis.example:6379")
        );
    }

    #[test]
    fn without_a_link_all_is_the_drivers_own() {
        let chain = parse("test --bind wasi:keyvalue=platform cache --set a=1 --set b=2").chain;
        assert!(chain.links.is_empty());
        assert!(part(&chain.tested).contains("wasi:keyvalue=platform"));
    }

    #[test]
    fn a_link_without_a_name_is_refused() {
        let line = ["test", "cache", "--link"];
        assert!(Line::try_parse_from(line).is_err());
    }
}
