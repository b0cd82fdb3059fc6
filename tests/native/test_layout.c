/* The reader of the interpreter against interpreters made up here: what it accepts, and every way
 * it refuses.
 *
 * With an argument the program exports its `_PyRuntime`; test_native.py also links it without. */
#define _GNU_SOURCE
#include "check.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fakegil.h"

#define HEX(minor) (0x03000000u | (unsigned)(minor) << 16 | 0x02f0u)

/* Where 3.11 keeps its GIL: inside _PyRuntime, at this offset. */
#define GIL_IN_RUNTIME_3_11 360

extern union runtime {
    unsigned char bytes[4096];
    uint64_t table[64];
} _PyRuntime;
union runtime _PyRuntime __attribute__((visibility("default")));

/* One thread state and one interpreter that fit all versions' offsets given below. */
static uint64_t interp[1024 + 26], thread_state[64], other_state[64];
static uint64_t other_interps[3][1024 + 26];
static struct gs_why why;

struct version {
    unsigned minor;
    unsigned threads, gil_pointer, next, native_id, requested; /* byte offsets */
    unsigned head, interp_next, interp_id, own_gil; /* the list of interpreters, from 3.12 on */
    /* numbers in the table: threads_head, GIL pointer, struct, locked, holder, next, native id,
     * requested */
    unsigned index[8];
};

static const struct version versions[] = {
    {11, 16, 0, 8, 160, 0, 0, 0, 0, 0, {0}},
    {12, 72, 384, 8, 144, 0, 40, 0, 8, 1040, {0}},
    {13, 7408, 320, 24, 176, 0, 632, 8, 16, 7800, {9, 14, 15, 17, 18, 21, 25, 0}},
    {14, 1024, 512, 32, 184, 0, 808, 7272, 7280, 7784, {9, 15, 16, 18, 19, 24, 28, 0}},
    {15, 2048, 520, 40, 192, 256, 936, 7264, 7272, 7736, {9, 15, 16, 18, 19, 24, 31, 35}},
};
#define N_VERSIONS (sizeof versions / sizeof *versions)

static const struct version *v;
static struct fake_gil_state gil;

static uint64_t *interp_field(unsigned offset)
{
    return &interp[offset / 8];
}

static struct fake_gil_state *gil_in_force(void)
{
    return v->minor == 11 ? (struct fake_gil_state *)(_PyRuntime.bytes + GIL_IN_RUNTIME_3_11)
                          : &gil;
}

static void write_table(void)
{
    memcpy(_PyRuntime.table, "xdebugpy", 8);
    _PyRuntime.table[1] = HEX(v->minor);
    const uint64_t values[8] = {
        v->threads,
        v->gil_pointer,
        1000,
        1000 + offsetof(struct fake_gil_state, locked),
        1000 + offsetof(struct fake_gil_state, last_holder),
        v->next,
        v->native_id,
        v->requested,
    };
    for (int i = 0; i < 8; i++)
        if (v->index[i])
            _PyRuntime.table[v->index[i]] = values[i];
}

/* A sound interpreter of version `v`, whose GIL this thread holds, with another thread before it.
 */
static void make_interpreter(const struct version *version)
{
    v = version;
    memset(&_PyRuntime, 0, sizeof _PyRuntime);
    memset(interp, 0, sizeof interp);
    memset(thread_state, 0, sizeof thread_state);
    memset(other_state, 0, sizeof other_state);
    memset(&gil, 0, sizeof gil);
    if (v->minor >= 13)
        write_table();
    if (v->minor > 11)
        *interp_field(v->gil_pointer) = (uintptr_t)&gil;
    *interp_field(v->threads) = (uintptr_t)other_state;
    other_state[v->next / 8] = (uintptr_t)thread_state;
    other_state[v->native_id / 8] = 1;
    thread_state[v->native_id / 8] = (uint64_t)gettid();
    gil_in_force()->interval = 5000;
    gil_in_force()->last_holder = (uintptr_t)thread_state;
    gil_in_force()->locked = 1;
    gil_in_force()->switch_number = 17;
}

static bool prove_as(unsigned hex, struct gs_layout *l)
{
    why.text[0] = 0;
    return gs_layout_prove(l, hex, thread_state, interp, 5000, &why);
}

static void check_refused(const char *expected, const char *found)
{
    struct gs_layout l;
    CHECK(!prove_as(HEX(v->minor), &l));
    if (!strstr(why.text, expected) || !strstr(why.text, found)) {
        fprintf(stderr, "3.%u: \"%s\" does not contain \"%s\" and \"%s\"\n", v->minor, why.text,
                expected, found);
        exit(1);
    }
    CHECK(1);
}

#define EACH_VERSION(from)                                                                         \
    for (size_t i_ = (from) - 11; i_ < N_VERSIONS && (make_interpreter(&versions[i_]), true); i_++)

/* ---- what is accepted ---- */

static void a_sound_interpreter_is_proven(void)
{
    EACH_VERSION(11)
    {
        struct gs_layout l;
        struct gs_gil_view view;
        bool proven = prove_as(HEX(v->minor), &l);
        if (!proven)
            fprintf(stderr, "3.%u: %s\n", v->minor, why.text);
        CHECK(proven);
        CHECK_EQUAL(l.gil, (uintptr_t)gil_in_force());
        CHECK_EQUAL(l.thread_requested, v->requested);
        gs_layout_gil(&l, &view);
        CHECK(view.locked);
        CHECK_EQUAL(view.holder, (uintptr_t)thread_state);
        CHECK_EQUAL(view.interval_us, 5000);
        CHECK_EQUAL(view.switches, 17);
    }
}

static void threads_are_listed_newest_first(void)
{
    EACH_VERSION(11)
    {
        struct gs_layout l;
        struct gs_tstate threads[3];
        CHECK(prove_as(HEX(v->minor), &l));
        if (v->requested)
            *(int *)((char *)thread_state + v->requested) = 1;
        CHECK_EQUAL(gs_layout_threads(&l, threads, 3), 2);
        CHECK_EQUAL(threads[0].address, (uintptr_t)other_state);
        CHECK_EQUAL(threads[0].native_id, 1);
        CHECK(!threads[0].requested);
        CHECK_EQUAL(threads[1].address, (uintptr_t)thread_state);
        CHECK_EQUAL(threads[1].native_id, gettid());
        CHECK_EQUAL(threads[1].requested, v->requested != 0);
        CHECK_EQUAL(gs_layout_threads(&l, threads, 1), 1);
    }
}

/* The list changes while it is read: what is found may point anywhere, or in a circle. */
static void a_torn_list_of_threads_does_no_harm(void)
{
    EACH_VERSION(11)
    {
        struct gs_layout l;
        struct gs_tstate threads[50];
        CHECK(prove_as(HEX(v->minor), &l));
        thread_state[v->next / 8] = 64;
        CHECK_EQUAL(gs_layout_threads(&l, threads, 50), 2);
        thread_state[v->next / 8] = (uintptr_t)other_state;
        CHECK_EQUAL(gs_layout_threads(&l, threads, 50), 50);
        *interp_field(v->threads) = 0;
        CHECK_EQUAL(gs_layout_threads(&l, threads, 50), 0);
    }
}

static void the_conditions_stand_where_the_gil_has_them(void)
{
    struct gs_layout l;
    make_interpreter(&versions[1]);
    CHECK(prove_as(HEX(12), &l));
    CHECK(gs_layout_conds(&l, &gil.cond, &gil.switch_cond));
    CHECK(!gs_layout_conds(&l, &gil.switch_cond, &gil.cond));
    CHECK(!gs_layout_conds(&l, &gil.cond, &gil.cond));
    CHECK(!gs_layout_conds(&l, NULL, &gil.switch_cond));
    CHECK(gs_layout_mutex_of(&gil.cond) == &gil.mutex);
    CHECK(gs_layout_mutex_of(&gil.switch_cond) == &gil.switch_mutex);
    uintptr_t cond = (uintptr_t)&gil.cond;
    CHECK(!gs_layout_is_wait(&l, cond - 1));
    CHECK(gs_layout_is_wait(&l, cond));
    CHECK(gs_layout_is_wait(&l, cond + sizeof gil.cond - 1));
    CHECK(!gs_layout_is_wait(&l, cond + sizeof gil.cond));
    CHECK(!gs_layout_is_wait(&l, (uintptr_t)&gil.switch_cond));
}

static void an_interval_too_large_for_32_bits_is_clipped(void)
{
    struct gs_layout l;
    struct gs_gil_view view;
    make_interpreter(&versions[1]);
    CHECK(prove_as(HEX(12), &l));
    gil.interval = UINT64_C(1) << 40;
    gil.locked = 0;
    gs_layout_gil(&l, &view);
    CHECK_EQUAL(view.interval_us, UINT32_MAX);
    CHECK(!view.locked);
}

/* ---- the list of interpreters ---- */

static struct fake_gil_state *own_gil(uint64_t *of)
{
    return (struct fake_gil_state *)(of + v->own_gil / 8);
}

static void list_interpreter(uint64_t *i, int64_t id, struct fake_gil_state *in_force)
{
    uintptr_t *head = (uintptr_t *)(_PyRuntime.bytes + v->head);
    i[v->interp_id / 8] = (uint64_t)id;
    i[v->interp_next / 8] = *head;
    i[v->gil_pointer / 8] = (uintptr_t)in_force;
    *head = (uintptr_t)i;
}

/* The main interpreter, and three more: one with a GIL of its own, one that shares the main one,
 * and one that begins. */
static void make_interpreters(const struct version *version)
{
    make_interpreter(version);
    if (v->minor < 12)
        return;
    if (v->minor > 12) {
        _PyRuntime.table[5] = v->head;
        _PyRuntime.table[7] = v->interp_id;
        _PyRuntime.table[8] = v->interp_next;
    }
    memset(other_interps, 0, sizeof other_interps);
    *own_gil(interp) = gil;
    list_interpreter(interp, 0, own_gil(interp));
    list_interpreter(other_interps[0], 1, own_gil(other_interps[0]));
    list_interpreter(other_interps[1], 2, own_gil(interp));
    list_interpreter(other_interps[2], 3, NULL);
    uint64_t *main_one = (uint64_t *)(_PyRuntime.bytes + v->head + 8);
    main_one[0] = (uintptr_t)interp;
    main_one[1] = 4;
    *own_gil(other_interps[0]) = (struct fake_gil_state){
        .interval = 700, .last_holder = (uintptr_t)other_state, .locked = 1, .switch_number = 5};
    *own_gil(other_interps[2]) = (struct fake_gil_state){.interval = 5000, .locked = -1};
}

static struct gs_interpreter seen[8];
static size_t n_seen;

static void see(void *context, const struct gs_interpreter *i)
{
    CHECK(context == &n_seen);
    if (n_seen < 8)
        seen[n_seen] = *i;
    n_seen++;
}

static bool list(const struct gs_layout *l)
{
    n_seen = 0;
    return gs_layout_interpreters(l, see, &n_seen);
}

static void interpreters_are_listed_newest_first(void)
{
    for (size_t n = 1; n < N_VERSIONS; n++) {
        struct gs_layout l;
        make_interpreters(&versions[n]);
        CHECK(prove_as(HEX(v->minor), &l));
        CHECK(list(&l));
        CHECK_EQUAL(n_seen, 4);
        for (int i = 0; i < 4; i++)
            CHECK_EQUAL(seen[i].id, 3 - i);
        CHECK_EQUAL(seen[0].layout.gil, (uintptr_t)own_gil(other_interps[2]));
        CHECK_EQUAL(seen[1].layout.gil, 0);
        CHECK_EQUAL(seen[2].layout.gil, (uintptr_t)own_gil(other_interps[0]));
        CHECK_EQUAL(seen[3].address, (uintptr_t)interp);
        CHECK_EQUAL(gs_layout_interpreters_begun(&l), 4);
    }
}

static void a_gil_is_one_only_in_a_state_that_one_can_be_in(void)
{
    for (size_t n = 1; n < N_VERSIONS; n++) {
        struct gs_layout l;
        struct gs_gil_view view;
        uint32_t holder;
        make_interpreters(&versions[n]);
        other_state[v->native_id / 8] = 4711;
        CHECK(prove_as(HEX(v->minor), &l));
        CHECK(list(&l));
        CHECK(gs_layout_gil_lives(&seen[2], &view, &holder));
        CHECK_EQUAL(view.interval_us, 700);
        CHECK_EQUAL(view.switches, 5);
        CHECK(view.locked);
        /* 3.12 lends thread states. */
        CHECK_EQUAL(holder, v->minor == 12 ? 0 : 4711);
        CHECK(!gs_layout_gil_lives(&seen[0], &view, &holder));
        CHECK(!gs_layout_gil_lives(&seen[1], &view, &holder));

        struct fake_gil_state *begins = own_gil(other_interps[2]);
        CHECK(gs_layout_cond(&seen[0].layout) == &begins->cond);
        CHECK(gs_layout_gil_begins(&seen[0], &begins->cond));
        CHECK(!gs_layout_gil_begins(&seen[0], &begins->switch_cond));
        CHECK(!gs_layout_gil_begins(&seen[2], &own_gil(other_interps[0])->cond));
        begins->interval = 0;
        CHECK(!gs_layout_gil_begins(&seen[0], &begins->cond));
        begins->interval = UINT64_C(1) << 33;
        CHECK(!gs_layout_gil_begins(&seen[0], &begins->cond));
        begins->interval = 1;
        CHECK(gs_layout_gil_begins(&seen[0], &begins->cond));
        begins->last_holder = 8;
        CHECK(!gs_layout_gil_begins(&seen[0], &begins->cond));
    }
}

static void a_torn_list_of_interpreters_is_not_whole(void)
{
    for (size_t n = 1; n < N_VERSIONS; n++) {
        struct gs_layout l;
        make_interpreters(&versions[n]);
        CHECK(prove_as(HEX(v->minor), &l));
        other_interps[1][v->interp_next / 8] = 64;
        CHECK(!list(&l));
        CHECK_EQUAL(n_seen, 2);
        other_interps[1][v->interp_next / 8] = 0;
        CHECK(!list(&l));
        other_interps[1][v->interp_next / 8] = (uintptr_t)other_interps[2];
        CHECK(!list(&l));
        CHECK(n_seen > 4);
        other_interps[1][v->interp_next / 8] = (uintptr_t)interp; /* one has gone */
        CHECK(list(&l));
        CHECK_EQUAL(n_seen, 3);
    }
}

/* The main GIL is proven all the same. */
static void a_broken_list_ends_the_walk(void)
{
    struct fake_gil_state *far =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (size_t n = 1; n < N_VERSIONS; n++) {
        for (int how = 0; how < 4; how++) {
            struct gs_layout l;
            make_interpreters(&versions[n]);
            if (how == 0)
                *(uintptr_t *)(_PyRuntime.bytes + v->head + 8) = (uintptr_t)other_interps[0];
            if (how == 1)
                interp[v->interp_id / 8] = 1;
            if (how == 2)
                other_interps[0][v->interp_next / 8] = 64;
            if (how == 3)
                *far = gil, *interp_field(v->gil_pointer) = (uintptr_t)far;
            CHECK(prove_as(HEX(v->minor), &l));
            CHECK(!list(&l));
            CHECK_EQUAL(n_seen, 0);
            CHECK_EQUAL(gs_layout_interpreters_begun(&l), 0);
        }
    }
    for (size_t n = 2; n < N_VERSIONS; n++) {
        struct gs_layout l;
        make_interpreters(&versions[n]);
        _PyRuntime.table[7] = 65536;
        CHECK(prove_as(HEX(v->minor), &l));
        CHECK(!list(&l));
    }
    struct gs_layout l;
    make_interpreters(&versions[0]);
    CHECK(prove_as(HEX(11), &l));
    CHECK(!list(&l));
    munmap(far, 4096);
}

/* ---- what is refused ---- */

static void another_python_is_refused(void)
{
    struct gs_layout l;
    make_interpreter(&versions[1]);
    CHECK(!prove_as(HEX(10), &l) && strstr(why.text, "found 3.10"));
    CHECK(!prove_as(HEX(16), &l) && strstr(why.text, "found 3.16"));
    CHECK(!prove_as(0x040b0000, &l) && strstr(why.text, "found 4.11"));
}

static void a_table_with_other_contents_is_refused(void)
{
    EACH_VERSION(13)
    {
        _PyRuntime.bytes[7] ^= 1;
        check_refused("_PyRuntime to begin with the offsets", "found version");
        _PyRuntime.bytes[7] ^= 1;
        _PyRuntime.table[1] += 0x10000;
        check_refused("_PyRuntime to begin with the offsets", "found version");
    }
}

static void offsets_out_of_bounds_are_refused(void)
{
    static const int offsets[] = {0, 1, 5, 6, 7};
    EACH_VERSION(13)
    {
        for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
            if (!v->index[offsets[i]])
                continue;
            make_interpreter(v);
            _PyRuntime.table[v->index[offsets[i]]] = 65536;
            check_refused("below 65536", "found 65536");
        }
        for (int i = 3; i <= 4; i++) {
            make_interpreter(v);
            _PyRuntime.table[v->index[i]] = 1000 + 65;
            check_refused("within 64 bytes", "65");
            _PyRuntime.table[v->index[i]] = 999;
            check_refused("within 64 bytes", "found");
        }
        make_interpreter(v);
        _PyRuntime.table[v->index[4]] = 1000 + 7; /* no room for the interval before it */
        check_refused("within 64 bytes", "found 7");
    }
}

static void a_gil_in_no_memory_is_refused(void)
{
    void *gone = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EACH_VERSION(12)
    {
        *interp_field(v->gil_pointer) = 0;
        check_refused("expected the GIL at (nil)", "no readable memory");
        *interp_field(v->gil_pointer) = (uintptr_t)gone;
        check_refused("expected the GIL at 0x", "no readable memory");
    }
    munmap(gone, 4096);
}

static void a_gil_that_contradicts_python_is_refused(void)
{
    EACH_VERSION(11)
    {
        gil_in_force()->locked = 0;
        check_refused("locked by this thread", "found it free");
        gil_in_force()->locked = 2;
        check_refused("locked by this thread", "found it free");
        gil_in_force()->locked = 1;
        gil_in_force()->last_holder = (uintptr_t)other_state;
        check_refused("holder to be this thread's state", "found 0x");
        gil_in_force()->last_holder = (uintptr_t)thread_state;
        gil_in_force()->interval = 5001;
        check_refused("switch interval of 5000 us", "found 5001 us");
    }
}

static void a_list_without_this_thread_is_refused(void)
{
    EACH_VERSION(11)
    {
        other_state[v->next / 8] = 0;
        check_refused("in the interpreter's list of threads", "did not find it");
        other_state[v->next / 8] = 64;
        check_refused("in the interpreter's list of threads", "did not find it");
        other_state[v->next / 8] = (uintptr_t)thread_state;
        thread_state[v->native_id / 8] = 1;
        check_refused("hold native id", "found 1");
    }
}

static void an_interpreter_that_hides_its_runtime_is_refused(void)
{
    make_interpreter(&versions[0]);
    check_refused("export _PyRuntime", "no such symbol");
}

int main(int argc, char **argv)
{
    (void)argv;
    if (argc == 1) {
        RUN(an_interpreter_that_hides_its_runtime_is_refused);
        return check_done();
    }
    RUN(a_sound_interpreter_is_proven);
    RUN(threads_are_listed_newest_first);
    RUN(a_torn_list_of_threads_does_no_harm);
    RUN(the_conditions_stand_where_the_gil_has_them);
    RUN(an_interval_too_large_for_32_bits_is_clipped);
    RUN(interpreters_are_listed_newest_first);
    RUN(a_gil_is_one_only_in_a_state_that_one_can_be_in);
    RUN(a_torn_list_of_interpreters_is_not_whole);
    RUN(a_broken_list_ends_the_walk);
    RUN(another_python_is_refused);
    RUN(a_table_with_other_contents_is_refused);
    RUN(offsets_out_of_bounds_are_refused);
    RUN(a_gil_in_no_memory_is_refused);
    RUN(a_gil_that_contradicts_python_is_refused);
    RUN(a_list_without_this_thread_is_refused);
    return check_done();
}
