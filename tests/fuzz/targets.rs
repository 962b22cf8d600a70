//! What is fuzzed, and what must hold of every input. The outcome of a run is a text: inputs that
//! bring new ones are worth keeping.

#[path = "targets/crossing.rs"]
mod crossing;

use canopy_api_types::{
    BindingPut, DriverPut, EgressPut, InstallationPut, PublisherPut, SecretPut, TenantPut,
    TokenCreate, VersionPut,
};
use canopy_capability_network::{EgressPolicy, EgressRule, Host, is_public};
use canopy_engine::{CpuBudget, Engine, EngineSettings, StoreLimits};
use canopy_manifest::Manifest;
use canopy_tenant::{AnonymousPaths, HostName, TokenText};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use wasmtime::component::{Component, Linker, Val};

/// Runs one input.
pub(crate) type Run = Box<dyn FnMut(&[u8]) -> String>;

pub(crate) struct Target {
    pub(crate) name: &'static str,
    pub(crate) seeds: &'static [&'static [u8]],
    pub(crate) words: &'static [&'static str],
    pub(crate) prepare: fn() -> Run,
}

pub(crate) static TARGETS: &[Target] = &[
    Target {
        name: "manifest",
        seeds: &[
            include_bytes!("../guests/apps/shop/canopy.toml"),
            include_bytes!("../../plugins/apps/invoices/canopy.toml"),
            include_bytes!("../../plugins/drivers/redis/canopy.toml"),
        ],
        words: &[
            "name", "version", "kind", "[config.properties.x]\n", "[[needs]]\n", "[http]\n", "[limits]\n",
            "type = \"integer\"\n", "default = 1e999\n", "interface = \"wasi:http/types@0.2.0\"\n", "\"\"\"",
            "= [", "{}", "1.0.0-x", "\u{202e}", "x.y.z = 1\n", "enum = []\n", "pattern = \"(a+)+$\"\n",
        ],
        prepare: || Box::new(manifest),
    },
    Target {
        name: "api-bodies",
        seeds: &[
            br#"0{"display_name":"Acme","plan":"standard","region":"eu","attributes":{"a":"b"}}"#,
            br#"1{"package":"acme/app","version":"1.2.3","config":{"a":1},"egress":["a.example:443"],"bindings":{"a:b":"c"}}"#,
            br#"2{"package":"acme/driver","config":{"a":[1,2]},"egress":["*.example.com:1"]}"#,
            br#"3{"name":"robot","roles":["clerk"]}"#,
            br#"4{"display_name":"Acme"}"#,
            br#"5{"version":"1.0.0"}"#,
            br#"6{"driver":"d"}"#,
            br#"7{"value":"secret"}"#,
            br#"8{"rules":["api.example.com:443"]}"#,
        ],
        words: &[
            "null", "true", "-0", "1e999", "9999999999999999999999", "\"\\u0000\"", "\"\\ud800\"", "[[[[", "{}",
            "\"package\":", "\"name\":", "\"version\":", "\"config\":", "\u{202e}", "\"*\"",
        ],
        prepare: || Box::new(api_body),
    },
    Target {
        name: "host-names",
        seeds: &[
            b"app.acme.localhost:8080 /api/x canopy_svc_01h_00",
            b"[::1]:80 /api/%2e%2e/x",
            b"A.B. //",
        ],
        words: &[
            "localhost", ".", ":80", "[::ffff:127.0.0.1]", "%2e", "%2F", "/..;/", "xn--", "@", "\u{3002}", "canopy_op_",
            "/api/", "\\", "%25", "%00", ":65536", "-.",
        ],
        prepare: || Box::new(host_name),
    },
    Target {
        name: "egress-addresses",
        seeds: &[b"api.example.com:443", b"*.example.com:*", b"[2606:4700::1111]:1", b"127.0.0.1:80"],
        words: &[
            "0x7f", "2130706433", "127.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "localhost", "*.", ":*", ":0",
            "@", "#", "%", "\u{ff11}", "\u{3002}", "0177", "::", "[", "]", "a.b.c.d",
        ],
        prepare: || Box::new(egress),
    },
    Target {
        name: "component-values",
        seeds: &[b"\0\x10\0\0\0\x03\0\0\0abc", b"\x02\x08\0\0\0\x02\0\0\0\x10\0\0\0\x01\0\0\0", b"\x05\x01\0\0\0"],
        words: &["\u{0}\u{0}\u{0}\u{0}", "\u{1}\u{0}\u{0}\u{0}", "\u{8}\u{0}\u{0}\u{0}", "abcd", "\u{7f}\u{7f}\u{7f}\u{7f}"],
        prepare: component_values,
    },
    Target {
        name: "crossing-values",
        seeds: &[
            b"\0\x01\x0c\x08\0\0\0\x03\0\0\0\x10\0\0\0\x03\0\0\0abc",
            b"\x01\x02\x0d\x0c\x08\0\0\0\x02\0\0\0\x10\0\0\0\x02\0\0\0\x08\0\0\0\x02\0\0\0\x08\0\0\0\x04\0\0\0",
            b"\0\x07\x10\x03\0\x13\x05\x0e\x0b\x08\0\0\0\0\0\0\0\x01\xff\xff\xff\x01\0\0\0\x41\0\0\0",
            b"\0\x09\x11\x01\x03\x09\x08\x0d\x0b\x14\x02\x10\0\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\x02\0\0\0\0\0\0\0",
            b"\0\x0e\x0f\x03\x0f\x03\x07\x08\x09\x0a\x0f\x03\x02\x02\x02\x02\x20\0\0\0\0\0\0\0",
            b"\0\x08\x0d\x0f\x02\x12\x03\x13\x02\x0d\x08\0\0\0\x04\0\0\0\x10\0\0\0\x04\0\0\0",
        ],
        words: &[
            "\u{0}\u{0}\u{0}\u{0}", "\u{8}\u{0}\u{0}\u{0}", "\u{10}\u{0}\u{0}\u{0}\u{4}\u{0}\u{0}\u{0}", "\u{0}\u{d8}\u{0}\u{0}",
            "\u{0}\u{0}\u{10}\u{0}", "\u{7f}\u{7f}\u{7f}\u{7f}", "\u{d}\u{d}", "\u{d}\u{10}\u{1}", "\u{f}\u{3}", "\u{11}\u{2}", "\u{14}\u{c}\u{d}\u{3}",
        ],
        prepare: crossing::crossing_values,
    },
];

/// Reading a manifest ends in one, or in faults that each say where.
fn manifest(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    match Manifest::parse(&text) {
        Ok(manifest) => format!("{:?} {} needs", manifest.kind, manifest.needs.len()),
        Err(error) => {
            let said = error.to_string();
            assert!(!said.trim().is_empty());
            said
        }
    }
}

/// What is read is written and read again as the same.
fn api_body(input: &[u8]) -> String {
    fn read<T: DeserializeOwned + Serialize>(body: &[u8]) -> String {
        match serde_json::from_slice::<T>(body) {
            Ok(value) => {
                let first = serde_json::to_string(&value).expect("it can be written");
                let again: T = serde_json::from_str(&first).expect("it can be read again");
                let second = serde_json::to_string(&again).expect("it can be written");
                assert_eq!(first, second);
                format!("read {}", first.len() / 16)
            }
            Err(error) => error.to_string(),
        }
    }
    let Some((kind, body)) = input.split_first() else {
        return String::new();
    };
    let outcome = match kind % 9 {
        0 => read::<InstallationPut>(body),
        1 => read::<DriverPut>(body),
        2 => read::<TokenCreate>(body),
        3 => read::<PublisherPut>(body),
        4 => read::<VersionPut>(body),
        5 => read::<BindingPut>(body),
        6 => read::<SecretPut>(body),
        7 => read::<EgressPut>(body),
        _ => read::<TenantPut>(body),
    };
    format!("{}: {outcome}", char::from(b'a' + kind % 9))
}

/// A host has one form, and no path that is open leads out of where it is open.
fn host_name(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let mut words = text.splitn(3, ' ');
    let mut next = || words.next().unwrap_or_default();
    let (host, path, token) = (next(), next(), next());
    let host = match HostName::from_authority(host) {
        Ok(name) => {
            let again = HostName::from_authority(name.as_str()).expect("its own form");
            assert_eq!(again, name);
            assert!(!name.as_str().ends_with('.') && name.as_str().len() <= 253);
            "a host".to_owned()
        }
        Err(error) => error.to_string(),
    };
    let open = AnonymousPaths::parse(["/api/*", "/login"]).expect("patterns");
    let allowed = open.allows(path);
    if allowed {
        assert!(path == "/login" || path.starts_with("/api/"));
        let lower = path.to_ascii_lowercase();
        for hidden in [
            "..", "//", "%2e", "%2f", "%5c", "%25", "%3b", "%00", "\\", ";",
        ] {
            let harmless = hidden == ".." && !lower.split('/').any(|segment| segment == "..");
            assert!(harmless || !lower.contains(hidden), "{path}");
        }
    }
    let token = TokenText::parse(token).is_some();
    let pattern = AnonymousPaths::parse([path]).is_ok();
    format!("{host}; {allowed} {pattern} {token}")
}

/// A rule is written as it is read, and nothing near the host is ever public.
fn egress(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let closed = EgressPolicy::default();
    if let Ok(Host::Address(address)) = text.parse::<Host>()
        && closed.check_address(address).is_ok()
    {
        assert!(is_public(address), "{address}");
        assert!(!address.to_canonical().is_loopback(), "{address}");
    }
    match text.parse::<EgressRule>() {
        Ok(rule) => {
            let written = rule.to_string();
            assert_eq!(
                written.parse::<EgressRule>().as_ref(),
                Ok(&rule),
                "{written}"
            );
            let reachable = rule.check(&[]).is_ok();
            format!("a rule {reachable} {}", written.contains('*'))
        }
        Err(error) => error.to_string(),
    }
}

/// Values of these types are lifted from memory that the input fills.
const TYPES: [&str; 7] = [
    "string",
    "(list u8)",
    "(list string)",
    "(tuple u8 string (option u64))",
    "(option (list (list u32)))",
    "(result (list char) (error (tuple bool string)))",
    "(list (tuple f64 bool char (option string)))",
];

/// What one call may hand over, in bytes.
const CALL_BYTES: usize = 64 << 10;

/// Whatever is in a guest's memory, lifting it gives values within the limit, or an error.
fn component_values() -> Run {
    let functions: String = (0..TYPES.len())
        .map(|number| {
            let kind = TYPES[number];
            format!(
                "(func (export \"get{number}\") (result {kind})
                   (canon lift (core func $i \"get\") (memory $memory)))"
            )
        })
        .collect();
    let text = format!(
        "(component
           (core module $m
             (memory (export \"memory\") 1)
             (global $at (mut i32) (i32.const 0))
             (func (export \"poke\") (param i64)
               (i64.store (global.get $at) (local.get 0))
               (global.set $at (i32.add (global.get $at) (i32.const 8))))
             (func (export \"get\") (result i32) (i32.const 0)))
           (core instance $i (instantiate $m))
           (alias core export $i \"memory\" (core memory $memory))
           (func (export \"poke\") (param \"bits\" u64) (canon lift (core func $i \"poke\")))
           {functions})"
    );
    let engine = engine();
    let bytes = wat::parse_str(text).expect("valid text");
    let component = Component::from_binary(engine.raw(), &bytes).expect("a component");
    let runtime = runtime();
    Box::new(move |input| {
        let (first, memory) = input.split_first().unwrap_or((&0, &[]));
        let number = usize::from(*first) % TYPES.len();
        let cpu = CpuBudget::new(Duration::from_secs(1));
        let limits = StoreLimits::new(1 << 20, engine.settings());
        let mut store = engine.new_store(limits, |limits| limits, &cpu);
        let linker = Linker::new(engine.raw());
        let lifted: wasmtime::Result<[Val; 1]> = runtime.block_on(async {
            let instance = linker.instantiate_async(&mut store, &component).await?;
            let poke = instance.get_typed_func::<(u64,), ()>(&mut store, "poke")?;
            for word in memory.chunks(8).take(128) {
                let mut bits = [0; 8];
                bits[..word.len()].copy_from_slice(word);
                poke.call_async(&mut store, (u64::from_le_bytes(bits),))
                    .await?;
            }
            let get = instance.get_func(&mut store, format!("get{number}"));
            let mut results = [Val::Bool(false)];
            get.expect("it is exported")
                .call_async(&mut store, &[], &mut results)
                .await?;
            Ok(results)
        });
        match lifted {
            Ok([value]) => {
                let size = size(&value);
                assert!(size <= 2 * CALL_BYTES, "{size} bytes of type {number}");
                format!("{}: lifted {}", TYPES[number], size.ilog2())
            }
            Err(error) => format!("{}: {}", TYPES[number], error.root_cause()),
        }
    })
}

/// An engine for few instances at once.
fn engine() -> Engine {
    let mut settings = EngineSettings {
        hostcall_bytes: CALL_BYTES,
        ..EngineSettings::default()
    };
    settings.pool.instances = 4;
    settings.pool.memories = 8;
    settings.pool.tables = 64;
    settings.pool.stacks = 8;
    Engine::new(&settings).expect("an engine")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Bytes of a value, somewhat less than what it takes of memory.
fn size(value: &Val) -> usize {
    1 + match value {
        Val::String(text) => text.len(),
        Val::List(items) | Val::Tuple(items) => items.iter().map(size).sum(),
        Val::Option(Some(inner)) | Val::Result(Ok(Some(inner)) | Err(Some(inner))) => size(inner),
        _ => 1,
    }
}
