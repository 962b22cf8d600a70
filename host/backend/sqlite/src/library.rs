//! SQLite itself, with SQLCipher and OpenSSL, made ready before the process uses it.

#![allow(
    unsafe_code,
    reason = "what makes them ready is there as C functions alone"
)]

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::ptr::null;
use std::sync::Once;

use rusqlite::{Connection, OpenFlags, ffi};

/// `OPENSSL_INIT_NO_ATEXIT` of `openssl/crypto.h`.
const NO_ATEXIT: u64 = 0x0008_0000;

static READY: Once = Once::new();

unsafe extern "C" {
    /// See the manual page of that name.
    fn OPENSSL_init_crypto(options: u64, settings: *const c_void) -> c_int;
}

/// A connection to the file at `path`, which is there already, for one thread at a time.
pub(crate) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    READY.call_once(make_ready);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(path, flags)
}

/// Makes them ready to be used and, as `.cargo/config.toml` does for SQLCipher, to be left alone when
/// the process ends. What fails here fails again when a connection is opened, and is told then.
fn make_ready() {
    // SAFETY: any thread may call it, and there need not be settings.
    unsafe {
        // Or OpenSSL takes its ciphers from threads that still use them: they would find sound pages
        // damaged.
        OPENSSL_init_crypto(NO_ATEXIT, null());
    }
    crate::memory::install();
    // SAFETY: any thread may call it.
    unsafe {
        // SQLite says that it is ready before SQLCipher is: whoever came meanwhile had his key refused.
        ffi::sqlite3_initialize();
    }
}
