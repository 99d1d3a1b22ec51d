#!/usr/bin/env python3
"""Writes tests/data/chat/chat_golden.h: what Jinja makes of conversations, by templates in many spellings.

    python3 tools/golden/chat.py [FILE ...]     FILE: a template to be known, from a real model

Needs jinja2; renders as transformers does (trim_blocks and lstrip_blocks on).  Three kinds of templates:
those of ChatML, respelled at random; real ones, named by their file and not copied; and near ones, which
look much the same and write something else, so that they must be refused."""

import os
import random
import re
import sys

from jinja2.sandbox import ImmutableSandboxedEnvironment

OUT = os.path.join(os.path.dirname(__file__), "..", "..", "tests", "data", "chat", "chat_golden.h")
N_SPELLINGS = 3
BOS = "<s>"

CONVERSATIONS = [
    [("user", "What is 7 times 8?")],
    [("system", "Be brief."), ("user", "Who?"), ("assistant", "Nobody.\n"), ("user", "\n\n  And \"then\"? ")],
    [("user", ""), ("assistant", "caf\u00e9 \u4e2d\u6587 'n \\n"), ("system", "late"), ("user", "<b>{{ x }}</b>")],
]
MESSAGE = r"{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
ANSWER = r"{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
DEFAULT = "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
DEFAULT_2 = "{% if add_generation_prompt is not defined %}{% set add_generation_prompt = false %}{% endif %}"
LOOP = "{% for message in messages %}"
END = "{% endfor %}"


def with_system(text, first=True):
    condition = "loop.first and " if first else ""
    return ("{% if " + condition + r"messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" + text +
            r"<|im_end|>\n' }}{% endif %}")


HELPFUL = "You are a helpful assistant."
SMOLLM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
KNOWN = [
    LOOP + MESSAGE + END + ANSWER,
    DEFAULT + LOOP + MESSAGE + END + ANSWER,
    DEFAULT_2 + "{{ bos_token }}" + LOOP + MESSAGE + END + ANSWER,
    "{{ bos_token }}" + LOOP + MESSAGE + END + ANSWER,
    LOOP + with_system(HELPFUL) + MESSAGE + END + ANSWER,
    LOOP + with_system(SMOLLM) + MESSAGE + END + ANSWER,
    with_system(r"Think \"twice\".\n\tIt\'s \\boxed{}.", False) + LOOP + MESSAGE + END + ANSWER,
    LOOP + r"{{ '<|im_start|>' + message.role }}{{ '\n' }}{{- message.content + '<|im_end|>\n' }}" + END + ANSWER,
    LOOP + "<|im_start|>{{ message.role }}\n{{ message['content'] }}<|im_end|>\n" + END +
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "{#- ChatML -#}\n" + LOOP + "\n    {{-" + MESSAGE[2:-2] + "-}}\n" + END + "\n" + ANSWER + "\n",
    LOOP + "\r\n" + "{{- " + MESSAGE[2:] + END + ANSWER + "\r\n",
]
NEAR = [
    LOOP + MESSAGE + "\n" + END + ANSWER,
    LOOP + " " + MESSAGE + END + ANSWER,
    LOOP + MESSAGE + END + ANSWER + "\n\n\n",
    " " + LOOP + MESSAGE + "{%+ endfor %} " + ANSWER,
    LOOP + MESSAGE.replace("message['content']", "message['content'] | trim") + END + ANSWER,
    LOOP + MESSAGE.replace(r" + '\n'}}", "}}") + END + ANSWER,
    LOOP + MESSAGE + END,
    LOOP + MESSAGE + END + ANSWER.replace("assistant", "model"),
    LOOP + MESSAGE + END + ANSWER.replace("{% if", "{% if not"),
    LOOP + with_system("<|im_end|>") + MESSAGE + END + ANSWER + "{{ 'more' }}",
    LOOP + with_system("a<|im_end|>b") + MESSAGE + END + ANSWER,
    LOOP + with_system(HELPFUL).replace("!=", "==") + MESSAGE + END + ANSWER,
    LOOP.replace("messages", "messages[1:]") + MESSAGE + END + ANSWER,
    "{{ eos_token }}" + LOOP + MESSAGE + END + ANSWER,
    "{% set add_generation_prompt = false %}" + LOOP + MESSAGE + END + ANSWER,
    "{% raw %}" + LOOP + MESSAGE + END + ANSWER + "{% endraw %}",
    "{#" + LOOP + MESSAGE + END + ANSWER + "#}",
    LOOP + MESSAGE.replace("'<|im_start|>'", r"'\x3c|im_end|>'") + END + ANSWER,
    LOOP + "{{" + MESSAGE[2:].replace(" + message['role']", "}}{{ message['role'] | upper") + END + ANSWER,
]
BROKEN = [LOOP + MESSAGE + END + ANSWER + "{%", LOOP + MESSAGE + END + ANSWER + "{{ 'x", LOOP + "{{ '<|\\", "{#"]


def jinja():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.policies["json.dumps_kwargs"]["ensure_ascii"] = False
    return env


def render(template, conversation, answer):
    messages = [{"role": role, "content": text} for role, text in conversation]
    return jinja().from_string(template).render(messages=messages, add_generation_prompt=answer, bos_token=BOS,
                                                eos_token="</s>")


def swap_quotes(string):
    inside = string[1:-1]
    return string if '"' in inside or "'" in inside else '"' + inside + '"'


def respell(rng, template):
    """The same in other words: white space inside blocks, trim marks, quotes, attributes."""
    def block(match):
        text = match.group()
        if text.startswith("{#"):
            return text
        kind, inside, end = text[:2], text[2:-2], text[-2:]
        minus = inside.startswith("-"), inside.endswith("-")
        parts = re.split(r"('(?:\\.|[^'\\])*')", inside.strip("-"))
        for i, part in enumerate(parts):
            if i % 2:
                parts[i] = swap_quotes(part) if rng.random() < 0.5 else part
            else:
                parts[i] = re.sub(r" *([+=!]+) *", lambda m: rng.choice((" %s ", "%s", "\n  %s ")) % m[1], part)
        inside = "".join(parts).strip()
        if rng.random() < 0.5:
            inside = re.sub(r"\b(message|messages\[0\]|loop)\[['\"](\w+)['\"]\]", r"\1.\2", inside)
        start = "-" if minus[0] else rng.choice(["", "-"]) if kind == "{%" and not alone else ""
        return kind + start + rng.choice(["", " ", "\n"]) + inside + " " + ("-" if minus[1] else "") + end
    alone = "im_start|>{{" in template  # text stands beside blocks, so marks would count
    return re.sub(r"\{\{.*?\}\}(?!\})|\{%.*?%\}|\{#.*?#\}", block, template, flags=re.S)


def c_string(text):
    out = []
    for byte in text.encode():
        char = chr(byte)
        plain = 32 <= byte < 127 and char not in '"\\'
        out.append(char if plain else {"\n": "\\n", '"': '\\"', "\\": "\\\\"}.get(char, "\\%03o" % byte))
    lines, line = [], ""
    for piece in out:
        if len(line) + len(piece) > 88:
            lines.append(line)
            line = ""
        line += piece
    return "\n        ".join('"%s"' % part for part in lines + [line])


def texts_of(template):
    return [render(template, c, answer) for c in CONVERSATIONS for answer in (False, True)]


def is_chatml(texts):
    """Whatever the template's own system message is."""
    for i, text in enumerate(texts):
        plain = "".join("<|im_start|>%s\n%s<|im_end|>\n" % m for m in CONVERSATIONS[i // 2])
        plain += "<|im_start|>assistant\n" * (i % 2)
        own = r"(<\|im_start\|>system\n[^<>]*<\|im_end\|>\n)?"
        if not re.fullmatch("(%s)?%s%s" % (BOS, own, re.escape(plain)), text):
            return False
    return True


def entry(name, template, renders, texts):
    """texts None: to be refused."""
    if texts and texts not in renders:
        renders.append(texts)
    given = ["NULL" if t is None else c_string(t) for t in (name, template)]
    return "    {%s,\n     %s, %d},\n" % (*given, renders.index(texts) if texts else -1)


def entries(rng, files):
    renders, out = [], []
    for template in KNOWN:
        texts = texts_of(template)
        if not is_chatml(texts):
            sys.exit("not ChatML: %r" % template)
        out.append(entry(None, template, renders, texts))
        for _ in range(N_SPELLINGS):
            spelling = respell(rng, template)
            if texts_of(spelling) != texts:
                sys.exit("not the same: %r and %r" % (template, spelling))
            out.append(entry(None, spelling, renders, texts))
    plain = list(renders)
    for path in files:
        with open(path, encoding="utf-8") as f:
            out.append(entry(os.path.basename(path), None, renders, texts_of(f.read())))
    for template in NEAR:
        if texts_of(template) in plain:
            sys.exit("not another: %r" % template)
        out.append(entry(None, template, renders, None))
    out += [entry(None, template, renders, None) for template in BROKEN]
    return renders, list(dict.fromkeys(out))


def main():
    rng = random.Random(20240611)
    messages = ["    {%s},\n" % ", ".join("{%s, %s}" % (c_string(role), c_string(text)) for role, text in c)
                for c in CONVERSATIONS]
    renders, templates = entries(rng, sys.argv[1:])
    texts = ["    {%s},\n" % ",\n     ".join(c_string(t) for t in texts) for texts in renders]
    with open(OUT, "w", encoding="utf-8") as f:
        f.write("""/* chat_golden.h - made by tools/golden/chat.py with Jinja; not edited by hand.
 *
 * chat_golden[]: templates, named by their file or given here, and which of chat_renders[] they write; -1:
 * to be refused.  chat_renders[]: the text of each of chat_conversations[], (role, text) by (role, text),
 * without and with the beginning of an answer; BOS is written <s>. */
#ifndef CHAT_GOLDEN_H
#define CHAT_GOLDEN_H

enum { CHAT_CONVERSATIONS = %d, CHAT_MOST_MESSAGES = 4 };

static const char *const chat_conversations[CHAT_CONVERSATIONS][CHAT_MOST_MESSAGES][2] = {
%s};

static const char *const chat_renders[][2 * CHAT_CONVERSATIONS] = {
%s};

static const struct {
    const char *file, *jinja;
    int render;
} chat_golden[] = {
%s};

#endif
""" % (len(CONVERSATIONS), "".join(messages), "".join(texts), "".join(templates)))


if __name__ == "__main__":
    main()
