"""Commands that do with PEFT and transformers what is not done here. Fixes quote them."""

from __future__ import annotations

import os
from pathlib import Path

from qdeploy.checkpoint.recognition.recognize import shell

MERGE = (
    'python -c "import sys, peft, transformers as t; m, a, o = sys.argv[1:]; '
    "b = t.AutoModelForCausalLM.from_pretrained(m, dtype='auto'); "
    "peft.PeftModel.from_pretrained(b, a).merge_and_unload(safe_merge=True).save_pretrained(o); "
    't.AutoTokenizer.from_pretrained(m).save_pretrained(o)"'
)
"""Merges into the model, argument 1, the adapter, argument 2, and writes argument 3."""
UNTIE = (
    'python -c "import sys, torch, transformers as t; a, b = sys.argv[1:]; '
    "m = t.AutoModelForCausalLM.from_pretrained(a, dtype='auto'); "
    "m.config.tie_word_embeddings = False; "
    "m.lm_head.weight = torch.nn.Parameter(m.lm_head.weight.detach().clone()); "
    'm.save_pretrained(b); t.AutoTokenizer.from_pretrained(a).save_pretrained(b)"'
)
"""Gives the model, argument 1, an lm_head of its own, and writes argument 2."""
UNPICKLE = (
    'python -c "import sys, torch, safetensors.torch as s; a, b = sys.argv[1:]; '
    "s.save_file({k: v.clone().contiguous() for k, v in "
    "torch.load(a, map_location='cpu', weights_only=True).items()}, b)\""
)
"""Writes the pickled tensors of argument 1, read without running code, as safetensors."""


def merge(model: Path, adapter: Path) -> str:
    """The fix for an adapter that PEFT can merge: a command, and what to do with the result."""
    new = f"{os.path.abspath(adapter)}-merged"
    places = " ".join(shell(place) for place in (model, adapter, new))
    return f"merge it with PEFT: {MERGE} {places}; then give {shell(new)} as the model"


def untie(model: Path, adapter: Path) -> str:
    """The fix for an adapter that needs a model whose lm_head is not tied to the embedding."""
    new = f"{os.path.abspath(model)}-untied"
    made = f"{UNTIE} {shell(model)} {shell(new)}"
    return (
        f"untie the model: {made}; then give {shell(new)} as the model, "
        f"with --adapter {shell(adapter)}"
    )


def unpickle(pickled: Path, weights: Path) -> str:
    """The fix for an adapter with pickled weights alone."""
    return f"convert them: {UNPICKLE} {shell(pickled)} {shell(weights)}"
