/* test_tok_vocab.c - small vocabularies made in memory: every kind, special tokens, streams,
 * metadata that lies, and every allocation refused in turn. */
#include "test_tok.h"

#include "fault.h"
#include "mem.h"

/* SentencePiece: 3-258 are the bytes. */
enum { SPM_BYTE_0 = 3, SPM_FIRST = 259 };

static void spm_meta(struct meta *m)
{
    static const char *const words[] = {"\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "ab",
                                        "\xe2\x96\x81"
                                        "ab",
                                        "<tag>",
                                        "<|im_end|>"};
    const char *texts[SPM_FIRST + COUNT_OF(words)] = {"<unk>", "<s>", "</s>"};
    static char bytes[256][7];
    float scores[COUNT_OF(texts)] = {0};
    int32_t types[COUNT_OF(texts)] = {2, 3, 3};
    for (int i = 0; i < 256; i++) {
        snprintf(bytes[i], sizeof bytes[i], "<0x%02X>", i);
        texts[SPM_BYTE_0 + i] = bytes[i];
        types[SPM_BYTE_0 + i] = 6;
    }
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        texts[SPM_FIRST + i] = words[i];
        scores[SPM_FIRST + i] = -(float)i;
        types[SPM_FIRST + i] = i < 5 ? 1 : i == 5 ? 4 : 1;
    }
    meta_string(m, "model", "llama");
    meta_strings(m, "tokens", texts, COUNT_OF(texts));
    meta_array(m, "scores", GGUF_F32, scores, 4, COUNT_OF(scores));
    meta_array(m, "token_type", GGUF_I32, types, 4, COUNT_OF(types));
}

static const char *const bpe_tokens[] = {"a",
                                         "b",
                                         "c",
                                         "ab",
                                         "abc",
                                         "\xc4\xa0",
                                         "\xc4\xa0"
                                         "ab",
                                         "1",
                                         "\xc3\xa9",
                                         "<x>",
                                         "</x>"};
static const int32_t bpe_types[] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 4};
static const char *const bpe_merges[] = {"a b", "ab c", "\xc4\xa0 ab", "b b"};

static void bpe_meta(struct meta *m, const char *pre)
{
    meta_string(m, "model", "gpt2");
    if (pre) meta_string(m, "pre", pre);
    meta_strings(m, "tokens", bpe_tokens, COUNT_OF(bpe_tokens));
    meta_array(m, "token_type", GGUF_I32, bpe_types, 4, COUNT_OF(bpe_types));
    meta_strings(m, "merges", bpe_merges, COUNT_OF(bpe_merges));
    meta_u32(m, "bos_token_id", 9);
    meta_u32(m, "eos_token_id", 9);
}

static void wpm_meta(struct meta *m)
{
    static const char *const texts[] = {"[PAD]",
                                        "[UNK]",
                                        "[CLS]",
                                        "[SEP]",
                                        "\xe2\x96\x81"
                                        "ab",
                                        "c",
                                        "\xe2\x96\x81"
                                        "e",
                                        "\xe2\x96\x81!",
                                        "\xe2\x96\x81\xe4\xb8\xad"};
    static const int32_t types[] = {3, 3, 3, 3, 1, 1, 1, 1, 1};
    meta_string(m, "model", "bert");
    meta_strings(m, "tokens", texts, COUNT_OF(texts));
    meta_array(m, "token_type", GGUF_I32, types, 4, COUNT_OF(types));
    meta_u32(m, "unknown_token_id", 1);
    meta_u32(m, "bos_token_id", 2);
    meta_u32(m, "seperator_token_id", 3);
}

enum { MAP_NODES = 256, MAP_BYTES = 4 + 4 * MAP_NODES + 2 };

/* A charsmap that turns "A" into "a": the root's base is 1, so "A" leads to node 1 ^ 0x41 = 0x40,
 * which holds a leaf; its base is 1, too, so the place of the replacement is in node 0x41. */
static void charsmap(unsigned char bytes[MAP_BYTES], uint32_t place)
{
    uint32_t words[1 + MAP_NODES] = {4 * MAP_NODES};
    words[1 + 0] = 1u << 10;
    words[1 + 0x40] = 0x41 | 1u << 8 | 1u << 10;
    words[1 + 0x41] = place;
    memcpy(bytes, words, sizeof words);
    memcpy(bytes + sizeof words, "a", 2);
}

static void ugm_meta_with(struct meta *m, const void *map, size_t n_map)
{
    static const char *const texts[] = {"<pad>",
                                        "</s>",
                                        "<unk>",
                                        "\xe2\x96\x81",
                                        "a",
                                        "b",
                                        "\xe2\x96\x81"
                                        "ab",
                                        "<u>"};
    static const float scores[] = {0, 0, 0, -2, -3, -3, -4, 0};
    static const int32_t types[] = {3, 3, 2, 1, 1, 1, 1, 4};
    meta_string(m, "model", "t5");
    meta_strings(m, "tokens", texts, COUNT_OF(texts));
    meta_array(m, "scores", GGUF_F32, scores, 4, COUNT_OF(scores));
    meta_array(m, "token_type", GGUF_I32, types, 4, COUNT_OF(types));
    meta_array(m, "precompiled_charsmap", GGUF_U8, map, 1, n_map);
    meta_bool(m, "add_space_prefix", true);
    meta_bool(m, "remove_extra_whitespaces", true);
}

static void ugm_meta(struct meta *m)
{
    unsigned char map[MAP_BYTES];
    charsmap(map, 0);
    ugm_meta_with(m, map, sizeof map);
}

static void bpe_default(struct meta *m)
{
    bpe_meta(m, NULL);
}

static void gemma_meta(struct meta *m)
{
    static const char *const texts[] = {"<pad>",
                                        "<eos>",
                                        "<bos>",
                                        "\n\n",
                                        "\xe2\x96\x81",
                                        "a",
                                        "\xe2\x96\x81"
                                        "a",
                                        "\n",
                                        "<0xC3>",
                                        "<0xA9>"};
    static const char *const merges[] = {"\xe2\x96\x81 a"};
    static const int32_t types[] = {3, 3, 3, 1, 1, 1, 1, 1, 6, 6};
    meta_string(m, "model", "gemma4");
    meta_strings(m, "tokens", texts, COUNT_OF(texts));
    meta_array(m, "token_type", GGUF_I32, types, 4, COUNT_OF(types));
    meta_strings(m, "merges", merges, COUNT_OF(merges));
    meta_u32(m, "bos_token_id", 2);
    meta_bool(m, "add_bos_token", false);
}

static struct vocab *open_good(struct meta *m, void (*fill)(struct meta *))
{
    int status;
    struct redline_err err;
    fill(m);
    struct vocab *v = meta_open(m, &status, &err);
    if (!v) fail_msg("%s", err.message);
    return v;
}

static void spm_encodes(void **state)
{
    (void)state;
    struct meta m = {0};
    struct vocab *v = open_good(&m, spm_meta);
    assert_encodes(v, STR("ab"), 0, "263");
    assert_encodes(v, STR("ab ab"), VOCAB_ADD_SPECIAL, "1 263 263");
    assert_encodes(v, STR(""), VOCAB_ADD_SPECIAL, "1");
    assert_encodes(v, STR("\xff"), 0, "259 258");                /* a byte that is no text */
    assert_encodes(v, STR("a<tag>b"), 0, "259 260 264 259 261"); /* user-defined: always cut out */
    assert_encodes(v, STR("</s>"), VOCAB_PARSE_SPECIAL, "2");
    assert_true(vocab_is_end(v, 2) && vocab_is_end(v, 265) && !vocab_is_end(v, 260));
    assert_true(vocab_is_control(v, 265)); /* typed as text, known by its text */
    assert_int_equal(vocab_find(v, STR("ab")), 262);
    assert_int_equal(vocab_find(v, STR("nope")), -1);
    assert_int_equal(vocab_bytes(v, -1, 0).n + vocab_bytes(v, 1 << 30, 0).n, 0);
    vocab_close(&v);
    meta_close(&m);
}

static void bpe_encodes(void **state)
{
    (void)state;
    struct meta m = {0};
    struct vocab *v = open_good(&m, bpe_default);
    assert_encodes(v, STR("abc ab"), 0, "4 6");
    assert_encodes(v, STR("bb"), 0, "1 1");           /* a merge whose result is no token */
    assert_encodes(v, STR("a<x>b</x>"), 0, "0 1 10"); /* no tokens for "<x>": control, not parsed */
    assert_encodes(v, STR("a<x>b</x>"), VOCAB_PARSE_SPECIAL, "0 9 1 10");
    struct buf text = {0};
    assert_int_equal(vocab_decode(v, (int32_t[]){4, 6, 9}, 3, 0, &text, NULL), 0);
    assert_string_equal(text.p, "abc ab");
    assert_int_equal(vocab_decode(v, (int32_t[]){9, 99}, 2, VOCAB_SHOW_SPECIAL, &text, NULL),
                     REDLINE_ARG);
    assert_string_equal(text.p, "abc ab<x>");
    buf_free(&text);
    vocab_close(&v);
    meta_close(&m);
}

static void wpm_encodes(void **state)
{
    (void)state;
    struct meta m = {0};
    struct vocab *v = open_good(&m, wpm_meta);
    assert_encodes(v,
                   STR("ABc \xc3\xa9!\xe4\xb8\xad"
                       "ab"),
                   VOCAB_ADD_SPECIAL, "2 4 5 6 7 8 4 3");
    assert_encodes(v,
                   STR("abx \xff"
                       "ab"),
                   0, "1 4");
    vocab_close(&v);
    meta_close(&m);
}

static void ugm_encodes(void **state)
{
    (void)state;
    struct meta m = {0};
    struct vocab *v = open_good(&m, ugm_meta);
    assert_encodes(v, STR("ab"), 0, "6");
    assert_encodes(v, STR("  Ab   a "), VOCAB_ADD_SPECIAL, "6 3 4 1"); /* charsmap, spaces merged */
    assert_encodes(v, STR("axxb\xff"), 0, "3 4 2 5 2");
    assert_encodes(v, STR("<u>a"), 0, "7 3 4");
    vocab_close(&v);
    meta_close(&m);
}

static void gemma_encodes(void **state)
{
    (void)state;
    struct meta m = {0};
    struct vocab *v = open_good(&m, gemma_meta);
    assert_encodes(v, STR("a a\n\n\xc3\xa9"), VOCAB_ADD_SPECIAL, "2 5 6 3 8 9");
    assert_encodes(v, STR("\n\n\n\xc3"), 0, "7 7 7 8");
    vocab_close(&v);
    meta_close(&m);
}

static void streams_replace_broken_text(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *want;
    } cases[] = {
        {"\xc3\xa9", "\xc3\xa9"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc3\xc3\xa9", "\xef\xbf\xbd\xc3\xa9"},
        {"\xe2\x82x", "\xef\xbf\xbd\xef\xbf\xbdx"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* a surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\xa6\x99\xff", "\xf0\x9f\xa6\x99\xef\xbf\xbd"},
    };
    struct meta m = {0};
    struct vocab *v = open_good(&m, spm_meta);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct detok d;
        struct buf out = {0};
        detok_init(&d, v, false);
        for (const char *p = cases[i].bytes; *p; p++)
            assert_int_equal(detok_feed(&d, v, SPM_BYTE_0 + (unsigned char)*p, 0, &out, NULL), 0);
        assert_int_equal(detok_flush(&d, &out, NULL), 0);
        assert_string_equal(out.p, cases[i].want);
        buf_free(&out);
    }
    struct detok d;
    struct buf out = {0};
    detok_init(&d, v, true);
    assert_int_equal(detok_feed(&d, v, 263, 0, &out, NULL), 0);
    assert_int_equal(detok_feed(&d, v, 263, 0, &out, NULL), 0);
    assert_string_equal(out.p, "ab ab");
    buf_free(&out);
    vocab_close(&v);
    meta_close(&m);
}

static void assert_refused(struct meta *m, int want, const char *word)
{
    struct redline_err err;
    int status;
    struct vocab *v = meta_open(m, &status, &err);
    assert_null(v);
    assert_int_equal(status, want);
    if (!strstr(err.message, word)) fail_msg("'%s' does not say '%s'", err.message, word);
    meta_close(m);
}

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    static const char *const models[] = {"no_vocab", "none",      "rwkv",
                                         "plamo2",   "hybriddna", "abacus"};
    for (size_t i = 0; i < COUNT_OF(models); i++) {
        struct meta m = {0};
        meta_string(&m, "model", models[i]);
        assert_refused(&m, REDLINE_SUPPORT, models[i]);
    }
    struct meta m = {0};
    bpe_meta(&m, "made-up");
    assert_refused(&m, REDLINE_SUPPORT, "made-up");
    m = (struct meta){0};
    meta_string(&m, "general.name", "x");
    assert_refused(&m, REDLINE_FORMAT, "tokenizer.ggml.model");
}

static void lie_scores(struct meta *m)
{
    meta_array(m, "scores", GGUF_F32, (float[]){0, 1}, 4, 2);
}

static void lie_types(struct meta *m)
{
    meta_array(m, "token_type", GGUF_I32, (int32_t[]){1}, 4, 1);
}

static void lie_score_kind(struct meta *m)
{
    meta_string(m, "scores", "high");
}

static void lie_eos(struct meta *m)
{
    meta_u32(m, "eos_token_id", 3);
}

static void lie_bos_kind(struct meta *m)
{
    meta_string(m, "bos_token_id", "1");
}

static void lie_byte(struct meta *m)
{
    meta_array(m, "token_type", GGUF_I32, (int32_t[]){6, 6, 6}, 4, 3);
}

static void refuses_lies(void **state)
{
    (void)state;
    static const struct {
        void (*lie)(struct meta *);
        const char *word;
    } lies[] = {{lie_scores, "scores"}, {lie_types, "token_type"}, {lie_score_kind, "scores"},
                {lie_eos, "eos"},       {lie_bos_kind, "bos"},     {lie_byte, "byte"}};
    static const char *const texts[] = {"a", "b", ""}, *const twins[] = {"a", "b", "a"};
    for (size_t i = 0; i < COUNT_OF(lies); i++) {
        struct meta m = {0};
        meta_string(&m, "model", "llama");
        meta_strings(&m, "tokens", texts, 3);
        lies[i].lie(&m);
        assert_refused(&m, REDLINE_FORMAT, lies[i].word);
    }
    struct meta m = {0};
    meta_string(&m, "model", "llama");
    assert_refused(&m, REDLINE_FORMAT, "tokens");
    m = (struct meta){0};
    meta_string(&m, "model", "llama");
    meta_strings(&m, "tokens", twins, 3);
    assert_refused(&m, REDLINE_FORMAT, "both");
}

static void refuses_broken_merges(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "a", "ab", " ", "a ", " a"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct meta m = {0};
        meta_string(&m, "model", "gpt2");
        meta_strings(&m, "tokens", bpe_tokens, COUNT_OF(bpe_tokens));
        meta_strings(&m, "merges", &bad[i], 1);
        assert_refused(&m, REDLINE_FORMAT, "merge");
    }
    struct meta m = {0};
    meta_string(&m, "model", "gpt2");
    meta_strings(&m, "tokens", bpe_tokens, COUNT_OF(bpe_tokens));
    assert_refused(&m, REDLINE_FORMAT, "merges");
}

static void refuses_broken_charsmaps(void **state)
{
    (void)state;
    static const uint32_t header = 4000;
    struct meta m = {0};
    ugm_meta_with(&m, &header, 4);
    assert_refused(&m, REDLINE_FORMAT, "precompiled_charsmap");
    m = (struct meta){0};
    ugm_meta_with(&m, &header, 3);
    assert_refused(&m, REDLINE_FORMAT, "precompiled_charsmap");

    /* These show only when a text leads there; every bit of the map is flipped in turn. */
    unsigned char map[MAP_BYTES];
    for (size_t i = 4; i < sizeof map; i++) {
        for (int bit = 0; bit < 8; bit++) {
            struct redline_err err;
            struct ids ids = {0};
            int status;
            charsmap(map, 0);
            map[i] ^= (unsigned char)(1 << bit);
            m = (struct meta){0};
            ugm_meta_with(&m, map, sizeof map);
            struct vocab *v = meta_open(&m, &status, &err);
            assert_non_null(v);
            status = vocab_encode(v,
                                  STR("xA\x01\xff"
                                      "A"),
                                  0, &ids, &err);
            assert_true(status == 0 || status == REDLINE_FORMAT);
            ids_free(&ids);
            vocab_close(&v);
            meta_close(&m);
        }
    }
}

static void names_empty_tokens(void **state)
{
    (void)state;
    struct meta m = {0};
    struct redline_err err;
    int status;
    meta_string(&m, "model", "llama");
    meta_strings(&m, "tokens", (const char *const[]){"a", "", "b"}, 3);
    struct vocab *v = meta_open(&m, &status, &err);
    assert_non_null(v);
    assert_int_equal(vocab_find(v, STR("[EMPTY_1]")), 1);
    assert_encodes(v, STR("ab"), 0, "0 0 0 0 2"); /* the prefix's three bytes are unknown: 0 */
    vocab_close(&v);
    meta_close(&m);
}

/* Opens, encodes and decodes with the nth allocation and all later ones refused. */
static bool survives(struct meta *m, uint64_t nth)
{
    struct redline_err err = {0};
    struct vocab *v = NULL;
    struct ids ids = {0};
    struct buf text = {0};
    struct detok d;
    fault_arm(FAULT_ALLOC, nth, true);
    int status = vocab_open(&v, m->gguf, &err);
    if (status == 0)
        status = vocab_encode(v, STR("ab <tag>AB\xff 123 <x>c\n\n"), VOCAB_ADD_SPECIAL, &ids, &err);
    if (status == 0) status = vocab_decode(v, ids.p, ids.n, 0, &text, &err);
    if (status == 0) detok_init(&d, v, true);
    for (size_t i = 0; status == 0 && i < ids.n; i++)
        status = detok_feed(&d, v, ids.p[i], 0, &text, &err);
    if (status == 0) status = detok_flush(&d, &text, &err);
    fault_arm(FAULT_ALLOC, 0, false);
    if (status) assert_int_equal(status, REDLINE_MEMORY);
    if (status) assert_true(err.message[0]);
    vocab_close(&v);
    ids_free(&ids);
    buf_free(&text);
    return status == 0;
}

static void survives_refused_memory(void **state)
{
    (void)state;
    static void (*const kinds[])(struct meta *) = {spm_meta, bpe_default, wpm_meta, ugm_meta,
                                                   gemma_meta};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct meta m = {0};
        struct vocab *v = open_good(&m, kinds[i]);
        vocab_close(&v);
        uint64_t n = 1;
        while (!survives(&m, n)) n++;
        assert_true(n > 5);
        print_message("%zu: %d allocations refused in turn\n", i, (int)n - 1);
        meta_close(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spm_encodes),
        cmocka_unit_test(bpe_encodes),
        cmocka_unit_test(wpm_encodes),
        cmocka_unit_test(ugm_encodes),
        cmocka_unit_test(gemma_encodes),
        cmocka_unit_test(streams_replace_broken_text),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(refuses_lies),
        cmocka_unit_test(refuses_broken_merges),
        cmocka_unit_test(refuses_broken_charsmaps),
        cmocka_unit_test(names_empty_tokens),
        cmocka_unit_test(survives_refused_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
