#define _GNU_SOURCE
#include "probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "gils.h"
#include "got.h"
#include "watch.h"

#define unlikely(x) __builtin_expect(!!(x), 0)

/* Every take of the GIL signals switch_cond and every drop signals cond (CPython since 3.2); a take
 * that finds it locked waits on cond with the switch interval as its timeout, and a drop that obeys
 * a request waits on switch_cond. All but the last happen while the GIL's mutex is held. */
enum { SIGNAL, TIMEDWAIT, WAIT, INIT, N_NAMES };
static const char *const names[N_NAMES] = {"pthread_cond_signal", "pthread_cond_timedwait",
                                           "pthread_cond_wait", "pthread_cond_init"};
enum { N_NEEDED = INIT }; /* without the last, GILs that begin in mid-trace stay unseen */

static struct {
    /* Read by every hook. NULL while nothing is recorded: then hooks only pass calls on. */
    pthread_cond_t *_Atomic cond;
    pthread_cond_t *_Atomic switch_cond;
    struct gs_ring *ring;
    void (*nudge)(void);
    bool tsc;
    uint32_t session;
    struct gs_sites *sites; /* NULL: releases do not say where they were */
    uint64_t whole_over;    /* of longer holds, in stamps, the whole stack is kept */
    uint64_t obeyed_within; /* stamps from a drop request to the release, where Python runs */
    /* The first drop request of the hold that is on; 0: none. Under the GIL's mutex. */
    uint64_t asked;
    struct gs_layout layout;
    _Alignas(128) _Atomic uint32_t next_thread;
} probe;

/* What installation knows, off the hot path. */
static struct gs_got_slot slots[GS_GOT_SLOTS];
static int n_slots;
static pthread_cond_t *learnt_cond, *learnt_switch_cond;

/* Initial-exec where the C library has room for it: else the first touch in each thread would call
 * the allocator from inside a hook. musl allocates it when the thread begins. */
#ifdef __GLIBC__
#define THREAD_LOCAL __thread __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL __thread
#endif

static THREAD_LOCAL struct {
    uint32_t session; /* the binding that `thread` belongs to */
    uint32_t thread;
    uint32_t waiting;  /* the binding in which it has said GS_REQUEST and not got the GIL yet */
    uint32_t gil;      /* the number it last used of another interpreter's GIL */
    uint64_t acquired; /* when it last got the main interpreter's */
    uintptr_t begun;   /* the condition that it initialised last */
} self;

static THREAD_LOCAL struct {
    bool on;
    int seen;
    pthread_cond_t *conds[2];
} lesson;

/* ---- recording ---- */

static inline void put(uint32_t gil, enum gs_kind kind, uint32_t arg, uint64_t stamp)
{
    uint64_t word = gs_word(kind, self.thread, arg) | (uint64_t)gil << GS_GIL_SHIFT;
    if (unlikely(gs_ring_put(probe.ring, stamp, word)) && probe.nudge)
        probe.nudge();
}

/* First record of this thread since the binding. */
static __attribute__((noinline)) void enroll(uint32_t gil, uint64_t stamp)
{
    int saved = errno;
    uint64_t ident = (uint64_t)pthread_self();
    self.session = probe.session;
    self.thread = atomic_fetch_add(&probe.next_thread, 1) & ((1u << GS_THREAD_BITS) - 1);
    put(gil, GS_THREAD, (uint32_t)syscall(SYS_gettid), stamp);
    put(gil, GS_IDENT_LOW, (uint32_t)ident, stamp);
    put(gil, GS_IDENT_HIGH, (uint32_t)(ident >> 32), stamp);
    errno = saved;
}

static inline void emit_at(uint64_t stamp, uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    if (unlikely(self.session != probe.session))
        enroll(gil, stamp);
    put(gil, kind, arg, stamp);
}

static inline void emit_of(uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    emit_at(gs_clock_stamp(probe.tsc), gil, kind, arg);
}

static inline void emit(enum gs_kind kind, uint32_t arg)
{
    emit_of(0, kind, arg);
}

void gs_probe_emit(enum gs_kind kind, uint32_t arg)
{
    emit(kind, arg);
}

void gs_probe_bind(struct gs_ring *ring, bool tsc, void (*nudge)(void))
{
    probe.ring = ring;
    probe.tsc = tsc;
    probe.nudge = nudge;
    probe.sites = NULL;
    probe.asked = 0;
    probe.session++;
    atomic_store(&probe.next_thread, 0);
}

void gs_probe_locate(struct gs_sites *sites, uint64_t whole_over, uint64_t obeyed_within)
{
    probe.sites = sites;
    probe.whole_over = whole_over;
    probe.obeyed_within = obeyed_within;
}

/* ---- what hooks see of one GIL; they hold its mutex ---- */

static inline void note_acquire(uint32_t gil, uint32_t interpreter)
{
    uint64_t stamp = gs_clock_stamp(probe.tsc);
    self.waiting = 0;
    if (gil == 0)
        self.acquired = stamp;
    emit_at(stamp, gil, GS_ACQUIRE, interpreter);
}

/* CPython looks whether it is asked at calls and at the ends of loops. Who takes long to obey came
 * by none of them: all the while it was in one operator, or in C code, which began where it was
 * when it was asked, not where it lets go now. */
static bool kept_it(uint64_t stamp)
{
    bool kept = stamp - probe.asked > probe.obeyed_within;
    probe.asked = 0;
    return kept;
}

/* Of the main interpreter's GIL. Nobody can take it meanwhile: it is free, but its mutex is held.
 */
static inline void note_release(void)
{
    uint64_t stamp = gs_clock_stamp(probe.tsc);
    uint32_t site = GS_NO_SITE;
    if (probe.sites)
        site = gs_sites_here(probe.sites, gs_layout_holder(&probe.layout),
                             stamp - self.acquired > probe.whole_over,
                             unlikely(probe.asked) && kept_it(stamp));
    emit_at(stamp, 0, GS_RELEASE, site);
}

static inline void note_request(uint32_t gil, const struct gs_layout *l, struct gs_gil_view *before)
{
    gs_layout_gil(l, before);
    if (self.waiting != probe.session) {
        self.waiting = probe.session;
        emit_of(gil, GS_REQUEST, before->interval_us);
    }
}

static inline void note_timeout(uint32_t gil, const struct gs_layout *l, uint32_t interpreter,
                                const struct gs_gil_view *before)
{
    struct gs_gil_view after;
    gs_layout_gil(l, &after);
    /* CPython's own condition for asking the holder to let go. */
    if (!after.locked || after.switches != before->switches)
        return;
    uint64_t stamp = gs_clock_stamp(probe.tsc);
    emit_at(stamp, gil, GS_DROP_REQUEST, interpreter);
    if (gil == 0 && probe.sites && !probe.asked) {
        probe.asked = stamp;
        gs_sites_ask(probe.sites, after.holder);
    }
}

/* ---- the hooks, where it is not the main interpreter's GIL ---- */

static bool others_known(void)
{
    return unlikely(atomic_load_explicit(&gs_gils.most, memory_order_relaxed) != 0);
}

/* Returns the number of the GIL whose condition this is, and from then on the trace does not end
 * before gs_gils_leave(); 0: it is nobody's. */
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
        emit_of(gil, GS_RELEASE, interpreter);
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
        session = probe.session;
        note_request(gil, &gs_gils.gils[gil].layout, &before);
        gs_gils_leave(gil);
    }
    int result = pthread_cond_timedwait(cond, mutex, until);
    if (session && result == ETIMEDOUT && (gil = enter_other(cond, &is_switch)) != 0) {
        if (session == probe.session)
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
    emit_of(gil, GS_FORCED, gs_gils.gils[gil].interpreter);
    gs_gils_leave(gil);
}

/* ---- the hooks ---- */

/* Where there is a watch, and no trace. */
static int on_watched_signal(pthread_cond_t *cond)
{
    gs_watch_signal(cond);
    return pthread_cond_signal(cond);
}

static int on_signal(pthread_cond_t *cond)
{
    if (cond == atomic_load_explicit(&probe.switch_cond, memory_order_acquire)) {
        note_acquire(0, 0);
        return pthread_cond_signal(cond);
    }
    if (cond == atomic_load_explicit(&probe.cond, memory_order_acquire))
        note_release();
    else if (others_known())
        other_signals(cond);
    return on_watched_signal(cond);
}

static int on_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    gs_watch_wait(cond);
    if (cond != atomic_load_explicit(&probe.cond, memory_order_acquire))
        return others_known() ? other_waits(cond, mutex, until)
                              : pthread_cond_timedwait(cond, mutex, until);
    struct gs_gil_view before;
    uint32_t session = probe.session;
    note_request(0, &probe.layout, &before);
    int result = pthread_cond_timedwait(cond, mutex, until);
    /* The mutex is held again. The trace may have ended meanwhile, and another begun. */
    if (result == ETIMEDOUT && cond == atomic_load_explicit(&probe.cond, memory_order_acquire) &&
        session == probe.session)
        note_timeout(0, &probe.layout, 0, &before);
    return result;
}

static int on_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (cond == atomic_load_explicit(&probe.switch_cond, memory_order_acquire))
        emit(GS_FORCED, 0);
    else if (others_known())
        other_is_forced(cond);
    return pthread_cond_wait(cond, mutex);
}

/* ---- GILs that come and go ---- */

/* Of GILs that come and go; hooks on a GIL in use never take it. */
static struct {
    pthread_mutex_t mutex;
    _Atomic bool on;
    uint32_t too_many; /* GILs for which there was no number */
} registry = {.mutex = PTHREAD_MUTEX_INITIALIZER};

/* A thread that tells of a GIL need not belong to it. */
static void tell_of(uint32_t gil, enum gs_kind kind, uint32_t arg)
{
    if (self.session != probe.session)
        enroll(0, gs_clock_stamp(probe.tsc));
    emit_of(gil, kind, arg);
}

static void enter_gil(const struct gs_interpreter *i)
{
    uint32_t gil = gs_gils_free_number();
    if (gil) {
        tell_of(gil, GS_GIL, (uint32_t)i->id);
        gs_gils_add(gil, i);
    } else {
        registry.too_many++;
    }
    self.gil = gil;
}

static void end_gil(uint32_t gil)
{
    gs_gils_remove(gil);
    tell_of(gil, GS_GIL_END, gs_gils.gils[gil].interpreter);
}

/* What one look at the list of interpreters finds. */
struct look {
    const pthread_cond_t *cond; /* of a GIL that may be beginning */
    bool begins;
    struct gs_interpreter beginner;
    bool alive[GS_GILS];
    uint32_t unknown; /* have GILs that have no number */
};

static void look_at(void *context, const struct gs_interpreter *i)
{
    struct look *look = context;
    struct gs_gil_view view;
    uint32_t holder;
    if (!i->layout.gil || i->address == probe.layout.interp)
        return;
    if (look->cond && gs_layout_gil_begins(i, look->cond)) {
        look->begins = true;
        look->beginner = *i;
        return;
    }
    uint32_t gil = gs_gils_find((uintptr_t)gs_layout_cond(&i->layout), 0);
    if (gil && gs_gils.gils[gil].interpreter == (uint32_t)i->id)
        look->alive[gil] = true;
    else if (gs_layout_gil_lives(i, &view, &holder))
        look->unknown++;
}

/* Somebody has initialised two conditions one after the other that stand as far apart as those of a
 * GIL. It is one only if an interpreter says so. */
static void perhaps_a_gil(const pthread_cond_t *cond)
{
    struct look look = {.cond = cond};
    bool whole = gs_layout_interpreters(&probe.layout, look_at, &look);
    if (!look.begins)
        return;
    /* An interpreter's end is told to nobody. */
    for (uint32_t gil = 1; whole && gil < GS_GILS; gil++)
        if (atomic_load(&gs_gils.conds[gil]) && !look.alive[gil])
            end_gil(gil);
    enter_gil(&look.beginner);
}

static void a_condition_begins(pthread_cond_t *cond)
{
    int saved = errno;
    pthread_mutex_lock(&registry.mutex);
    if (atomic_load(&registry.on)) {
        uint32_t before = gs_gils_find((uintptr_t)cond, 0);
        if (before) /* its memory has been freed, and is something else now */
            end_gil(before);
        if ((uintptr_t)cond - self.begun == GS_COND_TO_SWITCH)
            perhaps_a_gil((const pthread_cond_t *)self.begun);
    }
    pthread_mutex_unlock(&registry.mutex);
    errno = saved;
}

static int on_init(pthread_cond_t *cond, const pthread_condattr_t *attributes)
{
    int result = pthread_cond_init(cond, attributes);
    if (atomic_load(&registry.on))
        a_condition_begins(cond);
    self.begun = (uintptr_t)cond;
    return result;
}

/* A GIL that was there before the trace. Its first transition may lie far ahead; until then all
 * that is known is who holds it, if anybody does. */
static void find_gil(void *unused, const struct gs_interpreter *i)
{
    (void)unused;
    struct gs_gil_view view;
    uint32_t holder;
    if (i->address == probe.layout.interp || !gs_layout_gil_lives(i, &view, &holder))
        return;
    uint32_t gil = gs_gils_find((uintptr_t)gs_layout_cond(&i->layout), 0);
    if (gil)
        return;
    enter_gil(i);
    /* Again, now that each of its transitions is recorded. */
    if ((gil = self.gil) != 0 && gs_layout_gil_lives(i, &view, &holder) && view.locked)
        tell_of(gil, GS_GIL_HELD, holder);
}

static void begin_others(void)
{
    pthread_mutex_lock(&registry.mutex);
    registry.too_many = 0;
    atomic_store(&registry.on, true);
    gs_layout_interpreters(&probe.layout, find_gil, NULL);
    pthread_mutex_unlock(&registry.mutex);
}

/* Returns how many GILs there were of which nothing was recorded. */
static uint32_t end_others(void)
{
    struct look look = {0};
    pthread_mutex_lock(&registry.mutex);
    atomic_store(&registry.on, false);
    gs_layout_interpreters(&probe.layout, look_at, &look);
    for (uint32_t gil = 1; gil < GS_GILS; gil++)
        gs_gils_remove(gil);
    pthread_mutex_unlock(&registry.mutex);
    return look.unknown > registry.too_many ? look.unknown : registry.too_many;
}

/* ---- learning ---- */

static int learn_signal(pthread_cond_t *cond)
{
    if (lesson.on && lesson.seen < 2)
        lesson.conds[lesson.seen++] = cond;
    return pthread_cond_signal(cond);
}

/* ---- which hooks there are: each set does what those before it do, and more ---- */

static void *const nothing[N_NAMES];
static void *const learners[N_NAMES] = {[SIGNAL] = (void *)learn_signal};
static void *const watchers[N_NAMES] = {[SIGNAL] = (void *)on_watched_signal,
                                        [TIMEDWAIT] = (void *)on_timedwait};
static void *const hooks[N_NAMES] = {(void *)on_signal, (void *)on_timedwait, (void *)on_wait,
                                     (void *)on_init};
static void *const *in_place = nothing;
static bool traced, watched; /* who wants hooks */

static bool is_ours(const struct gs_got_slot *slot, const void *function)
{
    int n = slot->name;
    return function && (function == learners[n] || function == watchers[n] || function == hooks[n]);
}

/* ---- putting them in and out ---- */

/* Another tool may put something of its own in at the same moment: look again. */
static bool put_in(struct gs_got_page *last, struct gs_got_slot *slot, void *hook)
{
    for (int attempt = 0; attempt < 8; attempt++) {
        void *there = __atomic_load_n(slot->where, __ATOMIC_SEQ_CST);
        if (!is_ours(slot, there))
            slot->before = there;
        if (there == hook || gs_got_swap(last, slot->where, there, hook))
            return true;
    }
    return false;
}

/* Puts back what there was before, or fewer hooks. False where the slot no longer holds the hook.
 * Another tool has put its own function over ours: it still calls ours, which then only passes
 * calls on. Or a thread was inside its first call, and the dynamic linker then wrote the function's
 * address over ours. */
static bool take_out(struct gs_got_page *last, struct gs_got_slot *slot, void *hook, void *instead)
{
    void *to = instead ? instead : slot->before;
    return hook == to ? __atomic_load_n(slot->where, __ATOMIC_SEQ_CST) == hook
                      : gs_got_swap(last, slot->where, hook, to);
}

static bool in_one_object(const void *a, const void *b)
{
    Dl_info of_a, of_b;
    return dladdr(a, &of_a) && dladdr(b, &of_b) && of_a.dli_fbase == of_b.dli_fbase;
}

/* Binds what is bound lazily, long before a hook goes in: a thread that is in its first call then
 * would end by storing the function's address over the hook. */
static void bind_now(struct gs_got_page *last, const void *inside, const struct gs_got_slot *slot)
{
    void *function = dlsym(RTLD_DEFAULT, names[slot->name]);
    if (function && in_one_object(inside, slot->before))
        gs_got_swap(last, slot->where, slot->before, function);
}

static bool find_slots(const void *inside, struct gs_why *why)
{
    int per_name[N_NAMES] = {0};
    struct gs_got_page last = {0};
    n_slots = gs_got_find(inside, names, N_NAMES, slots);
    for (int i = 0; i < n_slots; i++) {
        per_name[slots[i].name]++;
        bind_now(&last, inside, &slots[i]);
    }
    for (int n = 0; n < N_NEEDED; n++) {
        if (per_name[n] == 0) {
            gs_refuse(why,
                      "the interpreter does not call %s through a slot that can be replaced "
                      "(statically linked C library, or another architecture)",
                      names[n]);
            n_slots = 0;
            return false;
        }
    }
    return true;
}

/* From the hooks in `from` to those in `to`, which are fewer. */
static bool shrink(void *const from[N_NAMES], void *const to[N_NAMES], int n)
{
    bool all = true;
    struct gs_got_page last = {0};
    for (int i = 0; i < n; i++)
        if (from[slots[i].name])
            all &= take_out(&last, &slots[i], from[slots[i].name], to[slots[i].name]);
    in_place = to;
    return all;
}

static bool put_in_all(void *const hook_of[N_NAMES], struct gs_why *why)
{
    struct gs_got_page last = {0};
    for (int i = 0; i < n_slots; i++) {
        void *hook = hook_of[slots[i].name];
        if (!hook || put_in(&last, &slots[i], hook))
            continue;
        shrink(hook_of, in_place, i);
        gs_refuse(why, "the page that holds the interpreter's slots cannot be made writable "
                       "(a security module, or seccomp)");
        return false;
    }
    in_place = hook_of;
    return true;
}

static bool take_out_all(void)
{
    return shrink(in_place, traced ? hooks : watched ? watchers : nothing, n_slots);
}

/* Also of a fork in mid-lesson, of which whoever forks may know nothing. */
static void register_fork_handler(void)
{
    static bool registered;
    if (!registered)
        registered = pthread_atfork(NULL, NULL, gs_probe_abandon) == 0;
}

static bool take_lesson(const struct gs_gil_calls *calls, struct gs_why *why)
{
    register_fork_handler();
    if (n_slots == 0 && !find_slots(calls->inside, why))
        return false;
    if (!put_in_all(learners, why))
        return false;
    lesson.on = true;
    lesson.seen = 0;
    calls->release_and_retake();
    lesson.on = false;
    take_out_all();
    return true;
}

bool gs_probe_learn(const struct gs_layout *l, const struct gs_gil_calls *calls, struct gs_why *why)
{
    while (in_place == learners) /* of a thread that needs the GIL to end its lesson */
        calls->release_and_retake();
    if (in_place != nothing) {
        lesson.seen = 2;
        lesson.conds[0] = learnt_cond;
        lesson.conds[1] = learnt_switch_cond;
    } else if (!take_lesson(calls, why)) {
        return false;
    }
    if (lesson.seen < 2 || !gs_layout_conds(l, lesson.conds[0], lesson.conds[1])) {
        gs_refuse(
            why,
            "expected a release and an acquire to signal the two conditions of the GIL at %p, "
            "saw %d signals (%p, %p)",
            (void *)l->gil, lesson.seen, (void *)lesson.conds[0], (void *)lesson.conds[1]);
        return false;
    }
    learnt_cond = lesson.conds[0];
    learnt_switch_cond = lesson.conds[1];
    return true;
}

bool gs_probe_install(const struct gs_layout *l, struct gs_why *why)
{
    probe.layout = *l;
    return traced = put_in_all(hooks, why);
}

void gs_probe_begin(uint32_t switches, bool recording)
{
    emit(GS_BEGIN, switches);
    if (!recording)
        return;
    atomic_store(&probe.switch_cond, learnt_switch_cond);
    atomic_store(&probe.cond, learnt_cond);
    begin_others();
}

/* Whoever emits from a hook holds the mutex that belongs to the condition: once we have had it, all
 * who saw the old value are done. */
static void wait_for_hooks(pthread_cond_t *cond)
{
    pthread_mutex_t *mutex = gs_layout_mutex_of(cond);
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
}

void gs_probe_rest(void)
{
    atomic_store(&probe.cond, NULL);
    atomic_store(&probe.switch_cond, NULL);
}

uint32_t gs_probe_end(uint32_t switches, bool recording)
{
    emit(GS_END, switches);
    if (!recording)
        return 0;
    gs_probe_rest();
    wait_for_hooks(learnt_cond);
    wait_for_hooks(learnt_switch_cond);
    return end_others();
}

bool gs_probe_remove(void)
{
    traced = false;
    return take_out_all();
}

void gs_probe_abandon(void)
{
    gs_probe_rest();
    probe.sites = NULL;
    pthread_mutex_init(&registry.mutex, NULL); /* a thread that is not here may have held it */
    atomic_store(&registry.on, false);
    gs_gils_forget();
    traced = watched = false;
    take_out_all();
}

/* ---- for a watch ---- */

pthread_cond_t *gs_probe_watch(struct gs_why *why)
{
    watched = traced || put_in_all(watchers, why);
    return watched ? learnt_cond : NULL;
}

void gs_probe_unwatch(void)
{
    wait_for_hooks(learnt_cond);
    watched = false;
    take_out_all();
}

int gs_probe_slots(void)
{
    return n_slots;
}

const void *gs_probe_slot(int i)
{
    return __atomic_load_n(slots[i].where, __ATOMIC_SEQ_CST);
}

/* ---- what it costs ---- */

static double per_call(int (*call)(pthread_cond_t *), pthread_cond_t *cond, uint32_t n)
{
    uint64_t start = gs_clock_ns(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < n; i++) {
        call(cond);
        /* Nobody drains this ring: hand the slots back as the sampler would. */
        if ((i & 0xfff) == 0xfff && probe.ring)
            gs_ring_take(probe.ring, probe.ring->head - probe.ring->tail);
    }
    return (double)(gs_clock_ns(CLOCK_MONOTONIC) - start) / n;
}

void gs_probe_cost(uint32_t n, const struct gs_layout *l, double *hooked_ns, double *bare_ns)
{
    if (l)
        probe.layout = *l;
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    atomic_store(&probe.cond, &cond);
    *hooked_ns = per_call(on_signal, &cond, n);
    atomic_store(&probe.cond, NULL);
    *bare_ns = per_call(pthread_cond_signal, &cond, n);
    pthread_cond_destroy(&cond);
}
