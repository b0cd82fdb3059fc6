/* Sites with frames, code objects and strings made up here: what is found, kept, described, and
 * given back, and what happens when the room is full. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stddef.h>
#include <string.h>

#include "sites.h"

/* Like 3.12's, in an order of our own. */
struct text {
    uint64_t refs, type;
    size_t length;
    uint32_t state, unused;
    char ascii[64];
};

struct line_table {
    uint64_t refs, type;
    size_t size;
    char data[16];
};

struct code {
    uint64_t refs;
    const void *type;
    size_t units; /* where bytes have their size */
    const struct text *name, *file;
    const struct line_table *lines;
    uint32_t first_line, unused;
    uint8_t instructions[64];
} __attribute__((aligned(16)));

struct frame {
    uintptr_t code;
    struct frame *previous;
    const uint8_t *instruction;
    uint8_t owner;
};

struct thread_state {
    uint64_t unused;
    struct frame *frame;
};

static const int code_type, other_type;

static const struct gs_frames layout = {
    .thread_frame = offsetof(struct thread_state, frame),
    .code = offsetof(struct frame, code),
    .previous = offsetof(struct frame, previous),
    .instr = offsetof(struct frame, instruction),
    .owner = offsetof(struct frame, owner),
    .code_type = offsetof(struct code, type),
    .file = offsetof(struct code, file),
    .name = offsetof(struct code, name),
    .lines = offsetof(struct code, lines),
    .first_line = offsetof(struct code, first_line),
    .instrs = offsetof(struct code, instructions),
    .str_length = offsetof(struct text, length),
    .str_state = offsetof(struct text, state),
    .str_ascii = offsetof(struct text, ascii),
    .str_other = offsetof(struct text, ascii),
    .bytes_size = offsetof(struct line_table, size),
    .bytes_data = offsetof(struct line_table, data),
    .type = (uintptr_t)&code_type,
};

#define ASCII (1u << 2 | 1u << 5 | 1u << 6)

static const struct text f_name = {0, 0, 1, ASCII, 0, "f"};
static const struct text g_name = {0, 0, 1, ASCII, 0, "g"};
static const struct text file_name = {0, 0, 7, ASCII, 0, "prog.py"};
static const struct line_table lines = {0, 0, 3, "abc"};

static struct code f = {1, &code_type, 32, &f_name, &file_name, &lines, 10, 0, {0}};
static struct code g = {1, &code_type, 32, &g_name, &file_name, &lines, 20, 0, {0}};
/* Named like its file, on no line: `_Py_InitCleanup` of 3.12. */
static struct code cleanup = {1, &code_type, 32, &f_name, &f_name, &lines, 0, 0, {0}};
static struct code no_code = {1, &other_type, 32, &f_name, &file_name, &lines, 10, 0, {0}};

static struct gs_sites sites;

static void pin(void *object)
{
    ((struct code *)object)->refs++;
}

static void unpin(void *object)
{
    ((struct code *)object)->refs--;
}

static void begin(void)
{
    CHECK(gs_sites_open(&sites, &layout, pin));
}

/* A stack: codes and offsets, the outermost first. */
struct part {
    struct code *code;
    unsigned offset, owner;
};

static struct frame frames[512];
static struct thread_state thread;

/* Has the thread stand there. */
static void stand(const struct part *parts, size_t n)
{
    CHECK(n <= 512);
    for (size_t i = 0; i < n; i++)
        frames[i] =
            (struct frame){(uintptr_t)parts[i].code | (i % 2), i ? &frames[i - 1] : NULL,
                           parts[i].code->instructions + parts[i].offset, (uint8_t)parts[i].owner};
    thread.frame = n ? &frames[n - 1] : NULL;
}

static uint32_t here(const struct part *parts, size_t n, bool whole)
{
    stand(parts, n);
    return gs_sites_here(&sites, (uintptr_t)&thread, whole, false);
}

#define HERE(whole, ...)                                                                           \
    here((struct part[]){__VA_ARGS__}, sizeof((struct part[]){__VA_ARGS__}) / sizeof(struct part), \
         whole)

static void test_the_same_stack_has_the_same_site(void)
{
    begin();
    uint32_t first = HERE(false, {&f, 2, 0}, {&g, 4, 0});
    CHECK_EQUAL(first, GS_FIRST_SITE + 1);
    CHECK_EQUAL(HERE(false, {&f, 2, 0}, {&g, 4, 0}), first);
    CHECK_EQUAL(HERE(true, {&f, 2, 0}, {&g, 4, 0}), first);
    CHECK(HERE(false, {&f, 6, 0}, {&g, 4, 0}) != first);
    CHECK(HERE(false, {&f, 2, 0}, {&g, 6, 0}) != first);
    CHECK(HERE(false, {&g, 4, 0}) != first);
    CHECK_EQUAL(sites.list[first].parent, GS_FIRST_SITE);
    CHECK_EQUAL(sites.list[first].offset, 4);
    CHECK_EQUAL(sites.list[GS_FIRST_SITE].parent, GS_OUTSIDE);
    gs_sites_close(&sites, unpin);
}

static void test_code_is_pinned_once_and_given_back(void)
{
    begin();
    for (int i = 0; i < 3; i++)
        HERE(false, {&f, (unsigned)i, 0}, {&g, 4, 0});
    CHECK_EQUAL(f.refs, 2);
    CHECK_EQUAL(g.refs, 2);
    gs_sites_close(&sites, unpin);
    CHECK_EQUAL(f.refs, 1);
    CHECK_EQUAL(g.refs, 1);
}

static void test_code_that_cannot_be_given_back_stays(void)
{
    begin();
    HERE(false, {&f, 0, 0});
    gs_sites_close(&sites, NULL);
    CHECK_EQUAL(f.refs, 2);
    f.refs = 1;
    gs_sites_close(&sites, unpin); /* closed already: gives nothing back */
    CHECK_EQUAL(f.refs, 1);
}

static void test_frames_of_the_interpreter_are_left_out(void)
{
    begin();
    uint32_t bare = HERE(false, {&f, 2, 0}, {&g, 4, 0});
    for (unsigned owner = GS_FIRST_SHIM_OWNER; owner < 6; owner++) {
        CHECK_EQUAL(HERE(false, {&no_code, 0, owner}, {&f, 2, 0}, {&no_code, 0, owner}, {&g, 4, 0}),
                    bare);
        CHECK_EQUAL(HERE(false, {&f, 2, 0}, {&g, 4, 0}, {&no_code, 0, owner}), bare);
        CHECK_EQUAL(HERE(false, {&no_code, 0, owner}), GS_NO_SITE);
    }
    CHECK_EQUAL(HERE(false, {&f, 2, 0}, {&cleanup, 0, 0}, {&g, 4, 0}), bare);
    CHECK_EQUAL(HERE(false, {&cleanup, 0, 0}, {&f, 2, 0}, {&g, 4, 0}), bare);
    CHECK_EQUAL(HERE(false, {&cleanup, 0, 0}), GS_NO_SITE);
    CHECK_EQUAL(HERE(false, {&no_code, 0, 0}), GS_NO_SITE);
    CHECK_EQUAL(cleanup.refs, 1);
    CHECK_EQUAL(no_code.refs, 1);
    CHECK_EQUAL(atomic_load(&sites.missed), 0);
    gs_sites_close(&sites, unpin);
}

static void test_no_frame_is_no_site(void)
{
    begin();
    CHECK_EQUAL(here(NULL, 0, false), GS_NO_SITE);
    CHECK_EQUAL(here(NULL, 0, true), GS_NO_SITE);
    CHECK_EQUAL(atomic_load(&sites.missed), 0);
    gs_sites_close(&sites, unpin);
}

static unsigned depth(uint32_t site)
{
    unsigned n = 0;
    for (; site >= GS_FIRST_SITE; site = sites.list[site].parent)
        n++;
    return n;
}

static uint32_t root(uint32_t site)
{
    while (site >= GS_FIRST_SITE)
        site = sites.list[site].parent;
    return site;
}

static void test_short_stacks_end_with_the_site_of_a_cut(void)
{
    static struct part deep[400];
    for (int i = 0; i < 400; i++)
        deep[i] = (struct part){&f, 2, 0};
    begin();
    for (size_t n = 1; n < 10; n++) {
        uint32_t site = here(deep, n, false);
        CHECK_EQUAL(depth(site), n < GS_SITE_FRAMES ? n : GS_SITE_FRAMES);
        CHECK_EQUAL(root(site), n > GS_SITE_FRAMES ? GS_CUT_SITE : GS_OUTSIDE);
        CHECK_EQUAL(root(here(deep, n, true)), GS_OUTSIDE);
        CHECK_EQUAL(depth(here(deep, n, true)), n);
    }
    CHECK_EQUAL(root(here(deep, GS_MOST_FRAMES, true)), GS_OUTSIDE);
    CHECK_EQUAL(root(here(deep, GS_MOST_FRAMES + 1, true)), GS_CUT_SITE);
    CHECK_EQUAL(depth(here(deep, 400, true)), GS_MOST_FRAMES);
    gs_sites_close(&sites, unpin);
}

static void test_only_a_shim_beyond_the_kept_frames_is_no_cut(void)
{
    begin();
    uint32_t site = HERE(false, {&no_code, 0, 3}, {&f, 2, 0}, {&f, 2, 0}, {&f, 2, 0}, {&f, 2, 0});
    CHECK_EQUAL(depth(site), GS_SITE_FRAMES);
    CHECK_EQUAL(root(site), GS_OUTSIDE);
    gs_sites_close(&sites, unpin);
}

/* ---- the site of a drop request ---- */

#define ASK(...)                                                                                   \
    (stand((struct part[]){__VA_ARGS__},                                                           \
           sizeof((struct part[]){__VA_ARGS__}) / sizeof(struct part)),                            \
     gs_sites_ask(&sites, (uintptr_t)&thread))

#define KEPT(whole, ...)                                                                           \
    (stand((struct part[]){__VA_ARGS__},                                                           \
           sizeof((struct part[]){__VA_ARGS__}) / sizeof(struct part)),                            \
     gs_sites_here(&sites, (uintptr_t)&thread, whole, true))

static void test_a_late_release_has_the_site_of_the_request(void)
{
    for (int whole = 0; whole < 2; whole++) {
        begin();
        ASK({&f, 2, 0}, {&g, 4, 0});
        uint32_t site = KEPT(whole, {&f, 2, 0}, {&g, 8, 0}, {&f, 6, 0});
        CHECK_EQUAL(site, HERE(false, {&f, 2, 0}, {&g, 4, 0}));
        gs_sites_close(&sites, unpin);
        CHECK_EQUAL(f.refs, 1);
        CHECK_EQUAL(g.refs, 1);
    }
}

static void test_a_function_that_was_seen_before_may_have_returned(void)
{
    begin();
    uint32_t before = HERE(false, {&f, 2, 0}, {&g, 4, 0});
    ASK({&f, 2, 0}, {&no_code, 0, 3}, {&g, 4, 0});
    CHECK_EQUAL(KEPT(false, {&f, 8, 0}), before);
    gs_sites_close(&sites, unpin);
}

static void fill_text(struct gs_code_text *to, size_t *size)
{
    static struct gs_sites_block *block;
    static _Alignas(8) char bytes[8192];
    block = (struct gs_sites_block *)bytes;
    *size = gs_sites_describe(&sites, block, sizeof bytes);
    const struct gs_code *code = (const struct gs_code *)(block + 1);
    const char *text = (const char *)(code + 1);
    while (code->number + 1 < block->codes) {
        size_t all = sizeof *code + code->name + code->file + code->lines;
        code = (const struct gs_code *)((const char *)code + ((all + 3) & ~(size_t)3));
        text = (const char *)(code + 1);
    }
    to->first_line = code->first_line;
    memcpy(to->name, text, to->name_size = code->name);
    memcpy(to->file, text + code->name, to->file_size = code->file);
    to->lines = (struct gs_text){text + code->name + code->file, code->lines};
}

/* The hook of the release must not look at code that nothing keeps: it may be freed. */
static void test_a_function_that_was_never_seen_may_be_gone(void)
{
    static struct gs_code_text text;
    size_t size;
    begin();
    struct code gone = g;
    ASK({&f, 2, 0}, {&gone, 4, 0});
    memset(&gone, 0xa5, sizeof gone);
    uint32_t site = KEPT(true, {&f, 8, 0});
    CHECK_EQUAL(depth(site), 2);
    CHECK_EQUAL(sites.list[site].offset, 4);
    CHECK_EQUAL(sites.list[sites.list[site].parent].offset, 2);
    fill_text(&text, &size);
    CHECK_EQUAL(text.first_line, 20);
    CHECK(text.name_size == 1 && text.name[0] == 'g');
    CHECK(text.file_size == 7 && memcmp(text.file, "prog.py", 7) == 0);
    CHECK(text.lines.size == 3 && memcmp(text.lines.text, "abc", 3) == 0);
    CHECK_EQUAL(f.refs, 2);
    CHECK_EQUAL(g.refs, 1);
    /* The same again, which is known by now. */
    gone = g;
    ASK({&f, 2, 0}, {&gone, 4, 0});
    CHECK_EQUAL(KEPT(true, {&f, 8, 0}), site);
    CHECK_EQUAL(atomic_load(&sites.n_codes), 2);
    gs_sites_close(&sites, unpin);
    CHECK_EQUAL(f.refs, 1);
}

static void test_an_unknown_site_is_where_the_hold_ended(void)
{
    begin();
    ASK({&f, 2, 0}, {&g, 4, 0});
    thread.frame = NULL; /* another thread's */
    CHECK_EQUAL(gs_sites_here(&sites, (uintptr_t)&thread, true, true), GS_NO_SITE);
    ASK({&f, 2, 0}, {&g, 4, 0});
    uint32_t site = KEPT(true, {&g, 8, 0}, {&f, 6, 0});
    CHECK_EQUAL(site, HERE(true, {&g, 8, 0}, {&f, 6, 0}));
    /* Torn: an instruction that this code does not have. */
    ASK({&f, 2, 0}, {&g, 4, 0});
    sites.asked.glimpse.at[0].instr = (uintptr_t)g.instructions + sizeof g.instructions;
    CHECK_EQUAL(KEPT(true, {&f, 8, 0}), HERE(true, {&f, 2, 0}));
    CHECK_EQUAL(atomic_load(&sites.unread), 0);
    gs_sites_close(&sites, unpin);
}

static void test_a_site_that_cannot_be_read_is_not_one_without_room(void)
{
    begin();
    ASK({&f, 2, 0});
    sites.asked.glimpse.at[0].instr = (uintptr_t)f.instructions + sizeof f.instructions;
    CHECK_EQUAL(KEPT(true, {&f, 8, 0}), GS_NO_SITE);
    CHECK_EQUAL(atomic_load(&sites.unread), 1);
    CHECK_EQUAL(atomic_load(&sites.missed), 0);
    gs_sites_close(&sites, unpin);
}

static void test_texts_that_find_no_room_are_left_out(void)
{
    struct code many = g;
    begin();
    for (uint32_t line = 1; line < GS_FAR_TEXTS / 16; line++) {
        many.first_line = line;
        ASK({&f, 2, 0}, {&many, 4, 0});
        CHECK(KEPT(true, {&f, 8, 0}) != GS_NO_SITE);
    }
    CHECK(sites.texts_size > GS_FAR_TEXTS - 64 && sites.texts_size <= GS_FAR_TEXTS);
    gs_sites_close(&sites, unpin);
}

/* ---- full ---- */

static void test_when_sites_run_out_the_rest_is_counted(void)
{
    static struct code huge[4];
    begin();
    for (int i = 0; i < 4; i++)
        huge[i] = f;
    uint32_t found = 0;
    uint64_t n = 0;
    for (unsigned offset = 0; offset < (1u << GS_LOG2_SITES) / 2; offset++)
        for (int i = 0; i < 4; i++, n++)
            found += here((struct part[]){{&huge[i], offset, 0}}, 1, false) != GS_NO_SITE;
    CHECK_EQUAL(found, (1u << GS_LOG2_SITES) - GS_FIRST_SITE);
    CHECK_EQUAL(atomic_load(&sites.missed), n - found);
    CHECK_EQUAL(atomic_load(&sites.unread), 0);
    /* What is known stays known. */
    CHECK(here((struct part[]){{&huge[0], 0, 0}}, 1, false) != GS_NO_SITE);
    gs_sites_close(&sites, unpin);
}

static void test_when_code_runs_out_the_rest_is_counted(void)
{
    enum { MANY = (1 << GS_LOG2_CODES) + 1000 };
    static struct code many[MANY];
    begin();
    for (int i = 0; i < MANY; i++)
        many[i] = f;
    uint32_t found = 0;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < MANY; i++)
            found += here((struct part[]){{&many[i], 2, 0}}, 1, false) != GS_NO_SITE;
    CHECK_EQUAL(found, 2u << GS_LOG2_CODES);
    CHECK_EQUAL(atomic_load(&sites.missed), 2000);
    CHECK_EQUAL(atomic_load(&sites.unread), 0);
    gs_sites_close(&sites, unpin);
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(many[i].refs, 1);
}

static void test_frames_that_are_no_code_cannot_fill_the_room(void)
{
    begin();
    for (unsigned offset = 0; offset < 2u << GS_LOG2_SITES; offset++)
        here((struct part[]){{&cleanup, offset, 0}}, 1, false);
    CHECK(atomic_load(&sites.missed) > 0);
    uint32_t before = atomic_load(&sites.n_sites);
    CHECK_EQUAL(HERE(false, {&f, 2, 0}), GS_NO_SITE);
    CHECK_EQUAL(atomic_load(&sites.n_sites), before);
    gs_sites_close(&sites, unpin);
}

/* ---- describing ---- */

static _Alignas(8) char block_bytes[8192];

static struct gs_sites_block *describe(size_t most, size_t *size)
{
    struct gs_sites_block *block = (struct gs_sites_block *)block_bytes;
    *size = gs_sites_describe(&sites, block, most);
    CHECK_EQUAL(*size, block->size);
    return block;
}

static void test_each_code_and_site_is_described_once(void)
{
    size_t size;
    begin();
    describe(sizeof block_bytes, &size);
    CHECK_EQUAL(size, 0);
    uint32_t site = HERE(false, {&f, 2, 0}, {&g, 4, 0});
    struct gs_sites_block *block = describe(sizeof block_bytes, &size);
    CHECK_EQUAL(block->codes, 2);
    CHECK_EQUAL(block->sites, 2);
    const struct gs_code *code = (const struct gs_code *)(block + 1);
    CHECK_EQUAL(code->number, 0);
    CHECK_EQUAL(code->first_line, 10);
    CHECK_EQUAL(code->name, 1);
    CHECK_EQUAL(code->file, 7);
    CHECK_EQUAL(code->lines, 3);
    CHECK(memcmp(code + 1, "fprog.pyabc\0", 12) == 0);
    const struct gs_site *described =
        (const struct gs_site *)((const char *)(block + 1) + size) - 2;
    CHECK_EQUAL(described[0].site, GS_FIRST_SITE);
    CHECK_EQUAL(described[1].site, site);
    CHECK_EQUAL(described[1].parent, GS_FIRST_SITE);
    CHECK_EQUAL(described[1].code, 1);
    describe(sizeof block_bytes, &size);
    CHECK_EQUAL(size, 0);
    HERE(false, {&f, 8, 0});
    block = describe(sizeof block_bytes, &size);
    CHECK_EQUAL(block->codes, 0);
    CHECK_EQUAL(block->sites, 1);
    gs_sites_close(&sites, unpin);
}

static void test_what_does_not_fit_one_block_goes_into_the_next(void)
{
    static struct code many[50];
    size_t size;
    unsigned codes = 0, described = 0, blocks = 0;
    begin();
    for (int i = 0; i < 50; i++) {
        many[i] = f;
        here((struct part[]){{&many[i], 2, 0}}, 1, false);
    }
    for (;;) {
        struct gs_sites_block *block = describe(sizeof(struct gs_sites_block) + 100, &size);
        if (!size)
            break;
        CHECK(size <= 100);
        CHECK(!block->sites || codes + block->codes == 50); /* no site before its code */
        codes += block->codes;
        described += block->sites;
        blocks++;
    }
    CHECK_EQUAL(codes, 50);
    CHECK_EQUAL(described, 50);
    CHECK(blocks > 20);
    gs_sites_close(&sites, unpin);
}

static void test_too_many_lines_are_left_out(void)
{
    static struct {
        struct line_table head;
        char more[GS_MOST_LINES];
    } long_table;
    size_t size;
    struct code big = f;
    long_table.head.size = GS_MOST_LINES + 1;
    big.lines = &long_table.head;
    begin();
    HERE(false, {&big, 2, 0});
    struct gs_sites_block *block = describe(sizeof block_bytes, &size);
    CHECK_EQUAL(block->codes, 1);
    CHECK_EQUAL(((const struct gs_code *)(block + 1))->lines, 0);
    gs_sites_close(&sites, unpin);
}

/* ---- text ---- */

static void read_text(struct text *text, const char *expected)
{
    struct code odd = f;
    struct gs_code_text *found = &sites.text;
    odd.name = text;
    gs_frames_read(&layout, (uintptr_t)&odd, found);
    CHECK_EQUAL(found->name_size, strlen(expected));
    CHECK(memcmp(found->name, expected, found->name_size) == 0);
}

static void test_strings_of_each_kind_are_read_as_utf8(void)
{
    struct text latin = {0, 0, 2, 1u << 2 | 1u << 5, 0, "\xe9\xff"};
    struct text two = {0, 0, 2, 2u << 2 | 1u << 5, 0, {0}};
    struct text four = {0, 0, 2, 4u << 2 | 1u << 5, 0, {0}};
    struct text elsewhere = {0, 0, 2, 1u << 2, 0, "ab"};
    memcpy(two.ascii, (uint16_t[]){0x3bb, 0x6f22}, 4);
    memcpy(four.ascii, (uint32_t[]){0x1f40d, 'a'}, 8);
    read_text(&latin, "\xc3\xa9\xc3\xbf");
    read_text(&two, "\xce\xbb\xe6\xbc\xa2");
    read_text(&four, "\xf0\x9f\x90\x8d"
                     "a");
    read_text(&elsewhere, ""); /* not behind its object: not known how to read */
}

static void test_long_strings_are_cut_at_a_character(void)
{
    static struct {
        struct text head;
        uint16_t more[4000];
    } text = {.head = {0, 0, 2000, 2u << 2 | 1u << 5, 0, {0}}};
    uint16_t *data = (uint16_t *)text.head.ascii;
    struct code odd = f;
    for (int i = 0; i < 2000; i++)
        data[i] = 0x6f22;
    odd.name = &text.head;
    gs_frames_read(&layout, (uintptr_t)&odd, &sites.text);
    CHECK(sites.text.name_size <= sizeof sites.text.name);
    CHECK(sites.text.name_size > sizeof sites.text.name - 8);
    CHECK_EQUAL(sites.text.name_size % 3, 0);
}

/* ---- two threads ---- */

#define ROUNDS 20000u

static void *find_many(void *unused)
{
    for (unsigned i = 0; i < ROUNDS; i++)
        HERE(i % 2, {&f, i % 5000, 0}, {&g, i % 3, 0});
    return unused;
}

static void test_the_sampler_describes_while_sites_are_found(void)
{
    pthread_t finder;
    size_t size;
    uint32_t described = 0;
    begin();
    pthread_create(&finder, NULL, find_many, NULL);
    while (described < 5000) {
        struct gs_sites_block *block = describe(sizeof block_bytes, &size);
        const struct gs_site *site =
            (const struct gs_site *)((const char *)(block + 1) + size) - block->sites;
        for (uint32_t i = 0; i < block->sites; i++, described++) {
            CHECK_EQUAL(site[i].site, described + GS_FIRST_SITE);
            CHECK(site[i].parent < site[i].site && site[i].code < 2);
        }
    }
    pthread_join(finder, NULL);
    gs_sites_close(&sites, unpin);
}

int main(void)
{
    RUN(test_the_same_stack_has_the_same_site);
    RUN(test_code_is_pinned_once_and_given_back);
    RUN(test_code_that_cannot_be_given_back_stays);
    RUN(test_frames_of_the_interpreter_are_left_out);
    RUN(test_no_frame_is_no_site);
    RUN(test_short_stacks_end_with_the_site_of_a_cut);
    RUN(test_only_a_shim_beyond_the_kept_frames_is_no_cut);
    RUN(test_a_late_release_has_the_site_of_the_request);
    RUN(test_a_function_that_was_seen_before_may_have_returned);
    RUN(test_a_function_that_was_never_seen_may_be_gone);
    RUN(test_an_unknown_site_is_where_the_hold_ended);
    RUN(test_a_site_that_cannot_be_read_is_not_one_without_room);
    RUN(test_texts_that_find_no_room_are_left_out);
    RUN(test_when_sites_run_out_the_rest_is_counted);
    RUN(test_when_code_runs_out_the_rest_is_counted);
    RUN(test_frames_that_are_no_code_cannot_fill_the_room);
    RUN(test_each_code_and_site_is_described_once);
    RUN(test_what_does_not_fit_one_block_goes_into_the_next);
    RUN(test_too_many_lines_are_left_out);
    RUN(test_strings_of_each_kind_are_read_as_utf8);
    RUN(test_long_strings_are_cut_at_a_character);
    RUN(test_the_sampler_describes_while_sites_are_found);
    return check_done();
}
