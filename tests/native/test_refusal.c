/* A page that may not be made writable half-way through: no hook stays in. Built like test_hooks.c;
 * where the slots' pages are writable anyway, nothing is refused. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hooking.h"

static unsigned asked, allowed = ~0u,
                       refused; /* how often a page was to be made writable, is, is not */

int mprotect(void *address, size_t length, int protection)
{
    if (protection & PROT_WRITE && asked++ >= allowed && refused > 0) {
        refused--;
        errno = EACCES;
        return -1;
    }
    return (int)syscall(SYS_mprotect, address, length, protection);
}

static void no_slot_keeps_a_hook_when_one_refuses(void)
{
    CHECK(gs_slots_learn(&layout, &calls, &why));
    remember_slots();
    asked = 0;
    CHECK(gs_slots_trace(&why));
    unsigned needed = asked;
    CHECK(gs_slots_untrace());
    check_slots_untouched();
    CHECK(needed == 0 || needed >= (unsigned)N_NAMES);
    for (unsigned n = 0; n < needed; n++) {
        asked = 0, allowed = n, refused = 8; /* as often as one slot is tried */
        CHECK(!gs_slots_trace(&why));
        CHECK_EQUAL(refused, 0);
        CHECK(strstr(why.text, "cannot be made writable"));
        check_slots_untouched();
    }
    begin();
    release_and_retake();
    await(GS_ACQUIRE, 1);
    end();
    CHECK_EQUAL(count(GS_RELEASE), 1);
    check_event(find(GS_RELEASE, 0), GS_RELEASE, 0);
    CHECK(check_history());
    check_slots_untouched();
}

static void check_slots(void *const seen[], size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK(gs_slots_at((int)i) == seen[i]);
}

/* A watch that cannot begin leaves nothing, and a trace that cannot begin the hooks of the watch.
 */
static void a_watch_is_refused_whole_and_outlives_a_refused_trace(void)
{
    void *seen[GS_GOT_SLOTS];
    size_t n = (size_t)gs_slots_count();
    CHECK(gs_slots_learn(&layout, &calls, &why));
    asked = 0, allowed = 0, refused = 8;
    bool writable = gs_slots_watch(&why);
    CHECK_EQUAL(writable, asked == 0); /* writable pages need no change of protection */
    if (!writable) {
        check_slots_untouched();
        CHECK(gs_slots_watch(&why));
    }
    for (size_t i = 0; i < n; i++)
        seen[i] = (void *)gs_slots_at((int)i);
    asked = 0, allowed = ~0u;
    CHECK(gs_slots_trace(&why));
    unsigned needed = asked;
    CHECK(gs_slots_untrace());
    check_slots(seen, n);
    for (unsigned k = 0; k < needed; k++) {
        asked = 0, allowed = k, refused = 8;
        CHECK(!gs_slots_trace(&why));
        check_slots(seen, n);
    }
    gs_slots_unwatch();
    check_slots_untouched();
}

int main(void)
{
    prepare();
    RUN(no_slot_keeps_a_hook_when_one_refuses);
    RUN(a_watch_is_refused_whole_and_outlives_a_refused_trace);
    return check_done();
}
