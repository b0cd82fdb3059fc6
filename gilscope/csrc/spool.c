#define _GNU_SOURCE
#include "spool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Eight bytes at a time through eight tables (the "slicing" method of Kounavis and Berry, 2005):
 * 60 MB a second of records must not keep the sampler busy. */
static uint32_t crc_tables[8][256];

static void make_crc_tables(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
        crc_tables[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            crc_tables[t][i] =
                crc_tables[t - 1][i] >> 8 ^ crc_tables[0][crc_tables[t - 1][i] & 0xff];
}

uint32_t gs_crc32(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    if (crc_tables[0][1] == 0)
        make_crc_tables();
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint32_t low, high;
        memcpy(&low, p, 4);
        memcpy(&high, p + 4, 4);
        low ^= crc;
        crc = crc_tables[7][low & 0xff] ^ crc_tables[6][low >> 8 & 0xff] ^
              crc_tables[5][low >> 16 & 0xff] ^ crc_tables[4][low >> 24] ^
              crc_tables[3][high & 0xff] ^ crc_tables[2][high >> 8 & 0xff] ^
              crc_tables[1][high >> 16 & 0xff] ^ crc_tables[0][high >> 24];
    }
    while (n--)
        crc = crc >> 8 ^ crc_tables[0][(crc ^ *p++) & 0xff];
    return ~crc;
}

static void write_all(struct gs_spool *s, struct iovec *iov, int n)
{
    if (s->error)
        return;
    if (!gs_descriptor_is_ours(&s->file)) {
        s->error = ESTALE;
        return;
    }
    while (n > 0) {
        ssize_t done = writev(s->file.fd, iov, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0) {
            s->error = errno;
            return;
        }
        s->written += (uint64_t)done;
        while (n > 0 && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++;
            n--;
        }
        if (n > 0) {
            iov->iov_base = (char *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
}

int gs_spool_open(struct gs_spool *s, const char *path, struct gs_header header)
{
    memset(s, 0, offsetof(struct gs_spool, buffer));
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_APPEND, 0666);
    if (fd < 0)
        return errno;
    if (!gs_descriptor_take(&s->file, fd)) {
        int error = errno;
        close(fd);
        return error;
    }
    memcpy(header.magic, GS_MAGIC, sizeof header.magic);
    header.version = GS_VERSION;
    header.crc = gs_crc32(0, &header, offsetof(struct gs_header, crc));
    struct iovec iov = {&header, sizeof header};
    write_all(s, &iov, 1);
    if (s->error)
        close(fd);
    return s->error;
}

void gs_spool_flush(struct gs_spool *s)
{
    if (s->buffered == 0)
        return;
    struct iovec iov = {s->buffer, s->buffered};
    write_all(s, &iov, 1);
    s->buffered = 0;
}

static void gather(struct gs_spool *s, const struct iovec *iov, int n)
{
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len)
            memcpy(s->buffer + s->buffered, iov[i].iov_base, iov[i].iov_len);
        s->buffered += iov[i].iov_len;
    }
}

static void append(struct gs_spool *s, struct iovec *iov, int n)
{
    size_t size = 0;
    for (int i = 0; i < n; i++)
        size += iov[i].iov_len;
    bool large = size > GS_SPOOL_BUFFER / 2;
    if (large || s->buffered + size > GS_SPOOL_BUFFER)
        gs_spool_flush(s);
    if (large)
        write_all(s, iov, n);
    else
        gather(s, iov, n);
}

void gs_spool_append(struct gs_spool *s, const struct gs_look *look)
{
    struct gs_batch batch = look->batch;
    batch.magic = GS_BATCH_MAGIC;
    batch.records = look->n_records;
    batch.cpus = look->n_cpus;
    batch.states = look->n_states;
    struct iovec iov[4] = {{&batch, sizeof batch},
                           {(void *)look->records, look->n_records * sizeof *look->records},
                           {(void *)look->cpus, look->n_cpus * sizeof *look->cpus},
                           {(void *)look->states, look->n_states * sizeof *look->states}};
    const size_t skip = offsetof(struct gs_batch, stamp);
    batch.crc = gs_crc32(0, (const char *)&batch + skip, sizeof batch - skip);
    for (int i = 1; i < 4; i++)
        batch.crc = gs_crc32(batch.crc, iov[i].iov_base, iov[i].iov_len);
    append(s, iov, 4);
}

void gs_spool_append_sites(struct gs_spool *s, struct gs_sites_block *block)
{
    const size_t skip = offsetof(struct gs_sites_block, size);
    struct iovec iov = {block, sizeof *block + block->size};
    block->magic = GS_SITES_MAGIC;
    block->crc = gs_crc32(0, (const char *)block + skip, iov.iov_len - skip);
    append(s, &iov, 1);
}

void gs_spool_close(struct gs_spool *s)
{
    gs_spool_flush(s);
    gs_descriptor_close(&s->file);
}

void gs_spool_abandon(struct gs_spool *s)
{
    gs_descriptor_close(&s->file);
}
