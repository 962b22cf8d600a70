//! A file system for SQLite that does what the system's does and writes down what it was asked.

#![expect(
    unsafe_code,
    reason = "SQLite takes its file system as tables of C functions"
)]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all: SQLite calls these functions with the files that `open` made, \
              whose memory it owns, and passes arguments on as the real file system takes them"
)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::size_of;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};

use rusqlite::ffi;

/// What reached the file system, in its order, and what the test acknowledged meanwhile.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Write {
        file: Arc<str>,
        offset: usize,
        data: Vec<u8>,
    },
    Truncate {
        file: Arc<str>,
        size: usize,
    },
    Sync {
        file: Arc<str>,
    },
    Delete {
        file: Arc<str>,
        durable: bool,
    },
    Acknowledged {
        number: u64,
    },
}

static REAL: AtomicPtr<ffi::sqlite3_vfs> = AtomicPtr::new(std::ptr::null_mut());
static LOG: Mutex<Option<Vec<Event>>> = Mutex::new(None);

/// Begins to write down.
pub(crate) fn record() {
    static REGISTERED: Once = Once::new();
    REGISTERED.call_once(register);
    *LOG.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Ends it, and gives what was written down.
pub(crate) fn recorded() -> Vec<Event> {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.take().unwrap_or_default()
}

/// Writes an event down, if that is wanted.
pub(crate) fn push(event: Event) {
    if let Some(log) = &mut *LOG.lock().unwrap_or_else(PoisonError::into_inner) {
        log.push(event);
    }
}

fn register() {
    unsafe {
        ffi::sqlite3_initialize();
        let real = ffi::sqlite3_vfs_find(std::ptr::null());
        assert!(!real.is_null(), "there is a file system");
        REAL.store(real, Ordering::SeqCst);
        // It is used until the process ends.
        let ours = Box::leak(Box::new(std::ptr::read(real)));
        ours.zName = c"recording".as_ptr();
        ours.pNext = std::ptr::null_mut();
        ours.szOsFile += c_int::try_from(size_of::<File>()).expect("small");
        ours.xOpen = Some(open);
        ours.xDelete = Some(delete);
        assert_eq!(ffi::sqlite3_vfs_register(ours, 1), ffi::SQLITE_OK);
    }
}

/// What SQLite holds of an open file; the real one's follows in memory.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    name: *mut Arc<str>,
}

unsafe fn name(file: *mut ffi::sqlite3_file) -> Arc<str> {
    unsafe { (*(*file.cast::<File>()).name).clone() }
}

unsafe fn real(file: *mut ffi::sqlite3_file) -> *mut ffi::sqlite3_file {
    unsafe { file.cast::<File>().add(1).cast() }
}

unsafe fn methods(file: *mut ffi::sqlite3_file) -> &'static ffi::sqlite3_io_methods {
    unsafe { &*(*real(file)).pMethods }
}

unsafe extern "C" fn open(
    _: *mut ffi::sqlite3_vfs,
    path: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    unsafe {
        (*file).pMethods = std::ptr::null();
        let vfs = REAL.load(Ordering::SeqCst);
        let Some(open) = (*vfs).xOpen else {
            return ffi::SQLITE_ERROR;
        };
        let result = open(vfs, path, real(file), flags, out);
        if result == ffi::SQLITE_OK {
            let text = if path.is_null() {
                "".into()
            } else {
                CStr::from_ptr(path).to_string_lossy()
            };
            (*file.cast::<File>()).name = Box::into_raw(Box::new(Arc::from(&*text)));
            (*file).pMethods = &METHODS;
        }
        result
    }
}

unsafe extern "C" fn delete(_: *mut ffi::sqlite3_vfs, path: *const c_char, sync: c_int) -> c_int {
    unsafe {
        let vfs = REAL.load(Ordering::SeqCst);
        let Some(delete) = (*vfs).xDelete else {
            return ffi::SQLITE_ERROR;
        };
        let result = delete(vfs, path, sync);
        if result == ffi::SQLITE_OK {
            push(Event::Delete {
                file: CStr::from_ptr(path).to_string_lossy().into(),
                durable: sync != 0,
            });
        }
        result
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    unsafe {
        drop(Box::from_raw((*file.cast::<File>()).name));
        methods(file)
            .xClose
            .map_or(ffi::SQLITE_ERROR, |close| close(real(file)))
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    length: c_int,
    offset: i64,
) -> c_int {
    unsafe {
        let Some(write) = methods(file).xWrite else {
            return ffi::SQLITE_ERROR;
        };
        let result = write(real(file), data, length, offset);
        if result == ffi::SQLITE_OK {
            let length = usize::try_from(length).expect("a length");
            push(Event::Write {
                file: name(file),
                offset: usize::try_from(offset).expect("an offset"),
                data: std::slice::from_raw_parts(data.cast(), length).to_vec(),
            });
        }
        result
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: i64) -> c_int {
    unsafe {
        let Some(truncate) = methods(file).xTruncate else {
            return ffi::SQLITE_ERROR;
        };
        let result = truncate(real(file), size);
        if result == ffi::SQLITE_OK {
            push(Event::Truncate {
                file: name(file),
                size: usize::try_from(size).expect("a size"),
            });
        }
        result
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let Some(sync) = methods(file).xSync else {
            return ffi::SQLITE_ERROR;
        };
        let result = sync(real(file), flags);
        if result == ffi::SQLITE_OK {
            push(Event::Sync { file: name(file) });
        }
        result
    }
}

/// A function that hands over to the real one.
macro_rules! forward {
    ($($function:ident = $method:ident($($argument:ident: $kind:ty),*) $(-> $result:ty, $none:expr)?;)+) => {
        $(unsafe extern "C" fn $function(
            file: *mut ffi::sqlite3_file,
            $($argument: $kind),*
        ) $(-> $result)? {
            unsafe {
                match methods(file).$method {
                    Some(function) => function(real(file), $($argument),*),
                    None => { $($none)? }
                }
            }
        })+
    };
}

forward! {
    read = xRead(data: *mut c_void, length: c_int, offset: i64) -> c_int, ffi::SQLITE_ERROR;
    file_size = xFileSize(size: *mut i64) -> c_int, ffi::SQLITE_ERROR;
    lock = xLock(level: c_int) -> c_int, ffi::SQLITE_ERROR;
    unlock = xUnlock(level: c_int) -> c_int, ffi::SQLITE_ERROR;
    check_lock = xCheckReservedLock(out: *mut c_int) -> c_int, ffi::SQLITE_ERROR;
    control = xFileControl(operation: c_int, argument: *mut c_void) -> c_int, ffi::SQLITE_NOTFOUND;
    sector_size = xSectorSize() -> c_int, 0;
    characteristics = xDeviceCharacteristics() -> c_int, 0;
    shm_map = xShmMap(page: c_int, size: c_int, extend: c_int, out: *mut *mut c_void)
        -> c_int, ffi::SQLITE_ERROR;
    shm_lock = xShmLock(offset: c_int, count: c_int, flags: c_int) -> c_int, ffi::SQLITE_ERROR;
    shm_barrier = xShmBarrier();
    shm_unmap = xShmUnmap(remove: c_int) -> c_int, ffi::SQLITE_ERROR;
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    // Without the functions of version 3, which map a file into memory.
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};
