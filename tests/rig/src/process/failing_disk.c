/* A disk that fails when a test says so: calls that change files below the folder DISK_BELOW fail with an error, or take their time. The file
 * DISK_FAULT holds three numbers of 32 bits: the error (0: none), which calls (1 writes, 2 syncs, 4 names), and milliseconds that such a call takes.
 * Journals are left alone: they lie in memory. For LD_PRELOAD; see failing_disk.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WRITES = 1, SYNCS = 2, NAMES = 4 };

static volatile int32_t *fault;
static const char *below;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_FAULT");
    below = getenv("DISK_BELOW");
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    int file = path && below ? real(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *page = mmap(0, 12, PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) abort();
    fault = page;
    close(file);
}

static int concerns(const char *path) {
    size_t length = strlen(path);
    return strncmp(path, below, strlen(below)) == 0 && !(length > 8 && strcmp(path + length - 8, ".journal") == 0);
}

/* 1: the call fails, with errno set. */
static int fails(const char *path, int file, int kind) {
    if (!fault || !(fault[1] & kind)) return 0;
    char link[64], found[4096];
    if (!path) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        ssize_t length = readlink(link, found, sizeof found - 1);
        if (length < 0) return 0;
        found[length] = 0;
        path = found;
    }
    if (!concerns(path)) return 0;
    if (fault[2]) usleep((useconds_t)fault[2] * 1000);
    if (!fault[0]) return 0;
    errno = fault[0];
    return 1;
}

#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int file, const void *bytes, size_t count) { REAL(write); return fails(0, file, WRITES) ? -1 : real(file, bytes, count); }
ssize_t pwrite(int file, const void *bytes, size_t count, off_t at) { REAL(pwrite); return fails(0, file, WRITES) ? -1 : real(file, bytes, count, at); }
ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t at) { REAL(pwrite64); return fails(0, file, WRITES) ? -1 : real(file, bytes, count, at); }
int ftruncate(int file, off_t length) { REAL(ftruncate); return fails(0, file, WRITES) ? -1 : real(file, length); }
int ftruncate64(int file, off64_t length) { REAL(ftruncate64); return fails(0, file, WRITES) ? -1 : real(file, length); }
int fsync(int file) { REAL(fsync); return fails(0, file, SYNCS) ? -1 : real(file); }
int fdatasync(int file) { REAL(fdatasync); return fails(0, file, SYNCS) ? -1 : real(file); }
int rename(const char *from, const char *to) { REAL(rename); return fails(to, 0, NAMES) ? -1 : real(from, to); }
int unlink(const char *path) { REAL(unlink); return fails(path, 0, NAMES) ? -1 : real(path); }

static int opens(const char *name, const char *path, int flags, mode_t mode) {
    int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
    return (flags & (O_WRONLY | O_RDWR | O_CREAT)) && fails(path, 0, NAMES) ? -1 : real(path, flags, mode);
}

#define MODE mode_t mode = 0; if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }
int open(const char *path, int flags, ...) { MODE return opens("open", path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE return opens("open64", path, flags, mode); }
