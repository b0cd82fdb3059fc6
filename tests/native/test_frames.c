/* The reader of Python frames against an interpreter made up here, laid out as 3.12 is: what it
 * accepts, and every way it refuses. */
#define _GNU_SOURCE
#include "check.h"

#include <string.h>

#include "frames.h"

#define HEX 0x030c01f0u

/* Where 3.12 has its fields, on 64 bits. */
enum {
    TSTATE_CFRAME = 56,
    FRAME_PREVIOUS = 8,
    FRAME_INSTRUCTION = 56,
    FRAME_OWNER = 70,
    OBJECT_TYPE = 8,
    CODE_FIRST_LINE = 68,
    CODE_FILE = 112,
    CODE_NAME = 128,
    CODE_LINES = 136,
    CODE_INSTRUCTIONS = 192,
    STR_LENGTH = 16,
    STR_STATE = 32,
    STR_ASCII = 40,
    STR_OTHER = 56,
    BYTES_SIZE = 16,
    BYTES_DATA = 32,
    CODE_UNITS = 10,
};

typedef unsigned char object[512] __attribute__((aligned(16)));

static object tstate, cframe, frame, shim, caller, code, caller_code, name, file, table, strings[4];
static const int code_type;
static struct gs_known_frame known;
static struct gs_frames found;
static struct gs_why why;

/* 3.12 has nothing in it that is read here. */
extern const uint64_t _PyRuntime;
const uint64_t _PyRuntime __attribute__((visibility("default"))) = 0;

static void put(void *object, size_t at, const void *value, size_t size)
{
    memcpy((char *)object + at, value, size);
}

static void put_pointer(void *object, size_t at, const void *value)
{
    put(object, at, &value, sizeof value);
}

static void put_number(void *object, size_t at, uint64_t value)
{
    put(object, at, &value, sizeof value);
}

static void make_str(void *str, unsigned kind, bool ascii, const void *data, size_t length)
{
    put_number(str, STR_LENGTH, length);
    put_number(str, STR_STATE, kind << 2 | 1u << 5 | (unsigned)ascii << 6);
    put(str, ascii ? STR_ASCII : STR_OTHER, data, length * kind);
}

static void make_code(void *c, const void *its_name)
{
    uint32_t first_line = 7;
    put_pointer(c, OBJECT_TYPE, &code_type);
    put(c, CODE_FIRST_LINE, &first_line, sizeof first_line);
    put_pointer(c, CODE_FILE, file);
    put_pointer(c, CODE_NAME, its_name);
    put_pointer(c, CODE_LINES, table);
    put_number(c, BYTES_SIZE, CODE_UNITS);
}

static void make_frame(void *f, unsigned char *its_code, unsigned offset, const void *previous)
{
    put_pointer(f, 0, its_code);
    put_pointer(f, FRAME_PREVIOUS, previous);
    put_pointer(f, FRAME_INSTRUCTION, its_code + CODE_INSTRUCTIONS + offset);
}

static void know_string(int i, unsigned kind, bool ascii, const void *data, size_t length,
                        const char *utf8)
{
    make_str(strings[i], kind, ascii, data, length);
    known.strings[i].object = strings[i];
    known.strings[i].utf8 = (struct gs_text){utf8, strlen(utf8)};
}

static void make_world(void)
{
    unsigned char *all[] = {tstate, cframe,      frame, shim, caller,
                            code,   caller_code, name,  file, table};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        memset(all[i], 0, sizeof(object));
    memset(strings, 0, sizeof strings);
    put_pointer(tstate, TSTATE_CFRAME, cframe);
    put_pointer(cframe, 0, frame);
    make_frame(frame, code, 12, shim);
    make_frame(shim, NULL, 0, caller);
    shim[FRAME_OWNER] = 3;
    make_frame(caller, caller_code, 4, NULL);
    make_str(name, 1, true, "start", 5);
    make_str(file, 1, true, "prog.py", 7);
    make_code(code, name);
    make_code(caller_code, name);
    put_number(table, BYTES_SIZE, 3);
    put(table, BYTES_DATA, "abc", 3);
    known = (struct gs_known_frame){.code = code,
                                    .caller = caller_code,
                                    .offset = 12,
                                    .first_line = 7,
                                    .size = 2 * CODE_UNITS,
                                    .name = {"start", 5},
                                    .file = {"prog.py", 7},
                                    .lines = {"abc", 3}};
    know_string(0, 1, true, "plain", 5, "plain");
    know_string(1, 1, false, "caf\xe9", 4, "caf\xc3\xa9");
    know_string(2, 2, false, (uint16_t[]){0x3bb}, 1, "\xce\xbb");
    know_string(3, 4, false, (uint32_t[]){0x1f40d}, 1, "\xf0\x9f\x90\x8d");
}

static bool prove(void)
{
    why.text[0] = 0;
    return gs_frames_prove(&found, HEX, tstate, &known, &why);
}

static void refused(const char *what)
{
    CHECK(!prove());
    if (!strstr(why.text, what)) {
        fprintf(stderr, "expected words about '%s', got '%s'\n", what, why.text);
        exit(1);
    }
}

static void test_what_fits_is_proved(void)
{
    make_world();
    CHECK(prove());
    CHECK_EQUAL(found.type, (uintptr_t)&code_type);
    known.caller = NULL; /* no caller */
    put_pointer(frame, FRAME_PREVIOUS, NULL);
    CHECK(prove());
}

static void test_other_versions_are_refused(void)
{
    make_world();
    unsigned versions[] = {0x030a00f0u, 0x031000f0u, 0x040000f0u};
    for (int i = 0; i < 3; i++) {
        CHECK(!gs_frames_prove(&found, versions[i], tstate, &known, &why));
        CHECK(strstr(why.text, "3.11 to 3.15"));
    }
}

static void test_other_frames_are_refused(void)
{
    make_world();
    put_pointer(tstate, TSTATE_CFRAME, (void *)16);
    refused("expected this thread to have a frame");
    make_world();
    put_pointer(cframe, 0, (void *)16);
    refused("expected this thread to have a frame");
    make_world();
    put_pointer(frame, 0, caller_code);
    refused("innermost frame to run the code");
    make_world();
    frame[FRAME_OWNER] = 4;
    refused("innermost frame to run the code");
    make_world();
    put_pointer(frame, FRAME_INSTRUCTION, code + CODE_INSTRUCTIONS + 14);
    refused("innermost frame at instruction 12, found 14");
    make_world();
    put_pointer(frame, FRAME_PREVIOUS, NULL);
    refused("next frame");
    make_world();
    put_pointer(caller, 0, code);
    refused("next frame");
}

static void test_other_code_is_refused(void)
{
    uint32_t line = 8;
    make_world();
    put_pointer(code, CODE_NAME, (void *)16);
    refused("a string at 128");
    make_world();
    put_pointer(code, CODE_FILE, NULL);
    refused("a string at 112");
    make_world();
    make_str(name, 1, true, "stArt", 5);
    refused("expected the caller to be start in prog.py, found stArt");
    make_world();
    make_str(file, 1, true, "prog.p", 6);
    refused("found start in prog.p");
    make_world();
    put(code, CODE_FIRST_LINE, &line, sizeof line);
    refused("first line to be 7");
    make_world();
    put(table, BYTES_DATA, "abd", 3);
    refused("first line to be 7");
    make_world();
    put_number(table, BYTES_SIZE, 2);
    refused("found 7 and 2");
    make_world();
    put_number(code, BYTES_SIZE, CODE_UNITS + 1);
    refused("expected the caller to have 20 bytes of instructions, found 22");
}

static void test_other_strings_are_refused(void)
{
    for (int i = 0; i < 4; i++) {
        make_world();
        put_number(strings[i], STR_LENGTH, 0);
        refused("expected to read the string");
        make_world();
        put_number(strings[i], STR_STATE, 3u << 2 | 1u << 5);
        refused("expected to read the string");
    }
    make_world();
    put_number(strings[0], STR_STATE, 1u << 2 | 1u << 5); /* taken for one that is not ASCII */
    refused("expected to read the string 'plain'");
}

/* ---- what another thread sees ---- */

static struct gs_glimpse seen;
static struct gs_far_code far;

static void glimpse(void)
{
    make_world();
    CHECK(prove());
    gs_frames_glimpse(&found, (uintptr_t)tstate, &seen);
}

static void test_another_thread_sees_frames_without_shims(void)
{
    glimpse();
    CHECK_EQUAL(seen.n, 2);
    CHECK_EQUAL(seen.at[0].frame, (uintptr_t)frame);
    CHECK_EQUAL(seen.at[0].code, (uintptr_t)code);
    CHECK_EQUAL(seen.at[0].instr, (uintptr_t)code + CODE_INSTRUCTIONS + 12);
    CHECK_EQUAL(seen.at[1].frame, (uintptr_t)caller);
    CHECK(gs_frames_still(&found, &seen.at[0]) && gs_frames_still(&found, &seen.at[1]));
}

static void test_no_address_is_trusted(void)
{
    const struct {
        void *object;
        size_t at;
        unsigned n;
    } bad[] = {{tstate, TSTATE_CFRAME, 0}, {cframe, 0, 0}, {frame, FRAME_PREVIOUS, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        glimpse();
        put_pointer(bad[i].object, bad[i].at, (void *)4096);
        gs_frames_glimpse(&found, (uintptr_t)tstate, &seen);
        CHECK_EQUAL(seen.n, bad[i].n);
    }
    gs_frames_glimpse(&found, 4096, &seen);
    CHECK_EQUAL(seen.n, 0);
    CHECK(!gs_frames_still(&found, &(struct gs_seen){4096, 0, 0}));
    CHECK(!gs_frames_read_far(&found, 4096, &far));
}

static void test_a_circle_of_frames_ends(void)
{
    glimpse();
    put_pointer(caller, FRAME_PREVIOUS, frame);
    gs_frames_glimpse(&found, (uintptr_t)tstate, &seen);
    CHECK_EQUAL(seen.n, GS_GLIMPSED);
    put_pointer(shim, FRAME_PREVIOUS, shim);
    gs_frames_glimpse(&found, (uintptr_t)tstate, &seen);
    CHECK_EQUAL(seen.n, 1);
}

static void test_a_frame_that_goes_on_is_not_still_there(void)
{
    glimpse();
    put_pointer(frame, FRAME_INSTRUCTION, code + CODE_INSTRUCTIONS + 14);
    CHECK(!gs_frames_still(&found, &seen.at[0]));
    glimpse();
    put_pointer(frame, 0, caller_code);
    CHECK(!gs_frames_still(&found, &seen.at[0]));
}

static void test_the_innermost_frame_that_is_still_there_is_met(void)
{
    size_t own;
    uint32_t which;
    glimpse();
    struct gs_frame now[] = {{1, (uintptr_t)code, 2},
                             {(uintptr_t)frame, (uintptr_t)code, 16},
                             {(uintptr_t)caller, (uintptr_t)caller_code, 8}};
    CHECK(gs_frames_meet(&seen, now, 3, &own, &which));
    CHECK_EQUAL(own, 1);
    CHECK_EQUAL(which, 0);
    CHECK(gs_frames_meet(&seen, now + 2, 1, &own, &which));
    CHECK_EQUAL(own, 0);
    CHECK_EQUAL(which, 1);
    CHECK(!gs_frames_meet(&seen, now, 1, &own, &which));
    CHECK(!gs_frames_meet(&seen, now, 0, &own, &which));
    now[1].code = (uintptr_t)caller_code; /* its room is another function's by now */
    CHECK(!gs_frames_meet(&seen, now, 2, &own, &which));
}

static void test_code_is_read_from_afar(void)
{
    glimpse();
    CHECK(gs_frames_read_far(&found, (uintptr_t)code, &far));
    CHECK_EQUAL(far.size, 2 * CODE_UNITS);
    CHECK_EQUAL(far.text.first_line, 7);
    CHECK(far.text.name_size == 5 && memcmp(far.text.name, "start", 5) == 0);
    CHECK(far.text.file_size == 7 && memcmp(far.text.file, "prog.py", 7) == 0);
    CHECK(far.text.lines.size == 3 && memcmp(far.text.lines.text, "abc", 3) == 0);
    put_pointer(code, CODE_NAME, strings[2]);
    CHECK(gs_frames_read_far(&found, (uintptr_t)code, &far));
    CHECK(far.text.name_size == 2 && memcmp(far.text.name, "\xce\xbb", 2) == 0);
}

static void test_what_is_no_whole_code_is_not_read_from_afar(void)
{
    const size_t fields[] = {OBJECT_TYPE, CODE_NAME, CODE_FILE, CODE_LINES};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        glimpse();
        put_pointer(code, fields[i], (void *)4096);
        CHECK(!gs_frames_read_far(&found, (uintptr_t)code, &far));
    }
    glimpse();
    put_number(name, STR_STATE, 0);
    CHECK(!gs_frames_read_far(&found, (uintptr_t)code, &far));
    glimpse();
    put_number(name, STR_LENGTH, SIZE_MAX);
    gs_frames_read_far(&found, (uintptr_t)code, &far);
    CHECK(far.text.name_size <= sizeof far.text.name);
    glimpse();
    put_number(table, BYTES_SIZE, SIZE_MAX);
    CHECK(!gs_frames_read_far(&found, (uintptr_t)code, &far));
}

int main(void)
{
    RUN(test_what_fits_is_proved);
    RUN(test_other_versions_are_refused);
    RUN(test_other_frames_are_refused);
    RUN(test_other_code_is_refused);
    RUN(test_other_strings_are_refused);
    RUN(test_another_thread_sees_frames_without_shims);
    RUN(test_no_address_is_trusted);
    RUN(test_a_circle_of_frames_ends);
    RUN(test_a_frame_that_goes_on_is_not_still_there);
    RUN(test_the_innermost_frame_that_is_still_there_is_met);
    RUN(test_code_is_read_from_afar);
    RUN(test_what_is_no_whole_code_is_not_read_from_afar);
    return check_done();
}
