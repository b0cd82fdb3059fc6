#define _GNU_SOURCE
#include "probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"
#include "got.h"

#define unlikely(x) __builtin_expect(!!(x), 0)

/* Every take of the GIL signals switch_cond and every drop signals cond (CPython since 3.2); a take
 * that finds it locked waits on cond with the switch interval as its timeout, and a drop that obeys
 * a request waits on switch_cond. All but the last happen while the GIL's mutex is held. */
enum { SIGNAL, TIMEDWAIT, WAIT, N_NAMES };
static const char *const names[N_NAMES] = {"pthread_cond_signal", "pthread_cond_timedwait",
                                           "pthread_cond_wait"};

static struct {
    /* Read by every hook. NULL while nothing is recorded: then hooks only pass calls on. */
    pthread_cond_t *_Atomic cond;
    pthread_cond_t *_Atomic switch_cond;
    struct gs_ring *ring;
    void (*nudge)(void);
    bool tsc;
    uint32_t session;
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
    uint32_t waiting; /* the binding in which it has said GS_REQUEST and not got the GIL yet */
} self;

static THREAD_LOCAL struct {
    bool on;
    int seen;
    pthread_cond_t *conds[2];
} lesson;

/* ---- recording ---- */

static inline void put(enum gs_kind kind, uint32_t arg, uint64_t stamp)
{
    if (unlikely(gs_ring_put(probe.ring, stamp, gs_word(kind, self.thread, arg))) && probe.nudge)
        probe.nudge();
}

/* First record of this thread since the binding. */
static __attribute__((noinline)) void enroll(uint64_t stamp)
{
    int saved = errno;
    uint64_t ident = (uint64_t)pthread_self();
    self.session = probe.session;
    self.thread = atomic_fetch_add(&probe.next_thread, 1) & ((1u << GS_THREAD_BITS) - 1);
    put(GS_THREAD, (uint32_t)syscall(SYS_gettid), stamp);
    put(GS_IDENT_LOW, (uint32_t)ident, stamp);
    put(GS_IDENT_HIGH, (uint32_t)(ident >> 32), stamp);
    errno = saved;
}

static inline void emit(enum gs_kind kind, uint32_t arg)
{
    uint64_t stamp = gs_clock_stamp(probe.tsc);
    if (unlikely(self.session != probe.session))
        enroll(stamp);
    put(kind, arg, stamp);
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
    probe.session++;
    atomic_store(&probe.next_thread, 0);
}

/* ---- the hooks ---- */

static int on_signal(pthread_cond_t *cond)
{
    if (cond == atomic_load_explicit(&probe.switch_cond, memory_order_acquire)) {
        self.waiting = 0;
        emit(GS_ACQUIRE, 0);
    } else if (cond == atomic_load_explicit(&probe.cond, memory_order_acquire)) {
        emit(GS_RELEASE, 0);
    }
    return pthread_cond_signal(cond);
}

static int on_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until)
{
    if (cond != atomic_load_explicit(&probe.cond, memory_order_acquire))
        return pthread_cond_timedwait(cond, mutex, until);
    struct gs_gil_view before, after;
    uint32_t session = probe.session;
    gs_layout_gil(&probe.layout, &before);
    if (self.waiting != session) {
        self.waiting = session;
        emit(GS_REQUEST, before.interval_us);
    }
    int result = pthread_cond_timedwait(cond, mutex, until);
    /* The mutex is held again. The trace may have ended meanwhile, and another begun. */
    if (result == ETIMEDOUT && cond == atomic_load_explicit(&probe.cond, memory_order_acquire) &&
        session == probe.session) {
        /* CPython's own condition for asking the holder to let go. */
        gs_layout_gil(&probe.layout, &after);
        if (after.locked && after.switches == before.switches)
            emit(GS_DROP_REQUEST, 0);
    }
    return result;
}

static int on_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (cond == atomic_load_explicit(&probe.switch_cond, memory_order_acquire))
        emit(GS_FORCED, 0);
    return pthread_cond_wait(cond, mutex);
}

static int learn_signal(pthread_cond_t *cond)
{
    if (lesson.on && lesson.seen < 2)
        lesson.conds[lesson.seen++] = cond;
    return pthread_cond_signal(cond);
}

static void *const hooks[N_NAMES] = {(void *)on_signal, (void *)on_timedwait, (void *)on_wait};

/* ---- putting them in and out ---- */

/* Another tool may put something of its own in at the same moment: look again. */
static bool put_in(struct gs_got_slot *slot, void *hook)
{
    for (int attempt = 0; attempt < 8; attempt++) {
        slot->before = __atomic_load_n(slot->where, __ATOMIC_SEQ_CST);
        if (slot->before == hook || gs_got_swap(slot->where, slot->before, hook))
            return true;
    }
    return false;
}

/* False where the slot no longer holds the hook. Another tool has put its own function over ours:
 * it still calls ours, which then only passes calls on. Or a thread was inside its first call, and
 * the dynamic linker then wrote the function's address over ours. */
static bool take_out(struct gs_got_slot *slot, void *hook)
{
    return slot->before == hook || gs_got_swap(slot->where, hook, slot->before);
}

static bool in_one_object(const void *a, const void *b)
{
    Dl_info of_a, of_b;
    return dladdr(a, &of_a) && dladdr(b, &of_b) && of_a.dli_fbase == of_b.dli_fbase;
}

/* Binds what is bound lazily, long before a hook goes in: a thread that is in its first call then
 * would end by storing the function's address over the hook. */
static void bind_now(const void *inside, const struct gs_got_slot *slot)
{
    void *function = dlsym(RTLD_DEFAULT, names[slot->name]);
    if (function && in_one_object(inside, slot->before))
        gs_got_swap(slot->where, slot->before, function);
}

static bool find_slots(const void *inside, char *why, size_t why_size)
{
    int per_name[N_NAMES] = {0};
    n_slots = gs_got_find(inside, names, N_NAMES, slots);
    for (int i = 0; i < n_slots; i++) {
        per_name[slots[i].name]++;
        bind_now(inside, &slots[i]);
    }
    for (int n = 0; n < N_NAMES; n++) {
        if (per_name[n] == 0) {
            snprintf(why, why_size,
                     "the interpreter does not call %s through a slot that can be replaced "
                     "(statically linked C library, or another architecture)",
                     names[n]);
            n_slots = 0;
            return false;
        }
    }
    return true;
}

static bool put_in_all(void *const hook_of[N_NAMES], char *why, size_t why_size)
{
    for (int i = 0; i < n_slots; i++) {
        void *hook = hook_of[slots[i].name];
        if (!hook || put_in(&slots[i], hook))
            continue;
        while (i-- > 0)
            if (hook_of[slots[i].name])
                take_out(&slots[i], hook_of[slots[i].name]);
        snprintf(why, why_size,
                 "the page that holds the interpreter's slots cannot be made writable "
                 "(a security module, or seccomp)");
        return false;
    }
    return true;
}

static bool take_out_all(void *const hook_of[N_NAMES])
{
    bool all = true;
    for (int i = 0; i < n_slots; i++)
        if (hook_of[slots[i].name])
            all &= take_out(&slots[i], hook_of[slots[i].name]);
    return all;
}

bool gs_probe_learn(const struct gs_layout *l, const struct gs_gil_calls *calls, char *why,
                    size_t why_size)
{
    static void *const learners[N_NAMES] = {[SIGNAL] = (void *)learn_signal};
    if (n_slots == 0 && !find_slots(calls->inside, why, why_size))
        return false;
    if (!put_in_all(learners, why, why_size))
        return false;
    lesson.on = true;
    lesson.seen = 0;
    calls->release_and_retake();
    lesson.on = false;
    take_out_all(learners);
    if (lesson.seen < 2 || !gs_layout_conds(l, lesson.conds[0], lesson.conds[1])) {
        snprintf(why, why_size,
                 "expected a release and an acquire to signal the two conditions of the GIL at %p, "
                 "saw %d signals (%p, %p)",
                 (void *)l->gil, lesson.seen, (void *)lesson.conds[0], (void *)lesson.conds[1]);
        return false;
    }
    learnt_cond = lesson.conds[0];
    learnt_switch_cond = lesson.conds[1];
    return true;
}

bool gs_probe_install(const struct gs_layout *l, char *why, size_t why_size)
{
    probe.layout = *l;
    return put_in_all(hooks, why, why_size);
}

void gs_probe_begin(uint32_t switches, bool recording)
{
    emit(GS_BEGIN, switches);
    if (!recording)
        return;
    atomic_store(&probe.switch_cond, learnt_switch_cond);
    atomic_store(&probe.cond, learnt_cond);
}

/* Whoever emits from a hook holds the mutex that belongs to the condition: once we have had it, all
 * who saw the old value are done. */
static void wait_for_hooks(pthread_cond_t *cond)
{
    pthread_mutex_t *mutex = gs_layout_mutex_of(cond);
    pthread_mutex_lock(mutex);
    pthread_mutex_unlock(mutex);
}

static void disarm(void)
{
    atomic_store(&probe.cond, NULL);
    atomic_store(&probe.switch_cond, NULL);
}

void gs_probe_end(uint32_t switches, bool recording)
{
    emit(GS_END, switches);
    if (!recording)
        return;
    disarm();
    wait_for_hooks(learnt_cond);
    wait_for_hooks(learnt_switch_cond);
}

bool gs_probe_remove(void)
{
    return take_out_all(hooks);
}

void gs_probe_abandon(void)
{
    disarm();
    take_out_all(hooks);
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

void gs_probe_cost(uint32_t n, double *hooked_ns, double *bare_ns)
{
    pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
    atomic_store(&probe.cond, &cond);
    *hooked_ns = per_call(on_signal, &cond, n);
    atomic_store(&probe.cond, NULL);
    *bare_ns = per_call(pthread_cond_signal, &cond, n);
    pthread_cond_destroy(&cond);
}
