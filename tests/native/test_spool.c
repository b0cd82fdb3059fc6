/* The spool file: its bytes, its buffer, and what happens when writing cannot go on. */
#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "spool.h"

static struct gs_spool spool;
static char path[PATH_MAX], stranger[PATH_MAX];
static unsigned char file[1 << 20];

static const struct gs_header header = {
    .clock = GS_CLOCK_TSC,
    .pid = 0x01020304,
    .interval_us = 5000,
    .start_unix_ns = UINT64_C(0x1112131415161718),
    .start_monotonic_ns = UINT64_C(0x2122232425262728),
    .start_stamp = UINT64_C(0x3132333435363738),
    .period_ns = 10000000,
    .flags = GS_EXACT,
};

static void open_spool(void)
{
    unlink(path);
    CHECK_EQUAL(gs_spool_open(&spool, path, header), 0);
}

static size_t read_file(const char *name)
{
    FILE *f = fopen(name, "re");
    CHECK(f);
    size_t n = fread(file, 1, sizeof file, f);
    CHECK(n < sizeof file);
    fclose(f);
    return n;
}

static size_t size_of(const char *name)
{
    struct stat st;
    CHECK_EQUAL(stat(name, &st), 0);
    return (size_t)st.st_size;
}

/* Little-endian whatever the machine: the format's, not ours. */
static uint64_t number(size_t at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = bytes; i-- > 0;)
        value = value << 8 | file[at + i];
    return value;
}

static void append_records(uint32_t n, uint64_t first)
{
    static struct gs_record records[8192];
    CHECK(n <= 8192);
    for (uint32_t i = 0; i < n; i++)
        records[i] = (struct gs_record){first + i, gs_word(GS_ACQUIRE, 1, i)};
    struct gs_look look = {.records = records, .n_records = n, .batch.stamp = first};
    gs_spool_append(&spool, &look);
}

/* Checks the batch at `at` and returns where the next begins. */
static size_t check_batch(size_t at, uint32_t n, uint64_t first)
{
    size_t end = at + 64 + (size_t)n * 16;
    CHECK_EQUAL(number(at, 4), GS_BATCH_MAGIC);
    CHECK_EQUAL(number(at + 4, 4), gs_crc32(0, file + at + 8, end - at - 8));
    CHECK_EQUAL(number(at + 8, 8), first);
    CHECK_EQUAL(number(at + 48, 4), n);
    for (uint32_t i = 0; i < n; i++)
        CHECK_EQUAL(number(at + 64 + 16 * i, 8), first + i);
    return end;
}

static void crc_is_that_of_zlib(void)
{
    unsigned char bytes[257], ones[32];
    for (unsigned i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    memset(ones, 0xff, sizeof ones);
    CHECK_EQUAL(gs_crc32(0, "", 0), 0);
    CHECK_EQUAL(gs_crc32(0, NULL, 0), 0);
    CHECK_EQUAL(gs_crc32(0, "a", 1), 0xe8b7be43u);
    CHECK_EQUAL(gs_crc32(0, "123456789", 9), 0xcbf43926u);
    CHECK_EQUAL(gs_crc32(0, "The quick brown fox jumps over the lazy dog", 43), 0x414fa339u);
    CHECK_EQUAL(gs_crc32(0, ones, 32), 0xff6cab0bu);
    CHECK_EQUAL(gs_crc32(0, bytes, 256), 0x29058c73u);
    for (unsigned split = 0; split <= 256; split++)
        CHECK_EQUAL(gs_crc32(gs_crc32(0, bytes, split), bytes + split, 256 - split), 0x29058c73u);
}

static void the_header_has_its_bytes(void)
{
    open_spool();
    CHECK_EQUAL(read_file(path), 64);
    CHECK_EQUAL(memcmp(file, "gilscope", 8), 0);
    CHECK_EQUAL(number(8, 4), 1);
    CHECK_EQUAL(number(12, 4), 1);
    CHECK_EQUAL(number(16, 4), 0x01020304);
    CHECK_EQUAL(number(20, 4), 5000);
    CHECK_EQUAL(number(24, 8), UINT64_C(0x1112131415161718));
    CHECK_EQUAL(number(32, 8), UINT64_C(0x2122232425262728));
    CHECK_EQUAL(number(40, 8), UINT64_C(0x3132333435363738));
    CHECK_EQUAL(number(48, 8), 10000000);
    CHECK_EQUAL(number(56, 4), 1);
    CHECK_EQUAL(number(60, 4), gs_crc32(0, file, 60));
    CHECK_EQUAL(spool.written, 64);
    gs_spool_close(&spool);
}

static void a_batch_has_its_bytes(void)
{
    struct gs_record records[2] = {{7, gs_word(GS_REQUEST, 5, 5000)},
                                   {8, gs_word(GS_ACQUIRE, 5, 0)}};
    struct gs_cpu cpu = {0x11223344, 0, UINT64_C(0x0102030405060708)};
    struct gs_state state = {0x55667788, GS_STATE_WAIT};
    struct gs_look look = {
        .batch = {.stamp = UINT64_C(0x4142434445464748),
                  .monotonic_ns = UINT64_C(0x5152535455565758),
                  .late_ns = 99,
                  .switches = UINT64_C(0x6162636465666768),
                  .interval_us = 4321,
                  .pair_error_ns = 17,
                  .flags = GS_TICK},
        .records = records,
        .cpus = &cpu,
        .states = &state,
        .n_records = 2,
        .n_cpus = 1,
        .n_states = 1,
    };
    open_spool();
    gs_spool_append(&spool, &look);
    CHECK_EQUAL(size_of(path), 64);
    gs_spool_flush(&spool);
    CHECK_EQUAL(read_file(path), 64 + 64 + 32 + 16 + 8);
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
    } fields[] = {
        {0, 4, GS_BATCH_MAGIC},
        {8, 8, UINT64_C(0x4142434445464748)},
        {16, 8, UINT64_C(0x5152535455565758)},
        {24, 8, 99},
        {32, 8, UINT64_C(0x6162636465666768)},
        {40, 4, 4321},
        {44, 4, 17},
        {48, 4, 2},
        {52, 4, 1},
        {56, 4, 1},
        {60, 4, GS_TICK},
        {64, 8, 7},
        {72, 8, UINT64_C(5000) << 32 | 5 << 12 | 1},
        {80, 8, 8},
        {88, 8, 5 << 12 | 2},
        {96, 4, 0x11223344},
        {100, 4, 0},
        {104, 8, UINT64_C(0x0102030405060708)},
        {112, 4, 0x55667788},
        {116, 4, 2},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        CHECK_EQUAL(number(64 + fields[i].at, fields[i].bytes), fields[i].value);
    CHECK_EQUAL(number(64 + 4, 4), gs_crc32(0, file + 64 + 8, 64 - 8 + 32 + 16 + 8));
    gs_spool_close(&spool);
}

static void an_empty_batch_is_a_batch(void)
{
    struct gs_look look = {.batch.flags = GS_LAST};
    open_spool();
    gs_spool_append(&spool, &look);
    gs_spool_close(&spool);
    CHECK_EQUAL(read_file(path), 128);
    CHECK_EQUAL(number(64 + 60, 4), GS_LAST);
    CHECK_EQUAL(number(64 + 4, 4), gs_crc32(0, file + 72, 56));
}

static void small_batches_are_gathered(void)
{
    uint64_t first = 1;
    open_spool();
    for (unsigned i = 0; i < 40; i++, first += 100)
        append_records(100, first);
    CHECK_EQUAL(size_of(path), 64 + 39 * (64 + 1600)); /* the fortieth found the buffer full */
    CHECK_EQUAL(spool.written, size_of(path));
    gs_spool_close(&spool);
    CHECK_EQUAL(read_file(path), 64 + 40 * (64 + 1600));
    size_t at = 64;
    for (first = 1; first <= 3901; first += 100)
        at = check_batch(at, 100, first);
}

static void large_batches_go_straight_to_the_file_and_keep_their_place(void)
{
    open_spool();
    append_records(10, 1);
    append_records(8192, 1000);
    append_records(3, 50000);
    CHECK_EQUAL(size_of(path), 64 + (64 + 160) + (64 + 8192 * 16) + 0);
    append_records(2044, 60000); /* 32768 bytes: half the buffer, still gathered */
    CHECK_EQUAL(size_of(path), 64 + (64 + 160) + (64 + 8192 * 16));
    append_records(2045, 70000);
    CHECK_EQUAL(spool.buffered, 0);
    gs_spool_close(&spool);
    size_t size = read_file(path);
    size_t at = check_batch(64, 10, 1);
    at = check_batch(at, 8192, 1000);
    at = check_batch(at, 3, 50000);
    at = check_batch(at, 2044, 60000);
    CHECK_EQUAL(check_batch(at, 2045, 70000), size);
    CHECK_EQUAL(spool.written, size);
    CHECK_EQUAL(spool.error, 0);
}

/* Both would fit the buffer together, but the large one does not pass through it. */
static void a_large_batch_does_not_overtake_what_is_gathered(void)
{
    open_spool();
    append_records(3, 1);
    append_records(2045, 101);
    CHECK_EQUAL(spool.buffered, 0);
    gs_spool_close(&spool);
    size_t size = read_file(path);
    CHECK_EQUAL(check_batch(check_batch(64, 3, 1), 2045, 101), size);
}

static void an_exact_fit_is_not_written_early(void)
{
    open_spool();
    append_records(2044, 1);
    append_records(2044, 3000);
    CHECK_EQUAL(spool.buffered, GS_SPOOL_BUFFER);
    CHECK_EQUAL(size_of(path), 64);
    append_records(0, 9000);
    CHECK_EQUAL(size_of(path), 64 + GS_SPOOL_BUFFER);
    gs_spool_close(&spool);
    CHECK_EQUAL(size_of(path), 64 + GS_SPOOL_BUFFER + 64);
}

static void a_path_that_cannot_be_made_is_refused(void)
{
    char missing[PATH_MAX];
    snprintf(missing, sizeof missing, "%.4000s/none/spool", path);
    FILE *f = fopen(stranger, "we");
    fputs("mine", f);
    fclose(f);
    CHECK_EQUAL(gs_spool_open(&spool, stranger, header), EEXIST);
    CHECK_EQUAL(read_file(stranger), 4);
    CHECK_EQUAL(gs_spool_open(&spool, missing, header), ENOTDIR);
    unlink(stranger);
}

/* ---- failures ---- */

/* Stands in for the C library's: the kernel may write less than it was given, and be interrupted.
 */
static bool stingy;

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    static unsigned calls;
    if (!stingy)
        return syscall(SYS_writev, fd, iov, n);
    if (calls++ % 3 == 0) {
        errno = EINTR;
        return -1;
    }
    while (n > 1 && iov->iov_len == 0)
        iov++, n--;
    struct iovec part = {iov->iov_base, iov->iov_len < 1000 ? iov->iov_len : 1000};
    return syscall(SYS_writev, fd, &part, 1);
}

static void what_was_not_written_at_once_is_written_later(void)
{
    stingy = true;
    open_spool();
    append_records(100, 1);
    append_records(8192, 101);
    append_records(10, 9000);
    gs_spool_close(&spool);
    stingy = false;
    CHECK_EQUAL(spool.error, 0);
    size_t size = read_file(path);
    CHECK_EQUAL(spool.written, size);
    size_t at = check_batch(64, 100, 1);
    at = check_batch(at, 8192, 101);
    CHECK_EQUAL(check_batch(at, 10, 9000), size);
}

static void allow_bytes(rlim_t n)
{
    struct rlimit limit;
    CHECK_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = n;
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_ends_the_writing_for_good(void)
{
    open_spool();
    append_records(100, 1);
    gs_spool_flush(&spool);
    append_records(100, 101);
    allow_bytes(64 + 1664 + 1000);
    gs_spool_flush(&spool);
    CHECK_EQUAL(spool.error, EFBIG);
    CHECK_EQUAL(size_of(path), 64 + 1664 + 1000);
    CHECK_EQUAL(spool.written, size_of(path));
    allow_bytes(RLIM_INFINITY);
    append_records(10, 201);
    append_records(8192, 301);
    gs_spool_flush(&spool);
    gs_spool_close(&spool);
    CHECK_EQUAL(spool.error, EFBIG);
    CHECK_EQUAL(size_of(path), 64 + 1664 + 1000);
    CHECK_EQUAL(spool.written, size_of(path));
    read_file(path);
    check_batch(64, 100, 1);
}

static void a_large_batch_cut_short_is_an_error_too(void)
{
    open_spool();
    allow_bytes(64 + 30);
    append_records(8192, 1);
    CHECK_EQUAL(spool.error, EFBIG);
    CHECK_EQUAL(size_of(path), 64 + 30);
    allow_bytes(RLIM_INFINITY);
    append_records(8192, 1);
    gs_spool_close(&spool);
    CHECK_EQUAL(size_of(path), 64 + 30);
}

static void a_header_that_does_not_fit_leaves_no_descriptor(void)
{
    int next = dup(0);
    close(next);
    unlink(path);
    allow_bytes(10);
    CHECK_EQUAL(gs_spool_open(&spool, path, header), EFBIG);
    allow_bytes(RLIM_INFINITY);
    CHECK_EQUAL(dup(0), next);
    close(next);
}

/* ---- a program that closes what it does not know ---- */

static int put_stranger_in_place(void)
{
    int other = open(stranger, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(other >= 0);
    CHECK_EQUAL(dup2(other, spool.file.fd), spool.file.fd); /* closes ours */
    close(other);
    return spool.file.fd;
}

static void a_reused_descriptor_is_left_alone(void)
{
    for (unsigned large = 0; large < 2; large++) {
        open_spool();
        append_records(100, 1);
        int theirs = put_stranger_in_place();
        if (large)
            append_records(8192, 101);
        gs_spool_flush(&spool);
        CHECK_EQUAL(spool.error, ESTALE);
        append_records(8192, 101);
        gs_spool_close(&spool);
        CHECK_EQUAL(size_of(stranger), 0);
        CHECK_EQUAL(size_of(path), 64);
        CHECK_EQUAL(spool.written, 64);
        CHECK_EQUAL(write(theirs, "x", 1), 1); /* still open, and theirs */
        CHECK_EQUAL(size_of(stranger), 1);
        close(theirs);
    }
    unlink(stranger);
}

static void a_closed_descriptor_is_noticed(void)
{
    open_spool();
    append_records(100, 1);
    close(spool.file.fd);
    gs_spool_flush(&spool);
    CHECK_EQUAL(spool.error, ESTALE);
    gs_spool_close(&spool);
    CHECK_EQUAL(size_of(path), 64);
}

static void closing_gives_the_descriptor_back(void)
{
    open_spool();
    int fd = spool.file.fd;
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    gs_spool_close(&spool);
    CHECK(fcntl(fd, F_GETFD) == -1 && errno == EBADF);
}

/* argv[1]: a directory to write in */
int main(int argc, char **argv)
{
    CHECK_EQUAL(argc, 2);
    snprintf(path, sizeof path, "%.4000s/spool", argv[1]);
    snprintf(stranger, sizeof stranger, "%.4000s/stranger", argv[1]);
    signal(SIGXFSZ, SIG_IGN); /* as Python does */
    RUN(crc_is_that_of_zlib);
    RUN(the_header_has_its_bytes);
    RUN(a_batch_has_its_bytes);
    RUN(an_empty_batch_is_a_batch);
    RUN(small_batches_are_gathered);
    RUN(large_batches_go_straight_to_the_file_and_keep_their_place);
    RUN(a_large_batch_does_not_overtake_what_is_gathered);
    RUN(an_exact_fit_is_not_written_early);
    RUN(a_path_that_cannot_be_made_is_refused);
    RUN(what_was_not_written_at_once_is_written_later);
    RUN(a_full_disk_ends_the_writing_for_good);
    RUN(a_large_batch_cut_short_is_an_error_too);
    RUN(a_header_that_does_not_fit_leaves_no_descriptor);
    RUN(a_reused_descriptor_is_left_alone);
    RUN(a_closed_descriptor_is_noticed);
    RUN(closing_gives_the_descriptor_back);
    return check_done();
}
