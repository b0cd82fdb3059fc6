/* The hooks in a GIL of the test's own: what they record is what happened, and nothing else
 * changes.
 */
#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "cost.h"
#include "hooking.h"

/* ---- learning, and refusing to ---- */

static void do_nothing(void)
{
}

static void an_object_without_the_calls_is_refused(void)
{
    /* The C library calls itself without slots. */
    struct gs_gil_calls elsewhere = {dlsym(RTLD_DEFAULT, "getppid"), do_nothing};
    CHECK(!gs_slots_learn(&layout, &elsewhere, &why));
    CHECK(strstr(why.text, "does not call pthread_cond_"));
    CHECK_EQUAL(gs_slots_count(), 0);
}

/* Also those of an object that is bound lazily: they are bound first, and stay so. */
static void the_conditions_are_learnt_and_nothing_is_left_changed(void)
{
    CHECK(gs_slots_learn(&layout, &calls, &why));
    remember_slots();
    CHECK_EQUAL(gs_slots_count(), n_held);
    for (int i = 0; i < n_held; i++)
        CHECK(gs_slots_at(i) == *held[i].where);
    check_slots_untouched();
    CHECK(gs_slots_learn(&layout, &calls, &why));
    check_slots_untouched();
}

static void conditions_elsewhere_are_refused(void)
{
    struct gs_layout wrong = layout;
    wrong.gil += 8;
    CHECK(!gs_slots_learn(&wrong, &calls, &why));
    CHECK(strstr(why.text, "saw 2 signals"));
    check_slots_untouched();
}

static void an_interpreter_that_signals_nothing_is_refused(void)
{
    struct gs_gil_calls silent = {calls.inside, do_nothing};
    CHECK(!gs_slots_learn(&layout, &silent, &why));
    CHECK(strstr(why.text, "saw 0 signals"));
    check_slots_untouched();
    CHECK(gs_slots_learn(&layout, &calls, &why));
}

/* ---- one thread ---- */

static void every_transition_of_one_thread_is_recorded(void)
{
    uint64_t ident = (uint64_t)pthread_self();
    begin();
    for (int i = 0; i < 1000; i++)
        release_and_retake();
    end();
    CHECK_EQUAL(n_events, 3 + 1 + 2000 + 1);
    check_event(0, GS_THREAD, 0);
    CHECK_EQUAL(events[0].arg, gettid());
    check_event(1, GS_IDENT_LOW, 0);
    CHECK_EQUAL(events[1].arg, (uint32_t)ident);
    check_event(2, GS_IDENT_HIGH, 0);
    CHECK_EQUAL(events[2].arg, ident >> 32);
    check_event(3, GS_BEGIN, 0);
    CHECK_EQUAL(events[3].arg, 7);
    for (size_t i = 0; i < 1000; i++) {
        check_event(4 + 2 * i, GS_RELEASE, 0);
        check_event(5 + 2 * i, GS_ACQUIRE, 0);
    }
    check_event(2004, GS_END, 0);
    CHECK_EQUAL(events[2004].arg, 9);
}

static void nothing_is_recorded_before_or_after(void)
{
    CHECK(gs_ring_open(&ring, LOG2_SLOTS));
    gs_emit_bind(&ring, false, NULL);
    CHECK(gs_slots_trace(&why));
    release_and_retake();
    CHECK_EQUAL(ring.head, 0);
    gs_hooks_begin(&(struct gs_hooked){.layout = layout});
    gs_hooks_end();
    uint64_t head = ring.head;
    release_and_retake();
    CHECK_EQUAL(ring.head, head);
    gs_slots_untrace();
    check_slots_untouched();
    release_and_retake();
    CHECK_EQUAL(ring.head, head);
    gs_ring_close(&ring);
}

static void without_recording_there_is_only_the_frame(void)
{
    CHECK(gs_ring_open(&ring, LOG2_SLOTS));
    gs_emit_bind(&ring, false, NULL);
    gs_emit_now(GS_BEGIN, 1);
    release_and_retake();
    gs_emit_now(GS_END, 2);
    drain();
    CHECK_EQUAL(n_events, 5);
    CHECK_EQUAL(count(GS_BEGIN) + count(GS_END), 2);
    gs_ring_close(&ring);
}

static _Atomic unsigned nudges;

static void count_nudge(void)
{
    nudges++;
}

static void the_sampler_is_nudged_as_the_ring_fills(void)
{
    CHECK(gs_ring_open(&ring, 13));
    nudges = 0;
    gs_emit_bind(&ring, false, count_nudge);
    for (unsigned i = 0; i < 4096 - 3; i++) /* with the three of a new thread: half the ring */
        gs_emit_now(GS_RELEASE, 0);
    CHECK_EQUAL(nudges, 2);
    gs_ring_close(&ring);
}

/* ---- two threads ---- */

/* What happens during a wait for the GIL, which else is a matter of luck. */
static _Atomic enum { REAL, SWITCHED, FREED, HELD, TIMED_OUT } during_wait;

/* Stands in for the C library's, below the hook. */
int pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                           const struct timespec *until)
{
    static int (*_Atomic real)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!real)
        real = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlsym(
            RTLD_NEXT, "pthread_cond_timedwait");
    if (during_wait == REAL)
        return real(cond, mutex, until);
    pthread_mutex_unlock(mutex);
    while (during_wait == HELD)
        sched_yield();
    pthread_mutex_lock(mutex);
    if (during_wait == SWITCHED)
        __atomic_fetch_add(&fake_gil.switch_number, 1, __ATOMIC_RELAXED);
    if (during_wait == FREED)
        fake_gil.locked = 0;
    during_wait = REAL;
    return ETIMEDOUT;
}

static void *take_and_drop(void *unused)
{
    struct fake_thread self = {0};
    errno = 77;
    fake_take(&self);
    fake_drop(&self);
    CHECK_EQUAL(errno, 77);
    return unused;
}

static void a_forced_switch_is_recorded_step_by_step(void)
{
    pthread_t other;
    fake_gil.interval = 1000;
    begin();
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
    await(GS_DROP_REQUEST, 3);
    fake_switch_slowly = true;
    fake_drop(&me);
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    CHECK_EQUAL(count(GS_REQUEST), 1);
    CHECK_EQUAL(count(GS_FORCED), 1);
    CHECK_EQUAL(count(GS_RELEASE), 2);
    CHECK_EQUAL(count(GS_ACQUIRE), 2);
    CHECK(count(GS_DROP_REQUEST) >= 3);
    size_t request = find(GS_REQUEST, 0);
    check_event(request, GS_REQUEST, 1);
    CHECK_EQUAL(events[request].arg, 1000);
    size_t dropped = find(GS_DROP_REQUEST, request);
    check_event(dropped, GS_DROP_REQUEST, 1);
    CHECK(events[dropped].stamp - events[request].stamp >= 1000000);
    size_t release = find(GS_RELEASE, dropped);
    check_event(release, GS_RELEASE, 0);
    size_t acquire = find(GS_ACQUIRE, release);
    check_event(acquire, GS_ACQUIRE, 1);
    size_t forced = find(GS_FORCED, release);
    check_event(forced, GS_FORCED, 0);
    CHECK(forced < acquire);
    CHECK_EQUAL(events[find(GS_RELEASE, acquire)].thread, 1);
    check_event(n_events - 2, GS_ACQUIRE, 0);
    fake_switch_slowly = false;
    fake_gil.interval = 5000;
}

static void a_changed_interval_is_seen_by_the_next_request(void)
{
    static const unsigned long intervals[] = {100, 20000, 5000};
    begin();
    for (int i = 0; i < 3; i++) {
        pthread_t other;
        fake_gil.interval = intervals[i];
        CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
        await(GS_REQUEST, (size_t)i + 1);
        fake_drop(&me);
        pthread_join(other, NULL);
        fake_take(&me);
    }
    end();
    for (size_t i = 0, at = 0; i < 3; i++) {
        at = find(GS_REQUEST, at) + 1;
        CHECK_EQUAL(events[at - 1].arg, intervals[i]);
        CHECK_EQUAL(events[at - 1].thread, i + 1);
    }
}

/* CPython requests a drop only if no thread has released meanwhile. */
static void a_timeout_after_a_switch_is_no_drop_request(void)
{
    pthread_t other;
    during_wait = SWITCHED;
    begin();
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
    await(GS_DROP_REQUEST, 1);
    CHECK_EQUAL(during_wait, REAL);
    fake_drop(&me);
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    size_t request = find(GS_REQUEST, 0), dropped = find(GS_DROP_REQUEST, request);
    CHECK(events[dropped].stamp - events[request].stamp >= fake_gil.interval * 1000);
}

static void a_timeout_that_finds_the_gil_free_is_no_drop_request(void)
{
    pthread_t other;
    during_wait = FREED; /* takes it from this thread */
    begin();
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    CHECK_EQUAL(count(GS_REQUEST), 1);
    CHECK_EQUAL(count(GS_DROP_REQUEST), 0);
}

static _Atomic bool once_more;

static void *take_and_drop_twice(void *unused)
{
    struct fake_thread self = {0};
    fake_take(&self);
    fake_drop(&self);
    while (!once_more)
        sched_yield();
    fake_take(&self);
    fake_drop(&self);
    return unused;
}

static void each_wait_is_a_request_of_its_own(void)
{
    pthread_t other;
    begin();
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop_twice, NULL), 0);
    await(GS_REQUEST, 1);
    fake_drop(&me);
    await(GS_RELEASE, 2);
    fake_take(&me);
    once_more = true;
    await(GS_REQUEST, 2);
    fake_drop(&me);
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    CHECK_EQUAL(count(GS_THREAD), 2);
}

/* Its wait began in a trace that is over: it is recorded again in the next one, under a number
 * of its own. */
static void a_wait_that_outlives_its_trace_is_recorded_in_the_next(void)
{
    pthread_t other;
    fake_gil.interval = 1000;
    during_wait = HELD;
    begin();
    CHECK_EQUAL(pthread_create(&other, NULL, take_and_drop, NULL), 0);
    await(GS_REQUEST, 1);
    end();
    begin();
    during_wait = TIMED_OUT; /* its first wait ends now, in the other trace */
    while (during_wait != REAL)
        sched_yield();
    await(GS_DROP_REQUEST, 1);
    fake_drop(&me);
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    CHECK_EQUAL(count(GS_REQUEST), 1);
    CHECK_EQUAL(count(GS_THREAD), 2);
    size_t request = find(GS_REQUEST, 0);
    CHECK(find(GS_DROP_REQUEST, 0) > request);
    check_event(find(GS_ACQUIRE, request), GS_ACQUIRE, 1);
    fake_gil.interval = 5000;
}

/* ---- another tool's hook ---- */

static int (*ours)(pthread_cond_t *);
static _Atomic unsigned passed;

static int stranger(pthread_cond_t *cond)
{
    passed++;
    return ours(cond);
}

static void a_hook_put_over_ours_stays_and_goes_on_working(void)
{
    struct gs_got_slot slots[GS_GOT_SLOTS];
    begin();
    CHECK_EQUAL(gs_got_find(calls.inside, names, 1, slots), 1);
    void *before_stranger = slots[0].before;
    ours = (int (*)(pthread_cond_t *))before_stranger;
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, before_stranger, (void *)stranger));
    release_and_retake();
    end();
    CHECK(*slots[0].where == (void *)stranger);
    CHECK_EQUAL(count(GS_RELEASE) + count(GS_ACQUIRE), 2);
    CHECK_EQUAL(passed, 2);
    release_and_retake(); /* through ours, which is asleep now */
    CHECK_EQUAL(passed, 4);
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, (void *)stranger,
                      dlsym(RTLD_DEFAULT, "pthread_cond_signal")));
    CHECK(gs_slots_learn(&layout, &calls, &why));
    check_slots_untouched();
}

/* ---- many threads, traces come and go ---- */

#define WORKERS 4u

static _Atomic bool stop;

static void *work(void *unused)
{
    struct fake_thread self = {0};
    volatile unsigned sink = 0;
    for (unsigned i = 0; !stop; i++) {
        fake_take(&self);
        for (unsigned j = 0; j < i % 50; j++)
            sink += j;
        fake_drop(&self);
    }
    return unused;
}

static void traces_come_and_go_while_threads_compete(void)
{
    pthread_t workers[WORKERS];
    unsigned whole = 0;
    stop = false;
    fake_gil.interval = 200;
    for (unsigned i = 0; i < WORKERS; i++)
        CHECK_EQUAL(pthread_create(&workers[i], NULL, work, NULL), 0);
    for (unsigned round = 0; round < 60; round++) {
        begin();
        while (atomic_load(&ring.head) < 500)
            release_and_retake();
        end();
        check_slots_untouched();
        whole += check_history();
        release_and_retake();
    }
    stop = true;
    fake_drop(&me);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    fake_take(&me);
    CHECK(whole > 0);
    fake_gil.interval = 5000;
}

/* ---- fork ---- */

static void a_forked_child_is_rid_of_the_hooks(void)
{
    begin();
    pid_t child = fork();
    if (child == 0) {
        uint64_t head = ring.head;
        release_and_retake();
        check_slots_untouched();
        CHECK_EQUAL(ring.head, head);
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    release_and_retake();
    end();
    CHECK_EQUAL(count(GS_RELEASE), 1);
    CHECK_EQUAL(count(GS_END), 1);
}

static void the_cost_of_an_event_is_measured(void)
{
    double hooked = 1e9, bare = 1e9;
    CHECK(gs_ring_open(&ring, 13));
    gs_emit_bind(&ring, false, NULL);
    /* The least of several: what a busy machine adds to one of them is no cost of a hook. */
    for (int i = 0; i < 10; i++) {
        double with_hook = 0, without = 0;
        gs_cost_of_hook(100000, &(struct gs_hooked){0}, &with_hook, &without);
        hooked = with_hook < hooked ? with_hook : hooked;
        bare = without < bare ? without : bare;
    }
    CHECK(bare > 0 && hooked > bare);
    CHECK_EQUAL(ring.lost, 0);
    CHECK(ring.head > 100000);
    gs_ring_close(&ring);
}

int main(void)
{
    prepare();
    RUN(an_object_without_the_calls_is_refused);
    RUN(the_conditions_are_learnt_and_nothing_is_left_changed);
    RUN(conditions_elsewhere_are_refused);
    RUN(an_interpreter_that_signals_nothing_is_refused);
    RUN(every_transition_of_one_thread_is_recorded);
    RUN(nothing_is_recorded_before_or_after);
    RUN(without_recording_there_is_only_the_frame);
    RUN(the_sampler_is_nudged_as_the_ring_fills);
    RUN(a_forced_switch_is_recorded_step_by_step);
    RUN(a_changed_interval_is_seen_by_the_next_request);
    RUN(a_timeout_after_a_switch_is_no_drop_request);
    RUN(a_timeout_that_finds_the_gil_free_is_no_drop_request);
    RUN(each_wait_is_a_request_of_its_own);
    RUN(a_wait_that_outlives_its_trace_is_recorded_in_the_next);
    RUN(a_hook_put_over_ours_stays_and_goes_on_working);
    RUN(traces_come_and_go_while_threads_compete);
    RUN(a_forked_child_is_rid_of_the_hooks);
    RUN(the_cost_of_an_event_is_measured);
    return check_done();
}
