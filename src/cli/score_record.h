/* score_record.h - a reference's distributions in a file: what `redline score --save` keeps and `--reference`
 * compares with.
 *
 * Little-endian, without gaps:
 *
 *     header     64 bytes: magic, version, settings, counts (struct header in score_record.c)
 *     made       text, n_made bytes: what the figures were computed with, for people
 *     ids        int32 [n_chunks, n_ctx]: the tokens as they were fed
 *     positions  [n_chunks, chunks_positions(n_ctx)], each
 *                    float32 next, tail; int32 ids[n_top]; float32 logprobs[n_top]: struct score_top
 *
 * With a vocabulary of 65 or more that is 520 bytes for a position, where all of its float32 logits would be
 * 512 000 bytes at V = 128 000.  The ids make sure that figures are compared for the same tokens only. */
#ifndef SCORE_RECORD_H
#define SCORE_RECORD_H

#include "chunks.h"
#include "file.h"
#include "score_stats.h"

/* What is scored: chunks of a text, each from an empty context, each over its second half as llama-perplexity
 * has it: position i >= n_ctx / 2 predicts token i + 1 < n_ctx. */
struct score_frame {
    int n_ctx, n_chunks, n_vocab;
    const int32_t *ids; /* [n_chunks, n_ctx] as they are fed */
};

/* REDLINE_ARG with the first thing that differs, unless the same is scored; the number of tokens in the vocabularies
 * is left to whoever knows both. */
int score_frame_matches(const struct score_frame *reference, const struct score_frame *here, struct redline_err *err);

enum { SCORE_MOST_MADE = 512 };

/* ---- writing: positions in their order; what file_out_free() is given before file_out_finish() never was -- */

/* made: of other than printable ASCII and over-long ones, a part is kept. */
int score_record_new(struct file_out **out, const char *path, const struct score_frame *frame, const char *made,
                     struct redline_err *err);
int score_record_add(struct file_out *file, const struct score_top *position, struct redline_err *err);

/* ---- reading ----------------------------------------------------------------------------------- */

struct score_record {
    struct file_map map;
    struct score_frame frame; /* its ids: those below */
    int n_top;
    char made[SCORE_MOST_MADE + 1];
    int32_t *ids;             /* [n_chunks, n_ctx], owned */
    const char *positions;    /* in the mapping */
};

/* Does the file begin like a record? */
int score_is_record(bool *out, const char *path, struct redline_err *err);

/* Maps the file and checks all of it: lengths, ids, that every position is a distribution.  REDLINE_FORMAT. */
int  score_record_open(struct score_record *out, const char *path, struct redline_err *err);
void score_record_close(struct score_record *record); /* accepts {0} */

/* Position i of all. */
void score_record_at(const struct score_record *record, size_t i, struct score_top *out);

#endif
