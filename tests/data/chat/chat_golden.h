/* chat_golden.h - made by tools/golden/chat.py with Jinja; not edited by hand.
 *
 * chat_golden[]: templates, named by their file or given here, and which of chat_renders[] they write; -1:
 * to be refused.  chat_renders[]: the text of each of chat_conversations[], (role, text) by (role, text),
 * without and with the beginning of an answer; BOS is written <s>. */
#ifndef CHAT_GOLDEN_H
#define CHAT_GOLDEN_H

enum { CHAT_CONVERSATIONS = 3, CHAT_MOST_MESSAGES = 4 };

static const char *const chat_conversations[CHAT_CONVERSATIONS][CHAT_MOST_MESSAGES][2] = {
    {{"user", "What is 7 times 8?"}},
    {{"system", "Be brief."}, {"user", "Who?"}, {"assistant", "Nobody.\n"}, {"user", "\n\n  And \"then\"? "}},
    {{"user", ""}, {"assistant", "caf\303\251 \344\270\255\346\226\207 'n \\n"}, {"system", "late"}, {"user", "<b>{{ x }}</b>"}},
};

static const char *const chat_renders[][2 * CHAT_CONVERSATIONS] = {
    {"<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n",
     "<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im_st"
        "art|>assistant\n",
     "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226"
        "\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}<"
        "/b><|im_end|>\n",
     "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226"
        "\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}<"
        "/b><|im_end|>\n<|im_start|>assistant\n"},
    {"<s><|im_start|>user\nWhat is 7 times 8?<|im_end|>\n",
     "<s><|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start"
        "|>assistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start"
        "|>assistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im"
        "_start|>assistant\n",
     "<s><|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226"
        "\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}<"
        "/b><|im_end|>\n",
     "<s><|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226"
        "\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}<"
        "/b><|im_end|>\n<|im_start|>assistant\n"},
    {"<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWhat is 7 "
        "times 8?<|im_end|>\n",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nWhat is 7 "
        "times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im_st"
        "art|>assistant\n",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|im_end|>"
        "\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226\207 'n \\n<|im_end|>\n<|im_sta"
        "rt|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}</b><|im_end|>\n",
     "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|im_end|>"
        "\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226\207 'n \\n<|im_end|>\n<|im_sta"
        "rt|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}</b><|im_end|>\n<|im_start|>assi"
        "stant\n"},
    {"<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im_st"
        "art|>assistant\n",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270"
        "\255\346\226\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user"
        "\n<b>{{ x }}</b><|im_end|>\n",
     "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270"
        "\255\346\226\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user"
        "\n<b>{{ x }}</b><|im_end|>\n<|im_start|>assistant\n"},
    {"<|im_start|>system\nThink \"twice\".\n\011It's \\boxed{}.<|im_end|>\n<|im_start|>user\nW"
        "hat is 7 times 8?<|im_end|>\n",
     "<|im_start|>system\nThink \"twice\".\n\011It's \\boxed{}.<|im_end|>\n<|im_start|>user\nW"
        "hat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im_st"
        "art|>assistant\n",
     "<|im_start|>system\nThink \"twice\".\n\011It's \\boxed{}.<|im_end|>\n<|im_start|>user\n<"
        "|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226\207 'n \\n<|im_end|>"
        "\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}</b><|im_end|>\n",
     "<|im_start|>system\nThink \"twice\".\n\011It's \\boxed{}.<|im_end|>\n<|im_start|>user\n<"
        "|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270\255\346\226\207 'n \\n<|im_end|>"
        "\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user\n<b>{{ x }}</b><|im_end|>\n<|im_s"
        "tart|>assistant\n"},
    {"<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\nWhat is 7 times 8?<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n",
     "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>a"
        "ssistant\nNobody.\n<|im_end|>\n<|im_start|>user\n\n\n  And \"then\"? <|im_end|>\n<|im_st"
        "art|>assistant\n",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270"
        "\255\346\226\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user"
        "\n<b>{{ x }}</b><|im_end|>\n",
     "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        "<|im_end|>\n<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\ncaf\303\251 \344\270"
        "\255\346\226\207 'n \\n<|im_end|>\n<|im_start|>system\nlate<|im_end|>\n<|im_start|>user"
        "\n<b>{{ x }}</b><|im_end|>\n<|im_start|>assistant\n"},
};

static const struct {
    const char *file, *jinja;
    int render;
} chat_golden[] = {
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a"
        "ssistant\\n' }}{% endif %}", 0},
    {NULL,
     "{%- for message in messages %}{{\n'<|im_start|>'+message.role+\"\\n\" + message.content+"
        "'<|im_end|>' + '\\n' }}{%endfor %}{% if add_generation_prompt %}{{ \"<|im_start|>assista"
        "nt\\n\" }}{%-\nendif %}", 0},
    {NULL,
     "{%- for message in messages %}{{\n'<|im_start|>' + message['role'] + '\\n'\n  + message["
        "\"content\"]+\"<|im_end|>\" + '\\n' }}{%-endfor %}{%- if add_generation_prompt %}{{\n\"<"
        "|im_start|>assistant\\n\" }}{%endif %}", 0},
    {NULL,
     "{%\nfor message in messages %}{{'<|im_start|>'\n  + message['role']+'\\n'\n  + message["
        "\"content\"] + '<|im_end|>' + \"\\n\" }}{%- endfor %}{%-\nif add_generation_prompt %}{{"
        "\"<|im_start|>assistant\\n\" }}{%-endif %}", 0},
    {NULL,
     "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% e"
        "ndif %}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message"
        "['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_s"
        "tart|>assistant\\n' }}{% endif %}", 0},
    {NULL,
     "{%- if not add_generation_prompt is defined %}{%set add_generation_prompt\n  = false %}{"
        "%- endif %}{%-for message in messages %}{{\n\"<|im_start|>\" + message[\"role\"]\n  + '"
        "\\n' + message[\"content\"]\n  + \"<|im_end|>\"\n  + '\\n' }}{%-\nendfor %}{% if add_gen"
        "eration_prompt %}{{\n\"<|im_start|>assistant\\n\" }}{%-\nendif %}", 0},
    {NULL,
     "{% if not add_generation_prompt is defined %}{%-\nset add_generation_prompt = false %}{%"
        " endif %}{%- for message in messages %}{{ \"<|im_start|>\" + message[\"role\"]+'\\n'\n  "
        "+ message[\"content\"] + \"<|im_end|>\"\n  + \"\\n\" }}{%endfor %}{%- if add_generation_"
        "prompt %}{{ '<|im_start|>assistant\\n' }}{%-\nendif %}", 0},
    {NULL,
     "{%if not add_generation_prompt is defined %}{% set add_generation_prompt=false %}{%\nend"
        "if %}{%-\nfor message in messages %}{{\n\"<|im_start|>\" + message['role']\n  + '\\n' + "
        "message[\"content\"]\n  + \"<|im_end|>\"\n  + \"\\n\" }}{%\nendfor %}{%- if add_generati"
        "on_prompt %}{{ \"<|im_start|>assistant\\n\" }}{%\nendif %}", 0},
    {NULL,
     "{% if add_generation_prompt is not defined %}{% set add_generation_prompt = false %}{% e"
        "ndif %}{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + "
        "'\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prom"
        "pt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", 1},
    {NULL,
     "{% if add_generation_prompt is not defined %}{%- set add_generation_prompt = false %}{%-"
        " endif %}{{bos_token }}{%-\nfor message in messages %}{{ \"<|im_start|>\"+message.role+'"
        "\\n'+message.content + '<|im_end|>' + '\\n' }}{%- endfor %}{%- if add_generation_prompt "
        "%}{{ '<|im_start|>assistant\\n' }}{%-endif %}", 1},
    {NULL,
     "{%if add_generation_prompt is not defined %}{%\nset add_generation_prompt = false %}{%-"
        "\nendif %}{{ bos_token }}{%\nfor message in messages %}{{\n\"<|im_start|>\"+message.role"
        " + '\\n'+message.content+\"<|im_end|>\"\n  + '\\n' }}{% endfor %}{% if add_generation_pr"
        "ompt %}{{\n\"<|im_start|>assistant\\n\" }}{%-endif %}", 1},
    {NULL,
     "{%- if add_generation_prompt is not defined %}{%-\nset add_generation_prompt=false %}{% "
        "endif %}{{ bos_token }}{%- for message in messages %}{{'<|im_start|>'\n  + message.role"
        "\n  + \"\\n\"+message.content\n  + '<|im_end|>'+\"\\n\" }}{%endfor %}{%\nif add_generati"
        "on_prompt %}{{\"<|im_start|>assistant\\n\" }}{%-endif %}", 1},
    {NULL,
     "{{ bos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' +"
        " message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{"
        " '<|im_start|>assistant\\n' }}{% endif %}", 1},
    {NULL,
     "{{\nbos_token }}{%\nfor message in messages %}{{'<|im_start|>' + message.role + '\\n'+me"
        "ssage.content+'<|im_end|>'\n  + '\\n' }}{%\nendfor %}{%- if add_generation_prompt %}{{ '"
        "<|im_start|>assistant\\n' }}{%\nendif %}", 1},
    {NULL,
     "{{bos_token }}{%- for message in messages %}{{ \"<|im_start|>\" + message[\"role\"] + '"
        "\\n' + message['content']\n  + \"<|im_end|>\"+'\\n' }}{%- endfor %}{%if add_generation_p"
        "rompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}", 1},
    {NULL,
     "{{bos_token }}{% for message in messages %}{{\n'<|im_start|>'\n  + message.role + '\\n'+"
        "message.content + \"<|im_end|>\"+'\\n' }}{%-endfor %}{% if add_generation_prompt %}{{'<|"
        "im_start|>assistant\\n' }}{% endif %}", 1},
    {NULL,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '"
        "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_sta"
        "rt|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %"
        "}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", 2},
    {NULL,
     "{% for message in messages %}{%\nif loop.first and messages[0][\"role\"] != 'system' %}{"
        "{\"<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n\" }}{%\nendif %}{{\"<|"
        "im_start|>\" + message.role\n  + \"\\n\"+message.content+\"<|im_end|>\"+\"\\n\" }}{%endf"
        "or %}{%-\nif add_generation_prompt %}{{\n\"<|im_start|>assistant\\n\" }}{%- endif %}", 2},
    {NULL,
     "{%- for message in messages %}{% if loop.first and messages[0].role!=\"system\" %}{{\"<|"
        "im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n\" }}{%\nendif %}{{ '<|im_st"
        "art|>'\n  + message['role']+\"\\n\"\n  + message['content'] + \"<|im_end|>\" + \"\\n\" }"
        "}{%-endfor %}{%\nif add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{%\nendif %}", 2},
    {NULL,
     "{%- for message in messages %}{%-\nif loop.first and messages[0].role\n  != \"system\" %"
        "}{{\n\"<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n\" }}{%- endif %}{{"
        " \"<|im_start|>\" + message.role+\"\\n\"+message.content+'<|im_end|>'+\"\\n\" }}{%\nendf"
        "or %}{%- if add_generation_prompt %}{{\n\"<|im_start|>assistant\\n\" }}{%endif %}", 2},
    {NULL,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '"
        "<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Fac"
        "e<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a"
        "ssistant\\n' }}{% endif %}", 3},
    {NULL,
     "{%\nfor message in messages %}{%-if loop.first and messages[0].role!=\"system\" %}{{ \"<"
        "|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\\n\" }}{%endif %}{{\n'<|im_start|>'\n  + message[\"role\"] + '\\n' + message["
        "\"content\"]\n  + \"<|im_end|>\" + '\\n' }}{%-endfor %}{% if add_generation_prompt %}{{"
        "\n'<|im_start|>assistant\\n' }}{% endif %}", 3},
    {NULL,
     "{%\nfor message in messages %}{%- if loop.first and messages[0]['role'] != \"system\" %}"
        "{{'<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
        "Face<|im_end|>\\n' }}{%endif %}{{ '<|im_start|>'\n  + message.role+'\\n'\n  + message.co"
        "ntent + '<|im_end|>'\n  + \"\\n\" }}{%-\nendfor %}{%if add_generation_prompt %}{{ '<|im_"
        "start|>assistant\\n' }}{%\nendif %}", 3},
    {NULL,
     "{% for message in messages %}{%- if loop.first and messages[0]['role'] != 'system' %}{{"
        "\"<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging F"
        "ace<|im_end|>\\n\" }}{%-endif %}{{'<|im_start|>'\n  + message.role + \"\\n\"\n  + messag"
        "e.content + \"<|im_end|>\"+\"\\n\" }}{%- endfor %}{%\nif add_generation_prompt %}{{\"<|i"
        "m_start|>assistant\\n\" }}{%\nendif %}", 3},
    {NULL,
     "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nThink \\\"twice\\\".\\n"
        "\\tIt\\'s \\\\boxed{}.<|im_end|>\\n' }}{% endif %}{% for message in messages %}{{'<|im_s"
        "tart|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor"
        " %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", 4},
    {NULL,
     "{%-if messages[0].role\n  != \"system\" %}{{\n'<|im_start|>system\\nThink \\\"twice\\\"."
        "\\n\\tIt\\'s \\\\boxed{}.<|im_end|>\\n' }}{%- endif %}{%for message in messages %}{{\n'<"
        "|im_start|>'\n  + message['role']\n  + \"\\n\"+message[\"content\"]\n  + '<|im_end|>'+\""
        "\\n\" }}{% endfor %}{%\nif add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{%-end"
        "if %}", 4},
    {NULL,
     "{%-\nif messages[0][\"role\"] != \"system\" %}{{ '<|im_start|>system\\nThink \\\"twice\\"
        "\".\\n\\tIt\\'s \\\\boxed{}.<|im_end|>\\n' }}{%- endif %}{%-for message in messages %}{{"
        "\n\"<|im_start|>\"\n  + message.role+\"\\n\"+message.content + '<|im_end|>'\n  + '\\n' }"
        "}{%- endfor %}{%-\nif add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{%endif %}", 4},
    {NULL,
     "{%-if messages[0].role!=\"system\" %}{{ '<|im_start|>system\\nThink \\\"twice\\\".\\n\\t"
        "It\\'s \\\\boxed{}.<|im_end|>\\n' }}{%-endif %}{%- for message in messages %}{{ '<|im_st"
        "art|>' + message['role']+'\\n' + message[\"content\"]\n  + \"<|im_end|>\"+\"\\n\" }}{%\n"
        "endfor %}{%if add_generation_prompt %}{{\n'<|im_start|>assistant\\n' }}{%-\nendif %}", 4},
    {NULL,
     "{% for message in messages %}{{ '<|im_start|>' + message.role }}{{ '\\n' }}{{- message.c"
        "ontent + '<|im_end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>ass"
        "istant\\n' }}{% endif %}", 0},
    {NULL,
     "{%\nfor message in messages %}{{\n\"<|im_start|>\"+message.role }}{{\n\"\\n\" }}{{- mess"
        "age.content+'<|im_end|>\\n' }}{%- endfor %}{%-if add_generation_prompt %}{{ '<|im_start|"
        ">assistant\\n' }}{%-endif %}", 0},
    {NULL,
     "{%\nfor message in messages %}{{ '<|im_start|>'+message.role }}{{\n\"\\n\" }}{{- message"
        ".content+'<|im_end|>\\n' }}{%- endfor %}{% if add_generation_prompt %}{{'<|im_start|>ass"
        "istant\\n' }}{%- endif %}", 0},
    {NULL,
     "{%\nfor message in messages %}{{ \"<|im_start|>\" + message.role }}{{\n'\\n' }}{{-\nmess"
        "age.content+'<|im_end|>\\n' }}{%- endfor %}{%-if add_generation_prompt %}{{ \"<|im_start"
        "|>assistant\\n\" }}{%-\nendif %}", 0},
    {NULL,
     "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message['content'] }}<|i"
        "m_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}", 0},
    {NULL,
     "{% for message in messages %}<|im_start|>{{message.role }}\n{{\nmessage['content'] }}<|i"
        "m_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{%endif %}", 0},
    {NULL,
     "{% for message in messages %}<|im_start|>{{\nmessage.role }}\n{{\nmessage.content }}<|im"
        "_end|>\n{%\nendfor %}{%\nif add_generation_prompt %}<|im_start|>assistant\n{%\nendif %}", 0},
    {NULL,
     "{%\nfor message in messages %}<|im_start|>{{ message.role }}\n{{\nmessage.content }}<|im"
        "_end|>\n{%\nendfor %}{%if add_generation_prompt %}<|im_start|>assistant\n{%\nendif %}", 0},
    {NULL,
     "{#- ChatML -#}\n{% for message in messages %}\n    {{-'<|im_start|>' + message['role'] +"
        " '\\n' + message['content'] + '<|im_end|>' + '\\n'-}}\n{% endfor %}\n{% if add_generatio"
        "n_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}\n", 0},
    {NULL,
     "{#- ChatML -#}\n{%-\nfor message in messages %}\n    {{- \"<|im_start|>\"\n  + message["
        "\"role\"] + \"\\n\"+message['content']+\"<|im_end|>\"\n  + '\\n' -}}\n{%-\nendfor %}\n{%"
        "- if add_generation_prompt %}{{'<|im_start|>assistant\\n' }}{%-endif %}\n", 0},
    {NULL,
     "{#- ChatML -#}\n{%- for message in messages %}\n    {{-\n\"<|im_start|>\" + message['rol"
        "e']+'\\n'\n  + message[\"content\"] + '<|im_end|>'+\"\\n\" -}}\n{%- endfor %}\n{%-if add"
        "_generation_prompt %}{{ \"<|im_start|>assistant\\n\" }}{%-\nendif %}\n", 0},
    {NULL,
     "{#- ChatML -#}\n{% for message in messages %}\n    {{-\n'<|im_start|>'+message['role'] +"
        " '\\n'+message[\"content\"] + '<|im_end|>' + \"\\n\" -}}\n{%endfor %}\n{%-if add_generat"
        "ion_prompt %}{{'<|im_start|>assistant\\n' }}{%- endif %}\n", 0},
    {NULL,
     "{% for message in messages %}\015\n{{- '<|im_start|>' + message['role'] + '\\n' + messag"
        "e['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_"
        "start|>assistant\\n' }}{% endif %}\015\n", 0},
    {NULL,
     "{%\nfor message in messages %}\015\n{{-\"<|im_start|>\"\n  + message.role+\"\\n\" + mess"
        "age.content+'<|im_end|>' + \"\\n\" }}{%\nendfor %}{%-\nif add_generation_prompt %}{{ \"<"
        "|im_start|>assistant\\n\" }}{%- endif %}\015\n", 0},
    {NULL,
     "{% for message in messages %}\015\n{{- '<|im_start|>'+message.role\n  + '\\n'\n  + messa"
        "ge.content\n  + \"<|im_end|>\" + '\\n' }}{%\nendfor %}{%-\nif add_generation_prompt %}{{"
        "\n\"<|im_start|>assistant\\n\" }}{%\nendif %}\015\n", 0},
    {NULL,
     "{%-for message in messages %}\015\n{{- '<|im_start|>' + message['role'] + '\\n' + messag"
        "e[\"content\"] + \"<|im_end|>\"+\"\\n\" }}{% endfor %}{%-if add_generation_prompt %}{{\n"
        "\"<|im_start|>assistant\\n\" }}{%endif %}\015\n", 0},
    {"Qwen-Qwen2.5-7B-Instruct.jinja",
     NULL, 5},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}\n{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|"
        ">assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %} {{'<|im_start|>' + message['role'] + '\\n' + message['cont"
        "ent'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>"
        "assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a"
        "ssistant\\n' }}{% endif %}\n\n\n", -1},
    {NULL,
     " {% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['cont"
        "ent'] + '<|im_end|>' + '\\n'}}{%+ endfor %} {% if add_generation_prompt %}{{ '<|im_start"
        "|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] | trim + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_s"
        "tart|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant"
        "\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>m"
        "odel\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if not add_generation_prompt %}{{ '<|im_star"
        "t|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '"
        "<|im_start|>system\\n<|im_end|><|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['r"
        "ole'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generat"
        "ion_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}{{ 'more' }}", -1},
    {NULL,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '"
        "<|im_start|>system\\na<|im_end|>b<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message["
        "'role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_gener"
        "ation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{% if loop.first and messages[0]['role'] == 'system' %}{{ '"
        "<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}{{'<|im_sta"
        "rt|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %"
        "}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages[1:] %}{{'<|im_start|>' + message['role'] + '\\n' + message['c"
        "ontent'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_star"
        "t|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{{ eos_token }}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' +"
        " message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{"
        " '<|im_start|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% set add_generation_prompt = false %}{% for message in messages %}{{'<|im_start|>' + m"
        "essage['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if ad"
        "d_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% raw %}{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + messa"
        "ge['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im"
        "_start|>assistant\\n' }}{% endif %}{% endraw %}", -1},
    {NULL,
     "{#{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['con"
        "tent'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|"
        ">assistant\\n' }}{% endif %}#}", -1},
    {NULL,
     "{% for message in messages %}{{'\\x3c|im_end|>' + message['role'] + '\\n' + message['con"
        "tent'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|"
        ">assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>'}}{{ message['role'] | upper + '\\n' + mess"
        "age['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|i"
        "m_start|>assistant\\n' }}{% endif %}", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a"
        "ssistant\\n' }}{% endif %}{%", -1},
    {NULL,
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['conte"
        "nt'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>a"
        "ssistant\\n' }}{% endif %}{{ 'x", -1},
    {NULL,
     "{% for message in messages %}{{ '<|\\", -1},
    {NULL,
     "{#", -1},
};

#endif
