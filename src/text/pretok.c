/* pretok.c - the table of pre-tokenizers.
 *
 * The patterns are facts about the models: each stands for the one with which the vocabulary was
 * trained, as the reference implementation applies it.  They are written so that PCRE2 needs time
 * linear in the text: where the model's own pattern would look again and again over a long run of
 * digits or letters, an equal one stands here.  White space is spelled out because Unicode's
 * White_Space is wanted, and PCRE2's own \s also holds U+180E.  Patterns with \p{Lu} and the like
 * treat all letters beyond ASCII as both upper and lower case, which is what the reference does. */
#include "pretok.h"

#include "base.h"

#define BLANK                                                                                      \
    "\\t\\x{b}\\x{c} \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"       \
    "\\x{205f}\\x{3000}"
#define WHITE BLANK "\\r\\n"
#define S "[" WHITE "]"
#define ENDS "(?![^" WHITE "])" /* white space or the end follows */
#define CLITIC "'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])"
#define WORD "[^\\r\\n\\p{L}\\p{N}]?\\p{L}+"
#define SYMBOLS " ?[^" WHITE "\\p{L}\\p{N}]+"
#define SPACES S "*[\\r\\n]+|" S "+" ENDS "|" S "+"
#define ASCII_SYMBOL "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~]"
#define UPPER "[^\\P{L}a-z]" /* a letter that may begin a word in camel case */
#define LOWER "[^\\P{L}A-Z]"
#define NOT_LETTER_OR_MARK "\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}"

#define GPT2_PATTERN                                                                               \
    "'(?:[stmd]|re|ve|ll)| ?\\p{L}+| ?\\p{N}+|" SYMBOLS "|" S "+" ENDS
#define QWEN_PATTERN(digits)                                                                       \
    CLITIC "|" WORD "|\\p{N}" digits "|" SYMBOLS "[\\r\\n]*|" SPACES
#define DEEPSEEK3_PATTERN                                                                          \
    ASCII_SYMBOL "[A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"                      \
                 " ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES
#define CAMEL_PATTERN(upper, lower, clitic, digits)                                                \
    "[^\\r\\n\\p{L}\\p{N}]?" upper "*" lower "+" clitic "|[^\\r\\n\\p{L}\\p{N}]?" upper "+" lower  \
    "*" clitic "|\\p{N}" digits "|" SYMBOLS "[\\r\\n/]*|" SPACES
#define MARKED_PATTERN(digits)                                                                     \
    "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+(?:" CLITIC ")?|\\p{N}" digits "|" SYMBOLS "[\\r\\n/]*|" \
    SPACES
#define FINNISH_PATTERN                                                                            \
    " ?[^(" WHITE "|.,!?\\x{2026}\\x{3002}\\x{ff0c}\\x{3001}\\x{964}\\x{6d4}\\x{60c})]+"
/* By code point, not by property: what counts as Han is fixed. */
#define HAN                                                                                        \
    "\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{20000}-\\x{2a6df}\\x{2a700}-\\x{2ebef}"             \
    "\\x{f900}-\\x{faff}\\x{2f800}-\\x{2fa1f}"

/* DeepSeek LLM's list of letters that have case. */
#define CASED                                                                                      \
    "A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}"         \
    "-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}"         \
    "\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"         \
    "\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}\\x{13f8}-"           \
    "\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-"                 \
    "\\x{1d77}\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-"                 \
    "\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-"         \
    "\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}"         \
    "-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}\\x{1ff2}-"                \
    "\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-"         \
    "\\x{211d}\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"          \
    "\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}"         \
    "\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}"         \
    "-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-"                \
    "\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}\\x{ff41}-"                 \
    "\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-"          \
    "\\x{10cb2}\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"
/* U+3000 is white space first, so DeepSeek's class of punctuation never holds it. */
#define DEEPSEEK_PUNCTUATION                                                                       \
    "!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3001}-\\x{3002}"
#define HAN_AND_HANGUL "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define HAN_AND_KANA "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+"
#define YOUTU_SCRIPTS                                                                              \
    "[\\x{ac00}-\\x{d7a3}\\x{3131}-\\x{318e}]+|[\\x{ff01}\\x{2026}\\x{201c}\\x{201d}"              \
    "\\x{2018}\\x{2019}\\x{2014}\\x{ff1a}\\x{ff1b}\\x{ff0c}\\x{3001}-\\x{303f}\\x{fe30}-"          \
    "\\x{fe4f}]+|[\\x{3105}-\\x{312f}]+|" HAN_AND_KANA
#define ASIAN_SCRIPTS                                                                              \
    "[\\x{4e00}-\\x{9fff}\\x{3400}-\\x{4dbf}\\x{8c48}-\\x{faff}\\x{3040}-\\x{309f}"                \
    "\\x{30a0}-\\x{30ff}\\x{ff65}-\\x{ff9f}\\x{2f00}-\\x{2fdf}\\x{e40}-\\x{e7f}\\x{e80}-"          \
    "\\x{eff}\\x{1780}-\\x{17ff}\\x{1000}-\\x{109f}\\x{aa60}-\\x{aa7f}\\x{a9e0}-\\x{a9ff}"         \
    "\\x{ac00}-\\x{d7af}\\x{1100}-\\x{11ff}]+"

#define STEPS(...) (const char *const[]){__VA_ARGS__, NULL}
#define GPT2 STEPS(GPT2_PATTERN)
#define ONE_DIGIT STEPS("\\p{N}", GPT2_PATTERN)
#define LLAMA3 STEPS(QWEN_PATTERN("{1,3}"))
#define QWEN2 STEPS(QWEN_PATTERN(""))
#define DEEPSEEK3 STEPS("\\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK3_PATTERN)
#define FINNISH STEPS(FINNISH_PATTERN)
#define GPT4O STEPS(CAMEL_PATTERN(UPPER, LOWER, "(?:" CLITIC ")?", "{1,3}"))
#define TINY_AYA STEPS(PRETOK_DIGITS, MARKED_PATTERN("{1,3}"))
#define LINES STEPS("[^\\n]+|\\n+")
#define BAILING                                                                                    \
    STEPS(CLITIC "|" WORD "|\\p{N}|" SYMBOLS "[\\r\\n]*|" S "*[\\r\\n]|" S "+" ENDS "|" S "+")

#define KEEP PRETOK_KEEP_SPACES
#define GEMMA4 (PRETOK_GEMMA | PRETOK_RAW | PRETOK_ESCAPE_SPACES)

static const struct pretok table[] = {
    {"default", STEPS("[\\p{P}$+<=>^~|]+", GPT2_PATTERN, "\\p{N}+", "[0-9][0-9][0-9]"), 0},
    {"minicpm5", STEPS("\\p{N}{1,3}", QWEN_PATTERN("+")), PRETOK_WORD_FIRST},
    {"llama3", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"llama-v3", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"llama-bpe", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"falcon3", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"falcon-h1", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"pixtral", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"midm-2.0", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"lfm2", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"jina-v5-nano", LLAMA3, PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"deepseek-llm",
     STEPS("[\\r\\n]", S "?[" CASED "]+", S "?[" DEEPSEEK_PUNCTUATION "]+", S "++\\z",
           HAN_AND_HANGUL, "\\p{N}+"),
     KEEP},
    {"deepseek-coder",
     STEPS("[\\r\\n]", S "?\\p{L}+", S "?\\p{P}+", HAN_AND_HANGUL, "\\p{N}"), KEEP},
    {"deepseek-v3", DEEPSEEK3, KEEP},
    {"youtu", STEPS(YOUTU_SCRIPTS, MARKED_PATTERN("")), KEEP | PRETOK_WORD_FIRST},
    {"falcon", STEPS("[\\p{P}$+<=>^~|`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"), 0},
    {"mpt", GPT2, 0},
    {"starcoder", ONE_DIGIT, 0},
    {"gpt-2", GPT2, 0},
    {"phi-2", GPT2, 0},
    {"jina-es", GPT2, 0},
    {"jina-de", GPT2, 0},
    {"gigachat", GPT2, 0},
    {"jina-v2-es", GPT2, PRETOK_MASK_LSTRIP},
    {"jina-v2-de", GPT2, PRETOK_MASK_LSTRIP},
    {"a.x-4.0", GPT2, 0},
    {"mellum", GPT2, 0},
    {"modern-bert", GPT2, 0},
    {"jais-2",
     /* behind a blank, the run is known to hold no newline: do not look through it again */
     STEPS(CLITIC "|" WORD "|\\p{N}{1,3}|" SYMBOLS "[\\r\\n]*|(?<![" BLANK "])" S "*[\\r\\n]+|" S
                  "{512}" ENDS
                  "|" S "{256}" ENDS "|" S "{128}" ENDS "|" S "{64}" ENDS "|" S "{32}" ENDS "|" S
                  "{16}" ENDS "|" S "{8}" ENDS "|" S "{4}" ENDS "|" S "{1,2}" ENDS "|" S),
     0},
    {"gemma4", LINES, GEMMA4},
    {"granite-embed-multi-311m", LINES, GEMMA4},
    {"sarvam-moe", LINES, PRETOK_RAW | PRETOK_ESCAPE_SPACES | KEEP},
    {"jina-v1-en", GPT2, PRETOK_ADD_SEP},
    {"jina-v2-code", GPT2, PRETOK_ADD_SEP | PRETOK_MASK_LSTRIP},
    {"roberta-bpe", GPT2, PRETOK_ADD_SEP},
    {"whitespace", STEPS("[^" WHITE "]+"), PRETOK_RAW | PRETOK_NOT_LOWERED},
    {"refact", ONE_DIGIT, 0},
    {"command-r", ONE_DIGIT, KEEP},
    {"qwen2", QWEN2, KEEP},
    {"deepseek-r1-qwen", QWEN2, KEEP},
    {"kormo", QWEN2, KEEP},
    {"f2llmv2", QWEN2, KEEP},
    {"megrez", QWEN2, 0},
    {"qwen35",
     STEPS(CLITIC "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^" WHITE
                  "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES),
     KEEP},
    {"stablelm2", QWEN2, 0},
    {"olmo", GPT2, 0},
    {"dbrx", LLAMA3, 0},
    {"smaug-bpe", LLAMA3, 0},
    {"poro-chat", FINNISH, KEEP},
    {"glm4", LLAMA3, PRETOK_NO_BOS},
    {"chatglm-bpe", LLAMA3, PRETOK_NO_BOS},
    {"viking", STEPS(FINNISH_PATTERN, "\\p{N}"), KEEP},
    {"jais", GPT2, 0},
    {"tekken", STEPS(CAMEL_PATTERN(UPPER, LOWER, "", "")),
     KEEP | PRETOK_WORD_FIRST | PRETOK_ADD_BOS},
    {"smollm", ONE_DIGIT, KEEP},
    {"codeshell", ONE_DIGIT, 0},
    {"bloom", FINNISH, 0},
    {"gpt3-finnish", FINNISH, 0},
    {"exaone", ONE_DIGIT, 0},
    {"exaone4", GPT2, 0},
    {"exaone-moe",
     STEPS(CLITIC "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}\\p{M}*+(?: ?+\\p{L}\\p{M}*+)*+|\\p{N}|" SYMBOLS
                  "[\\r\\n/]?|" S "*[\\r\\n]|" S "+" ENDS "|" S "+"),
     0},
    {"chameleon",
     STEPS("<sentinel:[0-9]+>", "IMGIMG[A-I]{1,4}Z", "[\\t\\n]|    |  ", "\\p{N}",
           "[\\p{P}!-/:-@\\[-`{-~]", GPT2_PATTERN),
     KEEP | PRETOK_ADD_BOS},
    {"minerva-7b", ONE_DIGIT, 0},
    {"gpt-4o", GPT4O, KEEP},
    {"llama4", GPT4O, KEEP},
    {"kanana2", GPT4O, KEEP},
    {"talkie", GPT4O, KEEP},
    {"granite-embed-multi-97m",
     STEPS(CAMEL_PATTERN("[^" NOT_LETTER_OR_MARK "a-z]", "[^" NOT_LETTER_OR_MARK "A-Z]",
                         "(?:" CLITIC ")?", "{1,3}")),
     KEEP | PRETOK_WORD_FIRST},
    {"tiny_aya", TINY_AYA, KEEP},
    {"cohere2moe", TINY_AYA, KEEP},
    {"superbpe", STEPS("\\p{N}+", PRETOK_ASCII_DIGITS), KEEP},
    {"trillion", GPT2, KEEP},
    {"granite-docling", GPT2, KEEP},
    {"bailingmoe", BAILING, KEEP},
    {"bailingmoe2", BAILING, KEEP},
    {"llada-moe", BAILING, KEEP},
    {"seed-coder",
     STEPS(CLITIC "|" WORD "|\\p{N}| ?[^" WHITE "\\p{L}\\p{N}\\r\\n]+|" SPACES), KEEP},
    {"hunyuan", QWEN2, KEEP},
    {"hunyuan-dense", DEEPSEEK3, KEEP},
    {"joyai-llm", DEEPSEEK3, KEEP},
    {"kimi-k2",
     STEPS("[" HAN "]+|[^\\r\\n\\p{L}\\p{N}]?[^\\P{L}" HAN "]+(?:" CLITIC
           ")?|\\p{N}{1,3}|" SYMBOLS "[\\r\\n]*|" SPACES),
     KEEP | PRETOK_NO_MERGES},
    {"grok-2", QWEN2, KEEP},
    {"afmoe", STEPS(PRETOK_DIGITS, ASIAN_SCRIPTS, DEEPSEEK3_PATTERN), KEEP},
    {"laguna", STEPS("[^\\n]+|\\n+", QWEN_PATTERN("")), KEEP},
    {"minimax-m2", GPT4O, KEEP},
    {"solar-open", QWEN2, KEEP},
    {"mellum2", ONE_DIGIT, 0},
};

const struct pretok *pretok_find(struct str name)
{
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (str_eq(name, str_of(table[i].name))) return &table[i];
    return NULL;
}
