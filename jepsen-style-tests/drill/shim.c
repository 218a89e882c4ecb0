/* Spoils one write of the program that it is preloaded into, when it is told to.
 *
 * SHIM_CONTROL names a file, SHIM_PATH a folder. While the file is there, the next write to a log
 * segment below that folder goes wrong in the way that the file's first letter says:
 *   t  torn: half of it is written, then the process is gone
 *   f  flip: one bit of it is written wrongly, and the write is told as done
 *   e  ENOSPC: nothing is written, once
 * The file is removed when it is done. It is in C because it must be loaded before the program.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WRITE_MAX = 1 << 20 };

/* The letter, if this write is to be spoilt; it is then nobody else's. */
static char spoil(int fd)
{
    const char *control = getenv("SHIM_CONTROL"), *folder = getenv("SHIM_PATH");
    char name[64], path[4096], letter = 0;
    if (!control || !folder || access(control, F_OK) != 0)
        return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 4)
        return 0;
    path[length] = 0;
    if (strncmp(path, folder, strlen(folder)) != 0 || strcmp(path + length - 4, ".log") != 0)
        return 0;
    int file = open(control, O_RDONLY);
    if (file < 0)
        return 0;
    if (syscall(SYS_read, file, &letter, 1) != 1)
        letter = 0;
    close(file);
    return unlink(control) == 0 ? letter : 0;
}

static ssize_t spoilt(char how, int fd, const void *data, size_t size, off_t at, int positioned)
{
    static char copy[WRITE_MAX];
    if (how == 'e') {
        errno = ENOSPC;
        return -1;
    }
    if (how == 't') {
        if (positioned)
            syscall(SYS_pwrite64, fd, data, size / 2, at);
        else
            syscall(SYS_write, fd, data, size / 2);
        fsync(fd);
        kill(getpid(), SIGKILL);
    }
    if (how == 'f' && size > 0 && size <= WRITE_MAX) {
        memcpy(copy, data, size);
        copy[size / 2] ^= 0x10;
        data = copy;
    }
    if (positioned)
        return syscall(SYS_pwrite64, fd, data, size, at);
    return syscall(SYS_write, fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    char how = spoil(fd);
    if (how)
        return spoilt(how, fd, data, size, 0, 0);
    return syscall(SYS_write, fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t at)
{
    char how = spoil(fd);
    if (how)
        return spoilt(how, fd, data, size, at, 1);
    return syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at)
{
    return pwrite64(fd, data, size, at);
}
