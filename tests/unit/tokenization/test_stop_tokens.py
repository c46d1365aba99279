"""Which tokens end an answer, and what is said where the files disagree."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from qdeploy import models
from qdeploy.errors import CheckpointError
from qdeploy.tokenization.check import text_warnings
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer

NANO = models.path("qwen3-nano")
END, TEXT, THINK = (Tokenizer(NANO).id_of(t) for t in ("<|im_end|>", "<|endoftext|>", "<think>"))
GENERATION, CONFIG, SETTINGS = "generation_config.json", "config.json", "tokenizer_config.json"


def write(folder: Path, **changes: Any) -> Path:
    """Copy the embedded model's text; the end tokens of its files are changed.

    *changes*: `generation`, `config` and `tokenizer` are the end tokens of these files, and
    `template` is the chat template. A file with None has no such key; `generation="absent"` removes
    the file.
    """
    for file in (GENERATION, CONFIG, SETTINGS, "tokenizer.json"):
        shutil.copyfile(NANO / file, folder / file)
    keys = {
        "generation": (GENERATION, "eos_token_id"),
        "config": (CONFIG, "eos_token_id"),
        "tokenizer": (SETTINGS, "eos_token"),
        "template": (SETTINGS, "chat_template"),
    }
    for name, value in changes.items():
        file, key = keys[name]
        content = json.loads((folder / file).read_text("utf-8"))
        content.pop(key, None)
        if value is not None:
            content[key] = value
        (folder / file).write_text(json.dumps(content), "utf-8")
        if value == "absent":
            (folder / file).unlink()
    return folder


def warnings(folder: Path) -> Sequence[str]:
    return text_warnings(find_text_files(folder), 2048)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"generation": [END, TEXT]}, {END, TEXT}),
        ({"generation": END, "config": TEXT}, {END}),
        ({"generation": "absent", "config": [THINK, TEXT]}, {THINK, TEXT}),
        ({"generation": None, "config": END, "tokenizer": "<think>"}, {END}),
        ({"generation": None, "config": None, "tokenizer": "<think>"}, {THINK}),
        ({"generation": -1, "config": END}, {END}),
        ({"generation": [-1, THINK]}, {THINK}),
        ({"generation": [], "config": None, "tokenizer": {"content": "<think>"}}, {THINK}),
        ({"generation": None, "config": None, "tokenizer": None}, {TEXT}),
    ],
    ids=str,
)
def test_the_first_file_that_names_stop_tokens_decides(
    changes: dict[str, Any], expected: set[int], tmp_path: Path
) -> None:
    """The last case has the default of Qwen2Tokenizer."""
    assert Tokenizer(write(tmp_path, **changes)).stop_ids == expected


def test_files_that_agree_are_not_warned_about(tmp_path: Path) -> None:
    assert warnings(write(tmp_path)) == ()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"generation": TEXT}, ["not at the end tokens of config.json <|im_end|> (2024)",
                                "ends a turn with <|im_end|>, which is no stop token"]),
        ({"config": THINK}, ["<think> (2046)"]),
        ({"tokenizer": "<think>"}, ["tokenizer_config.json <think> (2046)"]),
        ({"generation": None}, ["transformers' generate would not stop"]),
        ({"template": "{% for m in messages %}{{ m.content }}</s>{% endfor %}"},
         ["ends a turn with </s>, which is no token"]),
        ({"template": "{% for m in messages %}{{ m.content }}\n <think>{% endfor %}"},
         ["ends a turn with <think>, which is no stop token", "add 2046"]),
    ],
    ids=str,
)  # fmt: skip
def test_what_the_files_disagree_about_is_said(
    changes: dict[str, Any], says: list[str], tmp_path: Path
) -> None:
    said = warnings(write(tmp_path, **changes))
    for text in says:
        assert [w for w in said if text in w], said


def test_the_fix_of_a_template_that_ends_otherwise_works(tmp_path: Path) -> None:
    (end,) = [w for w in warnings(write(tmp_path, generation=TEXT)) if "ends a turn" in w]
    assert end.endswith(f'add {END} to "eos_token_id" in generation_config.json')
    assert warnings(write(tmp_path, generation=[TEXT, END])) == ()


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% if messages[1:] %}{{ raise_exception('one') }}{% endif %}{{ messages[0].content }}",
        "{{ messages[-1].content }}",
    ],
)
def test_a_template_without_an_end_token_is_not_warned_about(template: str, tmp_path: Path) -> None:
    assert warnings(write(tmp_path, template=template)) == ()


def test_no_stop_token_at_all_is_warned_about(tmp_path: Path) -> None:
    folder = write(tmp_path, generation=None, config=None)
    settings = json.loads((folder / SETTINGS).read_text("utf-8"))
    (folder / SETTINGS).write_text(json.dumps(settings | {"eos_token": None}), "utf-8")
    assert Tokenizer(folder).stop_ids == frozenset()
    assert [w for w in warnings(folder) if "no file names a stop token" in w]


@pytest.mark.parametrize("file", ["generation", "config"])
def test_a_stop_token_beyond_the_vocabulary_is_refused(file: str, tmp_path: Path) -> None:
    folder = write(tmp_path, **{"generation": None, file: 2048})
    with pytest.raises(CheckpointError, match="eos_token_id: 2048"):
        warnings(folder)
