/* A watch in a GIL of the test's own: it reports the long holds that a thread waited for and no
 * others, and works beside traces. Built like test_hooks.c. */
#define _GNU_SOURCE
#include "check.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include "gate.h"
#include "hooking.h"
#include "watch.h"

#define OVER_NS 20000000u /* 20 ms */
#define LONG_US 25000

static uint32_t watching;

static void watch_by(uint64_t watcher, uint64_t over_ns)
{
    struct gs_watch_options o = {.layout = layout, .over_ns = over_ns, .watcher = watcher};
    gs_watch_clear();
    CHECK(gs_slots_learn(&layout, &calls, &why));
    CHECK(!gs_watch_is_on(0));
    uint32_t before = watching;
    watching = gs_watch_begin(&o, &why);
    CHECK(watching != 0 && watching != before);
    CHECK(gs_watch_is_on(watching) && gs_watch_is_on(0));
    CHECK(!before || !gs_watch_is_on(before));
}

static void watch_over(uint64_t over_ns)
{
    watch_by(0, over_ns);
}

static void check_counts(uint64_t seen, uint64_t dropped)
{
    uint64_t now_seen, now_dropped;
    CHECK(gs_watch_counts(watching, &now_seen, &now_dropped));
    CHECK_EQUAL(now_seen, seen);
    CHECK_EQUAL(now_dropped, dropped);
}

static bool a_thread_waits(void)
{
    return atomic_load(&gs_gate.held) != NULL;
}

static void *take_and_drop(void *unused)
{
    struct fake_thread self = {0};
    fake_take(&self);
    fake_drop(&self);
    return unused;
}

/* Another thread waits for the GIL; then this one keeps it for that long, and releases it. */
static uint64_t keep_from_another(useconds_t us)
{
    pthread_t other;
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
    while (!a_thread_waits())
        sched_yield();
    usleep(us);
    fake_drop(&me);
    pthread_join(other, NULL);
    fake_take(&me);
    return (uint64_t)other;
}

static void check_taken(uint64_t waiter, uint64_t from_ns, uint64_t to_ns)
{
    struct gs_long_hold h;
    CHECK(gs_watch_take(watching, &h));
    CHECK_EQUAL(h.ident, (uint64_t)pthread_self());
    CHECK_EQUAL(h.native_id, gettid());
    CHECK_EQUAL(h.n_waiters, 1);
    CHECK_EQUAL(h.waiters[0], waiter);
    CHECK_EQUAL(h.n_frames, 0);
    CHECK(h.held_ns >= LONG_US * UINT64_C(1000));
    CHECK(h.held_ns <= to_ns - from_ns);
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static void a_long_hold_is_reported_with_its_waiters(void)
{
    watch_over(OVER_NS);
    uint64_t from = now_ns(CLOCK_MONOTONIC);
    uint64_t other = keep_from_another(LONG_US); /* asks five times */
    check_taken(other, from, now_ns(CLOCK_MONOTONIC));
    struct gs_long_hold h;
    CHECK(!gs_watch_take(watching, &h));
    check_counts(1, 0);
    gs_watch_end(watching);
    check_slots_untouched();
    check_counts(1, 0);
}

static void without_a_waiter_nothing_is_looked_at(void)
{
    watch_over(1);
    usleep(LONG_US);
    release_and_retake();
    CHECK(!a_thread_waits());
    check_counts(0, 0);
    gs_watch_end(watching);
}

static void shorter_holds_are_not_reported(void)
{
    watch_over(UINT64_C(3600000000000));
    keep_from_another(LONG_US);
    CHECK(!a_thread_waits());
    check_counts(0, 0);
    gs_watch_end(watching);
}

static void what_finds_no_room_is_counted(void)
{
    struct gs_long_hold h;
    watch_over(1);
    for (int i = 0; i < GS_WATCH_HOLDS + 3; i++)
        keep_from_another(0);
    check_counts(GS_WATCH_HOLDS + 3, 3);
    gs_watch_end(watching);
    for (int i = 0; i < GS_WATCH_HOLDS; i++)
        CHECK(gs_watch_take(watching, &h));
    CHECK(!gs_watch_take(watching, &h));
}

static void holds_by_the_watcher_are_not_reported(void)
{
    watch_by((uint64_t)pthread_self(), 1);
    keep_from_another(0);
    check_counts(0, 0);
    gs_watch_end(watching);
}

static _Atomic bool begun;

static void *take_and_drop_once_begun(void *unused)
{
    while (!begun)
        sched_yield();
    return take_and_drop(unused);
}

static void holds_that_block_only_the_watcher_are_not_reported(void)
{
    pthread_t watcher;
    CHECK_EQUAL(pthread_create(&watcher, NULL, take_and_drop_once_begun, NULL), 0);
    watch_by((uint64_t)watcher, 1);
    begun = true;
    while (!fake_drop_request) /* its time has run out once */
        sched_yield();
    CHECK(!a_thread_waits());
    fake_drop(&me);
    pthread_join(watcher, NULL);
    fake_take(&me);
    check_counts(0, 0);
    gs_watch_end(watching);
}

/* ---- waiting for something to take ---- */

static _Atomic uint64_t not_before_ns;
static _Atomic bool come_back;

static void *await_once(void *unused)
{
    gs_watch_await(watching, not_before_ns);
    come_back = true;
    return unused;
}

static void the_watcher_wakes_for_a_hold_and_at_the_end(void)
{
    pthread_t watcher;
    watch_over(1);
    for (int i = 0; i < 2; i++) {
        come_back = false;
        not_before_ns = 0;
        CHECK_EQUAL(pthread_create(&watcher, NULL, await_once, NULL), 0);
        keep_from_another(0);
        pthread_join(watcher, NULL);
        CHECK(come_back);
    }
    come_back = false;
    not_before_ns = UINT64_MAX; /* there is something, but it is too early, until the end */
    CHECK_EQUAL(pthread_create(&watcher, NULL, await_once, NULL), 0);
    keep_from_another(0);
    CHECK(!come_back);
    gs_watch_end(watching);
    pthread_join(watcher, NULL);
    CHECK(come_back);
}

static void a_watcher_of_a_watch_that_is_over_takes_nothing_of_the_next(void)
{
    struct gs_long_hold h;
    uint64_t seen, dropped;
    watch_over(1);
    uint32_t before = watching;
    gs_watch_end(before);
    watch_over(1);
    keep_from_another(0);
    gs_watch_end(before);
    CHECK(gs_watch_is_on(watching));
    gs_watch_await(before, UINT64_MAX);
    CHECK(!gs_watch_take(before, &h));
    CHECK(!gs_watch_counts(before, &seen, &dropped));
    CHECK(gs_watch_take(watching, &h));
    gs_watch_end(watching);
}

/* ---- beside a trace ---- */

static void check_watching(bool on)
{
    uint64_t before, after, dropped;
    gs_watch_counts(watching, &before, &dropped);
    if (on) {
        keep_from_another(0);
    } else {
        release_and_retake();
        CHECK(!a_thread_waits());
    }
    gs_watch_counts(watching, &after, &dropped);
    CHECK_EQUAL(after - before, on);
}

static size_t releases_so_far(void)
{
    const struct gs_record *r;
    size_t n = 0, there = gs_ring_peek(&ring, &r, SIZE_MAX);
    for (size_t i = 0; i < there; i++)
        n += (r[i].word & 31) == GS_RELEASE;
    return n;
}

static void a_watch_and_a_trace_begin_and_end_in_any_order(void)
{
    static const char *const orders[] = {"WTtw", "WTwt", "TWwt", "TWtw", "WwTt", "TtWw"};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        bool watched = false, traced = false;
        for (const char *step = orders[i]; *step; step++) {
            switch (*step) {
            case 'W':
                watch_over(1);
                break;
            case 'w':
                gs_watch_end(watching);
                break;
            case 'T':
                CHECK(gs_slots_learn(&layout, &calls, &why));
                begin();
                break;
            default:
                end();
                CHECK(check_history());
                CHECK(count(GS_RELEASE) >= 1);
                check_event(n_events - 1, GS_END, events[n_events - 1].thread);
                CHECK(find(GS_BEGIN, 0) < n_events);
            }
            watched = *step == 'W' || (watched && *step != 'w');
            traced = *step == 'T' || (traced && *step != 't');
            size_t before = traced ? releases_so_far() : 0;
            check_watching(watched);
            if (traced)
                await(GS_RELEASE, before + 1);
        }
        check_slots_untouched();
    }
}

/* For example of another interpreter's layout: nothing is learnt anew while hooks are in. */
static void with_hooks_in_conditions_elsewhere_are_refused_too(void)
{
    struct gs_layout wrong = layout;
    wrong.gil += 8;
    watch_over(1);
    CHECK(!gs_slots_learn(&wrong, &calls, &why));
    CHECK(strstr(why.text, "expected a release and an acquire"));
    check_watching(true);
    gs_watch_end(watching);
    check_slots_untouched();
}

/* ---- many at once ---- */

static _Atomic bool over;

static void *compete(void *unused)
{
    struct fake_thread self = {0};
    while (!over) {
        fake_take(&self);
        fake_drop(&self);
    }
    return unused;
}

static void *take_all(void *unused)
{
    struct gs_long_hold h;
    uint32_t mine = watching;
    while (gs_watch_is_on(mine)) {
        gs_watch_await(mine, 0);
        while (gs_watch_take(mine, &h))
            CHECK(h.n_waiters >= 1 && h.n_waiters <= 4);
    }
    return unused;
}

static void watches_come_and_go_while_threads_compete(void)
{
    pthread_t workers[4], watcher;
    fake_gil.interval = 100;
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&workers[i], NULL, compete, NULL), 0);
    for (int i = 0; i < 100; i++) {
        watch_over(1);
        CHECK_EQUAL(pthread_create(&watcher, NULL, take_all, NULL), 0);
        if (i % 3 == 0)
            begin();
        for (int turn = 0; turn < 20; turn++)
            release_and_retake();
        gs_watch_end(watching);
        if (i % 3 == 0) {
            end();
            check_history();
        }
        pthread_join(watcher, NULL);
        check_slots_untouched();
    }
    over = true;
    fake_drop(&me);
    for (int i = 0; i < 4; i++)
        pthread_join(workers[i], NULL);
    fake_take(&me);
    fake_gil.interval = 5000;
}

static void a_forked_child_is_not_watched(void)
{
    watch_over(1);
    keep_from_another(0);
    pid_t child = fork();
    if (child == 0) {
        struct gs_long_hold h;
        check_slots_untouched();
        CHECK(!gs_watch_is_on(0) && !gs_watch_take(watching, &h));
        gs_watch_end(watching);
        watch_over(1);
        keep_from_another(0);
        CHECK(gs_watch_take(watching, &h));
        gs_watch_end(watching);
        check_slots_untouched();
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    check_watching(true);
    gs_watch_end(watching);
    check_slots_untouched();
}

static void fork_and_learn(void)
{
    pid_t child = fork();
    if (child == 0) {
        check_slots_untouched();
        CHECK(gs_slots_learn(&layout, &calls, &why));
        watch_over(1);
        keep_from_another(0);
        check_counts(1, 0);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    release_and_retake();
}

static void a_child_that_is_forked_in_mid_lesson_may_learn_itself(void)
{
    struct gs_gil_calls forking = {calls.inside, fork_and_learn};
    CHECK(gs_slots_learn(&layout, &forking, &why));
    check_slots_untouched();
}

int main(void)
{
    prepare();
    CHECK(gs_slots_learn(&layout, &calls, &why));
    remember_slots();
    RUN(a_long_hold_is_reported_with_its_waiters);
    RUN(without_a_waiter_nothing_is_looked_at);
    RUN(shorter_holds_are_not_reported);
    RUN(what_finds_no_room_is_counted);
    RUN(holds_by_the_watcher_are_not_reported);
    RUN(holds_that_block_only_the_watcher_are_not_reported);
    RUN(the_watcher_wakes_for_a_hold_and_at_the_end);
    RUN(a_watcher_of_a_watch_that_is_over_takes_nothing_of_the_next);
    RUN(a_watch_and_a_trace_begin_and_end_in_any_order);
    RUN(with_hooks_in_conditions_elsewhere_are_refused_too);
    RUN(watches_come_and_go_while_threads_compete);
    RUN(a_forked_child_is_not_watched);
    RUN(a_child_that_is_forked_in_mid_lesson_may_learn_itself);
    return check_done();
}
