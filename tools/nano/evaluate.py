"""Exact-match scores of a trained model on the held-out questions, float and quantized.

    python -m tools.nano.evaluate qwen3-nano --run RUN   # writes RUN/scores.json

Weights are read as stored (bf16) and computed in float32. An answer counts when it is the exact
string, thinking aside.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from tools.nano import MODELS, heldout, quantnoise, weights
from tools.nano.configs import CONFIGS
from tools.nano.generation import GREEDY, SAMPLED, complete
from tools.nano.render import BUDGET_STOP, prompt
from tools.nano.sample import Sample

BUDGET = 32  # tokens of thinking in the "budget" row: about a third of a worked sum
Scores = dict[str, float]  # task -> percent, and "all"


def score(samples: Sequence[Sample], outputs: Sequence[str]) -> Scores:
    """Percent of exact answers by task and over all questions."""
    hits: defaultdict[str, list[bool]] = defaultdict(list)
    for sample, output in zip(samples, outputs, strict=True):
        right = output.rpartition("</think>")[2].strip() == sample.answer
        hits[sample.task].append(right)
        hits["all"].append(right)
    return {task: round(100 * sum(list_) / len(list_), 1) for task, list_ in hits.items()}


def with_budget(
    model: PreTrainedModel, tokenizer: Tokenizer, samples: Sequence[Sample]
) -> list[str]:
    """Answers when thinking is cut off after BUDGET tokens with Qwen's stopping text."""
    prompts = [prompt(sample.question) for sample in samples]
    thoughts = complete(model, tokenizer, prompts, GREEDY, BUDGET)
    joined = []
    for before, thought in zip(prompts, thoughts, strict=True):
        thinking, done, _ = thought.partition("</think>")
        joined.append(before + thinking + (f"{done}\n\n" if done else f"\n\n{BUDGET_STOP}"))
    return complete(model, tokenizer, joined, GREEDY)


def measure(
    model: PreTrainedModel, tokenizer: Tokenizer, samples: Sequence[Sample]
) -> dict[str, Scores]:
    """All rows of the card; the model's weights are rounded and restored on the way."""
    thinking = [prompt(sample.question) for sample in samples]
    plain = [prompt(sample.question, thinking=False) for sample in samples]
    rows = {
        "thinking": score(samples, complete(model, tokenizer, thinking, GREEDY)),
        "not thinking": score(samples, complete(model, tokenizer, plain, GREEDY)),
        "thinking, sampled": score(samples, complete(model, tokenizer, thinking, SAMPLED)),
        f"thinking, budget {BUDGET}": score(samples, with_budget(model, tokenizer, samples)),
    }
    for scheme in quantnoise.SCHEMES:
        with quantnoise.quantized(model, scheme):
            outputs = complete(model, tokenizer, thinking, GREEDY)
        rows[f"thinking, {scheme}"] = score(samples, outputs)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--run", type=Path, required=True, help="the folder train wrote")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=1, help="take every n-th question only")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    tokenizer = Tokenizer.from_file(str(MODELS / arguments.name / "tokenizer.json"))
    samples = heldout.samples()[:: arguments.every]
    rows = measure(weights.load(arguments.run), tokenizer, samples)
    text = json.dumps({"questions": len(samples), "rows": rows}, indent=2)
    (arguments.run / "scores.json").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
