/* gguf_write.h - writing GGUF version 3.
 *
 * Values and tensor descriptions are collected first, then the header is written, then the data of
 * each tensor in the order of its description, streamed by the caller in pieces of any size.  Room for all
 * of it is asked for first.  The file appears under its name only when gguf_writer_finish() has succeeded. */
#ifndef GGUF_WRITE_H
#define GGUF_WRITE_H

#include "gguf.h"

struct gguf_writer;

/* path is kept as a copy. alignment: 0 for the default of 32, else a power of two >= 8; the key
 * general.alignment is the writer's to write. */
int gguf_writer_new(struct gguf_writer **out, const char *path, uint32_t alignment,
                    struct redline_err *err);
void gguf_writer_free(struct gguf_writer **writer); /* removes an unfinished file; accepts NULL */

/* Values; a key written twice is REDLINE_ARG.  Strings and items are copied. */
int gguf_write_u8(struct gguf_writer *w, const char *key, uint8_t value, struct redline_err *err);
int gguf_write_i8(struct gguf_writer *w, const char *key, int8_t value, struct redline_err *err);
int gguf_write_u16(struct gguf_writer *w, const char *key, uint16_t value, struct redline_err *err);
int gguf_write_i16(struct gguf_writer *w, const char *key, int16_t value, struct redline_err *err);
int gguf_write_u32(struct gguf_writer *w, const char *key, uint32_t value, struct redline_err *err);
int gguf_write_i32(struct gguf_writer *w, const char *key, int32_t value, struct redline_err *err);
int gguf_write_u64(struct gguf_writer *w, const char *key, uint64_t value, struct redline_err *err);
int gguf_write_i64(struct gguf_writer *w, const char *key, int64_t value, struct redline_err *err);
int gguf_write_f32(struct gguf_writer *w, const char *key, float value, struct redline_err *err);
int gguf_write_f64(struct gguf_writer *w, const char *key, double value, struct redline_err *err);
int gguf_write_bool(struct gguf_writer *w, const char *key, bool value, struct redline_err *err);
int gguf_write_string(struct gguf_writer *w, const char *key, struct str value,
                      struct redline_err *err);
int gguf_write_strings(struct gguf_writer *w, const char *key, const struct str *items, uint64_t n,
                       struct redline_err *err);
/* item: any fixed-size type; items: n of them in the machine's own (little-endian) form. */
int gguf_write_array(struct gguf_writer *w, const char *key, enum gguf_type item, const void *items,
                     uint64_t n, struct redline_err *err);
/* Copies a value of another file under its own key; general.alignment and split.*, which describe that
 * file and not what is in it, are passed over. */
int gguf_write_value(struct gguf_writer *w, const struct gguf_value *value, struct redline_err *err);

/* Announces a tensor; its bytes follow from type and shape. */
int gguf_write_tensor(struct gguf_writer *w, struct str name, enum dtype dtype, uint32_t n_dims,
                      const uint64_t *shape, struct redline_err *err);

/* The next n bytes of tensor data, in the order of announcement; the first call closes the header.
 * Padding between tensors is the writer's business. */
int gguf_write_data(struct gguf_writer *w, const void *bytes, size_t n, struct redline_err *err);

/* REDLINE_ARG unless exactly the announced bytes were written. */
int gguf_writer_finish(struct gguf_writer *w, struct redline_err *err);

#endif
