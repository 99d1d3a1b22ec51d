/* gguf_get.c - typed reading of values that gguf_open() has found to be well-formed.
 *
 * Writers disagree about widths (u32 here, u64 or i32 there), so integers of any width are one
 * kind, floats another; what must not happen is a silent change of value. */
#include <assert.h>
#include <stdio.h>

#include "gguf_internal.h"

static bool is_integer(enum gguf_type type)
{
    switch (type) {
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
    case GGUF_U64:
    case GGUF_I64: return true;
    default: return false;
    }
}

static bool is_float(enum gguf_type type)
{
    return type == GGUF_F32 || type == GGUF_F64;
}

/* "an array of string", "u32" */
static const char *kind_text(const struct gguf_value *v, char *out, size_t n)
{
    snprintf(out, n, "%s%s", v->type == GGUF_ARRAY ? "an array of " : "",
             gguf_type_name(v->item_type));
    return out;
}

static int wrong_kind(const struct gguf *g, const struct gguf_value *v, const char *want,
                      struct redline_err *err)
{
    char kind[32];
    return err_set(err, REDLINE_FORMAT, "%s: the value '%s' is %s, not %s", gguf_file_text(g),
                   GGUF_SHOW(v->key), kind_text(v, kind, sizeof kind), want);
}

/* One item of an unaligned run of them. */
#define LOAD(type, v, i)                                                                           \
    ({                                                                                             \
        type loaded;                                                                               \
        memcpy(&loaded, (const char *)(v)->data + (i) * sizeof loaded, sizeof loaded);             \
        loaded;                                                                                    \
    })

int64_t gguf_int_at(const struct gguf_value *array, uint64_t i)
{
    assert(i < array->n);
    switch (array->item_type) {
    case GGUF_U8:
    case GGUF_BOOL: return LOAD(uint8_t, array, i);
    case GGUF_I8: return LOAD(int8_t, array, i);
    case GGUF_U16: return LOAD(uint16_t, array, i);
    case GGUF_I16: return LOAD(int16_t, array, i);
    case GGUF_U32: return LOAD(uint32_t, array, i);
    case GGUF_I32: return LOAD(int32_t, array, i);
    case GGUF_U64: return (int64_t)LOAD(uint64_t, array, i);
    case GGUF_I64: return LOAD(int64_t, array, i);
    default: assert(!"an array of integers"); return 0;
    }
}

double gguf_float_at(const struct gguf_value *array, uint64_t i)
{
    assert(i < array->n && is_float(array->item_type));
    return array->item_type == GGUF_F32 ? LOAD(float, array, i) : LOAD(double, array, i);
}

struct str gguf_string_at(const struct gguf_value *array, uint64_t i)
{
    assert(i < array->n && array->item_type == GGUF_STRING);
    if (array->strings) return array->strings[i];
    return (struct str){(const char *)array->data + sizeof(uint64_t), LOAD(uint64_t, array, 0)};
}

int gguf_get_u32(const struct gguf *g, const char *key, uint32_t *out, struct redline_err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (!is_integer(v->type)) return wrong_kind(g, v, "an integer", err);
    int64_t value = gguf_int_at(v, 0);
    bool is_huge = v->type == GGUF_U64 && value < 0;
    if (is_huge)
        return err_set(err, REDLINE_FORMAT, "%s: the value '%s' is %llu, outside of 0 to %u",
                       gguf_file_text(g), key, (unsigned long long)value, UINT32_MAX);
    if (value < 0 || value > UINT32_MAX)
        return err_set(err, REDLINE_FORMAT, "%s: the value '%s' is %lld, outside of 0 to %u",
                       gguf_file_text(g), key, (long long)value, UINT32_MAX);
    *out = (uint32_t)value;
    return 0;
}

int gguf_get_f32(const struct gguf *g, const char *key, float *out, struct redline_err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (!is_float(v->type)) return wrong_kind(g, v, "a float", err);
    double value = gguf_float_at(v, 0);
    if (value - value == 0 && (value > 3.4028234663852886e38 || value < -3.4028234663852886e38))
        return err_set(err, REDLINE_FORMAT, "%s: the value '%s' is %g, too large for 32 bits",
                       gguf_file_text(g), key, value);
    *out = (float)value;
    return 0;
}

int gguf_get_bool(const struct gguf *g, const char *key, bool *out, struct redline_err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (v->type != GGUF_BOOL) return wrong_kind(g, v, "a bool", err);
    *out = gguf_int_at(v, 0) != 0;
    return 0;
}

int gguf_get_string(const struct gguf *g, const char *key, struct str *out, struct redline_err *err)
{
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    if (v->type != GGUF_STRING) return wrong_kind(g, v, "a string", err);
    *out = gguf_string_at(v, 0);
    return 0;
}

int gguf_get_array(const struct gguf *g, const char *key, enum gguf_type item,
                   const struct gguf_value **out, struct redline_err *err)
{
    *out = NULL;
    const struct gguf_value *v = gguf_find(g, key);
    if (!v) return 0;
    bool same = item == v->item_type || (is_integer(item) && is_integer(v->item_type)) ||
                (is_float(item) && is_float(v->item_type));
    if (v->type != GGUF_ARRAY || !same) {
        char want[48];
        snprintf(want, sizeof want, "an array of %s",
                 is_integer(item) ? "integers"
                 : is_float(item) ? "floats"
                                  : gguf_type_name(item));
        return wrong_kind(g, v, want, err);
    }
    *out = v;
    return 0;
}
