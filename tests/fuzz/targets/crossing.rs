//! What drivers and applications hand each other, by the platform's own reading and writing, beside
//! what Wasmtime makes of the same by [`Val`].
//!
//! An input is a type and what is in a component's memory: how strings are encoded, how many bytes
//! tell the type, those, and the memory from its beginning. The component has three functions:
//!
//! - `get` returns the value at the place that the first word names;
//! - `round` hands the words as core values to a function that it imports, which answers its parameter;
//! - `pass` does the same with its own parameter.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use canopy_driver::Crossing;
use canopy_engine::{CpuBudget, Engine, StoreLimits};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Func, Instance, InstancePre, Linker, Val};
use wasmtime::{Result, Store};

use super::{CALL_BYTES, Run, engine, runtime};

/// What Wasmtime may take for the same values, which are larger as `Val`.
const ROOM: usize = 64 * CALL_BYTES;
/// Components that are kept.
const KEPT: usize = 256;
/// Bytes that tell a type, at most, and how deep it is.
const LONGEST: usize = 24;
const DEEPEST: usize = 5;
/// Core values beyond which parameters are in memory.
const MOST_FLAT: usize = 16;
/// Of the memory from its beginning.
const FILLED: usize = 4096;

const ENCODINGS: [&str; 3] = ["utf8", "utf16", "latin1+utf16"];
const SCALARS: [(&str, Core); 12] = [
    ("bool", Core::I32),
    ("s8", Core::I32),
    ("u8", Core::I32),
    ("s16", Core::I32),
    ("u16", Core::I32),
    ("s32", Core::I32),
    ("u32", Core::I32),
    ("s64", Core::I64),
    ("u64", Core::I64),
    ("f32", Core::F32),
    ("f64", Core::F64),
    ("char", Core::I32),
];

/// Whatever is in a component's memory is read as Wasmtime reads it and within the limit, or refused
/// where Wasmtime refuses it, and what was read crosses unchanged.
pub(super) fn crossing_values() -> Run {
    let engine = engine();
    let runtime = runtime();
    let mut components = HashMap::new();
    Box::new(move |input| {
        let (encoding, rest) = input.split_first().unwrap_or((&0, &[]));
        let (length, rest) = rest.split_first().unwrap_or((&0, &[]));
        let length = (usize::from(*length) % (LONGEST + 1)).min(rest.len());
        let (told, memory) = rest.split_at(length);
        let key = (usize::from(*encoding) % ENCODINGS.len(), told.to_vec());
        if components.len() == KEPT && !components.contains_key(&key) {
            components.clear();
        }
        let (encoding, told) = key.clone();
        let guest = components
            .entry(key)
            .or_insert_with(|| Guest::new(&engine, ENCODINGS[encoding], &told));
        let memory = &memory[..memory.len().min(FILLED)];
        runtime.block_on(guest.run(&engine, memory))
    })
}

/// A component of some type, with a function to import that reads and writes as the platform does, and
/// with one that does so by `Val`.
struct Guest {
    crossing: InstancePre<StoreLimits>,
    by_val: InstancePre<StoreLimits>,
    /// What the first one was handed last.
    seen: Arc<Mutex<Crossing>>,
    /// Bytes of memory that a value can take.
    most: usize,
}

impl Guest {
    fn new(engine: &Engine, encoding: &str, told: &[u8]) -> Self {
        let bytes = wat::parse_str(text(encoding, told)).expect("valid text");
        let component = Component::from_binary(engine.raw(), &bytes).expect("a component");
        let imported = component.component_type();
        let imported = imported.get_import(engine.raw(), "host");
        let Some(ComponentItem::ComponentInstance(imported)) = imported.map(|item| item.ty) else {
            panic!("an instance is imported");
        };
        let imported = imported.get_export(engine.raw(), "pass");
        let Some(ComponentItem::ComponentFunc(ty)) = imported.map(|item| item.ty) else {
            panic!("a function is imported");
        };
        let seen = Arc::new(Mutex::new(Crossing::default()));
        let told = seen.clone();
        let mut linker = Linker::new(engine.raw());
        let mut host = linker.instance("host").expect("an instance");
        Crossing::define(&mut host, "pass", &ty, move |value| {
            *told.lock().expect("lock") = value.clone();
            value
        })
        .expect("defined");
        let crossing = linker.instantiate_pre(&component).expect("linked");
        let mut linker = Linker::new(engine.raw());
        let mut host = linker.instance("host").expect("an instance");
        host.func_new("pass", |_, _, parameters, results| {
            results.clone_from_slice(parameters);
            Ok(())
        })
        .expect("defined");
        // The value itself has no part in what a call hands over, and a string takes up to twice as much
        // where it is not in UTF-8 before.
        let times = if encoding == "utf8" { 1 } else { 2 };
        Self {
            crossing,
            by_val: linker.instantiate_pre(&component).expect("linked"),
            seen,
            most: times * CALL_BYTES + 32,
        }
    }

    async fn run(&self, engine: &Engine, memory: &[u8]) -> String {
        let got = self.get(engine, memory).await;
        let passed = self.round(engine, memory).await;
        let outcome = |result: Result<Crossing>| match result {
            Ok(value) => format!("{}", value.bytes().ilog2()),
            Err(error) => error.root_cause().to_string(),
        };
        format!("{}; {}", outcome(got), outcome(passed))
    }

    /// What is read from memory crosses to a component and back.
    async fn get(&self, engine: &Engine, memory: &[u8]) -> Result<Crossing> {
        let mut here = Started::new(engine, &self.crossing, memory, CALL_BYTES).await;
        let mut there = Started::new(engine, &self.by_val, memory, ROOM).await;
        let read = here.call("get", Crossing::default()).await;
        let by_val = there.call_by_val("get", &[]).await;
        agree(&read, &by_val);
        let (read, by_val) = (read?, by_val?);
        assert!(read.bytes() <= self.most, "{} bytes", read.bytes());
        let passed = here.call("pass", read.clone()).await.expect("it crosses");
        assert_eq!(passed, read);
        assert_eq!(self.seen(), read);
        let mut mixed = Started::new(engine, &self.crossing, memory, ROOM).await;
        let value = std::slice::from_ref(&by_val);
        let passed = mixed.call_by_val("pass", value).await.expect("it crosses");
        assert_eq!(passed, by_val);
        assert_eq!(self.seen(), read);
        Ok(read)
    }

    /// What a component hands over as core values crosses to the host and back.
    async fn round(&self, engine: &Engine, memory: &[u8]) -> Result<Crossing> {
        let mut here = Started::new(engine, &self.crossing, memory, CALL_BYTES).await;
        let mut there = Started::new(engine, &self.by_val, memory, ROOM).await;
        let read = here.call("round", Crossing::default()).await;
        let by_val = there.call_by_val("round", &[]).await;
        agree(&read, &by_val);
        let (read, by_val) = (read?, by_val?);
        assert!(read.bytes() <= self.most, "{} bytes", read.bytes());
        assert_eq!(self.seen(), read);
        let mut mixed = Started::new(engine, &self.crossing, memory, ROOM).await;
        let passed = mixed.call_by_val("round", &[]).await.expect("it crosses");
        assert_eq!(passed, by_val);
        Ok(read)
    }

    fn seen(&self) -> Crossing {
        self.seen.lock().expect("lock").clone()
    }
}

/// An instance whose memory is filled.
struct Started {
    store: Store<StoreLimits>,
    instance: Instance,
}

impl Started {
    async fn new(
        engine: &Engine,
        guest: &InstancePre<StoreLimits>,
        memory: &[u8],
        hostcall_bytes: usize,
    ) -> Self {
        let cpu = CpuBudget::new(Duration::from_secs(10));
        let limits = StoreLimits::new(1 << 20, engine.settings());
        let mut store = engine.new_store(limits, |limits| limits, &cpu);
        let instance = guest.instantiate_async(&mut store).await;
        let instance = instance.expect("an instance");
        let fill = instance.get_typed_func::<(&[u8],), ()>(&mut store, "fill");
        let fill = fill.expect("it is exported");
        let filled = fill.call_async(&mut store, (memory,)).await;
        filled.expect("there is room");
        store.set_hostcall_fuel(hostcall_bytes);
        Self { store, instance }
    }

    async fn call(&mut self, name: &str, parameters: Crossing) -> Result<Crossing> {
        let function = self.function(name);
        parameters.call(function, &mut self.store).await
    }

    async fn call_by_val(&mut self, name: &str, parameters: &[Val]) -> Result<Val> {
        let mut results = [Val::Bool(false)];
        let function = self.function(name);
        let called = function.call_async(&mut self.store, parameters, &mut results);
        called.await?;
        let [result] = results;
        Ok(result)
    }

    fn function(&mut self, name: &str) -> Func {
        let function = self.instance.get_func(&mut self.store, name);
        function.expect("it is exported")
    }
}

/// Both are a value or neither is, except for what is too much for a call.
fn agree(read: &Result<Crossing>, by_val: &Result<Val>) {
    let (read, by_val) = match (read, by_val) {
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => return,
        (Err(error), Ok(_)) if format!("{error:#}").contains("fuel") => return,
        (Ok(_), Err(error)) => ("a value".to_owned(), format!("{error:#}")),
        (Err(error), Ok(value)) => (format!("{error:#}"), format!("{value:?}")),
    };
    panic!("{read}, and {by_val} by Wasmtime");
}

/// A type of core WebAssembly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Core {
    I32,
    I64,
    F32,
    F64,
}

impl Core {
    fn name(self) -> &'static str {
        match self {
            Self::I32 => "i32",
            Self::I64 => "i64",
            Self::F32 => "f32",
            Self::F64 => "f64",
        }
    }

    /// What has room for either.
    fn joined(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::I32, Self::F32) | (Self::F32, Self::I32) => Self::I32,
            _ => Self::I64,
        }
    }
}

/// Types out of bytes, every byte a choice.
struct Types<'a> {
    told: std::slice::Iter<'a, u8>,
    /// The definitions of those that need a name.
    named: Vec<String>,
}

impl Types<'_> {
    fn next(&mut self, limit: usize) -> usize {
        self.told.next().map_or(0, |byte| usize::from(*byte)) % limit
    }

    /// How a type is written, and what it is in core WebAssembly where it is not in memory.
    fn any(&mut self, depth: usize) -> (String, Vec<Core>) {
        let kinds = if depth == 0 { SCALARS.len() } else { 21 };
        let kind = self.next(kinds);
        if let Some((name, core)) = SCALARS.get(kind) {
            return ((*name).to_owned(), vec![*core]);
        }
        let pair = vec![Core::I32; 2];
        match kind {
            12 => ("string".to_owned(), pair),
            13 => (format!("(list {})", self.any(depth - 1).0), pair),
            14 => {
                let (text, flat) = self.any(depth - 1);
                (format!("(option {text})"), cases([flat]))
            }
            15 => {
                let (texts, flats) = self.many(depth);
                (format!("(tuple {})", texts.join(" ")), flats.concat())
            }
            16 => {
                let (texts, flats) = self.many(depth);
                let fields = texts.iter().enumerate();
                let fields = fields.map(|(at, text)| format!("(field \"r{at}\" {text})"));
                (self.named("record", fields), flats.concat())
            }
            17 => {
                // So many that the number of a case has one byte, or two.
                let empty = self.next(3).saturating_sub(1) * 256;
                let (texts, flats) = self.many(depth);
                let texts = texts.iter().map(String::as_str).enumerate();
                let empty = (0..empty).map(|at| (at + 4, ""));
                let held = texts.chain(empty);
                let held = held.map(|(at, text)| format!("(case \"c{at}\" {text})"));
                (self.named("variant", held), cases(flats))
            }
            18 => {
                let count = [1, 3, 256, 257][self.next(4)];
                let names = (0..count).map(|at| format!("\"e{at}\""));
                (self.named("enum", names), vec![Core::I32])
            }
            19 => {
                let count = [1, 7, 8, 9, 16, 17, 31, 32][self.next(8)];
                let names = (0..count).map(|at| format!("\"f{at}\""));
                (self.named("flags", names), vec![Core::I32])
            }
            _ => {
                let (ok, err) = (self.any(depth - 1), self.any(depth - 1));
                match self.next(4) {
                    0 => ("(result)".to_owned(), vec![Core::I32]),
                    1 => (format!("(result {})", ok.0), cases([ok.1])),
                    2 => (format!("(result (error {}))", err.0), cases([err.1])),
                    _ => {
                        let text = format!("(result {} (error {}))", ok.0, err.0);
                        (text, cases([ok.1, err.1]))
                    }
                }
            }
        }
    }

    fn many(&mut self, depth: usize) -> (Vec<String>, Vec<Vec<Core>>) {
        (0..=self.next(4)).map(|_| self.any(depth - 1)).unzip()
    }

    fn named(&mut self, kind: &str, parts: impl Iterator<Item = String>) -> String {
        let parts: Vec<_> = parts.collect();
        self.named.push(format!("({kind} {})", parts.join(" ")));
        format!("$t{}", self.named.len() - 1)
    }
}

/// The number of the case, and room for what any of them holds.
fn cases(held: impl IntoIterator<Item = Vec<Core>>) -> Vec<Core> {
    let mut all = vec![Core::I32];
    for flat in held {
        for (at, core) in flat.into_iter().enumerate() {
            match all.get_mut(at + 1) {
                Some(known) => *known = known.joined(core),
                None => all.push(core),
            }
        }
    }
    all
}

/// The component.
fn text(encoding: &str, told: &[u8]) -> String {
    let mut types = Types {
        told: told.iter(),
        named: Vec::new(),
    };
    let (ty, flat) = types.any(DEEPEST);
    let (mut defined, mut aliases) = (String::new(), String::new());
    for (at, definition) in types.named.iter().enumerate() {
        let _ = writeln!(defined, "(type $d{at} {definition})");
        let _ = writeln!(defined, "(export \"t{at}\" (type $t{at} (eq $d{at})))");
        let _ = writeln!(aliases, "(alias export $host \"t{at}\" (type $t{at}))");
    }
    let parameters = match flat.len() > MOST_FLAT {
        true => vec![Core::I32],
        false => flat.clone(),
    };
    let parameter = |core: &Core| format!("(param {})", core.name());
    let declared: String = parameters.iter().map(parameter).collect();
    let given: String = (0..parameters.len())
        .map(|at| format!("(local.get {at})"))
        .collect();
    let words: String = parameters
        .iter()
        .enumerate()
        .map(|(at, core)| format!("({}.load (i32.const {}))", core.name(), at * 8))
        .collect();
    let (result, returned, place) = match flat.as_slice() {
        [core] => (core.name(), format!("(result {})", core.name()), ""),
        _ => ("i32", "(param i32)".to_owned(), "(i32.const 8192)"),
    };
    let options = format!(
        "string-encoding={encoding} (memory (core memory $libc \"memory\"))
         (realloc (core func $libc \"realloc\"))"
    );
    format!(
        "(component
           (import \"host\" (instance $host
             {defined} (export \"pass\" (func (param \"value\" {ty}) (result {ty})))))
           {aliases}
           (core module $libc
             (memory (export \"memory\") 16)
             (global $next (mut i32) (i32.const 0))
             (func (export \"realloc\") (param $old i32) (param $had i32) (param $to i32)
               (param $size i32) (result i32) (local $at i32)
               (local.set $at (i32.and
                 (i32.add (global.get $next) (i32.sub (local.get $to) (i32.const 1)))
                 (i32.sub (i32.const 0) (local.get $to))))
               (global.set $next (i32.add (local.get $at) (local.get $size)))
               (if (i32.gt_u (global.get $next) (i32.const 1048576)) (then unreachable))
               (memory.copy (local.get $at) (local.get $old) (local.get $had))
               (local.get $at))
             (func (export \"fill\") (param i32 i32) (global.set $next (i32.const 16384))))
           (core instance $libc (instantiate $libc))
           (core func $pass (canon lower (func $host \"pass\") {options}))
           (core module $m
             (import \"\" \"memory\" (memory 16))
             (import \"\" \"pass\" (func $pass {declared} {returned}))
             (func (export \"get\") (result {result}) ({result}.load (i32.const 0)))
             (func (export \"round\") (result {result}) (call $pass {words} {place}) {place})
             (func (export \"pass\") {declared} (result {result}) (call $pass {given} {place}) {place}))
           (core instance $m (instantiate $m (with \"\" (instance
             (export \"memory\" (memory $libc \"memory\")) (export \"pass\" (func $pass))))))
           (func (export \"fill\") (param \"bytes\" (list u8))
             (canon lift (core func $libc \"fill\") {options}))
           (func (export \"get\") (result {ty}) (canon lift (core func $m \"get\") {options}))
           (func (export \"round\") (result {ty}) (canon lift (core func $m \"round\") {options}))
           (func (export \"pass\") (param \"value\" {ty}) (result {ty})
             (canon lift (core func $m \"pass\") {options})))"
    )
}
