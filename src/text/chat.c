/* chat.c - ChatML (OpenAI 2023), in the forms that model files carry it:
 *
 *     <|im_start|>ROLE
 *     TEXT<|im_end|>
 *
 * for each message.  Some begin with BOS, some put a system message of their own before a conversation
 * that has none. */
#include "chat.h"

#include "base.h"
#include "chat_form.h"
#include "mem.h"

/* ---- known templates --------------------------------------------------------------------------- */

/* Forms of the parts of ChatML, in their order; of each group of alternatives one or none stands there. */
static const char default_1[] =
    "{%if not add_generation_prompt is defined%}{%set add_generation_prompt=false%}{%endif%}";
static const char default_2[] =
    "{%if add_generation_prompt is not defined%}{%set add_generation_prompt=false%}{%endif%}";
static const char begin[] = "{{bos_token}}";
static const char system_1[] = "{%if messages[0]['role']!='system'%}{{'<|im_start|>system\\n";
static const char loop[] = "{%for message in messages%}";
static const char system_2[] = "{%if loop['first']and messages[0]['role']!='system'%}{{'<|im_start|>system\\n";
static const char system_end[] = "<|im_end|>\\n'}}{%endif%}";
static const char message[] =
    "{{'<|im_start|>'+message['role']+'\\n'+message['content']+'<|im_end|>\\n'}}{%endfor%}";
static const char answer_begins[] = "{%if add_generation_prompt%}{{'<|im_start|>assistant\\n'}}{%endif%}";

/* Templates that write ChatML as long as no tools are given, by the length and the hash of their form. */
static const struct {
    size_t n;
    uint64_t hash;
    const char *system;
} with_tools[] = {
    /* Qwen2.5 */
    {1914, 0xf0514a765f222b97, "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
};

static const char chatml_name[] = "chatml";
static const struct chat_template chatml = {.name = chatml_name};

static bool take(struct str *s, const char *part)
{
    struct str p = str_of(part);
    if (!str_starts(*s, p)) return false;
    *s = (struct str){s->p + p.n, s->n - p.n};
    return true;
}

/* The template's own system message, up to system_end: words alone, no marks. */
static bool take_system(struct str *s, struct buf *out, int *status, struct redline_err *err)
{
    bool known;
    size_t n = 0;
    while (n < s->n && s->p[n] != '\'' && s->p[n] != '<') n += 1 + (s->p[n] == '\\');
    if (n > s->n) return false;
    *status = chat_form_string((struct str){s->p, n}, out, &known, err);
    *s = (struct str){s->p + n, s->n - n};
    return known && !*status && take(s, system_end);
}

static bool is_chatml(struct chat_template *t, struct str form, int *status, struct redline_err *err)
{
    if (!take(&form, default_1)) take(&form, default_2);
    t->begins = take(&form, begin);
    t->has_system = take(&form, system_1);
    if (t->has_system && !take_system(&form, &t->system, status, err)) return false;
    if (!take(&form, loop)) return false;
    if (!t->has_system) {
        t->has_system = take(&form, system_2);
        if (t->has_system && !take_system(&form, &t->system, status, err)) return false;
    }
    return take(&form, message) && take(&form, answer_begins) && form.n == 0;
}

static bool is_with_tools(struct chat_template *t, struct str form, int *status, struct redline_err *err)
{
    for (size_t i = 0; i < COUNT_OF(with_tools); i++) {
        if (with_tools[i].n != form.n || with_tools[i].hash != str_hash(form)) continue;
        t->has_system = true;
        *status = buf_append_str(&t->system, str_of(with_tools[i].system), err);
        return true;
    }
    return false;
}

static int not_known(struct str jinja, struct redline_err *err)
{
    size_t n = 0;
    while (n < jinja.n && n < 60 && (unsigned char)jinja.p[n] >= ' ') n++;
    while (n > 0 && n < jinja.n && ((unsigned char)jinja.p[n] & 0xc0) == 0x80) n--;
    return err_set(err, REDLINE_SUPPORT,
                   "the file's chat template is not one of the known ones, which write ChatML "
                   "(--chat-template chatml uses that form all the same); it has %zu bytes and begins with: %.*s",
                   jinja.n, (int)n, jinja.p);
}

int chat_recognise(struct chat_template *out, struct str jinja, struct redline_err *err)
{
    struct buf form = {0};
    *out = chatml;
    int status = chat_form(jinja, &form, err);
    if (!status && !is_chatml(out, buf_str(&form), &status, err) && !status) {
        chat_free(out);
        *out = chatml;
        if (!is_with_tools(out, buf_str(&form), &status, err)) status = not_known(jinja, err);
    }
    if (status) chat_free(out);
    buf_free(&form);
    return status;
}

int chat_named(const struct chat_template **out, const char *name, struct redline_err *err)
{
    *out = strcmp(name, chatml_name) == 0 ? &chatml : NULL;
    if (*out) return 0;
    return err_set(err, REDLINE_ARG, "there is no chat template '%.60s'; known is %s", name, chatml_name);
}

void chat_free(struct chat_template *t)
{
    buf_free(&t->system);
    *t = (struct chat_template){0};
}

/* ---- writing ----------------------------------------------------------------------------------- */

static int put(struct chat_text *to, struct str text, bool literal, struct redline_err *err)
{
    struct vocab_part *last = to->n_parts ? &to->parts[to->n_parts - 1] : NULL;
    TRY(buf_append_str(&to->text, text, err));
    if (last && last->literal == literal) {
        last->n += text.n;
        return 0;
    }
    if (to->n_parts == to->capacity) {
        size_t capacity = to->capacity ? 2 * to->capacity : 16;
        struct vocab_part *parts = mem_resize(to->parts, capacity, sizeof *parts);
        if (!parts) return err_memory(err, capacity * sizeof *parts, "a conversation");
        to->parts = parts;
        to->capacity = capacity;
    }
    to->parts[to->n_parts++] = (struct vocab_part){text.n, literal};
    return 0;
}

static int open_message(struct chat_text *to, struct str role, struct redline_err *err)
{
    TRY(put(to, STR("<|im_start|>"), false, err));
    TRY(put(to, role, true, err));
    return put(to, STR("\n"), true, err);
}

static int write_message(struct chat_text *to, const struct chat_message *m, struct redline_err *err)
{
    TRY(open_message(to, m->role, err));
    TRY(put(to, m->text, true, err));
    TRY(put(to, STR("<|im_end|>"), false, err));
    return put(to, STR("\n"), true, err);
}

static int check_roles(const struct chat_message *messages, size_t n, struct redline_err *err)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    if (n == 0) return err_set(err, REDLINE_ARG, "the conversation is empty");
    for (size_t i = 0; i < n; i++) {
        struct str role = messages[i].role;
        size_t k = 0;
        while (k < COUNT_OF(roles) && !str_eq(role, str_of(roles[k]))) k++;
        if (k == COUNT_OF(roles))
            return err_set(err, REDLINE_ARG,
                           "message %zu has the role '%.*s'; known are system, user and assistant", i + 1,
                           (int)MIN(role.n, 40), role.p);
    }
    return 0;
}

int chat_write(const struct chat_template *t, const struct chat_message *messages, size_t n, bool answer,
               struct chat_text *out, struct redline_err *err)
{
    struct chat_message first = {STR("system"), buf_str(&t->system)};
    TRY(check_roles(messages, n, err));
    if (t->has_system && !str_eq(messages[0].role, first.role)) TRY(write_message(out, &first, err));
    for (size_t i = 0; i < n; i++) TRY(write_message(out, &messages[i], err));
    return answer ? open_message(out, STR("assistant"), err) : 0;
}

void chat_text_free(struct chat_text *text)
{
    buf_free(&text->text);
    mem_free(text->parts);
    *text = (struct chat_text){0};
}

int chat_encode(const struct chat_template *t, const struct vocab *v, const struct chat_message *messages,
                size_t n, bool answer, struct ids *out, struct redline_err *err)
{
    struct chat_text text = {0};
    const struct vocab_special *special = vocab_special(v);
    size_t n_before = out->n;
    bool begins = (t->begins || special->add_bos) && special->bos >= 0;
    int status = chat_write(t, messages, n, answer, &text, err);
    if (!status && begins) status = ids_push(out, special->bos, err);
    if (!status) status = vocab_encode_parts(v, buf_str(&text.text), text.parts, text.n_parts, out, err);
    if (status) out->n = n_before;
    chat_text_free(&text);
    return status;
}
