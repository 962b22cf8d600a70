//! Native artifacts: compiled once, kept on disk under a seal, mapped into memory when needed.
//!
//! In order: a component that is loaded already; a sealed file of this digest and this engine;
//! the compiler. Whoever asks for the same digest meanwhile waits for the same outcome.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canopy_ids::Digest;
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use wasmtime::component::Component;

use crate::compile::{CompileError, Compiler, CompilerCommand};
use crate::engine::Engine;
use crate::seal::{Purpose, SealKey};

const SUFFIX: &str = ".cwasm";
const UNFINISHED: &str = ".compiling-";

/// Why there is no native artifact.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ArtifactError {
    /// The component was not compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The component was compiled, but needs more than the node's pool gives any component.
    #[error("the component does not fit into this node's pool: {message}")]
    Unfit {
        /// What it needs.
        message: String,
    },
    /// Other users can write where artifacts are kept; what is there would be run.
    #[error(
        "other users can write to the artifact directory {directory:?} (mode {mode:o}); native \
         code from it is run, so make it your own: chmod 700"
    )]
    Exposed {
        /// The directory.
        directory: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file cannot be read or written.
    #[error("{action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What happened.
        source: Arc<io::Error>,
    },
}

type Outcome = Result<Component, ArtifactError>;

/// The native artifacts of one engine. Clones are the same.
#[derive(Clone)]
pub struct Artifacts(Arc<Inner>);

struct Inner {
    engine: Engine,
    directory: PathBuf,
    key: SealKey,
    compiler: Compiler,
    loaded: Mutex<Loaded>,
    flights: Mutex<HashMap<Digest, Arc<OnceCell<Outcome>>>>,
}

impl Artifacts {
    /// Artifacts kept in `directory`, which is made if need be and must be the owner's alone.
    /// Removes what an earlier process left unfinished.
    pub fn open(
        engine: &Engine,
        directory: impl Into<PathBuf>,
        compiler: CompilerCommand,
    ) -> Result<Self, ArtifactError> {
        let directory = directory.into();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&directory)
            .map_err(failed("making", &directory))?;
        let metadata = fs::metadata(&directory).map_err(failed("reading", &directory))?;
        if metadata.mode() & 0o022 != 0 {
            return Err(ArtifactError::Exposed {
                mode: metadata.mode() & 0o7777,
                directory,
            });
        }
        let key_path = directory.join("seal.key");
        let key = SealKey::open(&key_path).map_err(failed("reading", &key_path))?;
        let settings = engine.settings();
        let this = Self(Arc::new(Inner {
            compiler: Compiler::new(compiler, settings.clone()),
            loaded: Mutex::new(Loaded::new(settings.pool.resident_components)),
            flights: Mutex::default(),
            engine: engine.clone(),
            directory,
            key,
        }));
        this.remove_files(|name| name.starts_with(UNFINISHED))?;
        Ok(this)
    }

    /// The component with this digest, whose bytes are in the file `component`.
    pub async fn load(&self, digest: &Digest, component: &Path) -> Outcome {
        if let Some(component) = self.0.loaded.lock().get(digest) {
            return Ok(component);
        }
        let flight = Flight::join(&self.0, *digest);
        let work = || async {
            let outcome = self.0.load_from_disk(digest, component).await;
            if let Ok(component) = &outcome {
                self.0.loaded.lock().insert(*digest, component.clone());
            }
            outcome
        };
        flight.cell.get_or_init(work).await.clone()
    }

    /// Forgets a component and removes its artifacts. Instances that run go on.
    pub fn remove(&self, digest: &Digest) -> Result<(), ArtifactError> {
        self.0.loaded.lock().remove(digest);
        let prefix = format!("{}-", digest.hex());
        self.remove_files(|name| name.starts_with(&prefix))
    }

    /// Removes the artifacts of all components but those that `keep` names, and those of other
    /// engines. For a node's start: what is removed in error is compiled again.
    pub fn retain(&self, keep: impl Fn(&Digest) -> bool) -> Result<(), ArtifactError> {
        let ours = format!("-{}{SUFFIX}", self.0.engine.compatibility());
        self.remove_files(|name| {
            let digest = name
                .strip_suffix(&ours)
                .and_then(|hex| format!("sha256:{hex}").parse().ok());
            name.ends_with(SUFFIX) && !digest.is_some_and(|digest| keep(&digest))
        })
    }

    fn remove_files(&self, which: impl Fn(&str) -> bool) -> Result<(), ArtifactError> {
        let directory = &self.0.directory;
        let entries = fs::read_dir(directory).map_err(failed("reading", directory))?;
        for entry in entries {
            let entry = entry.map_err(failed("reading", directory))?;
            if entry.file_name().to_str().is_some_and(&which) {
                let path = entry.path();
                match fs::remove_file(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed.map_err(failed("removing", &path))?,
                }
            }
        }
        Ok(())
    }
}

/// The names of the artifacts in `directory` that do not have the seal that this node gave them. Where
/// there is no key for seals, or a damaged one, all are such: they are compiled again when needed.
pub fn damaged_artifacts(directory: &Path) -> io::Result<Vec<String>> {
    let key = SealKey::existing(&directory.join("seal.key"))?;
    let mut damaged = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let Some((hex, compatibility)) = name
            .strip_suffix(SUFFIX)
            .and_then(|name| name.split_once('-'))
        else {
            continue;
        };
        let sealed = match (&key, format!("sha256:{hex}").parse()) {
            (Some(key), Ok(digest)) => key.verify(
                &mut File::open(entry.path())?,
                Purpose {
                    digest: &digest,
                    compatibility,
                },
            )?,
            _ => false,
        };
        if !sealed {
            damaged.push(name);
        }
    }
    damaged.sort();
    Ok(damaged)
}

impl Inner {
    async fn load_from_disk(self: &Arc<Self>, digest: &Digest, component: &Path) -> Outcome {
        let (this, digest) = (self.clone(), *digest);
        let stored = blocking(move || this.load_sealed(&digest)).await?;
        if let Some(component) = stored {
            return Ok(component);
        }
        let unfinished = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .tempfile_in(&self.directory)
            .map_err(failed("making a file in", &self.directory))?
            .into_temp_path();
        let started = std::time::Instant::now();
        self.compiler
            .compile(&digest, component, &unfinished)
            .await?;
        tracing::info!(%digest, milliseconds = started.elapsed().as_millis(), "component compiled");
        let this = self.clone();
        blocking(move || {
            let path = this.path(&digest);
            this.key
                .seal(&unfinished, this.purpose(&digest))
                .map_err(failed("sealing", &unfinished))?;
            unfinished
                .persist(&path)
                .map_err(|error| failed("renaming", &path)(error.error))?;
            File::open(&this.directory)
                .and_then(|directory| directory.sync_all())
                .map_err(failed("syncing", &this.directory))?;
            this.map(&path)
        })
        .await
    }

    /// The component from its sealed file; `None` where there is none that can be trusted.
    fn load_sealed(&self, digest: &Digest) -> Result<Option<Component>, ArtifactError> {
        let path = self.path(digest);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("opening", &path)(error)),
        };
        if self
            .key
            .verify(&mut file, self.purpose(digest))
            .map_err(failed("reading", &path))?
        {
            return self.map(&path).map(Some);
        }
        tracing::warn!(
            %digest,
            path = %path.display(),
            "the native artifact is damaged or not this node's; compiling the component again"
        );
        Ok(None)
    }

    /// Maps native code into memory.
    #[allow(
        unsafe_code,
        reason = "wasmtime cannot know that a file is its own work; here its seal has been verified"
    )]
    fn map(&self, path: &Path) -> Outcome {
        // SAFETY: the file was made by this engine's compiler and its seal was verified or just
        // written; the directory is the owner's alone (checked when it was opened), and files in
        // it are replaced by renaming and never written in place, so the mapping does not change.
        let component = unsafe { Component::deserialize_file(self.engine.raw(), path) };
        let component = component.map_err(|error| ArtifactError::Unfit {
            message: format!("{error:#}"),
        })?;
        component
            .initialize_copy_on_write_image()
            .map_err(|error| ArtifactError::Unfit {
                message: format!("{error:#}"),
            })?;
        Ok(component)
    }

    fn purpose<'a>(&'a self, digest: &'a Digest) -> Purpose<'a> {
        Purpose {
            digest,
            compatibility: self.engine.compatibility(),
        }
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        let name = format!("{}-{}{SUFFIX}", digest.hex(), self.engine.compatibility());
        self.directory.join(name)
    }
}

/// One outcome that everybody who asked meanwhile receives. Where the one who works on it goes
/// away, the next who waits begins anew; when all have it, it is forgotten, so errors are not kept.
struct Flight<'a> {
    inner: &'a Inner,
    digest: Digest,
    cell: Arc<OnceCell<Outcome>>,
}

impl<'a> Flight<'a> {
    fn join(inner: &'a Inner, digest: Digest) -> Self {
        let cell = inner.flights.lock().entry(digest).or_default().clone();
        Self {
            inner,
            digest,
            cell,
        }
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        let mut flights = self.inner.flights.lock();
        // Two: the map's and this one's. Of two that are dropped at once, neither may be the last;
        // what then stays is a cell without an outcome, which the next one to ask fills.
        let last = Arc::strong_count(&self.cell) == 2;
        let current = flights
            .get(&self.digest)
            .is_some_and(|cell| Arc::ptr_eq(cell, &self.cell));
        if current && (last || self.cell.initialized()) {
            flights.remove(&self.digest);
        }
    }
}

/// Loaded components, up to a number of them; the one not asked for the longest goes first.
struct Loaded {
    capacity: usize,
    clock: u64,
    components: HashMap<Digest, (u64, Component)>,
}

impl Loaded {
    fn new(capacity: usize) -> Self {
        Self {
            capacity,
            clock: 0,
            components: HashMap::new(),
        }
    }

    fn get(&mut self, digest: &Digest) -> Option<Component> {
        self.clock += 1;
        let (used, component) = self.components.get_mut(digest)?;
        *used = self.clock;
        Some(component.clone())
    }

    fn insert(&mut self, digest: Digest, component: Component) {
        self.clock += 1;
        self.components.insert(digest, (self.clock, component));
        while self.components.len() > self.capacity {
            let oldest = self.components.iter().min_by_key(|(_, (used, _))| *used);
            let Some(digest) = oldest.map(|(digest, _)| *digest) else {
                break;
            };
            self.components.remove(&digest);
        }
    }

    fn remove(&mut self, digest: &Digest) {
        self.components.remove(digest);
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ArtifactError> + Send + 'static,
) -> Result<T, ArtifactError> {
    match spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(ArtifactError::Compile(CompileError::Failed {
                status: "not run".into(),
                detail: "the server is shutting down".into(),
            })),
        },
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ArtifactError {
    let path = path.to_owned();
    move |source| ArtifactError::Io {
        action,
        path,
        source: Arc::new(source),
    }
}
