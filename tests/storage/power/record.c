/* Preloaded into a server by tests/storage/power: writes down, in their order, all that it does to the files below a folder, and
 * what it answers. The order is total: a call and its record are made under one lock.
 *
 * POWER_DIR   the folder
 * POWER_LOG   where to write to
 *
 * A record is a letter, four numbers of 8 bytes (little-endian), and bytes whose count is the last number:
 *   O file flags 0  path     opened; a file's number is new with every open
 *   W file offset 0 bytes    written
 *   T file length 0          made shorter or longer
 *   S file 0 0               synced
 *   M 0 0 0 path             folder made
 *   U 0 0 0 path             name removed
 *   R 0 0 0 path \0 path     renamed
 *   A 0 0 0 bytes            about to be answered
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILES 65536
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t file_of[FILES]; /* of each descriptor; 0: none of ours */
static uint64_t files;
static int out = -1;
static const char *dir;

__attribute__((constructor)) static void begin(void) {
    const char *to = getenv("POWER_LOG");
    dir = getenv("POWER_DIR");
    if (!dir || !to) return;
    out = syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    files = (uint64_t)getpid() << 32;
}

static void put(const void *bytes, size_t count) {
    const char *at = bytes;
    while (count > 0) {
        ssize_t done = syscall(SYS_write, out, at, count);
        if (done < 0) abort();
        at += done;
        count -= done;
    }
}

static void record(char what, uint64_t file, uint64_t number, const void *bytes, uint64_t count) {
    if (out < 0) return;
    uint64_t numbers[4] = {file, number, 0, count};
    put(&what, 1);
    put(numbers, sizeof numbers);
    put(bytes, count);
}

static int below(const char *path) {
    size_t length = dir ? strlen(dir) : 0;
    return length && !strncmp(path, dir, length) && (path[length] == '/' || !path[length]);
}

static uint64_t ours(int fd) { return fd >= 0 && fd < FILES ? file_of[fd] : 0; }

static int opened(int fd, const char *path, int flags) {
    int error = errno;
    if (fd >= 0 && fd < FILES) {
        file_of[fd] = below(path) ? ++files : 0;
        if (file_of[fd]) record('O', file_of[fd], flags, path, strlen(path));
    }
    errno = error;
    return fd;
}

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        REAL(name);                                                    \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                  \
        pthread_mutex_lock(&lock);                                     \
        int fd = opened(real(path, flags, mode), path, flags);         \
        pthread_mutex_unlock(&lock);                                   \
        return fd;                                                     \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    REAL(close);
    pthread_mutex_lock(&lock);
    if (fd >= 0 && fd < FILES) file_of[fd] = 0;
    int done = real(fd);
    pthread_mutex_unlock(&lock);
    return done;
}

/* Of a descriptor that is none of ours: an answer is written down before it leaves. */
static void answering(const struct iovec *parts, int count) {
    char text[4096];
    size_t length = 0;
    for (int n = 0; n < count && length < sizeof text; n++) {
        size_t more = parts[n].iov_len < sizeof text - length ? parts[n].iov_len : sizeof text - length;
        memcpy(text + length, parts[n].iov_base, more);
        length += more;
    }
    if (length > 10 && !strncmp(text, "HTTP/1.1 2", 10)) record('A', 0, 0, text, length);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    REAL(write);
    pthread_mutex_lock(&lock);
    struct iovec part = {(void *)bytes, count};
    if (!ours(fd)) answering(&part, 1);
    ssize_t done = real(fd, bytes, count);
    int error = errno;
    if (ours(fd) && done > 0) record('W', ours(fd), lseek(fd, 0, SEEK_CUR) - done, bytes, done);
    errno = error;
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    pthread_mutex_lock(&lock);
    if (ours(fd)) abort(); /* nobody does that; if somebody begins to, it has to be written down here */
    answering(parts, count);
    ssize_t done = real(fd, parts, count);
    pthread_mutex_unlock(&lock);
    return done;
}

ssize_t send(int fd, const void *bytes, size_t count, int flags) {
    REAL(send);
    pthread_mutex_lock(&lock);
    struct iovec part = {(void *)bytes, count};
    answering(&part, 1);
    ssize_t done = real(fd, bytes, count, flags);
    pthread_mutex_unlock(&lock);
    return done;
}

#define PWRITE(name, offset_t)                                              \
    ssize_t name(int fd, const void *bytes, size_t count, offset_t offset) { \
        REAL(name);                                                         \
        pthread_mutex_lock(&lock);                                          \
        ssize_t done = real(fd, bytes, count, offset);                      \
        int error = errno;                                                  \
        if (ours(fd) && done > 0) record('W', ours(fd), offset, bytes, done); \
        errno = error;                                                      \
        pthread_mutex_unlock(&lock);                                        \
        return done;                                                        \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, offset_t)                                 \
    int name(int fd, offset_t length) {                          \
        REAL(name);                                              \
        pthread_mutex_lock(&lock);                               \
        int done = real(fd, length);                             \
        int error = errno;                                       \
        if (ours(fd) && !done) record('T', ours(fd), length, "", 0); \
        errno = error;                                           \
        pthread_mutex_unlock(&lock);                             \
        return done;                                             \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                          \
    int name(int fd) {                                      \
        REAL(name);                                         \
        pthread_mutex_lock(&lock);                          \
        int done = real(fd);                                \
        int error = errno;                                  \
        if (ours(fd) && !done) record('S', ours(fd), 0, "", 0); \
        errno = error;                                      \
        pthread_mutex_unlock(&lock);                        \
        return done;                                        \
    }
SYNC(fsync)
SYNC(fdatasync)

#define NAME(name, letter, arguments, ...)                              \
    int name arguments {                                                \
        REAL(name);                                                     \
        pthread_mutex_lock(&lock);                                      \
        int done = real(__VA_ARGS__);                                   \
        int error = errno;                                              \
        if (!done && below(path)) record(letter, 0, 0, path, strlen(path)); \
        errno = error;                                                  \
        pthread_mutex_unlock(&lock);                                    \
        return done;                                                    \
    }
NAME(mkdir, 'M', (const char *path, mode_t mode), path, mode)
NAME(unlink, 'U', (const char *path), path)

int rename(const char *from, const char *to) {
    REAL(rename);
    pthread_mutex_lock(&lock);
    int done = real(from, to);
    int error = errno;
    if (!done && (below(from) || below(to))) {
        char both[8192];
        size_t first = strlen(from) + 1, second = strlen(to);
        if (first + second > sizeof both) abort();
        memcpy(both, from, first);
        memcpy(both + first, to, second);
        record('R', 0, 0, both, first + second);
    }
    errno = error;
    pthread_mutex_unlock(&lock);
    return done;
}
