/* What the kernel shows of this process's threads: CPU times, and which wait for a made-up GIL. */
#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#include "fakegil.h"
#include "threads.h"

static struct fake_interp interp;
static struct gs_layout layout;
static struct gs_gil_view gil;
static struct gs_state states[GS_MOST_THREADS];
static struct gs_cpu cpus[GS_MOST_THREADS];

/* ---- threads that are blocked in a known way ---- */

enum blocked { ON_COND, ON_SWITCH_COND, IN_READ, RUNNING, N_BLOCKED };

struct blocked_thread {
    pthread_t thread;
    struct fake_thread state;
    enum blocked how;
    _Atomic bool begun;
};

static struct blocked_thread blocked[N_BLOCKED];
static int pipe_ends[2];
static _Atomic bool go_on;

static void wait_on(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    while (!go_on)
        pthread_cond_wait(cond, mutex);
    pthread_mutex_unlock(mutex);
}

static void *block(void *arg)
{
    struct blocked_thread *t = arg;
    char c;
    t->state.native_id = (uint64_t)gettid();
    t->begun = true;
    switch (t->how) {
    case ON_COND:
        wait_on(&fake_gil.cond, &fake_gil.mutex);
        break;
    case ON_SWITCH_COND:
        wait_on(&fake_gil.switch_cond, &fake_gil.switch_mutex);
        break;
    case IN_READ:
        CHECK_EQUAL(read(pipe_ends[0], &c, 1), 1);
        break;
    default:
        while (!go_on)
            ;
    }
    return NULL;
}

/* Reads the kernel's file on a thread until it sleeps in the system call it is bound for. */
static void await_system_call(uint64_t native_id, long number)
{
    char path[64], text[128];
    snprintf(path, sizeof path, "/proc/self/task/%u/syscall", (unsigned)native_id);
    for (long seen = -1; seen != number; sched_yield()) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0);
        ssize_t n = read(fd, text, sizeof text - 1);
        close(fd);
        if (n > 0 && text[0] >= '0' && text[0] <= '9')
            seen = strtol(text, NULL, 10);
    }
}

static void start_blocked(void)
{
    static const long calls[] = {SYS_futex, SYS_futex, SYS_read};
    go_on = false;
    CHECK_EQUAL(pipe(pipe_ends), 0);
    interp = (struct fake_interp){.gil = &fake_gil};
    layout = fake_layout(&interp);
    for (int i = 0; i < N_BLOCKED; i++) {
        blocked[i].how = (enum blocked)i;
        blocked[i].begun = false;
        CHECK_EQUAL(pthread_create(&blocked[i].thread, NULL, block, &blocked[i]), 0);
        while (!blocked[i].begun)
            sched_yield();
        if (i < RUNNING)
            await_system_call(blocked[i].state.native_id, calls[i]);
        blocked[i].state.next = interp.threads;
        interp.threads = &blocked[i].state;
    }
}

static void wake(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    pthread_mutex_lock(mutex);
    pthread_cond_broadcast(cond);
    pthread_mutex_unlock(mutex);
}

static void end_blocked(void)
{
    go_on = true;
    wake(&fake_gil.cond, &fake_gil.mutex);
    wake(&fake_gil.switch_cond, &fake_gil.switch_mutex);
    CHECK_EQUAL(write(pipe_ends[1], "x", 1), 1);
    for (int i = 0; i < N_BLOCKED; i++)
        pthread_join(blocked[i].thread, NULL);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory);
    while (readdir(directory))
        n++;
    closedir(directory);
    return n;
}

/* ---- states ---- */

static void only_a_thread_asleep_on_the_gil_waits(void)
{
    start_blocked();
    gil = (struct gs_gil_view){.holder = (uintptr_t)&blocked[RUNNING].state, .locked = true};
    for (int again = 0; again < 3; again++) { /* the first look opens files, the next use them */
        CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 2);
        CHECK_EQUAL(states[0].native_id, blocked[RUNNING].state.native_id);
        CHECK_EQUAL(states[0].state, GS_STATE_RUN);
        CHECK_EQUAL(states[1].native_id, blocked[ON_COND].state.native_id);
        CHECK_EQUAL(states[1].state, GS_STATE_WAIT);
    }
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, 1), 1);
    gs_threads_reset();
    end_blocked();
}

static void no_thread_runs_while_the_gil_is_free(void)
{
    start_blocked();
    gil = (struct gs_gil_view){.holder = (uintptr_t)&blocked[RUNNING].state, .locked = false};
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 1);
    CHECK_EQUAL(states[0].native_id, blocked[ON_COND].state.native_id);
    gs_threads_reset();
    end_blocked();
}

static uint32_t state_of(size_t n, uint64_t native_id)
{
    uint32_t state = 0;
    for (size_t i = 0; i < n; i++)
        if (states[i].native_id == native_id)
            state = states[i].state;
    return state;
}

/* Where waiters are counted, a thread that is ready to run may be one; if no waiter is counted, no
 * thread is looked at. */
static void candidates_are_listed_where_waiters_are_counted(void)
{
    start_blocked();
    layout.cond_waiters = 1;
    gil = (struct gs_gil_view){
        .holder = (uintptr_t)&blocked[IN_READ].state, .locked = true, .waiters = 2};
    size_t n = gs_threads_states(&layout, &gil, states, GS_MOST_THREADS);
    CHECK_EQUAL(n, 3);
    CHECK_EQUAL(state_of(n, blocked[IN_READ].state.native_id), GS_STATE_RUN);
    CHECK_EQUAL(state_of(n, blocked[ON_COND].state.native_id), GS_STATE_WAIT);
    CHECK_EQUAL(state_of(n, blocked[RUNNING].state.native_id), GS_STATE_READY);
    gil.waiters = 0;
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 1);
    CHECK_EQUAL(states[0].state, GS_STATE_RUN);
    gil.locked = false;
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 0);
    gs_threads_reset();
    end_blocked();
}

/* The threads are gone from the list, and still known: holder and counts show that nothing moved.
 */
static void nothing_is_looked_at_again_while_nothing_moves(void)
{
    start_blocked();
    layout.cond_waiters = 1;
    const struct gs_gil_view still = {
        .holder = (uintptr_t)&blocked[RUNNING].state, .locked = true, .waiters = 1, .switches = 7};
    gil = still;
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 2);
    struct fake_thread *threads = interp.threads;
    interp.threads = NULL;
    size_t n = gs_threads_states(&layout, &gil, states, GS_MOST_THREADS);
    CHECK_EQUAL(n, 2);
    CHECK_EQUAL(state_of(n, blocked[RUNNING].state.native_id), GS_STATE_RUN);
    CHECK_EQUAL(state_of(n, blocked[ON_COND].state.native_id), GS_STATE_WAIT);
    for (int what = 0; what < 4; what++) {
        interp.threads = threads;
        gil = still;
        CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 2);
        interp.threads = NULL;
        gil.switches += what == 0;
        gil.waiters += what == 1;
        gil.holder += what == 2;
        gil.locked = what != 3;
        CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 0);
    }
    gs_threads_reset();
    end_blocked();
}

/* 3.15 and later keep it in the thread state. */
static void the_interpreter_s_own_flag_is_believed(void)
{
    unsigned before = open_descriptors();
    struct fake_thread two = {.native_id = 2, .requested = 1}, one = {.next = &two, .native_id = 1};
    interp = (struct fake_interp){.threads = &one};
    layout = fake_layout(&interp);
    layout.thread_requested = offsetof(struct fake_thread, requested);
    gil = (struct gs_gil_view){.holder = (uintptr_t)&one, .locked = true};
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 2);
    CHECK_EQUAL(states[0].native_id, 1);
    CHECK_EQUAL(states[0].state, GS_STATE_RUN);
    CHECK_EQUAL(states[1].native_id, 2);
    CHECK_EQUAL(states[1].state, GS_STATE_WAIT);
    CHECK_EQUAL(open_descriptors(), before);
}

static void threads_that_are_gone_are_off(void)
{
    start_blocked();
    gil = (struct gs_gil_view){.locked = false};
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 1);
    end_blocked();
    CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 0);
    gs_threads_reset();
}

/* ---- descriptors ---- */

static void no_descriptor_is_left_and_few_are_held(void)
{
    unsigned before = open_descriptors();
    static struct fake_thread many[500];
    interp = (struct fake_interp){.threads = many};
    layout = fake_layout(&interp);
    for (unsigned i = 0; i < 500; i++)
        many[i] = (struct fake_thread){.next = i < 499 ? &many[i + 1] : NULL,
                                       .native_id = i % 3 ? (uint64_t)gettid() : 1000000 + i};
    gil = (struct gs_gil_view){.locked = false};
    for (int again = 0; again < 3; again++)
        CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 0);
    CHECK_EQUAL(open_descriptors(), before + 1);
    gs_threads_reset();
    CHECK_EQUAL(open_descriptors(), before);
    gs_threads_reset();
    CHECK_EQUAL(open_descriptors(), before);
}

static _Atomic unsigned sleeping;

static void *sleep_in_read(void *arg)
{
    char c;
    *(uint32_t *)arg = (uint32_t)gettid();
    sleeping++;
    CHECK_EQUAL(read(pipe_ends[0], &c, 1), 1);
    return NULL;
}

/* Two threads whose files share one place of those that stay open must not be taken for each other.
 */
static void many_threads_are_kept_apart(void)
{
    enum { MANY = 150 };
    static pthread_t threads[MANY];
    static uint32_t ids[MANY];
    static struct fake_thread sleepers[MANY];
    unsigned before = open_descriptors();
    start_blocked();
    int theirs[2] = {pipe_ends[0], pipe_ends[1]};
    CHECK_EQUAL(pipe(pipe_ends), 0);
    int ours[2] = {pipe_ends[0], pipe_ends[1]};
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, sleep_in_read, &ids[i]), 0);
    while (sleeping < MANY)
        sched_yield();
    for (unsigned i = 0; i < MANY; i++) {
        sleepers[i] = (struct fake_thread){.native_id = ids[i], .next = interp.threads};
        interp.threads = &sleepers[i];
    }
    gil = (struct gs_gil_view){.locked = false};
    for (int again = 0; again < 3; again++) {
        CHECK_EQUAL(gs_threads_states(&layout, &gil, states, GS_MOST_THREADS), 1);
        CHECK_EQUAL(states[0].native_id, blocked[ON_COND].state.native_id);
        CHECK(open_descriptors() <= before + 4 + 64);
    }
    for (unsigned i = 0; i < MANY; i++)
        CHECK_EQUAL(write(pipe_ends[1], "x", 1), 1);
    for (unsigned i = 0; i < MANY; i++)
        pthread_join(threads[i], NULL);
    memcpy(pipe_ends, theirs, sizeof theirs);
    gs_threads_reset();
    end_blocked();
    close(ours[0]);
    close(ours[1]);
    CHECK_EQUAL(open_descriptors(), before);
}

static void a_thread_sees_its_own_waits(void)
{
    CHECK(gs_threads_can_see_waits());
}

/* ---- CPU times ---- */

static const struct gs_cpu *find_cpu(size_t n, uint32_t native_id)
{
    const struct gs_cpu *found = NULL;
    for (size_t i = 0; i < n; i++) {
        if (cpus[i].native_id != native_id)
            continue;
        CHECK(!found);
        found = &cpus[i];
    }
    return found;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void the_caller_s_cpu_time_lies_between_two_of_its_own_readings(void)
{
    for (int again = 0; again < 20; again++) {
        uint64_t before = own_cpu_ns();
        size_t n = gs_threads_cpus(cpus, GS_MOST_THREADS);
        uint64_t after = own_cpu_ns();
        const struct gs_cpu *own = find_cpu(n, (uint32_t)gettid());
        CHECK(own);
        CHECK_EQUAL(own->unused, 0);
        CHECK(own->cpu_ns >= before && own->cpu_ns <= after);
    }
}

static void every_thread_has_its_own_cpu_time(void)
{
    start_blocked();
    size_t n = gs_threads_cpus(cpus, GS_MOST_THREADS);
    CHECK(n >= N_BLOCKED + 1);
    for (int i = 0; i < N_BLOCKED; i++)
        CHECK(find_cpu(n, (uint32_t)blocked[i].state.native_id));
    uint64_t asleep = find_cpu(n, (uint32_t)blocked[IN_READ].state.native_id)->cpu_ns;
    uint64_t busy = find_cpu(n, (uint32_t)blocked[RUNNING].state.native_id)->cpu_ns;
    for (uint64_t now = busy; now < busy + 5000000;) {
        n = gs_threads_cpus(cpus, GS_MOST_THREADS);
        now = find_cpu(n, (uint32_t)blocked[RUNNING].state.native_id)->cpu_ns;
    }
    CHECK_EQUAL(find_cpu(n, (uint32_t)blocked[IN_READ].state.native_id)->cpu_ns, asleep);
    end_blocked();
}

static void no_more_are_listed_than_asked_for(void)
{
    start_blocked();
    memset(cpus, 0, sizeof cpus);
    CHECK_EQUAL(gs_threads_cpus(cpus, 2), 2);
    CHECK_EQUAL(cpus[2].native_id, 0);
    end_blocked();
    unsigned before = open_descriptors();
    gs_threads_cpus(cpus, GS_MOST_THREADS);
    CHECK_EQUAL(open_descriptors(), before);
}

int main(void)
{
    RUN(only_a_thread_asleep_on_the_gil_waits);
    RUN(no_thread_runs_while_the_gil_is_free);
    RUN(candidates_are_listed_where_waiters_are_counted);
    RUN(nothing_is_looked_at_again_while_nothing_moves);
    RUN(the_interpreter_s_own_flag_is_believed);
    RUN(threads_that_are_gone_are_off);
    RUN(no_descriptor_is_left_and_few_are_held);
    RUN(many_threads_are_kept_apart);
    RUN(a_thread_sees_its_own_waits);
    RUN(the_caller_s_cpu_time_lies_between_two_of_its_own_readings);
    RUN(every_thread_has_its_own_cpu_time);
    RUN(no_more_are_listed_than_asked_for);
    return check_done();
}
