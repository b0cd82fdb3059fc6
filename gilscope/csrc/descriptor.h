/* Descriptors of ours in a process that is not ours: the program may close them (os.closerange) and
 * have their numbers again for files of its own. Those must not be written to, nor closed. */
#ifndef GILSCOPE_DESCRIPTOR_H
#define GILSCOPE_DESCRIPTOR_H

#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

struct gs_descriptor {
    int fd;
    dev_t device;
    ino_t inode;
};

/* Remembers which file `fd` is. Returns false, with errno, where it cannot be told. */
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
