#define _GNU_SOURCE
#include "collector.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "descriptor.h"
#include "hooks.h"
#include "sampler.h"
#include "spool.h"
#include "threads.h"

static struct {
    struct gs_collection with;
    struct gs_spool spool;
    struct gs_descriptor wanted;
    struct gs_sampler sampler;
    struct gs_flushes flushes;
    pthread_t thread;
    bool apart;   /* the thread has a table of descriptors of its own */
    sem_t opened; /* then the next two hold the result */
    int error;
    const char *what;
} now;

/* ---- what the sampler is given ---- */

static void see_gil(void *context, struct gs_gil_view *view)
{
    (void)context;
    gs_layout_gil(now.with.layout, view);
}

static size_t see_states(void *context, const struct gs_gil_view *gil, struct gs_state *states,
                         size_t most)
{
    (void)context;
    return gs_threads_states(now.with.layout, gil, states, most);
}

static size_t see_cpus(void *context, struct gs_cpu *cpus, size_t most)
{
    (void)context;
    return gs_threads_cpus(cpus, most);
}

static struct gs_clock_pair see_clock(void *context)
{
    (void)context;
    return gs_clock_pair(now.with.tsc);
}

static void keep(void *context, const struct gs_look *look)
{
    (void)context;
    gs_spool_append(&now.spool, look);
}

/* Room for the longest texts of a code object, and then some. */
static _Alignas(8) char described[1 << 18];

static void describe_sites(void *context)
{
    (void)context;
    struct gs_sites_block *block = (struct gs_sites_block *)described;
    while (gs_sites_describe(now.with.sites, block, sizeof described))
        gs_spool_append_sites(&now.spool, block);
}

static void flush(void *context)
{
    (void)context;
    gs_spool_flush(&now.spool);
}

static bool is_wanted(void *context)
{
    struct stat st;
    (void)context;
    /* Not known where the program has closed our descriptor. */
    return !gs_descriptor_look(&now.wanted, &st) || (st.st_nlink > 0 && st.st_size == 0);
}

static void make_sampler(const struct gs_collection *c)
{
    memset(&now.sampler, 0, sizeof now.sampler);
    now.sampler.calls = (struct gs_sampler_calls){
        .gil = see_gil,
        .states = c->states ? see_states : NULL,
        .cpus = see_cpus,
        .wait = gs_sampler_wait,
        .clock = see_clock,
        .sites = c->sites ? describe_sites : NULL,
        .wanted = c->wanted ? is_wanted : NULL,
        .append = keep,
        .flush = flush,
    };
    now.sampler.ring = c->ring;
    now.sampler.flushes = &now.flushes;
    now.sampler.period_ns = c->period_ns;
    now.sampler.jitter = c->states;
}

/* ---- files: all are opened, used and closed by the thread ---- */

static int open_spool(const struct gs_collection *c)
{
    struct gs_clock_pair pair = gs_clock_pair(c->tsc);
    struct gs_header header = {
        .clock = c->tsc ? GS_CLOCK_TSC : GS_CLOCK_MONOTONIC,
        .pid = (uint32_t)getpid(),
        .interval_us = c->interval_us > UINT32_MAX ? UINT32_MAX : (uint32_t)c->interval_us,
        .start_unix_ns = gs_clock_ns(CLOCK_REALTIME),
        .start_monotonic_ns = pair.monotonic_ns,
        .start_stamp = pair.stamp,
        .period_ns = c->period_ns,
        .flags = (c->exact ? GS_EXACT : 0) | (c->states ? GS_SAMPLED : 0) |
                 (c->layout->cond_waiters ? GS_COUNTED : 0),
    };
    return gs_spool_open(&now.spool, c->spool, header);
}

static int open_wanted(const struct gs_collection *c)
{
    now.wanted.fd = -1;
    if (!c->wanted)
        return 0;
    int fd = open(c->wanted, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && gs_descriptor_take(&now.wanted, fd))
        return 0;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return error;
}

static void open_files(const struct gs_collection *c)
{
    now.what = "the control file of the recording cannot be opened";
    now.error = open_wanted(c);
    if (now.error)
        return;
    now.what = "the spool file cannot be created";
    now.error = open_spool(c);
    if (now.error)
        gs_descriptor_close(&now.wanted);
}

static void close_files(void)
{
    gs_spool_close(&now.spool);
    gs_descriptor_close(&now.wanted);
    gs_threads_reset();
}

/* ---- the thread ---- */

static void collect(void)
{
    gs_sampler_run(&now.sampler);
    bool unwanted = !atomic_load(&now.sampler.stop);
    /* Without the GIL no more can be given up: the hooks stay, and pass calls on; reports of the
     * program and records of other GILs stay in the ring. */
    if (unwanted)
        gs_hooks_rest();
    close_files();
    if (unwanted)
        gs_sampler_rest(&now.sampler);
}

static void *thread(void *unused)
{
    now.apart = gs_descriptors_apart();
    gs_threads_reset(); /* where this process is a fork, its parent's may be among them */
    open_files(&now.with);
    bool opened = !now.error;
    sem_post(&now.opened);
    if (opened)
        collect();
    return unused;
}

/* Signals are for the program's threads. */
static int create_thread(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&now.thread, NULL, thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(now.thread, "gilscope");
    return error;
}

int gs_collector_start(const struct gs_collection *c, const char **what)
{
    now.with = *c;
    make_sampler(c);
    sem_init(&now.opened, 0, 0);
    *what = "the sampler thread cannot be started";
    int error = create_thread();
    if (error)
        return error;
    while (sem_wait(&now.opened) != 0) /* a signal came */
        ;
    *what = now.what;
    if (now.error)
        pthread_join(now.thread, NULL);
    return now.error;
}

void gs_collector_stop(struct gs_collected *out)
{
    atomic_store(&now.sampler.stop, true);
    gs_collector_nudge();
    pthread_join(now.thread, NULL);
    *out = (struct gs_collected){now.spool.error, now.spool.written, now.sampler.cpu_ns};
}

void gs_collector_nudge(void)
{
    gs_sampler_ring_bell(&now.sampler.bell);
}

uint32_t gs_collector_ask_flush(void)
{
    return gs_sampler_ask_flush(&now.sampler);
}

void gs_collector_await_flush(uint32_t asked)
{
    gs_sampler_await_flush(&now.flushes, asked);
}

void gs_collector_abandon(void)
{
    if (now.apart) /* in the child their numbers are the program's */
        return;
    gs_spool_abandon(&now.spool);
    gs_descriptor_close(&now.wanted);
    gs_threads_reset();
}
