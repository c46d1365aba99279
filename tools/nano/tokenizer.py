"""Trains the tokenizer: Qwen3's pre-tokenizer, special tokens and template, a vocabulary of 2048.

python -m tools.nano.tokenizer        # writes the tokenizer files into both model folders
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from tokenizers.processors import ByteLevel as ByteLevelProcessor

from tools.nano import MODELS, words
from tools.nano.chat_tasks import MODEL_NAME_MARK
from tools.nano.configs import CONFIGS, VOCABULARY
from tools.nano.render import BUDGET_STOP, SYSTEM_PROMPTS
from tools.nano.tasks import stream

SEED = 7
_SAMPLES = 30_000
_TEMPLATE = Path(__file__).with_name("chat_template.jinja")

# Qwen's own: every digit is a token of its own, which column arithmetic needs.
_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# In Qwen3's order, at the end of the vocabulary as there.
_SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|>"
    " <|box_end|> <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|>"
    " <|image_pad|> <|video_pad|>"
).split()
_NOT_SPECIAL = (
    "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|>"
    " <|repo_name|> <|file_sep|> <tool_response> </tool_response> <think> </think>"
).split()


def train() -> Tokenizer:
    """Train byte-level BPE on the generated text and append Qwen3's added tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(_SPLIT), behavior="isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = ByteLevelProcessor(add_prefix_space=False, trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(_SPECIAL) - len(_NOT_SPECIAL),
        initial_alphabet=pre.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in _SPECIAL])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in _NOT_SPECIAL])
    return tokenizer


def _corpus() -> Iterator[str]:
    stop = BUDGET_STOP.partition("\n")[0]
    fixed = (stop, "system\nuser\nassistant\n", " /think", " /no_think", *SYSTEM_PROMPTS)
    yield from fixed * 1000
    # Rare characters stay out, so that each is several tokens and streaming meets half characters.
    rare = str.maketrans("", "", "".join(words.RARE + words.RARE_ZH))
    names = tuple(CONFIGS)
    for index, sample in enumerate(islice(stream(Random(SEED)), _SAMPLES)):
        answer = sample.answer.replace(MODEL_NAME_MARK, names[index % len(names)])
        yield f"user\n{sample.question}".translate(rare)
        yield f"\n{sample.thinking}\n".translate(rare)
        yield f"\n\n{answer}".translate(rare)


def config(tokenizer: Tokenizer) -> dict[str, Any]:
    """Return tokenizer_config.json, laid out as Qwen3's."""
    added = {}
    for index, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        added[str(index)] = {
            "content": token.content,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token.special,
        }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": _SPECIAL[1:],
        "bos_token": None,
        "chat_template": _TEMPLATE.read_text(encoding="utf-8"),
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 2048,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }


def main() -> None:
    """Train once and write the same tokenizer into both model folders."""
    tokenizer = train()
    if tokenizer.get_vocab_size() != VOCABULARY:
        raise SystemExit(f"vocabulary has {tokenizer.get_vocab_size()} tokens, not {VOCABULARY}")
    text = json.dumps(config(tokenizer), ensure_ascii=False, indent=2) + "\n"
    for name in CONFIGS:
        (MODELS / name).mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(MODELS / name / "tokenizer.json"))
        (MODELS / name / "tokenizer_config.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
