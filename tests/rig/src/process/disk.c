/* What a process does to the files of one folder, and how it dies there. For LD_PRELOAD; see disk.rs.
 *
 * DISK_UNDER    the folder, by its whole path
 * DISK_RECORD   a file that gets every change, in the order in which they took effect; none where it is not set
 * DISK_SYNC_US  a sync is not carried out and takes so many microseconds, more or less; where it is not set, syncs are the machine's
 * DISK_BOOT     a file with the name of this start of the machine
 * DISK_KILL     "write N" or "sync N": the process is killed as it begins its Nth one in the folder or in DISK_ALSO
 *
 * A record is a struct head and `bytes` bytes. A sync says how many records were there when it began: only these it covers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, LENGTH, SYNC, RENAME, UNLINK, SYNC_FOLDER };

struct head {
    uint32_t kind, bytes;
    uint64_t file; /* its inode */
    uint64_t begun, ended; /* nanoseconds of the monotonic clock */
    uint64_t at; /* an offset, a length, or the records before a sync */
};

enum { FILES = 4096 };
enum { ELSEWHERE, UNDER, ALSO, FOLDER };
static unsigned char where[FILES];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char under[PATH_MAX], also[PATH_MAX];
static size_t under_len, also_len;
static int record = -1;
static long sync_us = -1, kill_write, kill_sync;
static uint64_t records;
static unsigned seed = 1;

#define NEXT(name) ({ static __typeof__(&name) next; if (!next) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name); next; })

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("DISK_UNDER");
    if (!text || strlen(text) >= sizeof under) abort();
    strcpy(under, text);
    under_len = strlen(under);
    if ((text = getenv("DISK_ALSO")) && strlen(text) < sizeof also) {
        strcpy(also, text);
        also_len = strlen(also);
    }
    if ((text = getenv("DISK_SYNC_US"))) sync_us = atol(text);
    if ((text = getenv("DISK_KILL"))) {
        if (!strncmp(text, "write ", 6)) kill_write = atol(text + 6);
        if (!strncmp(text, "sync ", 5)) kill_sync = atol(text + 5);
    }
    if ((text = getenv("DISK_RECORD"))) {
        record = NEXT(open)(text, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (record < 0) abort();
    }
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* A path in a folder: what comes after its name. NULL: it is elsewhere. */
static const char *in(const char *path, const char *folder, size_t len) {
    if (!len || strncmp(path, folder, len) || path[len] != '/') return 0;
    return path + len + 1;
}

static uint64_t inode(int file) {
    struct stat found;
    return fstat(file, &found) ? 0 : found.st_ino;
}

static int place(int file) { return file >= 0 && file < FILES ? where[file] : ELSEWHERE; }

/* The lock is held. */
static void append(struct head head, const void *bytes) {
    records++;
    if (record < 0) return;
    head.ended = now();
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)bytes, head.bytes}};
    ssize_t whole = (ssize_t)(sizeof head + head.bytes);
    if (syscall(SYS_writev, record, parts, 2) != whole) abort();
}

/* The lock is held. */
static void count_write(int file, const void *bytes, size_t len, off_t at) {
    if (kill_write && --kill_write == 0) {
        /* Of a long one some pages are there. */
        size_t half = len / 2 / 4096 * 4096;
        if (half) syscall(SYS_pwrite64, file, bytes, half, at);
        die();
    }
}

static void opened(int file, const char *path, int flags, int was_there) {
    if (file < 0 || file >= FILES) return;
    const char *name = in(path, under, under_len);
    where[file] = name ? UNDER : in(path, also, also_len) ? ALSO : ELSEWHERE;
    if (under_len && !strcmp(path, under)) where[file] = FOLDER;
    if (!name) return;
    struct head head = {.file = inode(file), .begun = now()};
    pthread_mutex_lock(&lock);
    if (!was_there) {
        head.kind = CREATE;
        head.bytes = (uint32_t)strlen(name);
        append(head, name);
    } else if (flags & O_TRUNC) {
        head.kind = LENGTH;
        append(head, "");
    }
    pthread_mutex_unlock(&lock);
}

static int open_as(int folder, const char *path, int flags, mode_t mode) {
    /* Whose name is another after each start of the machine. */
    const char *boot = getenv("DISK_BOOT");
    if (boot && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot;
    int was_there = !syscall(SYS_faccessat, folder, path, F_OK);
    int file = (int)syscall(SYS_openat, folder, path, flags, mode);
    int error = errno;
    if (path[0] == '/') opened(file, path, flags, was_there);
    errno = error;
    return file;
}

#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return open_as(AT_FDCWD, path, flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define OPENS_AT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return open_as(folder, path, flags, mode); \
    }
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int file) {
    if (file >= 0 && file < FILES) where[file] = ELSEWHERE;
    return (int)syscall(SYS_close, file);
}

static ssize_t write_at(int file, const void *bytes, size_t len, off_t at) {
    pthread_mutex_lock(&lock);
    count_write(file, bytes, len, at);
    struct head head = {.kind = WRITE, .file = inode(file), .begun = now(), .at = (uint64_t)at};
    ssize_t written = syscall(SYS_pwrite64, file, bytes, len, at);
    int error = errno;
    if (written > 0 && place(file) == UNDER) {
        head.bytes = (uint32_t)written;
        append(head, bytes);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return written;
}

ssize_t pwrite(int file, const void *bytes, size_t len, off_t at) {
    if (place(file) == ELSEWHERE) return syscall(SYS_pwrite64, file, bytes, len, at);
    return write_at(file, bytes, len, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t len, off64_t at) { return pwrite(file, bytes, len, at); }

ssize_t write(int file, const void *bytes, size_t len) {
    if (place(file) == ELSEWHERE) return syscall(SYS_write, file, bytes, len);
    off_t at = lseek(file, 0, fcntl(file, F_GETFL) & O_APPEND ? SEEK_END : SEEK_CUR);
    ssize_t written = write_at(file, bytes, len, at);
    int error = errno;
    if (written > 0) lseek(file, at + written, SEEK_SET);
    errno = error;
    return written;
}

/* Ways to write that this file does not follow must not be taken unseen. */
static void never(int file) {
    if (place(file) == UNDER || place(file) == ALSO) abort();
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    never(file);
    return syscall(SYS_writev, file, parts, count);
}
ssize_t pwritev(int file, const struct iovec *parts, int count, off_t at) {
    never(file);
    return NEXT(pwritev)(file, parts, count, at);
}
ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t len, unsigned flags) {
    never(to);
    return syscall(SYS_copy_file_range, from, from_at, to, to_at, len, flags);
}

static int set_length(int file, off_t len) {
    if (place(file) != UNDER) return (int)syscall(SYS_ftruncate, file, len);
    pthread_mutex_lock(&lock);
    struct head head = {.kind = LENGTH, .file = inode(file), .begun = now(), .at = (uint64_t)len};
    int result = (int)syscall(SYS_ftruncate, file, len);
    int error = errno;
    if (!result) append(head, "");
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int ftruncate(int file, off_t len) { return set_length(file, len); }
int ftruncate64(int file, off64_t len) { return set_length(file, len); }

int fallocate(int file, int mode, off_t at, off_t len) {
    pthread_mutex_lock(&lock);
    struct head head = {.kind = LENGTH, .file = inode(file), .begun = now(), .at = (uint64_t)(at + len)};
    int result = (int)syscall(SYS_fallocate, file, mode, at, len);
    int error = errno;
    if (!result && place(file) == UNDER) append(head, "");
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int fallocate64(int file, int mode, off64_t at, off64_t len) { return fallocate(file, mode, at, len); }

static int sync_as(int file, long call) {
    int kind = place(file);
    if (kind == ELSEWHERE) return (int)syscall(call, file);
    pthread_mutex_lock(&lock);
    if (kill_sync && --kill_sync == 0) die();
    struct head head = {
        .kind = kind == FOLDER ? SYNC_FOLDER : SYNC, .file = inode(file), .begun = now(), .at = records};
    long wait = sync_us > 0 ? sync_us / 2 + rand_r(&seed) % sync_us : 0;
    pthread_mutex_unlock(&lock);
    int result = 0;
    if (sync_us < 0) result = (int)syscall(call, file);
    if (wait) usleep((useconds_t)wait);
    if (!result && kind != ALSO) {
        pthread_mutex_lock(&lock);
        append(head, "");
        pthread_mutex_unlock(&lock);
    }
    return result;
}
int fsync(int file) { return sync_as(file, SYS_fsync); }
int fdatasync(int file) { return sync_as(file, SYS_fdatasync); }

int rename(const char *from, const char *to) {
    const char *old = in(from, under, under_len), *new = in(to, under, under_len);
    pthread_mutex_lock(&lock);
    struct head head = {.kind = RENAME, .begun = now()};
    int result = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    int error = errno;
    if (!result && (old || new)) {
        if (!old || !new) abort();
        char both[2 * PATH_MAX];
        head.bytes = (uint32_t)snprintf(both, sizeof both, "%s/%s", old, new);
        append(head, both);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

static int unlink_as(int folder, const char *path, int flags) {
    const char *name = in(path, under, under_len);
    pthread_mutex_lock(&lock);
    struct head head = {.kind = UNLINK, .begun = now()};
    int result = (int)syscall(SYS_unlinkat, folder, path, flags);
    int error = errno;
    if (!result && name) {
        head.bytes = (uint32_t)strlen(name);
        append(head, name);
    }
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}
int unlink(const char *path) { return unlink_as(AT_FDCWD, path, 0); }
int unlinkat(int folder, const char *path, int flags) { return unlink_as(folder, path, flags); }
