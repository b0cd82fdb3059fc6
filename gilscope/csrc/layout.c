#define _GNU_SOURCE
#include "layout.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "condition.h"
#include "cpython.h"

static const void *at(const void *base, size_t offset)
{
    return (const char *)base + offset;
}

/* The list of interpreters is optional: where a number cannot be an offset, there is no list. */
static void locate_interpreters(struct gs_layout *l, const struct gs_cpython *c)
{
    uint16_t head;
    const struct gs_wanted_field wanted[] = {{GS_RUNTIME_INTERPRETERS, &head},
                                             {GS_INTERP_NEXT, &l->interp_next},
                                             {GS_INTERP_ID, &l->interp_id}};
    struct gs_why unused;
    if (gs_cpython_offsets(c, wanted, sizeof wanted / sizeof *wanted, &unused) && head)
        l->interpreters = c->runtime + head;
}

static bool locate_gil_fields(struct gs_layout *l, const struct gs_cpython *c, struct gs_why *why)
{
    uint64_t start = gs_cpython_offset(c, GS_GIL_START);
    uint64_t holder = gs_cpython_offset(c, GS_GIL_HOLDER) - start;
    uint64_t locked = gs_cpython_offset(c, GS_GIL_LOCKED) - start;
    if (locked > 64 || holder > 64 || holder < GS_INTERVAL_BEFORE_HOLDER)
        return gs_refuse(why, "expected the GIL's first fields within 64 bytes, found %llu, %llu",
                         (unsigned long long)holder, (unsigned long long)locked);
    l->gil_holder = (uint16_t)holder;
    l->gil_locked = (uint16_t)locked;
    return true;
}

static bool locate(struct gs_layout *l, unsigned python_hex, struct gs_why *why)
{
    struct gs_cpython c;
    uint16_t gil_in_runtime;
    const struct gs_wanted_field wanted[] = {
        {GS_RUNTIME_GIL, &gil_in_runtime},           {GS_INTERP_GIL, &l->interp_gil},
        {GS_INTERP_THREADS, &l->interp_threads},     {GS_THREAD_NEXT, &l->thread_next},
        {GS_THREAD_NATIVE_ID, &l->thread_native_id}, {GS_THREAD_REQUESTED, &l->thread_requested}};
    if (!gs_cpython_find(&c, python_hex, why) ||
        !gs_cpython_offsets(&c, wanted, sizeof wanted / sizeof *wanted, why) ||
        !locate_gil_fields(l, &c, why))
        return false;
    if (l->interp_gil)
        memcpy(&l->gil, at((const void *)l->interp, l->interp_gil), sizeof l->gil);
    else
        l->gil = c.runtime + gil_in_runtime;
    l->threads_bound = c.row->threads_bound;
    locate_interpreters(l, &c);
    return true;
}

bool gs_layout_read(void *to, uintptr_t from, size_t n)
{
    struct iovec here = {to, n};
    struct iovec there = {(void *)from, n};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == (ssize_t)n;
}

static bool prove_gil(const struct gs_layout *l, const void *tstate, uint64_t interval_us,
                      struct gs_why *why)
{
    char probe[64];
    struct gs_gil_view view;
    if (!gs_layout_read(probe, l->gil, sizeof probe))
        return gs_refuse(why, "expected the GIL at %p, found no readable memory", (void *)l->gil);
    gs_layout_gil(l, &view);
    if (!view.locked)
        return gs_refuse(why, "expected the GIL to be locked by this thread, found it free");
    if (view.holder != (uintptr_t)tstate)
        return gs_refuse(why, "expected the GIL's holder to be this thread's state %p, found %p",
                         tstate, (void *)view.holder);
    if (view.interval_us != interval_us)
        return gs_refuse(why, "expected a switch interval of %llu us, found %u us",
                         (unsigned long long)interval_us, view.interval_us);
    return true;
}

static bool prove_threads(const struct gs_layout *l, const void *tstate, struct gs_why *why)
{
    /* The newest thread state stands first, so this thread may be far down the list: follow it
     * without keeping it. */
    uintptr_t p = *(const uintptr_t *)at((const void *)l->interp, l->interp_threads);
    for (int i = 0; i < 1000000 && p; i++) {
        uint64_t native_id;
        if (!gs_layout_read(&native_id, p + l->thread_native_id, sizeof native_id))
            break;
        if (p == (uintptr_t)tstate) {
            if (native_id == (uint64_t)gettid())
                return true;
            return gs_refuse(why, "expected this thread's state to hold native id %d, found %llu",
                             gettid(), (unsigned long long)native_id);
        }
        if (!gs_layout_read(&p, p + l->thread_next, sizeof p))
            break;
    }
    return gs_refuse(why, "expected this thread in the interpreter's list of threads, "
                          "did not find it (or reading memory through the kernel is forbidden)");
}

static void see_nothing(void *context, const struct gs_interpreter *i)
{
    (void)context, (void)i;
}

/* Interpreters are made with one size: where the main one has its GIL inside, the others have
 * theirs. What does not prove itself is given up: the main GIL needs none of it. */
static void prove_interpreters(struct gs_layout *l)
{
    uintptr_t main_one;
    int64_t id;
    if (!l->interpreters)
        return;
    l->interp_own_gil = (uint16_t)(l->gil - l->interp);
    if (l->gil - l->interp > UINT16_MAX ||
        !gs_layout_read(&main_one, l->interpreters + GS_MAIN_AFTER_HEAD, sizeof main_one) ||
        main_one != l->interp || !gs_layout_read(&id, l->interp + l->interp_id, sizeof id) ||
        id != 0 || !gs_layout_interpreters(l, see_nothing, NULL))
        l->interpreters = 0;
}

bool gs_layout_prove(struct gs_layout *l, unsigned python_hex, const void *tstate,
                     const void *interp, uint64_t interval_us, struct gs_why *why)
{
    memset(l, 0, sizeof *l);
    l->interp = (uintptr_t)interp;
    if (sizeof(void *) != 8)
        return gs_refuse(why, "expected a 64-bit interpreter");
    if (!locate(l, python_hex, why) || !prove_gil(l, tstate, interval_us, why) ||
        !prove_threads(l, tstate, why))
        return false;
    prove_interpreters(l);
    return true;
}

static uintptr_t cond_address(const struct gs_layout *l)
{
    return l->gil + l->gil_locked + GS_COND_AFTER_LOCKED;
}

static uint16_t waiters(const struct gs_layout *l)
{
    if (!l->cond_waiters)
        return 0;
    uint32_t n = gs_condition_waiters((const pthread_cond_t *)cond_address(l), l->cond_waiters);
    return n > UINT16_MAX ? UINT16_MAX : (uint16_t)n;
}

void gs_layout_gil(const struct gs_layout *l, struct gs_gil_view *view)
{
    const void *gil = (const void *)l->gil;
    uint64_t interval = __atomic_load_n(
        (const uint64_t *)at(gil, (size_t)l->gil_holder - GS_INTERVAL_BEFORE_HOLDER),
        __ATOMIC_RELAXED);
    view->locked = __atomic_load_n((const int *)at(gil, l->gil_locked), __ATOMIC_RELAXED) == 1;
    view->holder = __atomic_load_n((const uintptr_t *)at(gil, l->gil_holder), __ATOMIC_RELAXED);
    view->switches =
        __atomic_load_n((const uint64_t *)at(gil, (size_t)l->gil_locked + GS_SWITCHES_AFTER_LOCKED),
                        __ATOMIC_RELAXED);
    view->interval_us = interval > UINT32_MAX ? UINT32_MAX : (uint32_t)interval;
    view->waiters = waiters(l);
}

bool gs_layout_conds(const struct gs_layout *l, pthread_cond_t *cond, pthread_cond_t *switch_cond)
{
    return (uintptr_t)cond == cond_address(l) &&
           (uintptr_t)switch_cond == (uintptr_t)cond + GS_COND_TO_SWITCH;
}

pthread_mutex_t *gs_layout_mutex_of(pthread_cond_t *cond)
{
    return (pthread_mutex_t *)(cond + 1);
}

pthread_cond_t *gs_layout_cond(const struct gs_layout *l)
{
    return (pthread_cond_t *)cond_address(l);
}

bool gs_layout_is_wait(const struct gs_layout *l, uintptr_t futex)
{
    return futex - cond_address(l) < sizeof(pthread_cond_t);
}

size_t gs_layout_threads(const struct gs_layout *l, struct gs_tstate *threads, size_t most)
{
    uintptr_t p = __atomic_load_n((const uintptr_t *)at((const void *)l->interp, l->interp_threads),
                                  __ATOMIC_RELAXED);
    size_t n = 0;
    while (p && n < most) {
        uint64_t native_id = 0;
        uintptr_t next = 0;
        int requested = 0;
        struct iovec here[3] = {{&next, 8}, {&native_id, 8}, {&requested, 4}};
        struct iovec there[3] = {{(void *)(p + l->thread_next), 8},
                                 {(void *)(p + l->thread_native_id), 8},
                                 {(void *)(p + l->thread_requested), 4}};
        unsigned pieces = l->thread_requested ? 3 : 2;
        if (process_vm_readv(getpid(), here, pieces, there, pieces, 0) < 16)
            break;
        threads[n++] = (struct gs_tstate){p, (uint32_t)native_id, requested != 0};
        p = next;
    }
    return n;
}

/* ---- other interpreters ---- */

#define MOST_INTERPRETERS 100000 /* a torn list may be a circle */

static bool read_interpreter(const struct gs_layout *l, uintptr_t p, struct gs_interpreter *i,
                             uintptr_t *next)
{
    uintptr_t in_force;
    struct iovec here[3] = {{next, 8}, {&i->id, 8}, {&in_force, 8}};
    struct iovec there[3] = {{(void *)(p + l->interp_next), 8},
                             {(void *)(p + l->interp_id), 8},
                             {(void *)(p + l->interp_gil), 8}};
    if (process_vm_readv(getpid(), here, 3, there, 3, 0) != 24)
        return false;
    uintptr_t own = p + l->interp_own_gil;
    i->address = p;
    i->layout = *l;
    /* Nothing is in force while the interpreter begins. */
    i->layout.gil = in_force == own || !in_force ? own : 0;
    return true;
}

bool gs_layout_interpreters(const struct gs_layout *l,
                            void (*see)(void *context, const struct gs_interpreter *i),
                            void *context)
{
    if (!l->interpreters)
        return false;
    uintptr_t p = __atomic_load_n((const uintptr_t *)l->interpreters, __ATOMIC_RELAXED), next;
    for (int n = 0; n < MOST_INTERPRETERS && p; n++, p = next) {
        struct gs_interpreter i;
        if (!read_interpreter(l, p, &i, &next))
            return false;
        see(context, &i);
        if (p == l->interp) /* the oldest */
            return next == 0;
    }
    return false;
}

uint64_t gs_layout_interpreters_begun(const struct gs_layout *l)
{
    return l->interpreters
               ? __atomic_load_n((const uint64_t *)(l->interpreters + GS_NEXT_ID_AFTER_HEAD),
                                 __ATOMIC_RELAXED)
               : 0;
}

struct fields {
    uint64_t interval, holder, switches;
    int locked;
};

static bool read_own_gil(const struct gs_interpreter *i, struct fields *f)
{
    const struct gs_layout *l = &i->layout;
    if (!l->gil || i->id <= 0 || i->id > INT32_MAX)
        return false;
    struct iovec here[4] = {{&f->interval, 8}, {&f->holder, 8}, {&f->locked, 4}, {&f->switches, 8}};
    struct iovec there[4] = {{(void *)(l->gil + l->gil_holder - GS_INTERVAL_BEFORE_HOLDER), 8},
                             {(void *)(l->gil + l->gil_holder), 8},
                             {(void *)(l->gil + l->gil_locked), 4},
                             {(void *)(l->gil + l->gil_locked + GS_SWITCHES_AFTER_LOCKED), 8}};
    return process_vm_readv(getpid(), here, 4, there, 4, 0) == 28 && f->interval >= 1 &&
           f->interval <= UINT32_MAX;
}

bool gs_layout_gil_begins(const struct gs_interpreter *i, const pthread_cond_t *cond)
{
    struct fields f;
    /* CPython marks a GIL that is not there yet by -1. */
    return cond_address(&i->layout) == (uintptr_t)cond && read_own_gil(i, &f) && f.locked == -1 &&
           f.holder == 0 && f.switches == 0;
}

bool gs_layout_gil_lives(const struct gs_interpreter *i, struct gs_gil_view *view,
                         uint32_t *holder_native_id)
{
    struct fields f;
    uint64_t native_id = 0;
    if (!read_own_gil(i, &f) || (f.locked != 0 && f.locked != 1))
        return false;
    if (f.locked && i->layout.threads_bound)
        gs_layout_read(&native_id, f.holder + i->layout.thread_native_id, sizeof native_id);
    *holder_native_id = (uint32_t)native_id;
    *view = (struct gs_gil_view){.holder = f.holder,
                                 .switches = f.switches,
                                 .interval_us = (uint32_t)f.interval,
                                 .locked = f.locked == 1};
    return true;
}
