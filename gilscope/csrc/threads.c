#define _GNU_SOURCE
#include "threads.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"

/* Opening a file of /proc costs more than reading it, so some stay open; not many, they are the
 * program's descriptors too. */
#define KEPT 64u

static struct {
    uint32_t native_id; /* 0: free */
    struct gs_descriptor file;
} kept[KEPT];

/* The look before this one, if it left no doubt: the holder was found, and all waiters asleep. */
static struct {
    bool settled;
    struct gs_gil_view gil;
    size_t n;
    struct gs_state states[GS_MOST_THREADS]; /* those that run or wait */
} before;

static void forget(unsigned i)
{
    if (kept[i].native_id)
        gs_descriptor_close(&kept[i].file);
    kept[i].native_id = 0;
}

void gs_threads_reset(void)
{
    for (unsigned i = 0; i < KEPT; i++)
        forget(i);
    before.settled = false;
}

static int open_syscall_file(uint32_t native_id)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%u/syscall", native_id);
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Reads "number argument ..." of the system call a thread is blocked in, or "running". */
static ssize_t read_syscall_file(uint32_t native_id, char *text, size_t size)
{
    unsigned i = native_id % KEPT;
    if (kept[i].native_id == native_id) {
        ssize_t n = pread(kept[i].file.fd, text, size, 0);
        if (n > 0)
            return n;
        forget(i);
    }
    int fd = open_syscall_file(native_id);
    if (fd < 0)
        return -1;
    ssize_t n = pread(fd, text, size, 0);
    if (n > 0 && kept[i].native_id == 0 && gs_descriptor_take(&kept[i].file, fd))
        kept[i].native_id = native_id;
    else
        close(fd);
    return n;
}

/* The state of a thread that does not hold the GIL, from the kernel; 0: off, or unknown. */
static uint32_t state_in_kernel(const struct gs_layout *l, uint32_t native_id)
{
    char text[128];
    ssize_t n = read_syscall_file(native_id, text, sizeof text - 1);
    if (n <= 0)
        return 0;
    text[n] = 0;
    if (text[0] < '0' || text[0] > '9')
        return text[0] == 'r' && l->cond_waiters ? GS_STATE_READY : 0; /* "running" */
    char *end;
    long number = strtol(text, &end, 10);
    bool waits = number == SYS_futex && gs_layout_is_wait(l, strtoull(end, NULL, 16));
    return waits ? GS_STATE_WAIT : 0;
}

bool gs_threads_can_see_waits(void)
{
    char text[128];
    int fd = open_syscall_file((uint32_t)gettid());
    ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof text, 0);
    if (fd >= 0)
        close(fd);
    return n > 0;
}

/* A thread waits until it has the GIL, and that moves the counter of switches unless it is the one
 * that had it last. So nothing needs a look where holder and counts are what they were. */
static bool nothing_changed(const struct gs_gil_view *gil, size_t most)
{
    return before.settled && before.n <= most && gil->locked && gil->holder == before.gil.holder &&
           gil->switches == before.gil.switches && gil->waiters == before.gil.waiters;
}

static void remember(const struct gs_gil_view *gil, const struct gs_state *states, size_t n)
{
    size_t runs = 0;
    before.n = 0;
    for (size_t i = 0; i < n; i++) {
        runs += states[i].state == GS_STATE_RUN;
        if (states[i].state != GS_STATE_READY)
            before.states[before.n++] = states[i];
    }
    before.gil = *gil;
    before.settled = runs == 1 && before.n == 1u + gil->waiters;
}

/* A thread that does not hold the GIL; 0: off. */
static uint32_t state_outside(const struct gs_layout *l, const struct gs_gil_view *gil,
                              const struct gs_tstate *t)
{
    if (l->thread_requested)
        return t->requested ? GS_STATE_WAIT : 0;
    return l->cond_waiters && !gil->waiters ? 0 : state_in_kernel(l, t->native_id);
}

size_t gs_threads_states(const struct gs_layout *l, const struct gs_gil_view *gil,
                         struct gs_state *states, size_t most)
{
    static struct gs_tstate threads[GS_MOST_THREADS]; /* one observer at a time */
    if (l->cond_waiters && !gil->locked && !gil->waiters)
        return 0;
    if (nothing_changed(gil, most)) {
        memcpy(states, before.states, before.n * sizeof *states);
        return before.n;
    }
    size_t n_threads = gs_layout_threads(l, threads, GS_MOST_THREADS);
    size_t n = 0;
    for (size_t i = 0; i < n_threads && n < most; i++) {
        const struct gs_tstate *t = &threads[i];
        bool holds = gil->locked && t->address == gil->holder;
        uint32_t state = holds ? GS_STATE_RUN : state_outside(l, gil, t);
        if (state)
            states[n++] = (struct gs_state){t->native_id, state};
    }
    if (l->cond_waiters)
        remember(gil, states, n);
    return n;
}

/* The kernel's number for "CPU time of that thread" (man clock_getres, CPUCLOCK_SCHED per thread).
 */
static clockid_t cpu_clock(uint32_t native_id)
{
    return (clockid_t)(~native_id << 3 | 6);
}

size_t gs_threads_cpus(struct gs_cpu *cpus, size_t most)
{
    static _Alignas(struct dirent64) char entries[8192];
    size_t n = 0;
    int fd = open("/proc/self/task", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (long size; (size = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0;) {
        for (long at = 0; at < size && n < most;) {
            const struct dirent64 *entry = (const void *)(entries + at);
            uint32_t native_id = (uint32_t)strtoul(entry->d_name, NULL, 10);
            struct timespec t;
            if (native_id && clock_gettime(cpu_clock(native_id), &t) == 0)
                cpus[n++] = (struct gs_cpu){
                    native_id, 0, (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec};
            at += entry->d_reclen;
        }
    }
    close(fd);
    return n;
}
