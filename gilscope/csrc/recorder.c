#define _GNU_SOURCE
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "condition.h"
#include "sampler.h"
#include "sites.h"
#include "spool.h"
#include "threads.h"

static struct {
    /* From the first look at the interpreter until all is freed: proving and ending let the GIL go.
     */
    _Atomic bool busy;
    bool recording;  /* the ring takes records; read and changed under the GIL */
    uint32_t number; /* of the recording, and never 0 */
    bool probing, tsc, hooks_stayed;
    uint64_t begun_before; /* with sampled edges: interpreters that had ever begun by then */
    uint32_t gils_missed;
    struct gs_layout layout;
    bool locating;
    void (*unpin)(void *object);
    struct gs_sites sites;
    struct gs_ring ring;
    struct gs_spool spool;
    struct gs_descriptor wanted;
    struct gs_sampler sampler;
    struct gs_flushes flushes;
    pthread_t thread;
} now;

/* ---- what the sampler is given ---- */

static void see_gil(void *context, struct gs_gil_view *view)
{
    (void)context;
    gs_layout_gil(&now.layout, view);
}

static size_t see_states(void *context, const struct gs_gil_view *gil, struct gs_state *states,
                         size_t most)
{
    (void)context;
    return gs_threads_states(&now.layout, gil, states, most);
}

static size_t see_cpus(void *context, struct gs_cpu *cpus, size_t most)
{
    (void)context;
    return gs_threads_cpus(cpus, most);
}

static struct gs_clock_pair see_clock(void *context)
{
    (void)context;
    return gs_clock_pair(now.tsc);
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
    while (gs_sites_tell(&now.sites, block, sizeof described))
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
    /* Where the program has closed our descriptor, nobody knows. */
    return !gs_descriptor_look(&now.wanted, &st) || (st.st_nlink > 0 && st.st_size == 0);
}

/* What can be given up without the GIL. The hooks stay, and pass calls on; what is told, and what
 * other GILs' hooks record, stays in the ring. */
static void give_up(void)
{
    gs_probe_rest();
    gs_spool_close(&now.spool);
    gs_descriptor_close(&now.wanted);
    gs_threads_reset();
}

static void *sampler_thread(void *unused)
{
    gs_sampler_run(&now.sampler);
    if (!atomic_load(&now.sampler.stop)) {
        give_up();
        gs_sampler_rest(&now.sampler);
    }
    return unused;
}

static void nudge(void)
{
    gs_sampler_ring_bell(&now.sampler.bell);
}

/* ---- fork ---- */

/* The child has neither the sampler nor anybody to wait for. It gives up the parent's recording
 * before any of its own code runs; its hooks are given up by probe.c. */
static void after_fork_in_child(void)
{
    if (!atomic_load(&now.busy))
        return;
    now.recording = false;
    gs_ring_close(&now.ring);
    /* Without the GIL no reference can be given back: code that was seen stays. */
    gs_sites_close(&now.sites, NULL);
    now.locating = false;
    gs_spool_abandon(&now.spool);
    gs_descriptor_close(&now.wanted);
    gs_threads_reset();
    atomic_store(&now.busy, false);
}

/* ---- life ---- */

static void fail(struct gs_outcome *out, enum gs_failure failure, int error, const char *what)
{
    out->failure = failure;
    out->error = error;
    if (what)
        snprintf(out->why, sizeof out->why, "%s", what);
}

/* Of threads that come at once one goes on; it gives `busy` back. */
static bool claim(struct gs_outcome *out)
{
    memset(out, 0, sizeof *out);
    if (!atomic_exchange(&now.busy, true))
        return true;
    fail(out, GS_BUSY, 0, "a recording is active in this process");
    return false;
}

static void prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    if (!gs_layout_prove(l, o->python_hex, o->tstate, o->interp, o->interval_us, out->why,
                         sizeof out->why))
        fail(out, GS_NO_LAYOUT, 0, NULL);
    else if (o->probe && !gs_probe_learn(l, &o->calls, out->why, sizeof out->why))
        fail(out, GS_NO_PROBE, 0, NULL);
    else if (o->observe && !l->thread_requested && !gs_threads_can_see_waits())
        fail(out, GS_NO_STATES, 0,
             "the kernel does not show what a blocked thread sleeps on "
             "(/proc/self/task/*/syscall)");
    else if (o->observe && !l->thread_requested)
        l->cond_waiters = (uint16_t)gs_condition_learn();
}

void gs_recorder_prove(const struct gs_options *o, struct gs_layout *l, struct gs_outcome *out)
{
    if (!claim(out))
        return;
    prove(o, l, out);
    atomic_store(&now.busy, false);
}

static void open_spool(const struct gs_options *o, struct gs_outcome *out)
{
    struct gs_clock_pair pair = gs_clock_pair(now.tsc);
    struct gs_header header = {
        .clock = now.tsc ? GS_CLOCK_TSC : GS_CLOCK_MONOTONIC,
        .pid = (uint32_t)getpid(),
        .interval_us = o->interval_us > UINT32_MAX ? UINT32_MAX : (uint32_t)o->interval_us,
        .start_unix_ns = gs_clock_ns(CLOCK_REALTIME),
        .start_monotonic_ns = pair.monotonic_ns,
        .start_stamp = pair.stamp,
        .period_ns = o->period_ns,
        .flags = (o->probe ? GS_PROBED : 0) | (o->observe ? GS_OBSERVED : 0) |
                 (now.layout.cond_waiters ? GS_COUNTED : 0),
    };
    int error = gs_spool_open(&now.spool, o->spool, header);
    if (error)
        fail(out, GS_SYSTEM, error, "the spool file cannot be created");
}

static void open_wanted(const struct gs_options *o, struct gs_outcome *out)
{
    int fd = o->wanted ? open(o->wanted, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && gs_descriptor_take(&now.wanted, fd))
        return;
    if (o->wanted)
        fail(out, GS_SYSTEM, errno, "the file that says how long to record cannot be opened");
    if (fd >= 0)
        close(fd);
}

static void open_files(const struct gs_options *o, struct gs_outcome *out)
{
    open_wanted(o, out);
    if (out->failure)
        return;
    open_spool(o, out);
    if (out->failure)
        gs_descriptor_close(&now.wanted);
}

/* Signals are for the program's threads. */
static int create_thread(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&now.thread, NULL, sampler_thread, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!error)
        pthread_setname_np(now.thread, "gilscope");
    return error;
}

static void start_sampler(const struct gs_options *o, struct gs_outcome *out)
{
    memset(&now.sampler, 0, sizeof now.sampler);
    now.sampler.calls = (struct gs_sampler_calls){
        .gil = see_gil,
        .states = o->observe ? see_states : NULL,
        .cpus = see_cpus,
        .wait = gs_sampler_wait,
        .clock = see_clock,
        .sites = now.locating ? describe_sites : NULL,
        .wanted = o->wanted ? is_wanted : NULL,
        .append = keep,
        .flush = flush,
    };
    now.sampler.ring = &now.ring;
    now.sampler.flushes = &now.flushes;
    now.sampler.period_ns = o->period_ns;
    now.sampler.jitter = o->observe;
    int error = create_thread();
    if (error)
        fail(out, GS_SYSTEM, error, "the sampler thread cannot be started");
}

static void stop_sampler(void)
{
    atomic_store(&now.sampler.stop, true);
    nudge();
    pthread_join(now.thread, NULL);
}

static void discard(const struct gs_options *o)
{
    gs_spool_close(&now.spool);
    unlink(o->spool);
    gs_descriptor_close(&now.wanted);
    gs_ring_close(&now.ring);
    gs_sites_close(&now.sites, o->unpin);
}

static void register_fork_handler(void)
{
    static bool registered;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, after_fork_in_child) == 0;
}

static uint32_t switches_now(void)
{
    struct gs_gil_view view;
    gs_layout_gil(&now.layout, &view);
    return (uint32_t)view.switches;
}

static void count_other(void *count, const struct gs_interpreter *i)
{
    struct gs_gil_view view;
    uint32_t holder;
    if (i->address != now.layout.interp && gs_layout_gil_lives(i, &view, &holder))
        ++*(uint32_t *)count;
}

static void count_others(void)
{
    now.gils_missed = 0;
    gs_layout_interpreters(&now.layout, count_other, &now.gils_missed);
    now.begun_before = gs_layout_interpreters_begun(&now.layout);
}

/* Without them there is a recording all the same. */
static void open_sites(const struct gs_options *o, struct gs_outcome *out)
{
    struct gs_frames frames;
    now.unpin = o->unpin;
    now.locating = o->probe && o->known &&
                   gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, out->no_sites,
                                   sizeof out->no_sites);
    if (now.locating && !gs_sites_open(&now.sites, &frames, o->pin)) {
        now.locating = false;
        snprintf(out->no_sites, sizeof out->no_sites, "no memory for them");
    }
}

/* How many units of the stamps some nanoseconds are, by two readings of both clocks. */
static uint64_t in_stamps(uint64_t ns, const struct gs_clock_pair *a)
{
    struct gs_clock_pair b = gs_clock_pair(now.tsc);
    double rate = b.monotonic_ns > a->monotonic_ns
                      ? (double)(b.stamp - a->stamp) / (double)(b.monotonic_ns - a->monotonic_ns)
                      : 1;
    return (uint64_t)((double)ns * rate);
}

static void start(const struct gs_options *o, struct gs_outcome *out)
{
    register_fork_handler();
    prove(o, &now.layout, out);
    if (out->failure)
        return;
    now.tsc = gs_clock_tsc_usable();
    struct gs_clock_pair before = gs_clock_pair(now.tsc);
    now.probing = o->probe;
    if (!gs_ring_open(&now.ring, o->log2_slots)) {
        fail(out, GS_SYSTEM, ENOMEM, "no memory for the ring");
        return;
    }
    open_files(o, out);
    if (out->failure) {
        gs_ring_close(&now.ring);
        return;
    }
    open_sites(o, out);
    start_sampler(o, out);
    if (out->failure) {
        discard(o);
        return;
    }
    gs_probe_bind(&now.ring, now.tsc, nudge);
    if (now.locating)
        gs_probe_locate(&now.sites, in_stamps(o->whole_over_ns, &before));
    if (o->probe && !gs_probe_install(&now.layout, out->why, sizeof out->why)) {
        fail(out, GS_NO_PROBE, 0, NULL);
        stop_sampler();
        discard(o);
        return;
    }
    if (!o->probe)
        count_others();
    gs_probe_begin(switches_now(), o->probe);
    if (++now.number == 0)
        now.number = 1;
    now.recording = true;
}

void gs_recorder_start(const struct gs_options *o, struct gs_outcome *out)
{
    if (!claim(out))
        return;
    start(o, out);
    if (out->failure)
        atomic_store(&now.busy, false);
}

/* Some may have had no GIL of their own; nobody looked. */
static uint32_t others_begun(void)
{
    return (uint32_t)(gs_layout_interpreters_begun(&now.layout) - now.begun_before);
}

void gs_recorder_stop(void)
{
    uint32_t missed = gs_probe_end(switches_now(), now.probing);
    now.gils_missed = now.probing ? missed : now.gils_missed + others_begun();
    now.recording = false;
    now.hooks_stayed = !now.probing || gs_probe_remove();
}

void gs_recorder_join(struct gs_outcome *out)
{
    memset(out, 0, sizeof *out);
    stop_sampler();
    gs_spool_close(&now.spool);
    gs_descriptor_close(&now.wanted);
    gs_ring_close(&now.ring);
    gs_threads_reset();
    out->spool_bytes = now.spool.written;
    out->sampler_cpu_ns = now.sampler.cpu_ns;
    out->hooks_stayed = now.hooks_stayed;
    out->gils_listed = now.layout.interp_gil == 0 || now.layout.interpreters != 0;
    out->gils_missed = now.gils_missed;
    out->sites_missed = now.locating ? atomic_load(&now.sites.missed) : 0;
    if (now.spool.error)
        fail(out, GS_SYSTEM, now.spool.error, "the spool file could not be written to the end");
}

void gs_recorder_finish(void)
{
    if (now.locating)
        gs_sites_close(&now.sites, now.unpin);
    now.locating = false;
    atomic_store(&now.busy, false);
}

double gs_recorder_located_cost(const struct gs_options *o, uint32_t n)
{
    char why[320];
    struct gs_layout layout;
    struct gs_frames frames;
    double hooked, bare;
    if (!gs_layout_prove(&layout, o->python_hex, o->tstate, o->interp, o->interval_us, why,
                         sizeof why) ||
        !gs_frames_prove(&frames, o->python_hex, o->tstate, o->known, why, sizeof why) ||
        !gs_sites_open(&now.sites, &frames, o->pin))
        return NAN;
    gs_probe_locate(&now.sites, UINT64_MAX);
    gs_probe_cost(n, &layout, &hooked, &bare);
    gs_probe_locate(NULL, 0);
    gs_sites_close(&now.sites, o->unpin);
    return hooked;
}

uint32_t gs_recorder_ask_flush(void)
{
    return gs_sampler_ask_flush(&now.sampler);
}

void gs_recorder_await_flush(uint32_t asked)
{
    gs_sampler_await_flush(&now.flushes, asked);
}

uint32_t gs_recorder_active(void)
{
    return now.recording ? now.number : 0;
}

bool gs_recorder_uses_tsc(void)
{
    return now.recording ? now.tsc : gs_clock_tsc_usable();
}
