/* The sampler with a clock, an observation and a storage of the test's own: nothing here takes
 * time. */
#include "check.h"

#include <pthread.h>
#include <string.h>

#include "sampler.h"

#define MS          UINT64_C(1000000)
#define START       (1000 * MS)
#define PERIOD      (10 * MS)
#define MOST_LOOKS  5000u
#define LOG2_SLOTS  19u
#define MOST_FORCED 64u

/* ---- the fake world ---- */

struct kept {
    struct gs_batch batch;
    uint32_t n_records, n_cpus, n_states;
    uint64_t first_stamp, last_stamp, last_word;
    uint64_t now;
};

static struct gs_ring ring;
static struct gs_sampler sampler;
static struct gs_flushes flushes;

static struct world {
    uint64_t now;
    /* what the n-th wait does: how late it comes back, or before its time */
    int64_t late[MOST_FORCED];
    unsigned waits, stop_after;
    uint64_t until[MOST_LOOKS];
    bool before_its_time[MOST_LOOKS];
    void (*during_wait)(void);
    void (*during_states)(void);
    void (*during_clock)(void);
    uint32_t interval_us;
    /* what was stored */
    struct kept kept[MOST_LOOKS];
    unsigned n_kept, n_flushes;
    uint64_t flushed_at[MOST_LOOKS], cpus_at[MOST_LOOKS];
    unsigned n_cpu_looks, n_state_looks;
    uint64_t next_stamp; /* records are numbered */
    unsigned flushed_after_kept;
    unsigned n_sites_described, sites_described_at[MOST_LOOKS]; /* how much was stored before */
} w;

static void fake_gil(void *context, struct gs_gil_view *view)
{
    CHECK(context == &w);
    *view = (struct gs_gil_view){
        .holder = 0xabc, .switches = 1000 + w.waits, .interval_us = w.interval_us};
}

static size_t fake_states(void *context, const struct gs_gil_view *view, struct gs_state *states,
                          size_t most)
{
    CHECK(context == &w && most >= 2);
    CHECK_EQUAL(view->holder, 0xabc);
    CHECK_EQUAL(view->switches, 1000 + w.waits);
    w.n_state_looks++;
    if (w.during_states)
        w.during_states();
    states[0] = (struct gs_state){1, GS_STATE_RUN};
    states[1] = (struct gs_state){2, GS_STATE_WAIT};
    return 2;
}

static size_t fake_cpus(void *context, struct gs_cpu *cpus, size_t most)
{
    CHECK(context == &w && most >= 3);
    w.cpus_at[w.n_cpu_looks++] = w.now;
    memset(cpus, 0, 3 * sizeof *cpus);
    return 3;
}

static uint64_t fake_wait(void *context, uint64_t until, _Atomic uint32_t *bell)
{
    CHECK(context == &w && bell == &sampler.bell);
    CHECK(w.waits < MOST_LOOKS);
    int64_t late = w.waits < MOST_FORCED ? w.late[w.waits] : 0;
    w.until[w.waits++] = until;
    if (until > w.now || late < 0)
        w.now = (uint64_t)((int64_t)until + late);
    if (w.during_wait)
        w.during_wait();
    if (w.waits == w.stop_after)
        atomic_store(&sampler.stop, true);
    return w.now;
}

static struct gs_clock_pair fake_clock(void *context)
{
    CHECK(context == &w);
    if (w.during_clock)
        w.during_clock();
    return (struct gs_clock_pair){w.now * 3, w.now, 21};
}

static void fake_sites(void *context)
{
    CHECK(context == &w);
    w.sites_described_at[w.n_sites_described++] = w.n_kept;
}

static void fake_append(void *context, const struct gs_look *look)
{
    CHECK(context == &w && w.n_kept < MOST_LOOKS);
    struct kept *k = &w.kept[w.n_kept++];
    *k = (struct kept){.batch = look->batch,
                       .n_records = look->n_records,
                       .n_cpus = look->n_cpus,
                       .n_states = look->n_states,
                       .now = w.now};
    if (look->n_records) {
        k->first_stamp = look->records[0].stamp & ~GS_STAMP_LAP;
        k->last_stamp = look->records[look->n_records - 1].stamp & ~GS_STAMP_LAP;
        k->last_word = look->records[look->n_records - 1].word;
    }
}

static void fake_flush(void *context)
{
    CHECK(context == &w);
    w.flushed_at[w.n_flushes++] = w.now;
    w.flushed_after_kept = w.n_kept;
}

static void make_world(unsigned stop_after)
{
    gs_ring_close(&ring);
    CHECK(gs_ring_open(&ring, LOG2_SLOTS));
    memset(&w, 0, sizeof w);
    memset(&sampler, 0, sizeof sampler);
    w.now = START;
    w.interval_us = 5000;
    w.stop_after = stop_after;
    sampler.calls = (struct gs_sampler_calls){.gil = fake_gil,
                                              .states = fake_states,
                                              .cpus = fake_cpus,
                                              .wait = fake_wait,
                                              .clock = fake_clock,
                                              .append = fake_append,
                                              .flush = fake_flush};
    sampler.context = &w;
    sampler.ring = &ring;
    sampler.flushes = &flushes;
    sampler.period_ns = PERIOD;
}

static void put(unsigned n)
{
    while (n--) {
        gs_ring_put(&ring, w.next_stamp, gs_word(GS_ACQUIRE, 0, 0));
        w.next_stamp++;
    }
}

static bool is_tick(const struct kept *k)
{
    return k->batch.flags & GS_TICK;
}

/* ---- schedule ---- */

static void the_first_tick_comes_at_once(void)
{
    make_world(1);
    gs_sampler_run(&sampler);
    const struct kept *k = &w.kept[0];
    CHECK(is_tick(k));
    CHECK_EQUAL(k->now, START);
    CHECK_EQUAL(k->batch.monotonic_ns, START);
    CHECK_EQUAL(k->batch.stamp, START * 3);
    CHECK_EQUAL(k->batch.pair_error_ns, 21);
    CHECK_EQUAL(k->batch.late_ns, 0);
    CHECK_EQUAL(k->batch.interval_us, 5000);
    CHECK_EQUAL(k->batch.switches, 1000);
    CHECK_EQUAL(k->n_states, 2);
    CHECK_EQUAL(k->n_cpus, 3);
}

static void ticks_come_once_a_period(void)
{
    make_world(100);
    gs_sampler_run(&sampler);
    for (unsigned i = 0; i < 100; i++) {
        CHECK_EQUAL(w.until[i], START + (i + 1) * PERIOD);
        CHECK(is_tick(&w.kept[i]));
        CHECK_EQUAL(w.kept[i].now, START + i * PERIOD);
        CHECK_EQUAL(w.kept[i].batch.late_ns, 0);
        CHECK_EQUAL(w.kept[i].batch.switches, 1000 + i);
    }
}

static void lateness_is_recorded_and_the_beat_is_kept(void)
{
    make_world(6);
    w.late[1] = 7 * MS;
    w.late[3] = PERIOD - 1;
    gs_sampler_run(&sampler);
    static const uint64_t late[] = {0, 0, 7 * MS, 0, PERIOD - 1, 0};
    for (unsigned i = 0; i < 6; i++) {
        CHECK_EQUAL(w.kept[i].batch.late_ns, late[i]);
        CHECK_EQUAL(w.until[i], START + (i + 1) * PERIOD);
    }
}

static void missed_ticks_are_skipped(void)
{
    make_world(5);
    w.late[0] = 95 * MS;
    gs_sampler_run(&sampler);
    uint64_t back = START + PERIOD + 95 * MS;
    CHECK_EQUAL(w.kept[1].now, back);
    CHECK_EQUAL(w.kept[1].batch.late_ns, 95 * MS);
    for (unsigned i = 1; i < 5; i++)
        CHECK_EQUAL(w.until[i], back + i * PERIOD);
    for (unsigned i = 2; i < 5; i++) {
        CHECK_EQUAL(w.kept[i].now, back + (i - 1) * PERIOD);
        CHECK_EQUAL(w.kept[i].batch.late_ns, 0);
    }
}

static void a_ring_of_the_bell_is_no_tick(void)
{
    make_world(4);
    w.late[1] = -4 * (int64_t)MS;
    w.late[2] = 0;
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.kept[2].now, START + 2 * PERIOD - 4 * MS);
    CHECK(!is_tick(&w.kept[2]));
    CHECK_EQUAL(w.kept[2].batch.late_ns, 0);
    CHECK_EQUAL(w.kept[2].n_states, 0);
    CHECK_EQUAL(w.kept[2].n_cpus, 0);
    CHECK_EQUAL(w.until[2], START + 2 * PERIOD); /* the same tick is waited for again */
    CHECK(is_tick(&w.kept[3]));
    CHECK_EQUAL(w.kept[3].batch.late_ns, 0);
}

static void jitter_stays_between_half_and_one_and_a_half_periods(void)
{
    unsigned early = 0, late = 0;
    uint64_t before = START;
    make_world(4000);
    sampler.jitter = true;
    gs_sampler_run(&sampler);
    for (unsigned i = 0; i < 4000; before = w.until[i++]) {
        uint64_t step = w.until[i] - before;
        CHECK(step >= PERIOD / 2 && step < PERIOD + PERIOD / 2);
        early += step < PERIOD * 3 / 4;
        late += step >= PERIOD * 5 / 4;
    }
    /* A quarter each; eight standard deviations of a fair draw are 220. */
    CHECK(early > 780 && early < 1220);
    CHECK(late > 780 && late < 1220);
}

static void cpu_times_are_read_every_100_ms(void)
{
    make_world(50);
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.n_cpu_looks, 6);
    for (unsigned i = 0; i < 5; i++)
        CHECK_EQUAL(w.cpus_at[i], START + i * 100 * MS);
    CHECK_EQUAL(w.cpus_at[5], w.now); /* and once more at the end */
    for (unsigned i = 0; i < 50; i++)
        CHECK_EQUAL(w.kept[i].n_cpus, i % 10 == 0 ? 3 : 0);
}

static void what_was_gathered_is_flushed_every_50_ms(void)
{
    make_world(20);
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.n_flushes, 5);
    for (unsigned i = 0; i < 4; i++)
        CHECK_EQUAL(w.flushed_at[i], START + i * 50 * MS);
}

static uint32_t asked_flush;

static void put_one_and_ask(void)
{
    if (w.waits == 2) {
        put(1);
        asked_flush = gs_sampler_ask_flush(&sampler);
        CHECK_EQUAL(flushes.done + 1, asked_flush);
    }
}

static void who_asks_has_all_so_far_flushed(void)
{
    make_world(4);
    w.during_wait = put_one_and_ask;
    gs_sampler_run(&sampler);
    gs_sampler_await_flush(&flushes, asked_flush); /* would hang without a report */
    CHECK_EQUAL(flushes.done, asked_flush);
    CHECK_EQUAL(w.n_flushes, 3); /* at the beginning, when asked, and at the end */
    CHECK_EQUAL(w.flushed_at[1], START + 2 * PERIOD);
    CHECK_EQUAL(w.kept[2].n_records, 1);
}

static void ask_last(void)
{
    if (w.waits == w.stop_after)
        asked_flush = gs_sampler_ask_flush(&sampler);
}

static void a_sampler_that_ends_leaves_no_thread_waiting(void)
{
    make_world(2);
    w.during_wait = ask_last;
    gs_sampler_run(&sampler);
    gs_sampler_await_flush(&flushes, asked_flush);
    CHECK_EQUAL(flushes.done, asked_flush);
}

static void put_at_each_wait(void)
{
    put(1);
}

static unsigned asked_whether, wanted_until;

static bool fake_wanted(void *context)
{
    CHECK(context == &w);
    return ++asked_whether < wanted_until;
}

static void one_that_is_not_wanted_ends_by_itself(void)
{
    make_world(0);
    asked_whether = 0;
    wanted_until = 3;
    sampler.calls.wanted = fake_wanted;
    w.during_wait = put_at_each_wait;
    gs_sampler_run(&sampler);
    CHECK(!sampler.stop);
    CHECK_EQUAL(asked_whether, 3); /* after each flush: at 0, 50 and 100 ms */
    CHECK_EQUAL(w.now, START + 100 * MS);
    CHECK_EQUAL(w.waits, 10);
    CHECK_EQUAL(w.kept[w.n_kept - 1].batch.flags, GS_LAST);
    CHECK_EQUAL(w.flushed_after_kept, w.n_kept);
    CHECK_EQUAL(w.cpus_at[w.n_cpu_looks - 1], w.now);
    unsigned records = 0;
    for (unsigned i = 0; i < w.n_kept; i++)
        records += w.kept[i].n_records;
    CHECK_EQUAL(records, 10);
}

static void ask_while_it_rests(void)
{
    if (w.waits == 1)
        asked_flush = gs_sampler_ask_flush(&sampler);
    else
        CHECK_EQUAL(flushes.done, asked_flush);
    if (w.waits == 3)
        asked_flush = gs_sampler_ask_flush(&sampler);
}

static void a_resting_sampler_stores_nothing_and_leaves_no_thread_waiting(void)
{
    make_world(3);
    put(5);
    w.during_wait = ask_while_it_rests;
    gs_sampler_rest(&sampler);
    CHECK_EQUAL(w.waits, 3);
    CHECK_EQUAL(w.until[0], UINT64_MAX);
    CHECK_EQUAL(flushes.done, asked_flush);
    CHECK_EQUAL(w.n_kept, 0);
    CHECK_EQUAL(w.n_flushes, 0);
}

static void states_are_left_out_where_not_wanted(void)
{
    make_world(3);
    sampler.calls.states = NULL;
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.n_state_looks, 0);
    for (unsigned i = 0; i < w.n_kept; i++)
        CHECK_EQUAL(w.kept[i].n_states, 0);
    CHECK(is_tick(&w.kept[1]));
}

/* ---- draining ---- */

static void a_long_drain_makes_several_batches(void)
{
    const unsigned total = 3 * GS_RECORDS_PER_BATCH + 77;
    make_world(1);
    put(total);
    gs_sampler_run(&sampler);
    uint64_t next = 0;
    for (unsigned i = 0; i < 4; i++) {
        const struct kept *k = &w.kept[i];
        CHECK_EQUAL(k->n_records, i < 3 ? GS_RECORDS_PER_BATCH : 77);
        CHECK_EQUAL(k->first_stamp, next);
        CHECK_EQUAL(k->last_stamp, next + k->n_records - 1);
        CHECK_EQUAL(is_tick(k), i == 0);
        CHECK_EQUAL(k->n_states, i == 0 ? 2 : 0);
        CHECK_EQUAL(k->n_cpus, i == 0 ? 3 : 0);
        CHECK_EQUAL(k->batch.switches, 1000);
        next += k->n_records;
    }
    CHECK_EQUAL(next, total);
    CHECK_EQUAL(ring.tail, total);
    CHECK_EQUAL(ring.limit, total + (1u << LOG2_SLOTS) - GS_RING_MARGIN);
}

static void put_much(void)
{
    put(200000);
}

static void a_drain_goes_on_over_the_end_of_the_ring(void)
{
    make_world(10);
    w.during_wait = put_much;
    gs_sampler_run(&sampler);
    uint64_t next = 0;
    for (unsigned i = 0; i < w.n_kept; i++) {
        if (!w.kept[i].n_records)
            continue;
        CHECK_EQUAL(w.kept[i].first_stamp, next);
        next += w.kept[i].n_records;
        CHECK_EQUAL(w.kept[i].last_stamp, next - 1);
    }
    CHECK_EQUAL(next, 2000000);
    CHECK_EQUAL(ring.lost, 0);
}

static void put_one(void)
{
    put(1);
}

/* The pair's stamp bounds those of the records: what comes while it is read must wait. */
static void the_clock_is_read_after_the_records(void)
{
    make_world(3);
    w.during_clock = put_one;
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.kept[0].n_records, 1); /* of gs_sampler_run's own first look at the clock */
    CHECK_EQUAL(w.kept[1].n_records, 1);
    CHECK_EQUAL(w.kept[1].first_stamp, 1);
    CHECK_EQUAL(w.kept[2].n_records, 1);
}

/* ---- the end ---- */

static void set_interval(void)
{
    if (w.waits == 1) {
        w.interval_us = 2000;
        put(1);
    }
}

static void an_interval_is_not_older_than_the_records_beside_it(void)
{
    make_world(3);
    w.during_states = set_interval; /* after the tick's first look at the GIL */
    gs_sampler_run(&sampler);
    unsigned n_stored = 0;
    for (unsigned i = 0; i < w.n_kept; i++) {
        n_stored += w.kept[i].n_records;
        CHECK_EQUAL(w.kept[i].batch.interval_us, n_stored ? 2000 : 5000);
    }
    CHECK_EQUAL(n_stored, 1);
}

static void put_last(void)
{
    if (w.waits == w.stop_after)
        put(GS_RECORDS_PER_BATCH + 1);
}

static void the_end_drains_everything(void)
{
    uint64_t records = 0;
    make_world(3);
    w.during_wait = put_last;
    gs_sampler_run(&sampler);
    for (unsigned i = 0; i < w.n_kept; i++) {
        records += w.kept[i].n_records;
        CHECK_EQUAL(w.kept[i].batch.flags & GS_LAST, i == w.n_kept - 1 ? GS_LAST : 0);
    }
    CHECK_EQUAL(records, GS_RECORDS_PER_BATCH + 1);
    const struct kept *last = &w.kept[w.n_kept - 1];
    CHECK_EQUAL(last->batch.flags, GS_LAST);
    CHECK_EQUAL(last->n_records + last->n_cpus + last->n_states, 0);
    CHECK_EQUAL(last->batch.stamp, w.now * 3);
    CHECK_EQUAL(last->batch.monotonic_ns, w.now);
    CHECK_EQUAL(last->batch.interval_us, 5000);
    CHECK_EQUAL(w.flushed_after_kept, w.n_kept);
    CHECK_EQUAL(ring.tail, ring.head);
    CHECK(sampler.cpu_ns > 0);
}

static void overflow_at_the_end(void)
{
    if (w.waits == w.stop_after)
        put((1u << LOG2_SLOTS) - GS_RING_MARGIN + 9);
}

static void a_loss_without_a_later_record_is_recorded_at_the_end(void)
{
    make_world(2);
    w.during_wait = overflow_at_the_end;
    gs_sampler_run(&sampler);
    const struct kept *k = &w.kept[w.n_kept - 2];
    CHECK_EQUAL(k->n_records, 1);
    CHECK_EQUAL(k->last_word, gs_word(GS_LOST, 0, 9));
    CHECK_EQUAL(k->last_stamp, w.now * 3);
    CHECK_EQUAL(ring.lost, 0);
}

/* ---- the real schedule ---- */

static _Atomic uint32_t bell;

static void waiting_for_the_past_returns_at_once(void)
{
    uint64_t before = gs_clock_ns(CLOCK_MONOTONIC);
    uint64_t now = gs_sampler_wait(NULL, before - 1, &bell);
    CHECK(now >= before);
}

static void waiting_ends_on_time(void)
{
    uint64_t until = gs_clock_ns(CLOCK_MONOTONIC) + 20 * MS;
    CHECK(gs_sampler_wait(NULL, until, &bell) >= until);
}

static void a_bell_rung_before_is_heard(void)
{
    gs_sampler_ring_bell(&bell);
    CHECK_EQUAL(bell, 1);
    CHECK(gs_sampler_wait(NULL, UINT64_C(1) << 60, &bell) < UINT64_C(1) << 60);
    CHECK_EQUAL(bell, 0);
}

static _Atomic unsigned n_wake_ups;

static void *ring_after_each_wake_up(void *unused)
{
    for (unsigned i = 0; i < 2000; i++) {
        gs_sampler_ring_bell(&bell);
        while (n_wake_ups == i)
            sched_yield();
    }
    return unused;
}

/* With the time a century away, a wake-up that gets lost hangs here. */
static void no_ring_of_the_bell_is_lost(void)
{
    pthread_t thread;
    CHECK_EQUAL(pthread_create(&thread, NULL, ring_after_each_wake_up, NULL), 0);
    for (unsigned i = 0; i < 2000; i++) {
        gs_sampler_wait(NULL, UINT64_C(1) << 61, &bell);
        n_wake_ups++;
    }
    pthread_join(thread, NULL);
}

static void put_some(void)
{
    if (w.waits % 2)
        put(3);
}

static void test_sites_are_described_before_the_batches_that_may_name_them(void)
{
    make_world(8);
    sampler.calls.sites = fake_sites;
    w.during_wait = put_some;
    gs_sampler_run(&sampler);
    CHECK_EQUAL(w.n_sites_described, 4);
    for (unsigned i = 0; i < w.n_sites_described; i++)
        CHECK_EQUAL(w.kept[w.sites_described_at[i]].n_records, 3);
    for (unsigned i = 0, n_blocks = 0; i < w.n_kept; i++)
        if (w.kept[i].n_records)
            CHECK_EQUAL(w.sites_described_at[n_blocks++], i);
}

int main(void)
{
    RUN(the_first_tick_comes_at_once);
    RUN(ticks_come_once_a_period);
    RUN(lateness_is_recorded_and_the_beat_is_kept);
    RUN(missed_ticks_are_skipped);
    RUN(a_ring_of_the_bell_is_no_tick);
    RUN(jitter_stays_between_half_and_one_and_a_half_periods);
    RUN(cpu_times_are_read_every_100_ms);
    RUN(what_was_gathered_is_flushed_every_50_ms);
    RUN(who_asks_has_all_so_far_flushed);
    RUN(a_sampler_that_ends_leaves_no_thread_waiting);
    RUN(one_that_is_not_wanted_ends_by_itself);
    RUN(a_resting_sampler_stores_nothing_and_leaves_no_thread_waiting);
    RUN(states_are_left_out_where_not_wanted);
    RUN(a_long_drain_makes_several_batches);
    RUN(a_drain_goes_on_over_the_end_of_the_ring);
    RUN(the_clock_is_read_after_the_records);
    RUN(an_interval_is_not_older_than_the_records_beside_it);
    RUN(the_end_drains_everything);
    RUN(a_loss_without_a_later_record_is_recorded_at_the_end);
    RUN(waiting_for_the_past_returns_at_once);
    RUN(waiting_ends_on_time);
    RUN(a_bell_rung_before_is_heard);
    RUN(no_ring_of_the_bell_is_lost);
    RUN(test_sites_are_described_before_the_batches_that_may_name_them);
    return check_done();
}
