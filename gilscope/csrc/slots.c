#define _GNU_SOURCE
#include "slots.h"

#include <dlfcn.h>
#include <pthread.h>

#include "emit.h"
#include "got.h"
#include "hooks.h"

/* ---- listening ---- */

static GS_THREAD_LOCAL struct {
    bool on;
    int seen;
    pthread_cond_t *conds[2];
} listener;

static int listen_to_signal(pthread_cond_t *cond)
{
    if (listener.on && listener.seen < 2)
        listener.conds[listener.seen++] = cond;
    return pthread_cond_signal(cond);
}

/* ---- which hooks there are: each set does what those before it do, and more ---- */

static void *const nothing[GS_HOOKS];
static void *const listeners[GS_HOOKS] = {[GS_HOOK_SIGNAL] = (void *)listen_to_signal};

static struct gs_got_slot slots[GS_GOT_SLOTS];
static int n_slots;
static void *const *in_place = nothing;
static bool traced, watched; /* what needs hooks */
static pthread_cond_t *learnt_cond, *learnt_switch_cond;

static bool is_ours(const struct gs_got_slot *slot, const void *function)
{
    int n = slot->name;
    return function && (function == listeners[n] || function == gs_hooks_of_watch[n] ||
                        function == gs_hooks_of_trace[n]);
}

/* ---- one slot ---- */

/* Another tool may write to the slot at the same moment: look again. */
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

/* Puts back what there was before, or fewer hooks. False if the slot no longer holds the hook: then
 * another tool has put its own function over ours, which it still calls, and which only passes
 * calls on from now on. Or a thread was inside its first call, and the dynamic linker then wrote
 * the function's address over ours. */
static bool take_out(struct gs_got_page *last, struct gs_got_slot *slot, void *hook, void *instead)
{
    void *to = instead ? instead : slot->before;
    return hook == to ? __atomic_load_n(slot->where, __ATOMIC_SEQ_CST) == hook
                      : gs_got_swap(last, slot->where, hook, to);
}

/* ---- finding ---- */

static bool in_one_object(const void *a, const void *b)
{
    Dl_info of_a, of_b;
    return dladdr(a, &of_a) && dladdr(b, &of_b) && of_a.dli_fbase == of_b.dli_fbase;
}

/* Binds a slot that is bound lazily, long before a hook goes in: a thread that is in its first call
 * then would end by storing the function's address over the hook. */
static void bind_now(struct gs_got_page *last, const void *inside, const struct gs_got_slot *slot)
{
    void *function = dlsym(RTLD_DEFAULT, gs_hooks_names[slot->name]);
    if (function && in_one_object(inside, slot->before))
        gs_got_swap(last, slot->where, slot->before, function);
}

static bool find_slots(const void *inside, struct gs_why *why)
{
    int per_name[GS_HOOKS] = {0};
    struct gs_got_page last = {0};
    n_slots = gs_got_find(inside, gs_hooks_names, GS_HOOKS, slots);
    for (int i = 0; i < n_slots; i++) {
        per_name[slots[i].name]++;
        bind_now(&last, inside, &slots[i]);
    }
    for (int n = 0; n < GS_HOOKS_NEEDED; n++) {
        if (per_name[n] == 0) {
            n_slots = 0;
            return gs_refuse(why,
                             "the interpreter does not call %s through a slot that can be replaced "
                             "(statically linked C library, or another architecture)",
                             gs_hooks_names[n]);
        }
    }
    return true;
}

/* ---- all slots ---- */

/* From the hooks in `from` to those in `to`, which are fewer, in the first `n` slots. */
static bool shrink(void *const from[GS_HOOKS], void *const to[GS_HOOKS], int n)
{
    bool all = true;
    struct gs_got_page last = {0};
    for (int i = 0; i < n; i++)
        if (from[slots[i].name])
            all &= take_out(&last, &slots[i], from[slots[i].name], to[slots[i].name]);
    in_place = to;
    return all;
}

static bool put_in_all(void *const hook_of[GS_HOOKS], struct gs_why *why)
{
    struct gs_got_page last = {0};
    for (int i = 0; i < n_slots; i++) {
        void *hook = hook_of[slots[i].name];
        if (!hook || put_in(&last, &slots[i], hook))
            continue;
        shrink(hook_of, in_place, i);
        return gs_refuse(why, "the page that holds the interpreter's slots cannot be made writable "
                              "(a security module, or seccomp)");
    }
    in_place = hook_of;
    return true;
}

/* All but those that are still needed. */
static bool take_out_all(void)
{
    return shrink(in_place,
                  traced    ? gs_hooks_of_trace
                  : watched ? gs_hooks_of_watch
                            : nothing,
                  n_slots);
}

/* ---- learning ---- */

static bool listen_once(const struct gs_gil_calls *calls, struct gs_why *why)
{
    if (n_slots == 0 && !find_slots(calls->inside, why))
        return false;
    if (!put_in_all(listeners, why))
        return false;
    listener.on = true;
    listener.seen = 0;
    calls->release_and_retake();
    listener.on = false;
    take_out_all();
    return true;
}

bool gs_slots_learn(const struct gs_layout *l, const struct gs_gil_calls *calls, struct gs_why *why)
{
    while (in_place == listeners) /* another thread is learning and needs the GIL to finish */
        calls->release_and_retake();
    if (in_place != nothing) {
        listener.seen = 2;
        listener.conds[0] = learnt_cond;
        listener.conds[1] = learnt_switch_cond;
    } else if (!listen_once(calls, why)) {
        return false;
    }
    if (listener.seen < 2 || !gs_layout_conds(l, listener.conds[0], listener.conds[1]))
        return gs_refuse(why,
                         "expected a release and an acquire to signal the two conditions of the "
                         "GIL at %p, saw %d signals (%p, %p)",
                         (void *)l->gil, listener.seen, (void *)listener.conds[0],
                         (void *)listener.conds[1]);
    learnt_cond = listener.conds[0];
    learnt_switch_cond = listener.conds[1];
    return true;
}

/* ---- trace and watch ---- */

bool gs_slots_trace(struct gs_why *why)
{
    return traced = put_in_all(gs_hooks_of_trace, why);
}

bool gs_slots_untrace(void)
{
    traced = false;
    return take_out_all();
}

bool gs_slots_watch(struct gs_why *why)
{
    return watched = traced || put_in_all(gs_hooks_of_watch, why);
}

bool gs_slots_unwatch(void)
{
    watched = false;
    return take_out_all();
}

void gs_slots_abandon(void)
{
    traced = watched = false;
    take_out_all();
}

int gs_slots_count(void)
{
    return n_slots;
}

const void *gs_slots_at(int i)
{
    return __atomic_load_n(slots[i].where, __ATOMIC_SEQ_CST);
}
