//! The engine from outside: what it refuses, compiles, keeps, and ends.

mod artifacts;
mod check;
mod compiling;
mod cpu;
mod footprint;
mod inspecting;
mod memory;
mod settings;
mod share;
mod slots;

use std::path::{Path, PathBuf};

use canopy_engine::{
    Artifacts, CompilerCommand, CpuBudget, Engine, EngineSettings, StoreLimits, compile_child_main,
};
use canopy_ids::Digest;
use wasmtime::component::Component;

/// Not a test: the compiling process of the other tests, which start this program again with a
/// request as its last argument. Does nothing otherwise.
#[test]
fn compiler_child() {
    if let Some(request) = std::env::args()
        .next_back()
        .filter(|last| last.starts_with('{'))
    {
        std::process::exit(compile_child_main(&request).into());
    }
}

/// Starts [`compiler_child`].
fn compiler() -> CompilerCommand {
    CompilerCommand::this_program(["compiler_child", "--exact", "--nocapture"])
        .expect("this program has a path")
}

/// A compiler that is a shell script; the request is its `$1`.
fn script(script: &str) -> CompilerCommand {
    let args = ["-c", script, "sh"].map(Into::into).to_vec();
    CompilerCommand {
        program: "/bin/sh".into(),
        args,
    }
}

/// The compiler behind a script that adds a line to `log` each time.
fn counted(log: &Path) -> CompilerCommand {
    let program = std::env::current_exe().expect("this program has a path");
    script(&format!(
        "echo run >> '{}'; exec '{}' compiler_child --exact --nocapture \"$1\"",
        log.display(),
        program.display()
    ))
}

fn lines(log: &Path) -> usize {
    std::fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

/// Settings with a small pool, since tests have many engines at once.
fn small() -> EngineSettings {
    let mut settings = EngineSettings::default();
    settings.pool.instances = 16;
    settings.pool.memories = 32;
    settings.pool.tables = 64;
    settings.pool.stacks = 32;
    settings
}

fn engine() -> Engine {
    Engine::new(&small()).expect("an engine")
}

fn binary(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid text")
}

fn component(engine: &Engine, text: &str) -> Component {
    Component::from_binary(engine.raw(), &binary(text)).expect("a valid component")
}

/// A component that exports `run`, lifted from `run` of a core module with this body.
fn runs(core: &str) -> String {
    format!(
        r#"(component
            (core module $m {core})
            (core instance $i (instantiate $m))
            (func (export "run") (canon lift (core func $i "run"))))"#
    )
}

/// Instantiates a component without imports and calls its `run`.
async fn run(
    engine: &Engine,
    component: &Component,
    limits: StoreLimits,
    cpu: &CpuBudget,
) -> (wasmtime::Result<()>, StoreLimits) {
    let mut store = engine.new_store(limits, |limits| limits, cpu);
    let linker = wasmtime::component::Linker::new(engine.raw());
    let outcome = cpu
        .meter(async {
            let instance = linker.instantiate_async(&mut store, component).await?;
            let run = instance.get_typed_func::<(), ()>(&mut store, "run")?;
            run.call_async(&mut store, ()).await
        })
        .await;
    (outcome, store.into_data())
}

/// A directory for artifacts and a place for components.
struct Bench {
    directory: tempfile::TempDir,
    engine: Engine,
}

impl Bench {
    fn new() -> Self {
        Self::with(&small())
    }

    fn with(settings: &EngineSettings) -> Self {
        let engine = Engine::new(settings).expect("an engine");
        Self {
            directory: tempfile::tempdir().expect("a directory"),
            engine,
        }
    }

    fn artifacts(&self, compiler: CompilerCommand) -> Artifacts {
        Artifacts::open(&self.engine, self.directory(), compiler).expect("artifacts")
    }

    fn directory(&self) -> PathBuf {
        self.directory.path().join("artifacts")
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn store(&self, bytes: &[u8]) -> (Digest, PathBuf) {
        let digest = Digest::of(bytes);
        let path = self.directory.path().join(format!("{}.wasm", digest.hex()));
        std::fs::write(&path, bytes).expect("a file");
        (digest, path)
    }

    /// The one artifact in the directory.
    fn artifact(&self) -> PathBuf {
        let mut found = self.files(".cwasm");
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0)
    }

    fn files(&self, suffix: &str) -> Vec<PathBuf> {
        std::fs::read_dir(self.directory())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.to_string_lossy().ends_with(suffix))
            .collect()
    }
}
