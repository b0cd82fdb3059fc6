/* The ring: order, laps, holes, losses, and many producers against one consumer. */
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ring.h"

#define LOG2_SLOTS 13u
#define SLOTS      (1u << LOG2_SLOTS)
#define ROOM       (SLOTS - GS_RING_MARGIN)
#define QUARTER    (SLOTS / 4)

static struct gs_ring ring;

static void open_ring(void)
{
    CHECK(gs_ring_open(&ring, LOG2_SLOTS));
}

static uint64_t stamp_of(const struct gs_record *r)
{
    return r->stamp & ~GS_STAMP_LAP;
}

static enum gs_kind kind_of(const struct gs_record *r)
{
    return (enum gs_kind)(r->word & 31);
}

static uint32_t thread_of(const struct gs_record *r)
{
    return (uint32_t)(r->word >> 12) & ((1u << GS_THREAD_BITS) - 1);
}

static uint32_t arg_of(const struct gs_record *r)
{
    return (uint32_t)(r->word >> 32);
}

static void put_numbered(uint64_t from, uint64_t to)
{
    for (uint64_t i = from; i < to; i++)
        gs_ring_put(&ring, i, gs_word(GS_ACQUIRE, 3, (uint32_t)i));
}

/* Takes what is there, in pieces of at most `most`, and checks that it continues with `next`. */
static uint64_t take_numbered(uint64_t next, size_t most)
{
    const struct gs_record *r;
    for (size_t n; (n = gs_ring_peek(&ring, &r, most)) > 0; gs_ring_take(&ring, n)) {
        CHECK(n <= most);
        for (size_t i = 0; i < n; i++, next++) {
            CHECK_EQUAL(stamp_of(&r[i]), next);
            CHECK_EQUAL(r[i].word, gs_word(GS_ACQUIRE, 3, (uint32_t)next));
        }
    }
    return next;
}

static void keeps_order_over_many_laps(void)
{
    uint64_t put = 0, taken = 0;
    open_ring();
    for (unsigned round = 0; round < 200; round++) {
        uint64_t to = put + 1 + round * 997 % ROOM;
        put_numbered(put, to);
        put = to;
        taken = take_numbered(taken, 1 + round * 31);
        CHECK_EQUAL(taken, put);
    }
    CHECK(put / SLOTS > 40);
    CHECK_EQUAL(ring.lost, 0);
    gs_ring_close(&ring);
}

static void words_hold_their_fields(void)
{
    const struct gs_record *r;
    open_ring();
    gs_ring_put(&ring, 1, gs_word(GS_CPU_HIGH, (1u << GS_THREAD_BITS) - 1, UINT32_MAX));
    CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 1);
    CHECK_EQUAL(kind_of(r), GS_CPU_HIGH);
    CHECK_EQUAL(r->word >> 5 & 127, 0);
    CHECK_EQUAL(thread_of(r), (1u << GS_THREAD_BITS) - 1);
    CHECK_EQUAL(arg_of(r), UINT32_MAX);
    gs_ring_close(&ring);
}

/* A stamp whose own top bit is set must not be taken for a whole slot of another lap. */
static void the_lap_owns_the_top_bit(void)
{
    const struct gs_record *r;
    open_ring();
    for (unsigned lap = 0; lap < 4; lap++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            gs_ring_put(&ring, (uint64_t)(i & 1) << 63 | i, gs_word(GS_RELEASE, 0, i));
            CHECK_EQUAL(gs_ring_peek(&ring, &r, 2), 1);
            CHECK_EQUAL(r->stamp >> 63, lap & 1 ? 0 : 1);
            CHECK_EQUAL(stamp_of(r), i);
            gs_ring_take(&ring, 1);
            CHECK_EQUAL(gs_ring_peek(&ring, &r, 2), 0);
        }
    }
    gs_ring_close(&ring);
}

/* A producer that was preempted between its reservation and its stamp holds back what follows. */
static void a_slot_not_yet_whole_is_not_seen(void)
{
    const struct gs_record *r;
    open_ring();
    for (unsigned lap = 0; lap < 3; lap++) {
        gs_ring_put(&ring, 10, gs_word(GS_REQUEST, 1, 0));
        uint64_t hole = atomic_fetch_add(&ring.head, 1);
        gs_ring_put(&ring, 30, gs_word(GS_REQUEST, 1, 2));
        CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 1);
        CHECK_EQUAL(stamp_of(r), 10);
        struct gs_slot *s = &ring.slots[hole & (SLOTS - 1)];
        atomic_store(&s->word, gs_word(GS_REQUEST, 1, 1));
        CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 1);
        atomic_store(&s->stamp, 20 | gs_ring_lap_bit(&ring, hole));
        CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 3);
        CHECK_EQUAL(stamp_of(&r[1]), 20);
        CHECK_EQUAL(stamp_of(&r[2]), 30);
        gs_ring_take(&ring, 3);
        for (unsigned i = 3; i < SLOTS; i++) {
            gs_ring_put(&ring, 40, gs_word(GS_REQUEST, 1, 3));
            CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 1);
            gs_ring_take(&ring, 1);
        }
    }
    gs_ring_close(&ring);
}

static void peek_gives_one_piece_and_no_more_than_asked(void)
{
    const struct gs_record *r, *again;
    open_ring();
    put_numbered(0, ROOM);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, 7), 7);
    CHECK_EQUAL(gs_ring_peek(&ring, &again, SIZE_MAX), ROOM);
    CHECK(r == again);
    gs_ring_take(&ring, ROOM);
    put_numbered(ROOM, SLOTS - 5);
    CHECK_EQUAL(take_numbered(ROOM, SIZE_MAX), SLOTS - 5);
    put_numbered(SLOTS - 5, SLOTS + 7); /* the ring's end parts them */
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), 5);
    gs_ring_take(&ring, 5);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), 7);
    CHECK(r == (const struct gs_record *)ring.slots);
    gs_ring_close(&ring);
}

static void a_full_ring_records_the_loss_where_it_happened(void)
{
    const struct gs_record *r;
    open_ring();
    put_numbered(0, ROOM + 10);
    CHECK_EQUAL(ring.lost, 10);
    CHECK_EQUAL(ring.head, ROOM);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), ROOM);
    gs_ring_take(&ring, 5);
    CHECK_EQUAL(ring.lost, 10);
    gs_ring_put(&ring, 70000, gs_word(GS_RELEASE, 2, 0));
    gs_ring_put(&ring, 70001, gs_word(GS_RELEASE, 2, 1));
    CHECK_EQUAL(ring.lost, 0);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), ROOM - 5 + 3);
    r += ROOM - 5;
    CHECK_EQUAL(stamp_of(&r[-1]), ROOM - 1);
    CHECK_EQUAL(kind_of(&r[0]), GS_LOST);
    CHECK_EQUAL(arg_of(&r[0]), 10);
    CHECK_EQUAL(stamp_of(&r[0]), 70000);
    CHECK_EQUAL(kind_of(&r[1]), GS_RELEASE);
    CHECK_EQUAL(arg_of(&r[1]), 0);
    CHECK_EQUAL(arg_of(&r[2]), 1);
    gs_ring_close(&ring);
}

static void a_loss_that_finds_no_room_stays_counted(void)
{
    const struct gs_record *r;
    open_ring();
    gs_ring_put_lost(&ring, 1);
    CHECK_EQUAL(ring.head, 0);
    put_numbered(0, ROOM + 3);
    gs_ring_put_lost(&ring, 1);
    CHECK_EQUAL(ring.lost, 3);
    CHECK_EQUAL(ring.head, ROOM);
    gs_ring_peek(&ring, &r, SIZE_MAX);
    gs_ring_take(&ring, ROOM);
    gs_ring_put_lost(&ring, 77);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), 1);
    CHECK_EQUAL(kind_of(r), GS_LOST);
    CHECK_EQUAL(arg_of(r), 3);
    CHECK_EQUAL(stamp_of(r), 77);
    gs_ring_take(&ring, 1);
    ring.lost = UINT64_C(1) << 33;
    gs_ring_put_lost(&ring, 78);
    CHECK_EQUAL(gs_ring_peek(&ring, &r, SIZE_MAX), 1);
    CHECK_EQUAL(arg_of(r), UINT32_MAX);
    gs_ring_close(&ring);
}

static void each_quarter_asks_for_the_consumer_once(void)
{
    const struct gs_record *r;
    open_ring();
    for (unsigned i = 1; i <= 5 * SLOTS; i++) {
        CHECK_EQUAL(gs_ring_put(&ring, i, gs_word(GS_RELEASE, 0, 0)), i % QUARTER == 0);
        CHECK_EQUAL(gs_ring_peek(&ring, &r, 9), 1);
        gs_ring_take(&ring, 1);
    }
    put_numbered(0, ROOM);
    CHECK_EQUAL(gs_ring_put(&ring, 1, gs_word(GS_RELEASE, 0, 0)), 0);
    gs_ring_close(&ring);
}

static unsigned pages_there(void)
{
    unsigned char there[SLOTS * sizeof(struct gs_slot) / 4096];
    unsigned n = 0;
    CHECK_EQUAL(mincore(ring.slots, SLOTS * sizeof(struct gs_slot), there), 0);
    for (unsigned i = 0; i < sizeof there; i++)
        n += there[i] & 1;
    return n;
}

static void pages_are_there_before_producers_come(void)
{
    open_ring();
    gs_ring_prepare(&ring, 1000);
    CHECK(pages_there() >= 1000 * sizeof(struct gs_slot) / 4096 + 1);
    put_numbered(0, 1500);
    gs_ring_prepare(&ring, 1000); /* there already */
    gs_ring_prepare(&ring, UINT64_MAX);
    CHECK_EQUAL(pages_there(), SLOTS * sizeof(struct gs_slot) / 4096);
    CHECK_EQUAL(take_numbered(0, SLOTS), 1500);
    gs_ring_close(&ring);
}

static void a_forked_child_has_nothing_in_it(void)
{
    open_ring();
    put_numbered(0, 100);
    pid_t child = fork();
    if (child == 0) {
        const struct gs_record *r;
        bool empty = gs_ring_peek(&ring, &r, SLOTS) == 0;
        put_numbered(100, 101); /* nor does it harm a thread that comes too late to know */
        gs_ring_close(&ring);
        _exit(!empty);
    }
    int status;
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(status, 0);
    CHECK_EQUAL(take_numbered(0, SLOTS), 100);
    gs_ring_close(&ring);
}

static void closing_twice_is_harmless(void)
{
    open_ring();
    gs_ring_close(&ring);
    gs_ring_close(&ring);
    CHECK(ring.slots == NULL);
}

/* ---- many producers ---- */

#define PRODUCERS 6u
#define EACH      100000u

static bool producers_wait;
static _Atomic unsigned producing;

/* Detects a torn record: no word but its own gives this stamp. */
static uint64_t mix(uint64_t word)
{
    return (word * UINT64_C(0x9e3779b97f4a7c15)) & ~GS_STAMP_LAP;
}

/* A producer that finds it so leaves room for what the others are about to put. */
static bool nearly_full(void)
{
    return atomic_load(&ring.head) + PRODUCERS >= atomic_load(&ring.limit);
}

static void *produce(void *arg)
{
    uint32_t thread = (uint32_t)(uintptr_t)arg;
    for (uint32_t i = 0; i < EACH; i++) {
        while (producers_wait && nearly_full())
            sched_yield();
        uint64_t word = gs_word(GS_ACQUIRE, thread, i);
        gs_ring_put(&ring, mix(word), word);
    }
    atomic_fetch_sub(&producing, 1);
    return NULL;
}

struct tally {
    uint64_t records, lost;
    uint32_t next[PRODUCERS];
};

static void count_record(struct tally *t, const struct gs_record *r)
{
    if (kind_of(r) == GS_LOST) {
        t->lost += arg_of(r);
        return;
    }
    CHECK_EQUAL(kind_of(r), GS_ACQUIRE);
    CHECK(thread_of(r) < PRODUCERS);
    CHECK_EQUAL(stamp_of(r), mix(r->word));
    CHECK(arg_of(r) >= t->next[thread_of(r)]);
    t->next[thread_of(r)] = arg_of(r) + 1;
    t->records++;
}

static void drain(struct tally *t)
{
    const struct gs_record *r;
    gs_ring_prepare(&ring, 2 * atomic_load(&ring.head));
    for (size_t n; (n = gs_ring_peek(&ring, &r, 1000)) > 0; gs_ring_take(&ring, n))
        for (size_t i = 0; i < n; i++)
            count_record(t, &r[i]);
}

/* A slow consumer lets the ring run full again and again. */
static struct tally race(bool wait, bool slow)
{
    pthread_t threads[PRODUCERS];
    struct tally t = {0};
    producers_wait = wait;
    producing = PRODUCERS;
    open_ring();
    for (unsigned i = 0; i < PRODUCERS; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, produce, (void *)(uintptr_t)i), 0);
    while (producing) {
        while (slow && producing && !gs_ring_full(&ring))
            sched_yield();
        for (unsigned i = 0; slow && i < 100; i++)
            sched_yield();
        drain(&t);
    }
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    drain(&t);
    gs_ring_put_lost(&ring, 0);
    drain(&t);
    CHECK_EQUAL(ring.tail, ring.head);
    gs_ring_close(&ring);
    return t;
}

static void nothing_is_lost_while_there_is_room(void)
{
    struct tally t = race(true, false);
    CHECK_EQUAL(t.lost, 0);
    CHECK_EQUAL(t.records, (uint64_t)PRODUCERS * EACH);
}

static void every_loss_is_recorded(void)
{
    struct tally t = race(false, true);
    CHECK(t.lost > 0);
    CHECK_EQUAL(t.records + t.lost, (uint64_t)PRODUCERS * EACH);
}

int main(void)
{
    RUN(keeps_order_over_many_laps);
    RUN(words_hold_their_fields);
    RUN(the_lap_owns_the_top_bit);
    RUN(a_slot_not_yet_whole_is_not_seen);
    RUN(peek_gives_one_piece_and_no_more_than_asked);
    RUN(a_full_ring_records_the_loss_where_it_happened);
    RUN(a_loss_that_finds_no_room_stays_counted);
    RUN(each_quarter_asks_for_the_consumer_once);
    RUN(pages_are_there_before_producers_come);
    RUN(a_forked_child_has_nothing_in_it);
    RUN(closing_twice_is_harmless);
    RUN(nothing_is_lost_while_there_is_room);
    RUN(every_loss_is_recorded);
    return check_done();
}
