/* Loaded before the C library of a process whose storage is tried. Of every call that changes a file
 * or a folder below one root it counts the index in the whole process, whichever thread makes it, and
 * does to one index what it was told: kill the process before or after it, fail it, or tear it.
 *
 *   CANOPY_FAULT_ROOT    the root, or several with `:` between them; nothing is counted without one
 *   CANOPY_FAULT_REPORT  a file to which a line is added for each counted call: index, call, paths
 *   CANOPY_FAULT_AT      FIRST[-LAST]:KIND; KIND is kill-before, kill-after, torn, eio, enospc or full
 *   CANOPY_FAULT_ARM     calls are counted while this file is there
 *   CANOPY_FAULT_RECORD  a file to which every counted call is written with its data, in order
 *
 * torn counts calls that write alone: half of the bytes are written, then the process is killed.
 * full counts calls that take space alone, and fails them with ENOSPC.
 *
 * The calls come by the functions of the C library, which are defined here, and two of them also
 * without it, by rustix: a filter of the kernel turns these into a signal, whose handler does the same.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* In the sixth argument of a call: it was counted already. */
#define COUNTED 0x63616e6fL

enum kind { NONE, KILL_BEFORE, KILL_AFTER, TORN, FAIL, FULL };

#define ROOTS 4
static char roots[ROOTS][PATH_MAX];
static int roots_count;
static const char *arm;
static int report = -1, record = -1;
static enum kind kind = NONE;
static int failure;
static long first, last;
static atomic_long count;
/* Recorded calls happen one after the other, in the order of the record. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;

struct call {
    const char *name;
    bool writes;
    char path[PATH_MAX];
    char other[PATH_MAX];
};

static long raw(long nr, const long *a) {
    return syscall(nr, a[0], a[1], a[2], a[3], a[4], nr == SYS_copy_file_range ? a[5] : COUNTED);
}

static bool below_root(const char *path) {
    for (int n = 0; n < roots_count; n++) {
        size_t length = strlen(roots[n]);
        /* A folder that was removed while it was open has a note behind its name. */
        if (strncmp(path, roots[n], length) == 0 && (path[length] == '/' || path[length] == '\0' || path[length] == ' '))
            return true;
    }
    return false;
}

static bool of_descriptor(long fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%ld", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    path[length < 0 ? 0 : length] = '\0';
    return length > 0;
}

static void at(long folder, const char *name, char *path) {
    char base[PATH_MAX];
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
        return;
    }
    if ((int)folder == AT_FDCWD ? getcwd(base, sizeof base) == NULL : !of_descriptor(folder, base))
        base[0] = '\0';
    snprintf(path, PATH_MAX, "%.2000s/%.2000s", base, name);
}

/* Whether the call changes something below the root, and what. */
static bool describe(long nr, const long *a, struct call *call) {
    call->writes = false;
    call->path[0] = call->other[0] = '\0';
    long descriptor = a[0];
    switch (nr) {
    case SYS_openat:
        if (!(a[2] & (O_CREAT | O_TRUNC)))
            return false;
        call->name = "open";
        at(a[0], (const char *)a[1], call->path);
        return below_root(call->path);
    case SYS_mkdirat: call->name = "mkdir"; break;
    case SYS_unlinkat: call->name = a[2] & AT_REMOVEDIR ? "rmdir" : "unlink"; break;
    case SYS_renameat2:
    case SYS_linkat:
        call->name = nr == SYS_linkat ? "link" : a[4] & RENAME_EXCHANGE ? "exchange" : "rename";
        at(a[0], (const char *)a[1], call->path);
        at(a[2], (const char *)a[3], call->other);
        return below_root(call->path) || below_root(call->other);
    case SYS_symlinkat:
        call->name = "symlink";
        at(a[1], (const char *)a[2], call->path);
        return below_root(call->path);
    case SYS_truncate:
        call->name = "truncate";
        at(AT_FDCWD, (const char *)a[0], call->path);
        return below_root(call->path);
    case SYS_write:
    case SYS_writev:
    case SYS_pwrite64:
    case SYS_pwritev:
    case SYS_sendfile: call->name = "write"; call->writes = true; goto of_descriptor;
    case SYS_copy_file_range: call->name = "write"; call->writes = true; descriptor = a[2]; goto of_descriptor;
    case SYS_fsync: call->name = "fsync"; goto of_descriptor;
    case SYS_fdatasync: call->name = "fdatasync"; goto of_descriptor;
    case SYS_sync_file_range: call->name = "sync_file_range"; goto of_descriptor;
    case SYS_syncfs: call->name = "syncfs"; goto of_descriptor;
    case SYS_ftruncate: call->name = "truncate"; goto of_descriptor;
    case SYS_fallocate: call->name = "fallocate"; goto of_descriptor;
    default: return false;
    }
    at(a[0], (const char *)a[1], call->path);
    return below_root(call->path);
of_descriptor:
    return of_descriptor(descriptor, call->path) && below_root(call->path);
}

static void put(int file, const void *bytes, size_t length) {
    for (const char *at = bytes; length > 0;) {
        long a[6] = {file, (long)at, (long)length};
        long written = raw(SYS_write, a);
        if (written <= 0)
            _exit(99);
        at += written;
        length -= (size_t)written;
    }
}

static void die(void) {
    for (;;) {
        long a[6] = {getpid(), SIGKILL};
        raw(SYS_kill, a);
    }
}

/* The first half of what the call would have written. */
static void tear(long nr, const long *a) {
    long half[6];
    memcpy(half, a, sizeof half);
    struct iovec part;
    switch (nr) {
    case SYS_write:
    case SYS_pwrite64: half[2] = a[2] / 2; break;
    case SYS_writev:
    case SYS_pwritev:
        part = *(const struct iovec *)a[1];
        part.iov_len /= 2;
        half[1] = (long)&part;
        half[2] = 1;
        break;
    case SYS_sendfile: half[3] = a[3] / 2; break;
    default: half[4] = a[4] / 2;
    }
    raw(nr, half);
}

/* Writes down what a call did, with the bytes it left at `offset` where it wrote some. */
static void note(const char *op, const char *path, const char *other, long offset, long length, const void *data) {
    char head[2 * PATH_MAX + 100];
    int size = snprintf(head, sizeof head, "%s\t%ld\t%ld\t%s\t%s\n", op, offset, data ? length : 0, path, other);
    put(record, head, (size_t)size);
    if (data)
        put(record, data, (size_t)length);
}

static void note_written(int fd, const char *path, long offset, long length) {
    char *data = malloc((size_t)length);
    /* The descriptor may be for writing alone. */
    int from = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    long got = 0;
    while (data && got < length) {
        ssize_t more = pread(from >= 0 ? from : fd, data + got, (size_t)(length - got), offset + got);
        if (more <= 0)
            break;
        got += more;
    }
    if (got == length)
        note("write", path, "", offset, length, data);
    free(data);
    if (from >= 0)
        syscall(SYS_close, from);
}

static void note_call(long nr, const long *a, const struct call *call, long result, bool existed) {
    int fd = (int)(nr == SYS_copy_file_range ? a[2] : a[0]);
    if (call->writes) {
        long offset = nr == SYS_pwrite64 || nr == SYS_pwritev ? a[3] : lseek(fd, 0, SEEK_CUR) - result;
        if (nr == SYS_copy_file_range && a[3])
            offset = *(const long *)a[3] - result;
        if (result > 0)
            note_written(fd, call->path, offset, result);
    } else if (nr == SYS_openat) {
        if (!existed)
            note("create", call->path, "", 0, 0, NULL);
        else if (a[2] & O_TRUNC)
            note("truncate", call->path, "", 0, 0, NULL);
    } else if (nr == SYS_fallocate) {
        struct stat now;
        if (fstat(fd, &now) == 0)
            note("truncate", call->path, "", now.st_size, 0, NULL);
    } else {
        note(call->name, call->path, call->other, nr == SYS_ftruncate || nr == SYS_truncate ? a[1] : 0, 0, NULL);
    }
}

static long recorded(long nr, const long *a, const struct call *call) {
    struct stat before;
    pthread_mutex_lock(&order);
    bool existed = nr == SYS_openat && stat(call->path, &before) == 0;
    long result = raw(nr, a);
    int error = errno;
    if (result >= 0)
        note_call(nr, a, call, result, existed);
    pthread_mutex_unlock(&order);
    errno = error;
    return result;
}

static bool is_armed(void) {
    struct stat there;
    return !arm || stat(arm, &there) == 0;
}

/* Whether a disk that is full would refuse it. What removes or synchronises goes on, and so does what
 * opens a file that is there. */
static bool takes_space(long nr, const struct call *call) {
    struct stat there;
    switch (nr) {
    case SYS_openat: return stat(call->path, &there) != 0;
    case SYS_mkdirat:
    case SYS_linkat:
    case SYS_symlinkat:
    case SYS_fallocate: return true;
    default: return call->writes;
    }
}

static long intercept(long nr, long a0, long a1, long a2, long a3, long a4, long a5) {
    const long a[6] = {a0, a1, a2, a3, a4, a5};
    int error = errno;
    struct call call;
    if (record >= 0 && nr == SYS_write && a0 == 1 && a2 > 4 && memcmp((const void *)a1, "ack ", 4) == 0) {
        pthread_mutex_lock(&order);
        note("ack", "", "", 0, a2, (const void *)a1);
        pthread_mutex_unlock(&order);
    }
    bool counted = roots_count > 0 && describe(nr, a, &call) && is_armed();
    errno = error;
    if (!counted)
        return raw(nr, a);
    if (record >= 0)
        return recorded(nr, a, &call);
    if ((kind == TORN && !call.writes) || (kind == FULL && !takes_space(nr, &call))) {
        errno = error;
        return raw(nr, a);
    }
    long index = atomic_fetch_add(&count, 1) + 1;
    bool hit = kind != NONE && first <= index && index <= last;
    if (report >= 0) {
        char line[2 * PATH_MAX + 100];
        int size = snprintf(line, sizeof line, "%ld\t%s\t%s\t%s\t%s\n", index, hit ? "hit" : "", call.name, call.path, call.other);
        put(report, line, (size_t)size);
    }
    errno = error;
    if (!hit)
        return raw(nr, a);
    switch (kind) {
    case FAIL:
    case FULL: errno = failure; return -1;
    case TORN: tear(nr, a); break;
    case KILL_AFTER: raw(nr, a); break;
    default: break;
    }
    die();
    return -1;
}

#define CALL(nr, ...) CALL_(nr, __VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define CALL_(nr, a, b, c, d, e, f, ...) \
    intercept(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

#define OPEN(name, parameters, folder)                                   \
    int name parameters {                                                \
        mode_t mode = 0;                                                 \
        if (flags & (O_CREAT | O_TMPFILE)) {                             \
            va_list rest;                                                \
            va_start(rest, flags);                                       \
            mode = va_arg(rest, mode_t);                                 \
            va_end(rest);                                                \
        }                                                                \
        return (int)CALL(SYS_openat, folder, path, flags | O_LARGEFILE, mode); \
    }
OPEN(open, (const char *path, int flags, ...), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD)
OPEN(openat, (int folder, const char *path, int flags, ...), folder)
OPEN(openat64, (int folder, const char *path, int flags, ...), folder)

int creat(const char *path, mode_t mode) {
    return (int)CALL(SYS_openat, AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}
int creat64(const char *path, mode_t mode) { return creat(path, mode); }
int mkdir(const char *path, mode_t mode) { return (int)CALL(SYS_mkdirat, AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return (int)CALL(SYS_mkdirat, folder, path, mode); }
int unlink(const char *path) { return (int)CALL(SYS_unlinkat, AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return (int)CALL(SYS_unlinkat, folder, path, flags); }
int rmdir(const char *path) { return (int)CALL(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR); }
int rename(const char *from, const char *to) { return (int)CALL(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int one, const char *from, int two, const char *to) {
    return (int)CALL(SYS_renameat2, one, from, two, to, 0);
}
int renameat2(int one, const char *from, int two, const char *to, unsigned flags) {
    return (int)CALL(SYS_renameat2, one, from, two, to, flags);
}
int link(const char *from, const char *to) { return (int)CALL(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int one, const char *from, int two, const char *to, int flags) {
    return (int)CALL(SYS_linkat, one, from, two, to, flags);
}
int symlink(const char *what, const char *path) { return (int)CALL(SYS_symlinkat, what, AT_FDCWD, path); }
int symlinkat(const char *what, int folder, const char *path) { return (int)CALL(SYS_symlinkat, what, folder, path); }
int truncate(const char *path, off_t length) { return (int)CALL(SYS_truncate, path, length); }
int truncate64(const char *path, off64_t length) { return (int)CALL(SYS_truncate, path, length); }
int ftruncate(int fd, off_t length) { return (int)CALL(SYS_ftruncate, fd, length); }
int ftruncate64(int fd, off64_t length) { return (int)CALL(SYS_ftruncate, fd, length); }
int fallocate(int fd, int mode, off_t offset, off_t length) { return (int)CALL(SYS_fallocate, fd, mode, offset, length); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    return (int)CALL(SYS_fallocate, fd, mode, offset, length);
}
static int allocate(int fd, off64_t offset, off64_t length) {
    return CALL(SYS_fallocate, fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate(int fd, off_t offset, off_t length) { return allocate(fd, offset, length); }
int posix_fallocate64(int fd, off64_t offset, off64_t length) { return allocate(fd, offset, length); }
ssize_t write(int fd, const void *bytes, size_t length) { return CALL(SYS_write, fd, bytes, length); }
ssize_t writev(int fd, const struct iovec *parts, int parts_count) { return CALL(SYS_writev, fd, parts, parts_count); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset) {
    return CALL(SYS_pwrite64, fd, bytes, length, offset);
}
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
    return CALL(SYS_pwrite64, fd, bytes, length, offset);
}
ssize_t pwritev(int fd, const struct iovec *parts, int parts_count, off_t offset) {
    return CALL(SYS_pwritev, fd, parts, parts_count, offset);
}
ssize_t pwritev64(int fd, const struct iovec *parts, int parts_count, off64_t offset) {
    return CALL(SYS_pwritev, fd, parts, parts_count, offset);
}
ssize_t sendfile(int to, int from, off_t *offset, size_t length) { return CALL(SYS_sendfile, to, from, offset, length); }
ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) {
    return CALL(SYS_sendfile, to, from, offset, length);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t length, unsigned flags) {
    return CALL(SYS_copy_file_range, from, from_at, to, to_at, length, flags);
}
int fsync(int fd) { return (int)CALL(SYS_fsync, fd); }
int fdatasync(int fd) { return (int)CALL(SYS_fdatasync, fd); }
int syncfs(int fd) { return (int)CALL(SYS_syncfs, fd); }
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) {
    return (int)CALL(SYS_sync_file_range, fd, offset, length, flags);
}

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#define ARGUMENT(context, n) \
    ((context)->uc_mcontext.gregs[(const int[]){REG_RDI, REG_RSI, REG_RDX, REG_R10, REG_R8}[n]])
#define RESULT(context) ((context)->uc_mcontext.gregs[REG_RAX])
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#define ARGUMENT(context, n) ((context)->uc_mcontext.regs[n])
#define RESULT(context) ((context)->uc_mcontext.regs[0])
#else
#error "the registers of this architecture are not known here"
#endif

static void on_call(int signal, siginfo_t *info, void *where) {
    (void)signal;
    ucontext_t *context = where;
    int error = errno;
    long a[5];
    for (int n = 0; n < 5; n++)
        a[n] = (long)ARGUMENT(context, n);
    long result = intercept(info->si_syscall, a[0], a[1], a[2], a[3], a[4], 0);
    RESULT(context) = result < 0 ? -errno : result;
    errno = error;
}

/* What is made without the C library comes to on_call. */
static void filter(void) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 5),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_syncfs, 0, 2),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[5])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, COUNTED, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
    };
    struct sock_fprog program = {sizeof code / sizeof code[0], code};
    /* On the stack of the thread: the one aside, for signals, is too small for paths. */
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER};
    action.sa_sigaction = on_call;
    if (sigaction(SIGSYS, &action, NULL) != 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        perror("the shim of the fault runs");
        _exit(98);
    }
}

static int appended(const char *variable) {
    const char *path = getenv(variable);
    if (!path)
        return -1;
    int low = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    /* Out of the way of programs that expect the low numbers. */
    int file = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, 500);
    if (file < 0) {
        perror(path);
        _exit(98);
    }
    syscall(SYS_close, low);
    return file;
}

__attribute__((constructor)) static void begin(void) {
    const char *folder = getenv("CANOPY_FAULT_ROOT");
    if (!folder)
        return;
    report = appended("CANOPY_FAULT_REPORT");
    record = appended("CANOPY_FAULT_RECORD");
    arm = getenv("CANOPY_FAULT_ARM");
    const char *fault = getenv("CANOPY_FAULT_AT");
    if (fault) {
        char name[16] = "";
        if (sscanf(fault, "%ld-%ld:%15s", &first, &last, name) != 3) {
            sscanf(fault, "%ld:%15s", &first, name);
            last = first;
        }
        failure = strcmp(name, "eio") == 0 ? EIO : ENOSPC;
        kind = strcmp(name, "kill-before") == 0  ? KILL_BEFORE
               : strcmp(name, "kill-after") == 0 ? KILL_AFTER
               : strcmp(name, "torn") == 0       ? TORN
               : strcmp(name, "full") == 0       ? FULL
                                                 : FAIL;
    }
    filter();
    int count = 0;
    while (count < ROOTS && *folder) {
        size_t length = strcspn(folder, ":");
        snprintf(roots[count++], PATH_MAX, "%.*s", (int)length, folder);
        folder += length + (folder[length] == ':');
    }
    roots_count = count;
}
