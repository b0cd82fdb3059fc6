/* Replacing the slots through which a shared object calls others: found, swapped, put back, and the
 * page's protection restored. */
#include "check.h"

#include <dlfcn.h>
#include <string.h>
#include <unistd.h>

#include "got.h"

#define FAKE 424242

static const char *const names[] = {"no_such_function", "getppid"};

typedef int call(void);

static int fake(void)
{
    return FAKE;
}

static int other_fake(void)
{
    return FAKE + 1;
}

/* The protection of the page that holds an address, as the kernel writes it. */
static void protection_of(const void *address, char mode[5])
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512];
    mode[0] = 0;
    CHECK(maps);
    while (!mode[0] && fgets(line, sizeof line, maps)) {
        unsigned long start, end;
        char seen[5];
        CHECK_EQUAL(sscanf(line, "%lx-%lx %4s", &start, &end, seen), 3);
        if ((unsigned long)address >= start && (unsigned long)address < end)
            memcpy(mode, seen, sizeof seen);
    }
    fclose(maps);
    CHECK(mode[0]);
}

static void check_protection(const void *address, const char *expected)
{
    char mode[5];
    protection_of(address, mode);
    if (strcmp(mode, expected) != 0) {
        fprintf(stderr, "page of %p is %s, not %s\n", address, mode, expected);
        exit(1);
    }
    CHECK(1);
}

/* ---- one object, linked in one way ---- */

static call *victim;
static const char *protected;
static struct gs_got_slot slots[GS_GOT_SLOTS], none[GS_GOT_SLOTS];

static void the_slot_is_found_by_its_name(void)
{
    CHECK_EQUAL(gs_got_find((void *)victim, names, 2, slots), 1);
    CHECK_EQUAL(slots[0].name, 1);
    CHECK(slots[0].before == *slots[0].where);
    check_protection(slots[0].where, protected);
    CHECK_EQUAL(gs_got_find((void *)victim, names, 1, none), 0);
}

static void a_swap_changes_this_object_and_no_other(void)
{
    int parent = getppid();
    CHECK_EQUAL(victim(), parent);
    void *before = *slots[0].where; /* a lazy slot has changed with the call */
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, before, (void *)fake));
    check_protection(slots[0].where, protected);
    CHECK_EQUAL(victim(), FAKE);
    CHECK_EQUAL(getppid(), parent);
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, (void *)fake, before));
    check_protection(slots[0].where, protected);
    CHECK_EQUAL(victim(), parent);
}

static void a_slot_that_someone_else_changed_stays(void)
{
    void *before = *slots[0].where;
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, before, (void *)fake));
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, (void *)fake, (void *)other_fake));
    CHECK(!gs_got_swap(&(struct gs_got_page){0}, slots[0].where, (void *)fake, before));
    CHECK_EQUAL(victim(), FAKE + 1);
    check_protection(slots[0].where, protected);
    CHECK(gs_got_swap(&(struct gs_got_page){0}, slots[0].where, (void *)other_fake, before));
}

static void a_slot_in_no_memory_is_refused(void)
{
    CHECK(!gs_got_swap(&(struct gs_got_page){0}, (void **)64, NULL, (void *)fake));
}

static void an_address_in_no_object_finds_nothing(void)
{
    void *heap = malloc(64);
    CHECK_EQUAL(gs_got_find(heap, names, 2, none), 0);
    free(heap);
}

static void no_more_slots_than_there_is_room_for(void)
{
    static const char *const twenty[] = {
        "getpid",  "getuid",    "geteuid",  "getgid",    "getegid", "getpgrp", "getsid",
        "getpgid", "dup",       "close",    "fsync",     "isatty",  "fchdir",  "fdatasync",
        "lseek",   "ftruncate", "pathconf", "fpathconf", "access",  "write",
    };
    struct gs_got_slot many[GS_GOT_SLOTS + 1];
    memset(many, 0x55, sizeof many);
    struct gs_got_slot guard = many[GS_GOT_SLOTS];
    CHECK_EQUAL(gs_got_find((void *)victim, twenty, 20, many), GS_GOT_SLOTS);
    CHECK_EQUAL(memcmp(&many[GS_GOT_SLOTS], &guard, sizeof guard), 0);
    for (int i = 0; i < GS_GOT_SLOTS; i++)
        for (int j = 0; j < i; j++)
            CHECK(many[i].where != many[j].where && many[i].name != many[j].name);
}

/* argv: for each object, the protection its slots must have and its path */
int main(int argc, char **argv)
{
    CHECK(argc >= 3 && argc % 2 == 1);
    for (int i = 1; i < argc; i += 2) {
        protected = argv[i];
        printf("%s (%s)\n", argv[i + 1], protected);
        void *object = dlopen(argv[i + 1], RTLD_LAZY | RTLD_LOCAL);
        if (!object)
            fprintf(stderr, "%s\n", dlerror());
        CHECK(object);
        victim = (call *)dlsym(object, "victim_calls_getppid");
        CHECK(victim);
        RUN(the_slot_is_found_by_its_name);
        RUN(a_swap_changes_this_object_and_no_other);
        RUN(a_slot_that_someone_else_changed_stays);
        RUN(a_slot_in_no_memory_is_refused);
        RUN(an_address_in_no_object_finds_nothing);
        RUN(no_more_slots_than_there_is_room_for);
        dlclose(object);
    }
    return check_done();
}
