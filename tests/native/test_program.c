/* Names of marks and regions: cut between characters, free of zeros, ended by one. */
#define _GNU_SOURCE
#include "check.h"

#include <string.h>

#include "emit.h"
#include "program.h"

static struct gs_ring ring;

/* The kinds and arguments of the reports, without the first records of a thread. */
static struct {
    uint32_t kind, arg;
} reported[400];
static size_t n_reported;

static void begin(void)
{
    CHECK(gs_ring_open(&ring, 13));
    gs_emit_bind(&ring, false, NULL);
}

static void end(void)
{
    const struct gs_record *r;
    n_reported = 0;
    for (size_t n; (n = gs_ring_peek(&ring, &r, SIZE_MAX)) > 0; gs_ring_take(&ring, n))
        for (size_t i = 0; i < n; i++) {
            reported[n_reported].kind = r[i].word & 31;
            reported[n_reported++].arg = (uint32_t)(r[i].word >> 32);
        }
    gs_ring_close(&ring);
    CHECK_EQUAL(reported[0].kind, GS_THREAD);
    n_reported -= 3;
    memmove(reported, reported + 3, n_reported * sizeof *reported);
}

/* Records a mark and checks the name that arrives, with all that follows it up to a whole word. */
static void check_name(const char *name, size_t size, const char *expected, size_t expected_size)
{
    char text[320] = {0};
    begin();
    gs_program_mark(name, size);
    end();
    CHECK_EQUAL(reported[0].kind, GS_MARK);
    CHECK_EQUAL(reported[0].arg, 0);
    for (size_t i = 1; i < n_reported; i++) {
        CHECK_EQUAL(reported[i].kind, GS_MARK_NAME);
        memcpy(text + 4 * (i - 1), &reported[i].arg, 4);
    }
    CHECK_EQUAL(n_reported - 1, expected_size / 4 + 1);
    CHECK(memcmp(text, expected, expected_size) == 0);
    for (size_t i = expected_size; i < 4 * (n_reported - 1); i++)
        CHECK_EQUAL(text[i], 0);
}

static void short_names(void)
{
    check_name("", 0, "", 0);
    check_name("abc", 3, "abc", 3);
    check_name("abcd", 4, "abcd", 4);
    check_name("a\0b\0", 4, "a b ", 4);
}

static void long_names(void)
{
    char name[1000], expected[256];
    memset(name, 'x', sizeof name);
    memset(expected, 'x', sizeof expected);
    check_name(name, 255, expected, 255);
    check_name(name, 256, expected, 255);
    check_name(name, sizeof name, expected, 255);
    /* A character of four bytes at each place where it may be cut. */
    for (size_t at = 250; at < 258; at++) {
        memset(name, 'x', sizeof name);
        memcpy(name + at, "\xf0\x9f\x98\x80", 4);
        memset(expected, 'x', sizeof expected);
        if (at + 4 <= 255)
            memcpy(expected + at, "\xf0\x9f\x98\x80", 4);
        check_name(name, 300, expected, at + 4 <= 255 || at >= 255 ? 255 : at);
    }
    /* No UTF-8 at all. */
    memset(name, 0x80, sizeof name);
    check_name(name, sizeof name, "", 0);
}

static void regions(void)
{
    begin();
    uint32_t first = gs_program_region("a", 1), second = gs_program_region("b", 1);
    gs_program_region_end(first);
    end();
    CHECK(first != 0 && second != 0 && first != second);
    CHECK_EQUAL(n_reported, 5);
    CHECK_EQUAL(reported[0].kind, GS_REGION);
    CHECK_EQUAL(reported[0].arg, first);
    CHECK_EQUAL(reported[1].kind, GS_MARK_NAME);
    CHECK_EQUAL(reported[2].arg, second);
    CHECK_EQUAL(reported[4].kind, GS_REGION_END);
    CHECK_EQUAL(reported[4].arg, first);
    begin();
    CHECK(gs_program_region("a", 1) > second);
    end();
}

int main(void)
{
    RUN(short_names);
    RUN(long_names);
    RUN(regions);
    return check_done();
}
