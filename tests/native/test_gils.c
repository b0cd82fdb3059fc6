/* GILs of other interpreters: those there are when a trace begins, those that come and go, and
 * conditions that are no GIL's. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "gils.h"
#include "hooking.h"

static struct fake_interp others[140];
static struct fake_thread my_other; /* this thread's state in another interpreter */

static void take_and_drop_of(struct fake_interp *interp)
{
    my_other.native_id = (uint64_t)gettid();
    fake_take_of(interp->gil, &my_other);
    fake_drop_of(interp->gil, &my_other);
}

/* As the creating thread does it: without the main GIL, and holding the new one in the end. */
static void begin_and_use(struct fake_interp *interp)
{
    fake_drop(&me);
    fake_interp_begin(interp, true);
    take_and_drop_of(interp);
    fake_take(&me);
}

static void end_interp(struct fake_interp *interp)
{
    fake_interp_end(interp);
    memset(interp, 0xdb, sizeof *interp);
}

/* Checks the records of one GIL: which kinds, in which order. */
static void check_kinds(uint32_t gil, const enum gs_kind *kinds, size_t n)
{
    size_t at = 0;
    for (size_t i = 0; i < n_events; i++) {
        if (events[i].gil != gil || events[i].kind == GS_THREAD || events[i].kind == GS_IDENT_LOW ||
            events[i].kind == GS_IDENT_HIGH)
            continue;
        CHECK(at < n);
        CHECK_EQUAL(events[i].kind, kinds[at]);
        at++;
    }
    CHECK_EQUAL(at, n);
}

#define CHECK_KINDS(gil, ...)                                                                      \
    do {                                                                                           \
        const enum gs_kind kinds[] = {__VA_ARGS__};                                                \
        check_kinds(gil, kinds, sizeof kinds / sizeof *kinds);                                     \
    } while (0)

static uint32_t id_of(const struct fake_interp *interp)
{
    return (uint32_t)interp->id;
}

/* ---- those that begin in mid-trace ---- */

static void a_gil_is_announced_before_its_first_transition(void)
{
    begin();
    begin_and_use(&others[0]);
    release_and_retake();
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    CHECK_KINDS(0, GS_BEGIN, GS_RELEASE, GS_ACQUIRE, GS_RELEASE, GS_ACQUIRE, GS_END);
    size_t at = find(GS_GIL, 0);
    CHECK_EQUAL(events[at].arg, id_of(&others[0]));
    CHECK_EQUAL(events[at].gil, 1);
    CHECK(check_history());
    CHECK_EQUAL(missed, 0);
    fake_interp_end(&others[0]);
}

static void one_that_shares_the_main_gil_has_no_number(void)
{
    begin();
    fake_drop(&me);
    fake_interp_begin(&others[0], false);
    take_and_drop_of(&others[0]);
    fake_take(&me);
    end();
    CHECK_EQUAL(count(GS_GIL), 0);
    CHECK_KINDS(0, GS_BEGIN, GS_RELEASE, GS_ACQUIRE, GS_RELEASE, GS_ACQUIRE, GS_END);
    CHECK_EQUAL(missed, 0);
    fake_interp_end(&others[0]);
}

static void *use_it(void *interp)
{
    struct fake_interp *i = interp;
    struct fake_thread self = {.native_id = (uint64_t)gettid()};
    errno = 77;
    fake_take_of(i->gil, &self);
    fake_drop_of(i->gil, &self);
    CHECK_EQUAL(errno, 77);
    return NULL;
}

static void a_forced_switch_is_recorded_for_any_gil(void)
{
    pthread_t other;
    begin();
    fake_drop(&me);
    fake_interp_begin(&others[0], true);
    others[0].own.interval = 1000;
    my_other.native_id = (uint64_t)gettid();
    fake_take_of(&others[0].own, &my_other);
    CHECK_EQUAL(pthread_create(&other, NULL, use_it, &others[0]), 0);
    await(GS_DROP_REQUEST, 2);
    fake_switch_slowly = true;
    fake_drop_of(&others[0].own, &my_other);
    fake_switch_slowly = false;
    pthread_join(other, NULL);
    fake_take(&me);
    end();
    size_t request = find(GS_REQUEST, 0);
    check_event(request, GS_REQUEST, 1);
    CHECK_EQUAL(events[request].arg, 1000);
    check_event(find(GS_DROP_REQUEST, request), GS_DROP_REQUEST, 1);
    check_event(find(GS_FORCED, request), GS_FORCED, 0);
    CHECK_EQUAL(events[find(GS_FORCED, request)].gil, 1);
    CHECK_EQUAL(events[find(GS_THREAD, request - 3)].gil, 1);
    CHECK(check_history());
    fake_interp_end(&others[0]);
}

/* ---- those that were there ---- */

static void a_gil_that_was_there_is_found(void)
{
    fake_interp_begin(&others[0], true);
    fake_interp_begin(&others[1], false);
    begin();
    fake_drop(&me);
    take_and_drop_of(&others[0]);
    fake_take(&me);
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    CHECK_EQUAL(events[find(GS_GIL, 0)].arg, id_of(&others[0]));
    CHECK(find(GS_GIL, 0) > find(GS_BEGIN, 0));
    CHECK_EQUAL(count(GS_GIL_HELD), 0);
    CHECK(check_history());
    fake_interp_end(&others[1]);
    fake_interp_end(&others[0]);
}

static void the_holder_at_the_begin_of_a_trace_is_recorded(void)
{
    fake_interp_begin(&others[0], true);
    my_other.native_id = 4711;
    fake_take_of(&others[0].own, &my_other);
    begin();
    fake_drop_of(&others[0].own, &my_other);
    end();
    CHECK_KINDS(1, GS_GIL, GS_GIL_HELD, GS_RELEASE);
    CHECK_EQUAL(events[find(GS_GIL_HELD, 0)].arg, 4711);
    layout.threads_bound = false;
    fake_take_of(&others[0].own, &my_other);
    begin();
    end();
    layout.threads_bound = true;
    CHECK_KINDS(1, GS_GIL, GS_GIL_HELD);
    CHECK_EQUAL(events[find(GS_GIL_HELD, 0)].arg, 0);
    fake_interp_end(&others[0]);
}

static void a_gil_in_no_state_to_be_one_is_left_alone(void)
{
    fake_interp_begin(&others[0], true);
    others[0].own.locked = 2;
    fake_interp_begin(&others[1], true);
    others[1].own.interval = 0;
    fake_interp_begin(&others[2], true);
    others[2].id = -3;
    fake_interp_begin(&others[3], true);
    others[3].gil = &others[2].own;
    fake_interp_begin(&others[4], true);
    others[4].own.locked = -1;
    begin();
    for (int i = 0; i < 5; i++)
        fake_cond_signal(&others[i].own.cond);
    end();
    CHECK_EQUAL(count(GS_GIL) + count(GS_RELEASE), 0);
    CHECK_EQUAL(missed, 0);
    for (int i = 0; i < 5; i++)
        fake_interp_end(&others[i]);
}

static void without_a_list_there_is_only_the_main_gil(void)
{
    uintptr_t list = layout.interpreters;
    layout.interpreters = 0;
    fake_interp_begin(&others[0], true);
    begin();
    take_and_drop_of(&others[0]);
    begin_and_use(&others[1]);
    end();
    layout.interpreters = list;
    CHECK_EQUAL(count(GS_GIL), 0);
    CHECK_EQUAL(count(GS_RELEASE), 1);
    fake_interp_end(&others[1]);
    fake_interp_end(&others[0]);
}

/* ---- those that end ---- */

static void a_number_is_free_again_once_its_interpreter_is_gone(void)
{
    begin();
    begin_and_use(&others[0]);
    begin_and_use(&others[1]);
    end_interp(&others[0]);
    begin_and_use(&others[2]);
    end_interp(&others[2]);
    begin_and_use(&others[3]);
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE, GS_GIL_END, GS_GIL, GS_ACQUIRE, GS_RELEASE,
                GS_GIL_END, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    CHECK_KINDS(2, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    CHECK(check_history());
    fake_interp_end(&others[3]);
    fake_interp_end(&others[1]);
}

static void a_new_interpreter_in_the_same_memory_is_another_one(void)
{
    begin();
    begin_and_use(&others[0]);
    fake_interp_end(&others[0]);
    begin_and_use(&others[0]);
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE, GS_GIL_END, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    size_t first = find(GS_GIL, 0), second = find(GS_GIL, first + 1);
    CHECK_EQUAL(events[second].arg, events[first].arg + 1);
    CHECK(check_history());
    fake_interp_end(&others[0]);
}

/* Its memory is freed, and what comes there next is no GIL. */
static void a_condition_where_a_gil_was_is_not_taken_for_it(void)
{
    begin();
    begin_and_use(&others[0]);
    begin_and_use(&others[1]);
    fake_interp_end(&others[0]);
    fake_interp_end(&others[1]);
    CHECK_EQUAL(fake_cond_init(&others[0].own.cond), 0);
    CHECK_EQUAL(fake_cond_init(&others[1].own.switch_cond), 0);
    fake_cond_signal(&others[0].own.cond);
    fake_cond_signal(&others[1].own.switch_cond);
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE, GS_GIL_END);
    CHECK_KINDS(2, GS_GIL, GS_ACQUIRE, GS_RELEASE, GS_GIL_END);
}

/* A list that cannot be read to its end does not show that a GIL is gone. */
static void a_torn_list_removes_no_gil(void)
{
    begin();
    begin_and_use(&others[0]);
    begin_and_use(&others[1]);
    others[1].next = (struct fake_interp *)64;
    begin_and_use(&others[2]);
    take_and_drop_of(&others[0]);
    others[1].next = &others[2]; /* a circle */
    begin_and_use(&others[3]);
    others[1].next = &others[0];
    end();
    CHECK_EQUAL(count(GS_GIL_END), 0);
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE, GS_ACQUIRE, GS_RELEASE);
    CHECK_KINDS(4, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    for (int i = 0; i < 4; i++)
        fake_interp_end(&others[i]);
}

static void what_finds_no_number_is_counted(void)
{
    begin();
    for (unsigned i = 0; i < GS_GILS + 2; i++)
        begin_and_use(&others[i]);
    end_interp(&others[5]);
    begin_and_use(&others[5]);
    end();
    CHECK_EQUAL(missed, 3);
    CHECK_EQUAL(count(GS_GIL), GS_GILS);
    CHECK_EQUAL(count(GS_GIL_END), 1);
    CHECK_EQUAL(gs_gils.most, 0);
    CHECK(check_history());
    for (unsigned i = 0; i < GS_GILS + 2; i++)
        fake_interp_end(&others[i]);
}

/* ---- conditions that are no GIL's ---- */

static struct fake_gil_state stray;

static void *init_the_second(void *unused)
{
    fake_cond_init(&stray.switch_cond);
    return unused;
}

static void conditions_that_look_like_a_gil_s_are_not_taken_for_one(void)
{
    pthread_t other;
    begin();
    /* Right distance, all that a GIL is at that moment, but no interpreter's. */
    stray = (struct fake_gil_state){.interval = 5000, .locked = -1};
    fake_cond_init(&stray.cond);
    fake_cond_init(&stray.switch_cond);
    stray.locked = 0;
    fake_take_of(&stray, &my_other);
    fake_drop_of(&stray, &my_other);
    /* An interpreter's GIL, but not in the state of one that begins. */
    fake_interp_begin(&others[0], true);
    fake_cond_init(&others[0].own.cond);
    fake_cond_init(&others[0].own.switch_cond);
    take_and_drop_of(&others[0]);
    fake_interp_end(&others[0]);
    /* The first by one thread, the second by another. */
    stray.locked = -1;
    fake_cond_init(&stray.cond);
    CHECK_EQUAL(pthread_create(&other, NULL, init_the_second, NULL), 0);
    pthread_join(other, NULL);
    end();
    CHECK_KINDS(1, GS_GIL, GS_GIL_END); /* of the sound one, until its conditions were others */
    CHECK_EQUAL(count(GS_ACQUIRE) + count(GS_RELEASE), 0);
}

static void every_gil_is_found_by_both_its_conditions_and_nothing_else_is(void)
{
    struct gs_layout l = layout;
    for (uint32_t n = 1; n < GS_GILS; n++) {
        CHECK_EQUAL(gs_gils_free_number(), n);
        l.gil = (uintptr_t)&others[n].own;
        struct gs_interpreter i = {.id = n, .layout = l};
        gs_gils_add(n, &i);
    }
    CHECK_EQUAL(gs_gils_free_number(), 0);
    for (uint32_t n = 1; n < GS_GILS; n++) {
        for (uint32_t hint = 0; hint < GS_GILS; hint += 21) {
            CHECK_EQUAL(gs_gils_find((uintptr_t)&others[n].own.cond, hint), n);
            CHECK_EQUAL(gs_gils_find((uintptr_t)&others[n].own.switch_cond, hint), n);
            CHECK_EQUAL(gs_gils_find((uintptr_t)&others[n].own.cond + 8, hint), 0);
            CHECK_EQUAL(gs_gils_find((uintptr_t)&others[n].own.mutex, hint), 0);
        }
        CHECK(gs_gils_enter(n, (uintptr_t)&others[n].own.cond));
        gs_gils_leave(n);
        CHECK(!gs_gils_enter(n, (uintptr_t)&others[0].own.cond));
    }
    CHECK_EQUAL(gs_gils_find((uintptr_t)&others[0].own.cond, 3), 0);
    for (uint32_t n = GS_GILS - 1; n > 0; n--) {
        gs_gils_remove(n);
        CHECK_EQUAL(gs_gils.most, n - 1);
        CHECK(!gs_gils_enter(n, (uintptr_t)&others[n].own.cond));
        CHECK_EQUAL(gs_gils_find((uintptr_t)&others[n].own.cond, n), 0);
    }
}

/* ---- many threads, interpreters and traces come and go ---- */

#define WORKERS 4u

static _Atomic bool stop;

static void *work(void *interp)
{
    struct fake_interp *i = interp;
    struct fake_thread self = {.native_id = (uint64_t)gettid()};
    volatile unsigned sink = 0;
    for (unsigned n = 0; !stop; n++) {
        fake_take_of(i->gil, &self);
        for (unsigned j = 0; j < n % 50; j++)
            sink += j;
        fake_drop_of(i->gil, &self);
    }
    return NULL;
}

static void *come_and_go(void *interp)
{
    while (!stop) {
        fake_interp_begin(interp, true);
        use_it(interp);
        fake_interp_end(interp);
    }
    return NULL;
}

static void traces_come_and_go_while_threads_of_all_gils_run(void)
{
    pthread_t threads[2 * WORKERS + 2];
    unsigned whole = 0, n = 0, seen = 0;
    stop = false;
    for (unsigned i = 0; i < 2; i++) {
        fake_interp_begin(&others[i], true);
        others[i].own.interval = 200;
    }
    for (; n < 2 * WORKERS; n++)
        CHECK_EQUAL(pthread_create(&threads[n], NULL, work, &others[n % 2]), 0);
    for (unsigned i = 0; i < 2; i++)
        CHECK_EQUAL(pthread_create(&threads[n++], NULL, come_and_go, &others[2 + i]), 0);
    for (unsigned round = 0; round < 40; round++) {
        begin();
        while (atomic_load(&ring.head) < 2000)
            release_and_retake();
        end();
        check_slots_untouched();
        whole += check_history();
        seen += count(GS_GIL) > 2;
        release_and_retake();
    }
    stop = true;
    for (unsigned i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
    CHECK(whole > 0);
    CHECK(seen > 0);
    for (unsigned i = 0; i < 2; i++)
        fake_interp_end(&others[i]);
}

/* ---- fork ---- */

static void a_forked_child_is_rid_of_all_gils(void)
{
    begin();
    begin_and_use(&others[0]);
    pid_t child = fork();
    if (child == 0) {
        uint64_t head = ring.head;
        take_and_drop_of(&others[0]);
        fake_interp_begin(&others[1], true);
        CHECK_EQUAL(ring.head, head);
        CHECK_EQUAL(gs_gils.most, 0);
        check_slots_untouched();
        _exit(0);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    end();
    CHECK_KINDS(1, GS_GIL, GS_ACQUIRE, GS_RELEASE);
    fake_interp_end(&others[0]);
}

int main(void)
{
    prepare();
    CHECK(gs_slots_learn(&layout, &calls, &why));
    remember_slots();
    RUN(every_gil_is_found_by_both_its_conditions_and_nothing_else_is);
    RUN(a_gil_is_announced_before_its_first_transition);
    RUN(one_that_shares_the_main_gil_has_no_number);
    RUN(a_forced_switch_is_recorded_for_any_gil);
    RUN(a_gil_that_was_there_is_found);
    RUN(the_holder_at_the_begin_of_a_trace_is_recorded);
    RUN(a_gil_in_no_state_to_be_one_is_left_alone);
    RUN(without_a_list_there_is_only_the_main_gil);
    RUN(a_number_is_free_again_once_its_interpreter_is_gone);
    RUN(a_new_interpreter_in_the_same_memory_is_another_one);
    RUN(a_condition_where_a_gil_was_is_not_taken_for_it);
    RUN(a_torn_list_removes_no_gil);
    RUN(what_finds_no_number_is_counted);
    RUN(conditions_that_look_like_a_gil_s_are_not_taken_for_one);
    RUN(traces_come_and_go_while_threads_of_all_gils_run);
    RUN(a_forked_child_is_rid_of_all_gils);
    return check_done();
}
