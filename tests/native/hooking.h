/* Hooks in a GIL of the test's own, and what they recorded. */
#ifndef GILSCOPE_TESTS_HOOKING_H
#define GILSCOPE_TESTS_HOOKING_H

#include <dlfcn.h>
#include <sched.h>
#include <string.h>

#include "check.h"
#include "emit.h"
#include "fakegil.h"
#include "fork.h"
#include "got.h"
#include "hooks.h"
#include "slots.h"

#define LOG2_SLOTS 18u

static struct gs_ring ring;
static struct fake_thread me; /* of the main thread */
static struct gs_layout layout;
static struct gs_gil_calls calls;
static struct gs_why why;

static void release_and_retake(void)
{
    fake_drop(&me);
    fake_take(&me);
}

/* The main thread takes the GIL and keeps it. */
static void prepare(void)
{
    layout = fake_layout(&fake_main);
    calls = (struct gs_gil_calls){dlsym(RTLD_DEFAULT, "fake_take"), release_and_retake};
    me.native_id = (uint64_t)gettid();
    CHECK_EQUAL(gs_fork_register(), 0);
    fake_take(&me);
}

/* ---- the records ---- */

struct event {
    enum gs_kind kind;
    uint32_t thread, arg, gil;
    uint64_t stamp;
};

static struct event events[1u << LOG2_SLOTS];
static size_t n_events;

static void drain(void)
{
    const struct gs_record *r;
    n_events = 0;
    for (size_t n; (n = gs_ring_peek(&ring, &r, SIZE_MAX)) > 0; gs_ring_take(&ring, n))
        for (size_t i = 0; i < n; i++)
            events[n_events++] =
                (struct event){(enum gs_kind)(r[i].word & 31),
                               (uint32_t)(r[i].word >> 12) & 0xfffff, (uint32_t)(r[i].word >> 32),
                               (uint32_t)(r[i].word >> 5) & 127, r[i].stamp & ~GS_STAMP_LAP};
}

static void begin(void)
{
    CHECK(gs_ring_open(&ring, LOG2_SLOTS));
    gs_emit_bind(&ring, false, NULL);
    CHECK(gs_slots_trace(&why));
    gs_emit_now(GS_BEGIN, 7);
    gs_hooks_begin(&(struct gs_hooked){.layout = layout});
}

static uint32_t missed; /* GILs of other interpreters, in the trace that ended last */

static void end(void)
{
    gs_emit_now(GS_END, 9);
    missed = gs_hooks_end();
    gs_slots_untrace();
    drain();
    CHECK_EQUAL(ring.tail, ring.head);
    gs_ring_close(&ring);
}

static size_t count(enum gs_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < n_events; i++)
        n += events[i].kind == kind;
    return n;
}

static void check_event(size_t i, enum gs_kind kind, uint32_t thread)
{
    CHECK(i < n_events);
    CHECK_EQUAL(events[i].kind, kind);
    CHECK_EQUAL(events[i].thread, thread);
    CHECK(i == 0 || events[i].stamp >= events[i - 1].stamp);
}

static size_t find(enum gs_kind kind, size_t from)
{
    while (from < n_events && events[from].kind != kind)
        from++;
    CHECK(from < n_events);
    return from;
}

/* Waits until the ring holds this many records of one kind, without taking them. */
static void await(enum gs_kind kind, size_t n)
{
    for (size_t seen = 0; seen < n; sched_yield()) {
        const struct gs_record *r;
        size_t there = gs_ring_peek(&ring, &r, SIZE_MAX);
        seen = 0;
        for (size_t i = 0; i < there; i++)
            seen += (r[i].word & 31) == kind;
    }
}

/* ---- the slots ---- */

static const char *const names[] = {"pthread_cond_signal", "pthread_cond_timedwait",
                                    "pthread_cond_wait", "pthread_cond_init"};
enum { N_NAMES = 4 };
static struct gs_got_slot held[GS_GOT_SLOTS];
static int n_held;

static void *real_function(int name)
{
    return dlsym(RTLD_DEFAULT, names[name]);
}

static void check_slots_untouched(void)
{
    for (int i = 0; i < n_held; i++)
        CHECK(*held[i].where == real_function(held[i].name));
}

static void remember_slots(void)
{
    n_held = gs_got_find(calls.inside, names, N_NAMES, held);
    CHECK(n_held >= N_NAMES);
}

/* ---- what a history must be ---- */

#define NO_HOLDER UINT32_MAX
#define UNKNOWN   (UINT32_MAX - 1) /* until the first transition of a GIL */

/* Checks that what was recorded is a history that locks can have. Returns false where records were
 * lost. */
static bool check_history(void)
{
    static bool known[1u << 16], waiting[1u << 16];
    static struct {
        uint32_t holder, interpreter;
        bool there;
    } gils[GS_GILS];
    memset(known, 0, sizeof known);
    memset(waiting, 0, sizeof waiting);
    for (uint32_t g = 0; g < GS_GILS; g++) {
        gils[g].holder = g ? UNKNOWN : NO_HOLDER;
        gils[g].there = g == 0;
        gils[g].interpreter = 0;
    }
    for (size_t i = 0; i < n_events; i++) {
        const struct event *e = &events[i];
        uint32_t *holder = &gils[e->gil].holder;
        CHECK(e->kind == GS_GIL || e->kind == GS_LOST || gils[e->gil].there);
        if (e->kind == GS_ACQUIRE || e->kind == GS_RELEASE || e->kind == GS_FORCED ||
            e->kind == GS_DROP_REQUEST)
            CHECK_EQUAL(e->arg, gils[e->gil].interpreter);
        switch (e->kind) {
        case GS_LOST:
            return false;
        case GS_THREAD:
            CHECK(!known[e->thread]);
            known[e->thread] = true;
            break;
        case GS_GIL:
            CHECK(!gils[e->gil].there);
            gils[e->gil].there = true;
            gils[e->gil].interpreter = e->arg;
            *holder = UNKNOWN;
            break;
        case GS_GIL_END:
            CHECK(*holder == NO_HOLDER || *holder == UNKNOWN);
            gils[e->gil].there = false;
            break;
        case GS_BEGIN:
        case GS_ACQUIRE:
            CHECK(*holder == NO_HOLDER || *holder == UNKNOWN);
            *holder = e->thread;
            waiting[e->thread] = false;
            break;
        case GS_RELEASE:
        case GS_END:
            CHECK(*holder == e->thread || *holder == UNKNOWN);
            *holder = NO_HOLDER;
            break;
        case GS_REQUEST:
            CHECK(!waiting[e->thread]);
            waiting[e->thread] = true;
            break;
        case GS_DROP_REQUEST:
            CHECK(waiting[e->thread]);
            break;
        default:
            CHECK(e->kind == GS_FORCED || e->kind == GS_IDENT_LOW || e->kind == GS_IDENT_HIGH ||
                  e->kind == GS_GIL_HELD);
        }
        CHECK(known[e->thread]);
    }
    return true;
}

#endif
