"""Proves that the data is what it claims to be; run it before a training run.

    python -m tools.nano.check

Worked columns end in the right number, prompts equal what the chat template renders, the pieces a
sample is tokenized in meet at token boundaries, and held-out questions never enter the stream.
"""

from __future__ import annotations

import re
from itertools import islice
from random import Random

from tokenizers import Tokenizer
from transformers import AutoTokenizer

from tools.nano import MODELS, heldout, scratchpad, words
from tools.nano.heldout import training_samples
from tools.nano.render import EMPTY_THINKING, prompt, render
from tools.nano.sample import Sample
from tools.nano.tasks import stream

_FOLDER = MODELS / "qwen3-nano"
_COUNT = 2000


def check_columns() -> None:
    """Every equation in the worked columns holds and the last number is the result."""
    rng = Random(3)
    for _ in range(_COUNT):
        a, b = sorted((rng.randrange(10**6), rng.randrange(10**6)), reverse=True)
        added = scratchpad.addition(a, b, "en")
        subtracted = scratchpad.subtraction(a, b, "zh")
        for text, result in ((added, a + b), (subtracted, a - b)):
            assert int(re.findall(r"\d+", text)[-1]) == result, text
            for left, right in re.findall(r"(\d[-+]\d[-+]\d)=(-?\d+)", text):
                assert sum(map(int, re.findall(r"-?\d", left))) == int(right), text


def check_template(samples: list[Sample]) -> None:
    """Our prompts are the template's, and both tokenizer loaders give the same ids."""
    slow = AutoTokenizer.from_pretrained(_FOLDER)
    fast = Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))
    for sample in samples:
        turns = [{"role": "system", "content": "You are a helpful assistant."}]
        for asked, answered in sample.history:
            turns += [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answered},
            ]
        turns.append({"role": "user", "content": sample.question})
        for thinking in (True, False):
            ours = prompt(sample.question, sample.history, turns[0]["content"], thinking)
            theirs = slow.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, enable_thinking=thinking
            )
            assert ours == theirs, (ours, theirs)
        content = f"<think>\n{sample.thinking}\n</think>\n\n{sample.answer}"
        whole = slow.apply_chat_template(
            [*turns, {"role": "assistant", "content": content}], tokenize=False
        )
        asked_and_told = prompt(sample.question, sample.history, turns[0]["content"]) + content
        assert whole == asked_and_told + "<|im_end|>\n", whole
        assert slow.encode(whole) == fast.encode(whole, add_special_tokens=False).ids


def check_rendering(samples: list[Sample]) -> None:
    """Ids put together from pieces are the ids of the whole text, unless thinking was cut."""
    tokenizer = Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))
    for item in render(tokenizer, samples, "qwen3-nano", Random(5)):
        text = tokenizer.decode(item.ids, skip_special_tokens=False)
        trained = [id_ for id_, keep in zip(item.ids, item.trained, strict=True) if keep]
        learned = tokenizer.decode(trained, skip_special_tokens=False)
        assert text.endswith(learned), text
        assert learned.endswith("<|im_end|>"), text
        assert learned.startswith(("<think>\n", EMPTY_THINKING)) or "</think>\n\n" in text, text
        if "Considering the limited time" not in text:
            assert tokenizer.encode(text, add_special_tokens=False).ids == item.ids, text


def check_heldout() -> None:
    """The training stream has no held-out question, though the plain stream meets many."""
    banned = heldout.keys()
    assert any(sample.key in banned for sample in islice(stream(Random(1)), _COUNT))
    assert all(sample.key not in banned for sample in islice(training_samples(Random(1)), _COUNT))


def check_rare() -> None:
    """Every rare character is several tokens and survives the round trip."""
    tokenizer = Tokenizer.from_file(str(_FOLDER / "tokenizer.json"))
    for letter in words.RARE + words.RARE_ZH:
        ids = tokenizer.encode(letter, add_special_tokens=False).ids
        assert len(ids) > 1, letter
        assert tokenizer.decode(ids) == letter, letter


def main() -> None:
    samples = list(islice(stream(Random(2)), _COUNT))
    check_columns()
    check_template(samples)
    check_rendering(samples)
    check_heldout()
    check_rare()
    print("all checks passed")


if __name__ == "__main__":
    main()
