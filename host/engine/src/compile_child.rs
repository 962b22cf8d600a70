//! The compiling process: `canopy compile REQUEST`, started by [`crate::Artifacts`] and by nobody
//! else. It opens its two files, gives up everything but CPU and memory, and compiles.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::thread;

use canopy_ids::Digest;
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use serde::{Deserialize, Serialize};
use wasmtime::{CodeBuilder, OutOfMemory};

use crate::inspect::{InspectError, inspect};
use crate::settings::EngineSettings;

/// Enough for the deepest recursion that the validator's limits on nesting allow.
const STACK_BYTES: usize = 16 << 20;

/// Serving comes first on a busy machine.
const NICENESS: i32 = 10;

/// What the child is to do; its last argument, as JSON.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    pub(crate) settings: EngineSettings,
    pub(crate) digest: Digest,
    pub(crate) component: PathBuf,
    /// An empty file that exists.
    pub(crate) artifact: PathBuf,
}

/// Why the child made no artifact; the last line of its standard error, as JSON. What it cannot
/// say itself, its exit status says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Refusal {
    /// The component is not valid.
    Invalid(String),
    /// The component's bytes are not those of its digest.
    OtherBytes(Digest),
    /// The compiler was refused memory, and noticed.
    OutOfMemory,
    /// The artifact is larger than it may be.
    ArtifactTooLarge(u64),
    /// A file cannot be used, or a limit cannot be set.
    System(String),
}

/// Compiles as `request` says, which is the argument that [`crate::CompilerCommand`] adds. The
/// program should have done nothing before: no threads, no files. Returns the exit status.
pub fn compile_child_main(request: &str) -> u8 {
    let refusal = match serde_json::from_str(request) {
        Ok(request) => match on_large_stack(request) {
            Ok(()) => return 0,
            Err(refusal) => refusal,
        },
        Err(error) => Refusal::System(format!("this command is for the server itself: {error}")),
    };
    let line = serde_json::to_string(&refusal).unwrap_or_default();
    // Where nobody listens there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
    1
}

fn on_large_stack(request: Request) -> Result<(), Refusal> {
    let compiling = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || compile(&request))
        .map_err(|error| system("starting a thread", &error))?;
    compiling
        .join()
        .unwrap_or_else(|_| Err(Refusal::System("the compiler panicked".into())))
}

fn compile(request: &Request) -> Result<(), Refusal> {
    let limits = &request.settings.compile;
    let mut component = File::open(&request.component)
        .map_err(|error| system(&format!("opening {}", request.component.display()), &error))?;
    let mut artifact = OpenOptions::new()
        .write(true)
        .open(&request.artifact)
        .map_err(|error| system(&format!("opening {}", request.artifact.display()), &error))?;

    end_with_parent().map_err(|error| system("watching the parent", &error))?;
    give_up(request).map_err(|error| system("setting limits", &error.into()))?;

    let mut bytes = Vec::new();
    component
        .read_to_end(&mut bytes)
        .map_err(|error| system("reading the component", &error))?;
    let found = Digest::of(&bytes);
    if found != request.digest {
        return Err(Refusal::OtherBytes(found));
    }
    inspect(&bytes).map_err(|error: InspectError| Refusal::Invalid(error.to_string()))?;

    let invalid = |error: wasmtime::Error| match error.is::<OutOfMemory>() {
        true => Refusal::OutOfMemory,
        false => Refusal::Invalid(format!("{error:#}")),
    };
    let engine = wasmtime::Engine::new(&request.settings.compiling())
        .map_err(|error| Refusal::System(format!("{error:#}")))?;
    let mut code = CodeBuilder::new(&engine);
    code.wasm_binary(&bytes, None).map_err(invalid)?;
    let native = code.compile_component_serialized().map_err(invalid)?;
    if native.len() as u64 > limits.artifact_bytes {
        return Err(Refusal::ArtifactTooLarge(native.len() as u64));
    }
    artifact
        .write_all(&native)
        .map_err(|error| system("writing the artifact", &error))
}

/// Ends this process when the parent's end of the standard input closes: when the parent has
/// died, however it died.
fn end_with_parent() -> io::Result<()> {
    thread::Builder::new().stack_size(64 << 10).spawn(|| {
        let mut byte = [0];
        while matches!(io::stdin().read(&mut byte), Ok(1)) {}
        std::process::exit(1);
    })?;
    Ok(())
}

/// From here on: bounded memory and CPU time, no more files or sockets, nothing written beyond
/// the artifact, no core dumps, lowest claim on the processor.
fn give_up(request: &Request) -> rustix::io::Result<()> {
    let limits = &request.settings.compile;
    let both = |value| Rlimit {
        current: Some(value),
        maximum: Some(value),
    };
    setrlimit(Resource::Core, both(0))?;
    setrlimit(Resource::Nofile, both(0))?;
    setrlimit(Resource::Fsize, both(limits.artifact_bytes))?;
    setrlimit(Resource::As, both(limits.memory_bytes))?;
    setrlimit(
        Resource::Cpu,
        Rlimit {
            current: Some(limits.cpu_seconds),
            maximum: Some(limits.cpu_seconds + 1),
        },
    )?;
    nice(NICENESS)?;
    Ok(())
}

fn system(what: &str, error: &io::Error) -> Refusal {
    Refusal::System(format!("{what}: {error}"))
}
