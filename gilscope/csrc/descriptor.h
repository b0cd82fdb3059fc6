/* Descriptors of ours in a process that is not ours. Where the kernel allows it, the thread that
 * has them keeps them in a table of its own. Elsewhere the program may close them (os.closerange)
 * and have their numbers again for files of its own: those must not be written to, nor closed. */
#ifndef GILSCOPE_DESCRIPTOR_H
#define GILSCOPE_DESCRIPTOR_H

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Gives the calling thread, one of several, an empty table of descriptors: the program's files stay
 * the program's alone, and closing them has its effect at once. False, with nothing changed, before
 * Linux 5.9 and where a sandbox forbids it. */
static inline bool gs_descriptors_apart(void)
{
    enum { CLOSE_RANGE = 436, UNSHARE = 2 }; /* close_range(2); older headers lack them */
    if (syscall(CLOSE_RANGE, 0u, ~0u, UNSHARE) != 0)
        return false;
    /* What a dying process writes to standard error must not go into a file of ours. */
    for (int fd = 0; fd < 3; fd++)
        if (open("/dev/null", O_RDWR | O_CLOEXEC) < 0)
            break;
    return true;
}

struct gs_descriptor {
    int fd;
    dev_t device;
    ino_t inode;
};

/* Remembers which file `fd` is. Returns false, with errno, if that cannot be read. */
static inline bool gs_descriptor_take(struct gs_descriptor *d, int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return false;
    *d = (struct gs_descriptor){fd, st.st_dev, st.st_ino};
    return true;
}

/* Looks at the file; false where the descriptor is another one's by now, or closed. */
static inline bool gs_descriptor_look(const struct gs_descriptor *d, struct stat *st)
{
    return fstat(d->fd, st) == 0 && st->st_dev == d->device && st->st_ino == d->inode;
}

static inline bool gs_descriptor_is_ours(const struct gs_descriptor *d)
{
    struct stat st;
    return gs_descriptor_look(d, &st);
}

/* May be called again: once closed, number and inode can both come back as a file of the program's.
 */
static inline void gs_descriptor_close(struct gs_descriptor *d)
{
    if (gs_descriptor_is_ours(d))
        close(d->fd);
    d->fd = -1;
}

#endif
