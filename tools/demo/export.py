"""Writes models/demo.gguf from what train.py left in a folder.

    python3 export.py /tmp/redline-demo [-o FILE]

Matrices become F16, norms stay F32. The head is the embedding.
"""
import argparse
import json
import os

import gguf
import torch

import net
import vocab

TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + "
            "'<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
LAYER = {"attn_norm.weight": "attn_norm", "ffn_norm.weight": "ffn_norm", "q.weight": "attn_q", "k.weight": "attn_k",
         "v.weight": "attn_v", "o.weight": "attn_output", "gate.weight": "ffn_gate", "up.weight": "ffn_up",
         "down.weight": "ffn_down"}
MODELS = os.path.join(os.path.dirname(__file__), "..", "..", "models")


def write_facts(w):
    w.add_name("Redline demo")
    w.add_description("A small model of simple stories, easy questions and small sums, trained on generated text")
    w.add_license("mit")
    w.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    w.add_quantization_version(gguf.GGML_QUANT_VERSION)
    w.add_context_length(net.CONTEXT)
    w.add_embedding_length(net.WIDTH)
    w.add_block_count(net.LAYERS)
    w.add_feed_forward_length(net.FFN)
    w.add_head_count(net.HEADS)
    w.add_head_count_kv(net.KV_HEADS)
    w.add_layer_norm_rms_eps(net.EPS)
    w.add_rope_freq_base(net.ROPE_BASE)
    w.add_rope_dimension_count(net.HEAD)
    w.add_vocab_size(net.VOCAB)


def write_tokenizer(w, path):
    with open(path, encoding="utf-8") as f:
        model = json.load(f)["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(vocab.PRE)
    w.add_token_list(tokens)
    w.add_token_types([gguf.TokenType.CONTROL if t in vocab.SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    w.add_token_merges(merges)
    w.add_eos_token_id(tokens.index("<|endoftext|>"))
    w.add_eot_token_id(tokens.index("<|im_end|>"))
    w.add_pad_token_id(tokens.index("<|endoftext|>"))
    w.add_add_bos_token(False)
    w.add_chat_template(TEMPLATE)


def gguf_name(name):
    """'layers.2.q.weight' -> 'blk.2.attn_q.weight'."""
    if name == "embed.weight":
        return "token_embd.weight"
    if name == "norm.weight":
        return "output_norm.weight"
    _, layer, rest = name.split(".", 2)
    return f"blk.{layer}.{LAYER[rest]}.weight"


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("folder")
    options.add_argument("-o", "--output", default=os.path.join(MODELS, "demo.gguf"))
    args = options.parse_args()
    weights = torch.load(os.path.join(args.folder, "net.pt"), weights_only=True)
    w = gguf.GGUFWriter(args.output, "llama")
    write_facts(w)
    write_tokenizer(w, os.path.join(args.folder, "tokenizer.json"))
    for name, value in weights.items():
        value = value.float().numpy()
        w.add_tensor(gguf_name(name), value.astype("float16") if value.ndim == 2 else value)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    print(f"{args.output}: {os.path.getsize(args.output)} bytes")


if __name__ == "__main__":
    main()
