//! `canopy new`: a project from a template.

use std::path::{Path, PathBuf};

use canopy_ids::{Label, WitPackage};
use clap::builder::PossibleValuesParser;
use serde_json::json;

use crate::{Context, Error, source};

/// Create a project from a template
#[derive(Debug, clap::Args)]
pub struct New {
    /// The folder to create; its last part is the package's name
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The package's name, if it is not the folder's
    #[arg(long)]
    name: Option<Label>,
    /// What to begin with: `http` is an application, `driver` serves an interface to applications
    #[arg(long, short = 'T', default_value = "http", value_parser = PossibleValuesParser::new(source::TEMPLATES))]
    template: String,
    /// The publisher, the first part of the package's name
    #[arg(long, default_value = "example")]
    publisher: Label,
}

impl New {
    pub(super) fn run(self, context: &Context) -> Result<(), Error> {
        let dir = self.dir;
        let name = match self.name {
            Some(name) => name,
            None => name_of(&dir)?,
        };
        create(&dir, &self.template, &name, &self.publisher)?;
        context.ui.result(
            &json!({ "created": dir, "template": self.template }),
            |_| {
                let dir = dir.display();
                format!(
                    "Created {dir} from the template {}.\n\
                 Next: canopy build {dir}\n\
                 Then: canopy publish {dir} --create-publisher",
                    self.template
                )
            },
        );
        Ok(())
    }
}

fn create(dir: &Path, template: &str, name: &Label, publisher: &Label) -> Result<(), Error> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                let dir = dir.display();
                return Err(Error::Usage(format!(
                    "{dir} exists and is not empty; name another"
                )));
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::local(dir.display(), error)),
    }
    let snake = |label: &Label| label.as_str().replace('-', "_");
    let values = [
        ("name", name.to_string()),
        ("crate", snake(name)),
        ("publisher", publisher.to_string()),
        ("publisher_crate", snake(publisher)),
        ("title", title(name)),
    ];
    if template == "driver" {
        let package = format!("{publisher}:{name}");
        package.parse::<WitPackage>().map_err(|_| {
            Error::Usage(format!("{package} cannot name a WIT package: each word between hyphens begins with a letter"))
        })?;
    }
    for (path, text) in source::template(template, &values) {
        source::write(&dir.join(path), text.as_bytes())?;
    }
    source::place_sdk(dir).map(drop)
}

/// The package's name that a folder suggests.
fn name_of(dir: &Path) -> Result<Label, Error> {
    let last = dir.file_name().unwrap_or_default().to_string_lossy();
    last.parse()
        .map_err(|error| Error::Usage(format!("{error}; or name the package with --name")))
}

/// A name for people: `time-sheets` becomes `Time sheets`.
fn title(name: &Label) -> String {
    let text = name.as_str().replace('-', " ");
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Label {
        text.parse().expect("a name")
    }

    #[test]
    fn every_template_makes_a_project_with_a_valid_manifest() {
        for template in source::TEMPLATES {
            let dir = tempfile::tempdir().expect("a folder");
            create(dir.path(), template, &label("time-sheets"), &label("acme")).expect("created");
            let project = crate::project::Project::read(dir.path()).expect(template);
            assert_eq!(project.manifest.name.to_string(), "acme/time-sheets");
            assert!(source::uses_placed_sdk(dir.path()), "{template}");
        }
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("mine"), "x").expect("written");
        let error = create(dir.path(), "http", &label("a"), &label("b")).expect_err("refused");
        assert_eq!(error.code(), 2);
        assert_eq!(std::fs::read_dir(dir.path()).expect("folder").count(), 1);
    }

    #[test]
    fn a_driver_is_named_as_wit_packages_are() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = create(dir.path(), "driver", &label("a-1"), &label("b")).expect_err("refused");
        assert!(error.to_string().contains("b:a-1"));
    }

    #[test]
    fn the_folder_names_the_package() {
        assert_eq!(
            name_of(Path::new("/a/b/time-sheets/")).expect("a name"),
            label("time-sheets")
        );
        for dir in ["..", "/", "Time Sheets"] {
            assert_eq!(name_of(Path::new(dir)).expect_err(dir).code(), 2);
        }
    }

    #[test]
    fn a_title_is_made_of_the_name() {
        assert_eq!(title(&label("time-sheets")), "Time sheets");
    }
}
