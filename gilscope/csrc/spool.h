/* The spool file: append-only, written by one thread. */
#ifndef GILSCOPE_SPOOL_H
#define GILSCOPE_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

#include "descriptor.h"
#include "record.h"

#define GS_SPOOL_BUFFER 65536u

struct gs_spool {
    struct gs_descriptor file;
    int error; /* errno of the first failed write, ESTALE when the descriptor is no longer ours;
                  then nothing more is written */
    uint64_t written;
    size_t buffered;
    unsigned char buffer[GS_SPOOL_BUFFER];
};

/* What one tick saw. `batch` needs only its plain fields: magic, counts and CRC are filled in. */
struct gs_look {
    struct gs_batch batch;
    const struct gs_record *records;
    const struct gs_cpu *cpus;
    const struct gs_state *states;
    uint32_t n_records, n_cpus, n_states;
};

/* Creates `path`, which must not exist, and writes the header. Returns 0 or an errno. */
int gs_spool_open(struct gs_spool *s, const char *path, struct gs_header header);

/* Appends one batch. Small ones are gathered in memory until gs_spool_flush() or until the buffer
 * is full. Sampler thread only. After a failure it does nothing. */
void gs_spool_append(struct gs_spool *s, const struct gs_look *look);

/* Likewise for a block that describes sites: fills in its magic and CRC. */
void gs_spool_append_sites(struct gs_spool *s, struct gs_sites_block *block);

void gs_spool_flush(struct gs_spool *s);

/* Flushes and closes. */
void gs_spool_close(struct gs_spool *s);

/* In a forked child: closes the parent's file and writes nothing to it. */
void gs_spool_abandon(struct gs_spool *s);

/* zlib's CRC-32, so that readers need no code of ours. */
uint32_t gs_crc32(uint32_t crc, const void *data, size_t n);

#endif
