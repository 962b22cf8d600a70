//! Looks for a file system by every way that there is: folders that are open before it begins, by WASI
//! 0.2 and 0.3; the standard library, with every form of a path; the C library, from every descriptor.
//! Answers a line for each way that led somewhere, and at last how many it tried.

use std::ffi::{CString, c_char, c_int};
use std::fs;
use std::path::Path;

use wasip3::http::types::{ErrorCode, Request, Response};
use wasip3::http_compat::{http_from_wasi_request, http_into_wasi_response};

wasip3::http::service::export!(Component);

struct Component;

impl wasip3::exports::http::handler::Guest for Component {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        http_from_wasi_request(request)?;
        let mut prowl = Prowl::default();
        prowl.folders_before();
        for path in PATHS {
            prowl.by_standard_library(path);
            prowl.by_c_library(path);
        }
        prowl
            .found
            .push_str(&format!("{} ways tried\n", prowl.tried));
        http_into_wasi_response(http::Response::new(prowl.found))
    }
}

const PATHS: &[&str] = &[
    "",
    ".",
    "./",
    "..",
    "../..",
    "/",
    "//",
    "/.",
    "/..",
    "/../../..",
    "made-by-prowler",
    "./made-by-prowler",
    "../made-by-prowler",
    "/made-by-prowler",
    "tmp/made-by-prowler",
    "/tmp/made-by-prowler",
    "/tmp",
    "/etc/passwd",
    "etc/passwd",
    "../../../../../../etc/passwd",
    "/../etc/passwd",
    "./../etc/passwd",
    "/proc/self/environ",
    "/proc/1/root/etc/passwd",
    "/proc/self/fd/0",
    "/dev/fd/3",
    "/dev/null",
    "/dev/stdin",
    "/sys",
    "/data",
    "data/control",
    "~",
    "~/.ssh/id_ed25519",
    "C:\\",
    "\\\\?\\C:\\",
    "..\\..",
    "file:///etc/passwd",
    "%2e%2e/%2e%2e",
    "\u{2025}/\u{2025}",
    "a\0b",
];

/// Descriptors of POSIX that a folder may be open under; -2 stands for the current one.
const DESCRIPTORS: std::ops::Range<c_int> = -2..16;
const O_RDONLY: c_int = 0x0400_0000;
const O_DIRECTORY: c_int = 2 << 12;
const O_CREAT_RDWR: c_int = (1 << 12) | 0x1400_0000;

#[expect(
    unsafe_code,
    reason = "the C library's own function, past the standard library"
)]
unsafe extern "C" {
    fn openat(folder: c_int, path: *const c_char, flags: c_int, ...) -> c_int;
}

#[derive(Default)]
struct Prowl {
    tried: u32,
    found: String,
}

impl Prowl {
    fn way(&mut self, name: &str, path: &str, led_somewhere: bool) {
        self.tried += 1;
        if led_somewhere {
            self.found.push_str(&format!("{name} {path:?}\n"));
        }
    }

    fn folders_before(&mut self) {
        let folders = wasip2::filesystem::preopens::get_directories();
        self.way("folders of 0.2", "", !folders.is_empty());
        let folders = wasip3::filesystem::preopens::get_directories();
        self.way("folders of 0.3", "", !folders.is_empty());
        self.way("current folder", "", fs::read_dir(".").is_ok());
    }

    fn by_standard_library(&mut self, text: &str) {
        let path = Path::new(text);
        self.way("open", text, fs::File::open(path).is_ok());
        self.way("read", text, fs::read(path).is_ok());
        self.way("write", text, fs::write(path, "x").is_ok());
        self.way(
            "append",
            text,
            fs::File::options().append(true).open(path).is_ok(),
        );
        self.way("list", text, fs::read_dir(path).is_ok());
        self.way("look", text, fs::metadata(path).is_ok());
        self.way("look at a link", text, fs::symlink_metadata(path).is_ok());
        self.way("read a link", text, fs::read_link(path).is_ok());
        self.way("exists", text, path.exists());
        self.way("make a folder", text, fs::create_dir(path).is_ok());
        self.way("link", text, fs::hard_link(path, "made-by-prowler").is_ok());
        self.way("rename", text, fs::rename(path, "made-by-prowler").is_ok());
        self.way("copy", text, fs::copy(path, "made-by-prowler").is_ok());
        self.way("remove", text, fs::remove_file(path).is_ok());
        self.way("remove a folder", text, fs::remove_dir(path).is_ok());
    }

    fn by_c_library(&mut self, text: &str) {
        let Ok(path) = CString::new(text) else {
            return;
        };
        for folder in DESCRIPTORS {
            for flags in [O_RDONLY, O_RDONLY | O_DIRECTORY, O_CREAT_RDWR] {
                #[expect(unsafe_code, reason = "a call of the C library")]
                // SAFETY: the path is a text that ends with a zero, and outlives the call.
                let opened = unsafe { openat(folder, path.as_ptr(), flags, 0o600) };
                self.way(&format!("descriptor {folder}"), text, opened >= 0);
            }
        }
    }
}
