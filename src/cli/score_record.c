/* score_record.c - the file of a reference's distributions, written in pieces, read as if by an enemy. */
#include "score_record.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base.h"
#include "mem.h"

enum { VERSION = 1, MOST_CTX = 1 << 28, MOST_CHUNKS = 1 << 24, MOST_VOCAB = 1 << 24 };
static const char magic[8] = {'R', 'E', 'D', 'L', 'I', 'N', 'E', 'S'};

/* How far the probabilities of a position may be from 1 together: their rounding is some 1e-6. */
static const double MASS_ERROR = 1e-4;

struct header {
    char magic[8];
    uint32_t version, n_ctx, n_chunks, n_vocab, n_top, n_made;
    uint32_t reserved[8]; /* zero */
};

static size_t position_bytes(int n_top)
{
    return 8 * (size_t)n_top + 8;
}

/* ---- writing ------------------------------------------------------------------------------------ */

static int write_head(struct file_out *file, const struct score_frame *f, const char *made, struct redline_err *err)
{
    char text[SCORE_MOST_MADE + 1];
    struct header h = {.version = VERSION,
                       .n_ctx = (uint32_t)f->n_ctx,
                       .n_chunks = (uint32_t)f->n_chunks,
                       .n_vocab = (uint32_t)f->n_vocab,
                       .n_top = (uint32_t)MIN(f->n_vocab, SCORE_TOP)};
    snprintf(text, sizeof text, "%s", made);
    for (char *p = text; *p; p++)
        if (*p < ' ' || *p > '~') *p = '?';
    memcpy(h.magic, magic, sizeof magic);
    h.n_made = (uint32_t)strlen(text);
    TRY(file_out_write(file, &h, sizeof h, err));
    TRY(file_out_write(file, text, h.n_made, err));
    return file_out_write(file, f->ids, (size_t)f->n_chunks * (size_t)f->n_ctx * sizeof *f->ids, err);
}

int score_record_new(struct file_out **out, const char *path, const struct score_frame *frame, const char *made,
                     struct redline_err *err)
{
    TRY(file_out_new(out, path, err));
    int status = write_head(*out, frame, made, err);
    if (status) file_out_free(out);
    return status;
}

int score_record_add(struct file_out *file, const struct score_top *p, struct redline_err *err)
{
    char bytes[8 + 8 * SCORE_TOP];
    size_t n = (size_t)p->n * 4;
    memcpy(bytes, &p->next, 4);
    memcpy(bytes + 4, &p->tail, 4);
    memcpy(bytes + 8, p->ids, n);
    memcpy(bytes + 8 + n, p->logprobs, n);
    return file_out_write(file, bytes, position_bytes(p->n), err);
}

/* ---- reading ------------------------------------------------------------------------------------ */

int score_is_record(bool *out, const char *path, struct redline_err *err)
{
    struct file_map map;
    TRY(file_map(&map, path, err));
    *out = map.bytes >= sizeof magic && memcmp(map.data, magic, sizeof magic) == 0;
    file_unmap(&map);
    return 0;
}

static int check_range(const char *path, const char *what, uint32_t value, uint32_t least, uint32_t most,
                       struct redline_err *err)
{
    if (value >= least && value <= most) return 0;
    return err_set(err, REDLINE_FORMAT,
                   "%s: the record's %s is %" PRIu32 ", it must lie between %" PRIu32 " and %" PRIu32,
                   path, what, value, least, most);
}

static int check_header(const struct header *h, const char *path, uint64_t bytes, struct redline_err *err)
{
    if (memcmp(h->magic, magic, sizeof magic) != 0)
        return err_set(err, REDLINE_FORMAT, "%s is no record of redline score", path);
    if (h->version != VERSION)
        return err_set(err, REDLINE_FORMAT,
                       "%s is a record of version %" PRIu32 ", known is %d; make it anew with --save",
                       path, h->version, VERSION);
    TRY(check_range(path, "length of a chunk", h->n_ctx, CHUNKS_LEAST_CTX, MOST_CTX, err));
    TRY(check_range(path, "number of chunks", h->n_chunks, 1, MOST_CHUNKS, err));
    TRY(check_range(path, "vocabulary", h->n_vocab, 1, MOST_VOCAB, err));
    TRY(check_range(path, "number of tokens of a position", h->n_top, 1, MIN(h->n_vocab, SCORE_TOP), err));
    TRY(check_range(path, "length of a text", h->n_made, 0, SCORE_MOST_MADE, err));
    uint64_t chunk_bytes = 4 * (uint64_t)h->n_ctx +
                           (uint64_t)chunks_positions((int)h->n_ctx) * position_bytes((int)h->n_top);
    uint64_t want = sizeof *h + h->n_made + h->n_chunks * chunk_bytes; /* below 2^24 * 2^28 * 2^10 */
    if (bytes != want)
        return err_set(err, REDLINE_FORMAT, "%s has %" PRIu64 " bytes, a record of %" PRIu32 " chunks of %" PRIu32
                       " tokens has %" PRIu64, path, bytes, h->n_chunks, h->n_ctx, want);
    return 0;
}

static int check_made(const char *made, const char *path, struct redline_err *err)
{
    for (const char *p = made; *p; p++)
        if (*p < ' ' || *p > '~')
            return err_set(err, REDLINE_FORMAT, "%s: the record's text holds the byte 0x%02x", path, (unsigned char)*p);
    return 0;
}

static int check_ids(const struct score_record *r, const char *path, struct redline_err *err)
{
    size_t n = (size_t)r->frame.n_chunks * (size_t)r->frame.n_ctx;
    for (size_t i = 0; i < n; i++)
        if (r->ids[i] < 0 || r->ids[i] >= r->frame.n_vocab)
            return err_set(err, REDLINE_FORMAT, "%s: token %zu of the record is %" PRId32 ", its vocabulary has %d",
                           path, i, r->ids[i], r->frame.n_vocab);
    return 0;
}

static bool is_logprob(float x)
{
    return x <= 0; /* -INFINITY is one, NAN is none */
}

/* last[V]: the position that a token was met at before, plus 1. */
static bool is_distribution(const struct score_top *p, int n_vocab, size_t position, uint64_t *last)
{
    double mass = exp((double)p->tail);
    if (!is_logprob(p->next) || !is_logprob(p->tail)) return false;
    for (int i = 0; i < p->n; i++) {
        if (p->ids[i] < 0 || p->ids[i] >= n_vocab || last[p->ids[i]] == position + 1) return false;
        if (!is_logprob(p->logprobs[i]) || (i > 0 && p->logprobs[i] > p->logprobs[i - 1])) return false;
        last[p->ids[i]] = position + 1;
        mass += exp((double)p->logprobs[i]);
    }
    return fabs(mass - 1) <= MASS_ERROR;
}

static int check_positions(const struct score_record *r, const char *path, struct redline_err *err)
{
    struct score_top p;
    int status = 0, n_vocab = r->frame.n_vocab;
    size_t n = (size_t)r->frame.n_chunks * chunks_positions(r->frame.n_ctx);
    uint64_t *last = mem_new((size_t)n_vocab, sizeof *last);
    if (!last) return err_memory(err, (size_t)n_vocab * sizeof *last, "checking a record");
    for (size_t i = 0; i < n && !status; i++) {
        score_record_at(r, i, &p);
        if (!is_distribution(&p, n_vocab, i, last))
            status = err_set(err, REDLINE_FORMAT, "%s: position %zu of the record is no distribution over %d tokens",
                             path, i, n_vocab);
    }
    mem_free(last);
    return status;
}

/* The mapping is there; everything else is filled in and checked. */
static int read_record(struct score_record *r, const char *path, struct redline_err *err)
{
    struct header h;
    const char *at = r->map.data;
    if (r->map.bytes < sizeof h)
        return err_set(err, REDLINE_FORMAT, "%s has %zu bytes, the header of a record has %zu", path, r->map.bytes,
                       sizeof h);
    memcpy(&h, at, sizeof h);
    TRY(check_header(&h, path, r->map.bytes, err));
    memcpy(r->made, at + sizeof h, h.n_made);
    if (strlen(r->made) != h.n_made)
        return err_set(err, REDLINE_FORMAT, "%s: the record's text holds the byte 0x00", path);
    TRY(check_made(r->made, path, err));
    at += sizeof h + h.n_made;
    size_t n_ids = (size_t)h.n_chunks * h.n_ctx;
    r->ids = mem_new(n_ids, sizeof *r->ids);
    if (!r->ids) return err_memory(err, n_ids * sizeof *r->ids, "a record's tokens");
    memcpy(r->ids, at, n_ids * sizeof *r->ids);
    r->frame = (struct score_frame){(int)h.n_ctx, (int)h.n_chunks, (int)h.n_vocab, r->ids};
    r->n_top = (int)h.n_top;
    r->positions = at + n_ids * sizeof *r->ids;
    TRY(check_ids(r, path, err));
    return check_positions(r, path, err);
}

int score_record_open(struct score_record *out, const char *path, struct redline_err *err)
{
    *out = (struct score_record){0};
    TRY(file_map(&out->map, path, err));
    int status = read_record(out, path, err);
    if (status) score_record_close(out);
    return status;
}

void score_record_close(struct score_record *record)
{
    mem_free(record->ids);
    file_unmap(&record->map);
    *record = (struct score_record){0};
}

void score_record_at(const struct score_record *r, size_t i, struct score_top *out)
{
    const char *at = r->positions + i * position_bytes(r->n_top);
    size_t n = (size_t)r->n_top * 4;
    out->n = r->n_top;
    memcpy(&out->next, at, 4);
    memcpy(&out->tail, at + 4, 4);
    memcpy(out->ids, at + 8, n);
    memcpy(out->logprobs, at + 8 + n, n);
}

/* ---- comparing ---------------------------------------------------------------------------------- */

int score_frame_matches(const struct score_frame *r, const struct score_frame *f, struct redline_err *err)
{
    size_t n_ctx = (size_t)f->n_ctx, n = (size_t)MIN(r->n_chunks, f->n_chunks) * n_ctx;
    if (r->n_ctx != f->n_ctx)
        return err_set(err, REDLINE_ARG,
                       "not comparable: the reference has chunks of %d tokens, here they have %d (-c)",
                       r->n_ctx, f->n_ctx);
    for (size_t i = 0; i < n; i++)
        if (r->ids[i] != f->ids[i])
            return err_set(err, REDLINE_ARG,
                           "not comparable: the reference has another text or another tokenizer, token "
                           "%zu of chunk %zu is %" PRId32 " there and %" PRId32 " here", i % n_ctx, i / n_ctx,
                           r->ids[i], f->ids[i]);
    if (r->n_chunks == f->n_chunks) return 0;
    return err_set(err, REDLINE_ARG, "not comparable: the reference has %d chunks, here there are %d (--chunks)",
                   r->n_chunks, f->n_chunks);
}
