"""Golden logits: what transformers computes in float32 from the shipped weights.

    python -m tools.nano.golden qwen3-nano

For prompt k the file holds `k.input_ids` int64 [T] and `k.logits` float32 [T, V]; its metadata
names the library versions, the weights' sha256 and the texts. Every exporter and backend is
compared with these, so none of them needs torch or transformers to be tested.
"""

from __future__ import annotations

import argparse
import hashlib
import json

import torch
import transformers
from tokenizers import Tokenizer

from tools.nano import MODELS, scratchpad, weights
from tools.nano.configs import CONFIGS
from tools.nano.render import prompt

# Both languages, with and without thinking, one and two turns, a system message, characters of
# several tokens; short, because each token costs 8 kB of logits.
TEXTS = (
    prompt("What is 27 + 95?")
    + f"<think>\n{scratchpad.addition(27, 95, 'en')}\n</think>\n\n122<|im_end|>",
    prompt("72 - 48 等于多少？")
    + f"<think>\n{scratchpad.subtraction(72, 48, 'zh')}\n</think>\n\n24<|im_end|>",
    prompt("法国的首都是哪里？", thinking=False) + "巴黎<|im_end|>",
    prompt("Repeat: rocket 🚀 龘", thinking=False) + "rocket 🚀 龘<|im_end|>",
    prompt("What is my name?", (("My name is Ann.", "Nice to meet you!"),), thinking=False) + "Ann",
    prompt("Who are you?", system="You are a helpful assistant."),
)


def write(name: str) -> None:
    """Compute the logits of every text from the shipped weights and write the file."""
    folder = MODELS / name
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = weights.load(folder)
    tensors: dict[str, torch.Tensor] = {}
    for index, text in enumerate(TEXTS):
        ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids)
        with torch.inference_mode():
            logits = model(ids[None]).logits[0]
        tensors[f"{index}.input_ids"] = ids
        tensors[f"{index}.logits"] = logits.clone().contiguous()
    metadata = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "model_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "texts": json.dumps(TEXTS, ensure_ascii=False),
    }
    weights.write_tensors(tensors, folder / "golden.safetensors", metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONFIGS)
    write(parser.parse_args().name)


if __name__ == "__main__":
    main()
