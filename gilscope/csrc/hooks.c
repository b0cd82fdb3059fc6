#define _GNU_SOURCE
#include "hooks.h"

#include <errno.h>
#include <pthread.h>

#include "emit.h"
#include "gate.h"
#include "gils.h"

/* Every take of the GIL signals switch_cond and every drop signals cond (CPython since 3.2); a take
 * that finds it locked waits on cond with the switch interval as its timeout, and a drop that obeys
 * a request waits on switch_cond. All but the last happen while the GIL's mutex is held. */
const char *const gs_hooks_names[GS_HOOKS] = {"pthread_cond_signal", "pthread_cond_timedwait",
                                              "pthread_cond_wait", "pthread_cond_init"};

static struct {
    /* Read by every hook. NULL while nothing is recorded: then hooks only pass calls on. */
    pthread_cond_t *_Atomic cond;
    pthread_cond_t *_Atomic switch_cond;
    struct gs_hooked of;
    /* The first drop request of the hold that is on; 0: none. Under the GIL's mutex. */
    uint64_t asked;
} hooks;

_Alignas(128) struct gs_gate gs_gate;

static GS_THREAD_LOCAL struct {
    uint32_t waiting;  /* the binding in which it wrote GS_REQUEST and has not got the GIL yet */
    uint32_t gil;      /* the number it last used of another interpreter's GIL */
    uint64_t acquired; /* when it last got the main interpreter's */
    uintptr_t begun;   /* the condition that it initialised last */
} self;

/* ---- transitions of one GIL; the caller holds its mutex ---- */

static inline void note_acquire(uint32_t gil, uint32_t interpreter)
{
    uint64_t stamp = gs_emit_stamp();
    self.waiting = 0;
    if (gil == 0)
        self.acquired = stamp;
    gs_emit_at(stamp, gil, GS_ACQUIRE, interpreter);
}

/* CPython checks for a drop request at calls and at the ends of loops. A thread that obeys late
 * passed no check: it was inside one operator or C call, which began where the thread was when it
 * was asked, not where it releases now. */
static bool obeys_late(uint64_t stamp)
{
    bool late = stamp - hooks.asked > hooks.of.obeyed_within;
    hooks.asked = 0;
    return late;
}

/* Of the main interpreter's GIL. No thread can take it meanwhile: it is free, but its mutex is
 * held. */
static inline void note_release(void)
{
    uint64_t stamp = gs_emit_stamp();
    uint32_t site = GS_NO_SITE;
    if (hooks.of.sites)
        site = gs_sites_here(hooks.of.sites, gs_layout_holder(&hooks.of.layout),
                             stamp - self.acquired > hooks.of.whole_over,
                             GS_UNLIKELY(hooks.asked) && obeys_late(stamp));
    gs_emit_at(stamp, 0, GS_RELEASE, site);
}

static inline void note_request(uint32_t gil, const struct gs_layout *l, struct gs_gil_view *before)
{
    gs_layout_gil(l, before);
    if (self.waiting != gs_emit.session) {
        self.waiting = gs_emit.session;
        gs_emit_of(gil, GS_REQUEST, before->interval_us);
    }
}

static inline void note_timeout(uint32_t gil, const struct gs_layout *l, uint32_t interpreter,
                                const struct gs_gil_view *before)
{
    struct gs_gil_view after;
    gs_layout_gil(l, &after);
    /* CPython's own condition for a drop request. */
    if (!after.locked || after.switches != before->switches)
        return;
    uint64_t stamp = gs_emit_stamp();
    gs_emit_at(stamp, gil, GS_DROP_REQUEST, interpreter);
    if (gil == 0 && hooks.of.sites && !hooks.asked) {
        hooks.asked = stamp;
        gs_sites_ask(hooks.of.sites, after.holder);
    }
}

/* ---- the hooks, on GILs of other interpreters ---- */

static bool others_known(void)
{
    return GS_UNLIKELY(atomic_load_explicit(&gs_gils.most, memory_order_relaxed) != 0);
}

/* Returns the number of the GIL that this condition belongs to, and from then on the trace does not
 * end before gs_gils_leave(); 0: it belongs to no GIL. */
static uint32_t enter_other(pthread_cond_t *condition, bool *is_switch)
{
    uintptr_t address = (uintptr_t)condition;
    uint32_t gil = gs_gils_find(address, self.gil);
    if (!gil)
        return 0;
    uintptr_t cond = atomic_load_explicit(&gs_gils.conds[gil], memory_order_relaxed);
    *is_switch = cond != address;
    if (!gs_gils_enter(gil, *is_switch ? address - GS_COND_TO_SWITCH : address))
        return 0;
    return self.gil = gil;
}

static __attribute__((noinline)) void other_signals(pthread_cond_t *cond)
{
    bool is_switch;
    uint32_t gil = enter_other(cond, &is_switch);
    if (!gil)
        return;
    uint32_t interpreter = gs_gils.gils[gil].interpreter;
    if (is_switch)
        note_acquire(gil, interpreter);
    else
        gs_emit_of(gil, GS_RELEASE, interpreter);
    gs_gils_leave(gil);
}

static __attribute__((noinline)) int other_waits(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                                 const struct timespec *until)
{
    struct gs_gil_view before;
    uint32_t session = 0;
    bool is_switch;
    uint32_t gil = enter_other(cond, &is_switch);
    if (gil) {
        session = gs_emit.session;
        note_request(gil, &gs_gils.gils[gil].layout, &before);
        gs_gils_leave(gil);
    }
    int result = pthread_cond_timedwait(cond, mutex, until);
    if (session && result == ETIMEDOUT && (gil = enter_other(cond, &is_switch)) != 0) {
        if (session == gs_emit.session)
            note_timeout(gil, &gs_gils.gils[gil].layout, gs_gils.gils[gil].interpreter, &before);
        gs_gils_leave(gil);
    }
    return result;
}

static __attribute__((noinline)) void other_is_forced(pthread_cond_t *cond)
{
    bool is_switch;
    uint32_t gil = enter_other(cond, &is_switch);
    if (!gil)
        return;
    gs_emit_of(gil, GS_FORCED, gs_gils.gils[gil].interpreter);
    gs_gils_leave(gil);
}

/* ---- the hooks ---- */

/* With a watch and without a trace. */
static int on_watched_signal(pthread_cond_t *cond)
{
    gs_gate_signal(cond);
    return pthread_cond_signal(cond);
}

static int on_signal(pthread_cond_t *cond)
{
    if (cond == atomic_load_explicit(&hooks.switch_cond, memory_order_acquire)) {
        note_acquire(0, 0);
        return pthread_cond_signal(cond);
    }
    if (cond == atomic_load_explicit(&hooks.cond, memory_order_acquire))
        note_release();
    else if (others_known())
        other_signals(cond);
    return on_watched_signal(cond);
}

static int on_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    gs_gate_wait(cond);
    if (cond != atomic_load_explicit(&hooks.cond, memory_order_acquire))
        return others_known() ? other_waits(cond, mutex, until)
                              : pthread_cond_timedwait(cond, mutex, until);
    struct gs_gil_view before;
    uint32_t session = gs_emit.session;
    note_request(0, &hooks.of.layout, &before);
    int result = pthread_cond_timedwait(cond, mutex, until);
    /* The mutex is held again. The trace may have ended meanwhile, and another begun. */
    if (result == ETIMEDOUT && cond == atomic_load_explicit(&hooks.cond, memory_order_acquire) &&
        session == gs_emit.session)
        note_timeout(0, &hooks.of.layout, 0, &before);
    return result;
}

static int on_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (cond == atomic_load_explicit(&hooks.switch_cond, memory_order_acquire))
        gs_emit_now(GS_FORCED, 0);
    else if (others_known())
        other_is_forced(cond);
    return pthread_cond_wait(cond, mutex);
}

static int on_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    int result = pthread_cond_init(cond, attributes);
    if (gs_gils_recorded())
        gs_gils_see_init(cond, self.begun);
    self.begun = (uintptr_t)cond;
    return result;
}

void *const gs_hooks_of_watch[GS_HOOKS] = {[GS_HOOK_SIGNAL] = (void *)on_watched_signal,
                                           [GS_HOOK_TIMEDWAIT] = (void *)on_timedwait};
void *const gs_hooks_of_trace[GS_HOOKS] = {
    [GS_HOOK_SIGNAL] = (void *)on_signal,
    [GS_HOOK_TIMEDWAIT] = (void *)on_timedwait,
    [GS_HOOK_WAIT] = (void *)on_wait,
    [GS_HOOK_INIT] = (void *)on_init,
};

/* ---- begin and end ---- */

static pthread_cond_t *switch_cond_of(pthread_cond_t *cond)
{
    return (pthread_cond_t *)((char *)cond + GS_COND_TO_SWITCH);
}

void gs_hooks_aim(const struct gs_hooked *h, pthread_cond_t *cond, pthread_cond_t *switch_cond)
{
    hooks.of = *h;
    hooks.asked = 0;
    atomic_store(&hooks.switch_cond, switch_cond);
    atomic_store(&hooks.cond, cond);
}

void gs_hooks_begin(const struct gs_hooked *h)
{
    pthread_cond_t *cond = gs_layout_cond(&h->layout);
    gs_hooks_aim(h, cond, switch_cond_of(cond));
    gs_gils_begin(&h->layout);
}

void gs_hooks_rest(void)
{
    atomic_store(&hooks.cond, NULL);
    atomic_store(&hooks.switch_cond, NULL);
}

/* A hook that emits holds the mutex that belongs to the condition: once we have had it, all threads
 * that saw the old address are done. */
void gs_hooks_drain(pthread_cond_t *cond)
{
    pthread_mutex_t *mutex = gs_layout_mutex_of(cond);
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
}

uint32_t gs_hooks_end(void)
{
    pthread_cond_t *cond = gs_layout_cond(&hooks.of.layout);
    gs_hooks_rest();
    gs_hooks_drain(cond);
    gs_hooks_drain(switch_cond_of(cond));
    return gs_gils_end();
}

void gs_hooks_abandon(void)
{
    gs_hooks_rest();
    gs_gils_abandon();
}
