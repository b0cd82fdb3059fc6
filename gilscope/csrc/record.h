/* The spool's format: the one place that defines it. README.md describes it in prose, and a
 * golden file in the tests freezes it. Everything is little-endian.
 *
 * A spool is one gs_header, then batches, and between them blocks that describe sites. A batch is
 * one gs_batch and, right behind it, `records` gs_record, `cpus` gs_cpu and `states` gs_state. */
#ifndef GILSCOPE_RECORD_H
#define GILSCOPE_RECORD_H

#include <assert.h>
#include <stdint.h>

#define GS_MAGIC       "gilscope"
#define GS_VERSION     1u
#define GS_BATCH_MAGIC 0x42534c47u /* "GLSB" */
#define GS_SITES_MAGIC 0x53534c47u /* "GLSS" */

/* The ring's own mark; no meaning in the spool, where readers clear it. */
#define GS_STAMP_LAP (UINT64_C(1) << 63)

enum gs_kind {
    GS_REQUEST = 1, /* wants the GIL, did not get it; arg: switch interval in us */
    /* 2 to 5; arg: id of the interpreter whose GIL it is (0: the main one), so that the number is
     * understood again after GS_LOST. A release of the main interpreter's GIL has its site there */
    GS_ACQUIRE = 2,      /* has the GIL */
    GS_RELEASE = 3,      /* releases the GIL */
    GS_DROP_REQUEST = 4, /* the wait timed out with no switch: asks the holder to release */
    GS_FORCED = 5,       /* its release obeyed a drop request: it waits until another took over */
    GS_LOST = 6,         /* arg: records that found the ring full, all just before this one */
    GS_THREAD = 7,       /* first record of a thread; arg: native id */
    GS_IDENT_LOW = 8, /* arg: low half of the ident of the thread that GS_THREAD or GS_NAME named */
    GS_IDENT_HIGH = 9, /* arg: high half */
    GS_NAME = 10,  /* a name follows, in GS_TEXT by the same thread; arg: native id of its owner */
    GS_TEXT = 11,  /* arg: the next four bytes of UTF-8, padded with zeros */
    GS_BEGIN = 12, /* the trace begins; this thread holds the GIL; arg: low half of the GIL's
                      own count of switches */
    GS_END = 13,   /* the trace ends; likewise */
    GS_CPU_LOW = 14,      /* arg: low half of this thread's CPU time in ns, since it began */
    GS_CPU_HIGH = 15,     /* arg: high half */
    GS_INTERVAL = 16,     /* sys.setswitchinterval() was called; arg: what it is now, in us */
    GS_INTERVAL_WAS = 17, /* arg: what it was before, in us */
    GS_LINE = 18,         /* arg: line of the caller; its file follows, in GS_TEXT */
    GS_MARK = 19,         /* the program marks an instant; its name follows, in GS_MARK_NAME */
    GS_REGION = 20,       /* a region begins; arg: number by which it ends; its name follows */
    GS_REGION_END = 21,   /* it ends, by any thread; arg: its number */
    GS_MARK_NAME = 22,    /* by the thread of the mark or region; arg: the next four bytes of its
                             name in UTF-8, with the zero that ends it, padded with zeros */
    GS_GIL = 23,      /* from here on the word's GIL number stands for another interpreter's GIL;
                         arg: the interpreter's id */
    GS_GIL_END = 24,  /* that GIL is gone, and the number free; when it ended is not recorded */
    GS_GIL_HELD = 25, /* that GIL was there, and held, when the trace began, and nothing of it was
                         recorded before this; arg: native id of the holder, 0: not known */
};

struct gs_record {
    uint64_t stamp; /* clock of gs_header.clock */
    uint64_t word;  /* bits 0-4 kind, 5-11 GIL, 12-31 thread, 32-63 arg */
};

#define GS_THREAD_BITS 20
#define GS_GIL_SHIFT   5
#define GS_GILS        128u /* numbers for GILs; 0 is the main interpreter's */

static inline uint64_t gs_word(enum gs_kind kind, uint32_t thread, uint32_t arg)
{
    return (uint64_t)kind | (uint64_t)thread << 12 | (uint64_t)arg << 32;
}

enum gs_thread_state {
    GS_STATE_RUN = 1,
    GS_STATE_WAIT = 2,
    GS_STATE_READY = 3, /* ready to run, without the GIL: off, or woken from a wait */
};

struct gs_state {
    uint32_t native_id;
    uint32_t state; /* gs_thread_state; threads that are off are not listed */
};

struct gs_cpu {
    uint32_t native_id;
    uint32_t unused;
    uint64_t cpu_ns; /* of the thread's whole life */
};

enum gs_clock_kind {
    GS_CLOCK_MONOTONIC = 0, /* stamps are CLOCK_MONOTONIC nanoseconds */
    GS_CLOCK_TSC = 1,       /* stamps are time stamp counter values */
};

struct gs_header {
    char magic[8];
    uint32_t version;
    uint32_t clock; /* gs_clock_kind */
    uint32_t pid;
    uint32_t interval_us;   /* switch interval when the spool was opened */
    uint64_t start_unix_ns; /* one instant on three clocks: CLOCK_REALTIME, */
    uint64_t start_monotonic_ns;
    uint64_t start_stamp;
    uint64_t period_ns;
    uint32_t flags; /* gs_header_flag */
    uint32_t crc;   /* of all before it */
};

enum gs_header_flag {
    GS_EXACT = 1,   /* the records hold every transition */
    GS_SAMPLED = 2, /* ticks hold thread states */
    GS_COUNTED = 4, /* ticks count the threads that wait */
};

enum gs_batch_flag {
    GS_TICK = 1, /* the sampler's schedule came round; without it: just a drain of the ring */
    GS_LAST = 2, /* nothing follows */
};

struct gs_batch {
    uint32_t magic;
    uint32_t crc;           /* CRC-32 (zlib's) of all of the batch behind this field */
    uint64_t stamp;         /* taken together with ... */
    uint64_t monotonic_ns;  /* ... this, after the batch's records */
    uint64_t late_ns;       /* how long after its time the tick came */
    uint64_t switches;      /* the GIL's own count of switches since the interpreter began */
    uint32_t interval_us;   /* the GIL's own switch interval */
    uint32_t pair_error_ns; /* stamp and monotonic_ns are no further apart than this */
    uint32_t records, cpus, states;
    uint16_t flags;   /* gs_batch_flag */
    uint16_t waiters; /* threads that wait for the GIL, with GS_COUNTED */
};

/* ---- sites: where in the program the GIL was released ---- */

#define GS_NO_SITE    0u /* not known */
#define GS_OUTSIDE    1u /* the caller of an outermost frame */
#define GS_CUT_SITE   2u /* stands for callers that were not kept */
#define GS_FIRST_SITE 3u
#define GS_MOST_LINES 65536u /* bytes; a larger line table is left out */

/* `codes` gs_code follow it, each with its texts behind it, then `sites` gs_site. It stands before
 * the first batch that names one of its sites. */
struct gs_sites_block {
    uint32_t magic;
    uint32_t crc;  /* CRC-32 of all of the block behind this field */
    uint32_t size; /* bytes that follow this struct */
    uint32_t codes, sites;
    uint32_t unused;
};

/* A code object. Behind it stand its qualified name and its file in UTF-8 and its co_linetable,
 * and zeros up to a multiple of four bytes. */
struct gs_code {
    uint32_t number; /* from 0, one after the other */
    uint32_t first_line;
    uint32_t name, file, lines; /* bytes */
};

/* A frame at an instruction, called from another site. */
struct gs_site {
    uint32_t site;   /* from GS_FIRST_SITE, one after the other */
    uint32_t parent; /* an earlier one, GS_OUTSIDE or GS_CUT_SITE */
    uint32_t code;
    uint32_t offset; /* of the instruction in bytes, as a signed number */
};

static_assert(sizeof(struct gs_record) == 16, "a record is 16 bytes");
static_assert(sizeof(struct gs_state) == 8, "a state is 8 bytes");
static_assert(sizeof(struct gs_cpu) == 16, "a CPU reading is 16 bytes");
static_assert(sizeof(struct gs_header) == 64, "the header is 64 bytes");
static_assert(sizeof(struct gs_batch) == 64, "a batch header is 64 bytes");
static_assert(sizeof(struct gs_sites_block) == 24, "the header of a block of sites is 24 bytes");
static_assert(sizeof(struct gs_code) == 20, "a code object is 20 bytes and its texts");
static_assert(sizeof(struct gs_site) == 16, "a site is 16 bytes");

#endif
