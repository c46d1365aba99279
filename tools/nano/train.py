"""Trains one of the two models for a given number of minutes.

    python -m tools.nano.train qwen3-nano --minutes 45 --out RUN

The schedule follows the share of the time that has passed, so the run ends on time on any
machine, with more or fewer steps. The run's figures go into <out>/training.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedModel

from tools.nano import MODELS, experts, quantnoise, weights
from tools.nano.batches import IGNORED, batches
from tools.nano.configs import CONFIGS

BATCH_TOKENS = 2048  # small on purpose: on a CPU more steps buy more than larger ones
PEAK_LR = 1.6e-3
WARMUP_STEPS = 150
WEIGHT_DECAY = 0.05
CLIP = 1.0
ROUTER_BALANCE = 0.01  # weight of the loss that keeps all experts in use
NOISE_FROM = 0.70  # share of the time after which weights are rounded by a random scheme
SAVE_SECONDS = 180.0
NOISE: tuple[str | None, ...] = (None, *quantnoise.SCHEMES)


@dataclass
class Progress:
    """What the model card says about a run."""

    model: str
    seed: int
    minutes: float = 0.0
    steps: int = 0
    tokens: int = 0  # positions fed, without padding
    loss: float = 0.0  # running mean of the training loss
    upcycled: bool = False  # started from the dense model's weights
    runs: list[str] = field(default_factory=list)  # the options of each run, for the card
    note: str = ""  # what the figures and options leave untold, for the card


def starting_point(
    name: str, seed: int, start: Path | None, upcycle: Path | None
) -> tuple[PreTrainedModel, Progress]:
    """Random weights, a checkpoint of an earlier run, or a dense model made into experts."""
    if start is not None:
        return weights.load(start), Progress(**json.loads((start / "training.json").read_text()))
    if upcycle is not None:
        model = weights.upcycle(weights.load(upcycle), name, seed)
        return model, Progress(name, seed, upcycled=True)
    return weights.build(name, seed), Progress(name, seed)


def learning_rate(step: int, elapsed: float) -> float:
    """Warm up by steps, then fall linearly to zero over the elapsed share of the time."""
    return PEAK_LR * min(1.0, (step + 1) / WARMUP_STEPS) * max(0.0, 1.0 - elapsed)


def optimizer_for(model: PreTrainedModel) -> torch.optim.Optimizer:
    """AdamW; matrices decay, norms do not."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.95), fused=True)


def loss_of(model: PreTrainedModel, ids: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of one batch [B, T], in nats per trained token.

    Logits are computed only where there is a label: on a CPU the output head is a tenth of a step.
    """
    kept = labels != IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state
        logits = model.lm_head(hidden[kept])
    return torch.nn.functional.cross_entropy(logits.float(), labels[kept])


def train(
    model: PreTrainedModel, progress: Progress, minutes: float, out: Path, even: bool
) -> None:
    """Train until the time is over; checkpoints and the final weights go to `out`."""
    progress.runs.append(f"--minutes {minutes:g}{' --even' if even else ''}")
    tokenizer = Tokenizer.from_file(str(MODELS / progress.model / "tokenizer.json"))
    model.train()
    blocks = experts.use_all(model)
    model.model.compile(dynamic=True)  # a minute at the start, a sixth off every step
    optimizer = optimizer_for(model)
    first, minutes_before = progress.steps, progress.minutes
    # Shifted by the steps so far: a continued run meets new data, not the first run's again.
    seed = progress.seed + progress.steps
    noise = Random(seed)
    source: Iterator[tuple[Tensor, Tensor]] = batches(
        tokenizer, progress.model, seed, BATCH_TOKENS, even
    )
    began = saved = time.monotonic()
    while (elapsed := (time.monotonic() - began) / (60 * minutes)) < 1:
        ids, labels = next(source)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress.steps - first, elapsed)
        scheme = noise.choice(NOISE) if elapsed >= NOISE_FROM else None
        with quantnoise.quantized(model, scheme):
            loss = loss_of(model, ids, labels)
            balance = ROUTER_BALANCE * experts.imbalance(blocks) if blocks else 0.0
            (loss + balance).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        progress.steps += 1
        progress.minutes = round(minutes_before + minutes * elapsed, 1)
        progress.tokens += int((labels != IGNORED).sum())
        share = max(0.01, 1 / progress.steps)
        progress.loss += share * (loss.item() - progress.loss)
        if progress.steps % 50 == 0:
            print(f"{elapsed:6.1%} {progress}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            _save(model, progress, out)
            saved = time.monotonic()
    _save(model, progress, out)


def _save(model: PreTrainedModel, progress: Progress, out: Path) -> None:
    weights.save(model, progress.model, out)
    (out / "training.json").write_text(json.dumps(asdict(progress), indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONFIGS)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="go on from this run's checkpoint")
    parser.add_argument("--upcycle", type=Path, help="make experts of this dense run's model")
    parser.add_argument("--even", action="store_true", help="cap the share of arithmetic")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(2)
    model, progress = starting_point(options.name, options.seed, options.start, options.upcycle)
    train(model, progress, options.minutes, options.out, options.even)


if __name__ == "__main__":
    main()
