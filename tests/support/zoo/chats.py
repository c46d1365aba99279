"""Tokenizers, chat templates and stop tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.zoo import base, templates
from tests.support.zoo.case import MODEL, Case, Make
from tests.support.zoo.templates import CHATML, LOUD

SETTINGS, TOKENIZER = "tokenizer_config.json", "tokenizer.json"
GENERATION, CONFIG, TEMPLATE = "generation_config.json", "config.json", "chat_template.jinja"

Content = dict[str, Any]


def _changed(file: str, **changes: Any) -> Make:
    """A dense model with other keys in one of its files."""

    def make(folder: Path) -> None:
        base.edit(base.dense(folder / MODEL) / file, **changes)

    return make


def _tokenizer(change: Callable[[Content], object], **settings: Any) -> Make:
    """A dense model whose `tokenizer.json` is changed, and its settings with it."""

    def make(folder: Path) -> None:
        model = base.dense(folder / MODEL)
        content = json.loads((model / TOKENIZER).read_text(encoding="utf-8"))
        change(content)
        base.write_json(model / TOKENIZER, content)
        base.edit(model / SETTINGS, **settings)

    return make


def _template(source: str, **settings: Any) -> Make:
    return _changed(SETTINGS, chat_template=source, **settings)


def _stops(generation: Any, config: Any = 2024, **settings: Any) -> Make:
    """Stop tokens of `generation_config.json` (False: no such file), `config.json`, settings."""

    def make(folder: Path) -> None:
        model = base.dense(folder / MODEL)
        base.edit(model / CONFIG, eos_token_id=config)
        base.edit(model / SETTINGS, **settings)
        if generation is False:
            (model / GENERATION).unlink()
        else:
            base.edit(model / GENERATION, eos_token_id=generation)

    return make


def _saved_by_transformers(folder: Path) -> None:
    """Tokenizer files as transformers 5 writes them."""
    import transformers

    model = base.dense(folder / MODEL)
    transformers.AutoTokenizer.from_pretrained(model).save_pretrained(model)


def _slow(folder: Path) -> None:
    """`vocab.json` and `merges.txt` in place of `tokenizer.json`."""
    model = base.dense(folder / MODEL)
    bpe = json.loads((model / TOKENIZER).read_text(encoding="utf-8"))["model"]
    (model / TOKENIZER).unlink()
    base.write_json(model / "vocab.json", bpe["vocab"])
    merges = [m if isinstance(m, str) else " ".join(m) for m in bpe["merges"]]
    (model / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", "utf-8")


def _slow_beside_fast(folder: Path) -> None:
    """All three files, as the hub's Qwen3 has them."""
    fast = base.dense(folder / "fast") / TOKENIZER
    _slow(folder)
    fast.rename(folder / MODEL / TOKENIZER)


def _templates(own: str | None, file: str | None, old: str | None = None) -> Make:
    """Templates in the tokenizer's settings, in a file, in the old JSON file."""

    def make(folder: Path) -> None:
        model = base.dense(folder / MODEL)
        base.edit(model / SETTINGS, chat_template=own)
        if file is not None:
            (model / TEMPLATE).write_text(file, encoding="utf-8")
        if old is not None:
            base.write_json(model / "chat_template.json", {"chat_template": old})

    return make


def _template_folder(folder: Path) -> None:
    model = base.dense(folder / MODEL)
    base.edit(model / SETTINGS, chat_template=None)
    (model / TEMPLATE).write_text(CHATML, encoding="utf-8")
    more = model / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text(LOUD, encoding="utf-8")


def _with_file(name: str, content: object) -> Make:
    def make(folder: Path) -> None:
        base.write_json(base.dense(folder / MODEL) / name, content)

    return make


def _truncated(content: Content) -> None:
    content["truncation"] = {
        "direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0,
    }  # fmt: skip


def _padded(content: Content) -> None:
    content["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Left", "pad_to_multiple_of": None,
        "pad_id": 2022, "pad_type_id": 0, "pad_token": "<|endoftext|>",
    }  # fmt: skip


def _both(content: Content) -> None:
    _truncated(content)
    _padded(content)


def _with_bos(content: Content, *, sequence: bool = False) -> None:
    """A post-processor that puts a token before every text, alone or in a sequence."""
    first = "<|endoftext|>"
    template = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": first, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {first: {"id": first, "ids": [2022], "tokens": [first]}},
    }
    own = content["post_processor"]
    content["post_processor"] = (
        {"type": "Sequence", "processors": [own, template]} if sequence else template
    )


def _add_token(content: Content, **attributes: Any) -> None:
    """One more token than the settings list, in the last row of the embedding."""
    content["added_tokens"][-1] |= attributes


def _unlist(content: Content) -> None:
    """A token that the settings alone know."""
    content["added_tokens"] = [t for t in content["added_tokens"] if t["id"] != 2046]


TEXT_ENDS = "<|endoftext|>"
NAMED = [
    {"name": "tool_use", "template": LOUD},
    {"name": "default", "template": CHATML},
]
ROLE_BY_ROLE = [
    {"name": "rag", "template": LOUD},
    {"name": "tool_use", "template": CHATML},
]
UNSTOPPED = ("answers end at <|endoftext|> (2022)", "ends a turn with <|im_end|>, which is no stop")

CASES = (
    Case("truncation in tokenizer.json", _tokenizer(_truncated)),
    Case("padding in tokenizer.json", _tokenizer(_padded)),
    Case("truncation and padding in tokenizer.json", _tokenizer(_both)),
    Case("a post-processor that adds a token", _tokenizer(_with_bos)),
    Case("post-processors in a sequence", _tokenizer(partial(_with_bos, sequence=True))),
    Case("add_bos_token", _changed(SETTINGS, add_bos_token=True, bos_token=TEXT_ENDS)),
    Case("add_eos_token", _changed(SETTINGS, add_eos_token=True)),
    Case("add_prefix_space", _changed(SETTINGS, add_prefix_space=True),
         warns=("pre_tokenizer",)),
    Case("clean_up_tokenization_spaces", _changed(SETTINGS, clean_up_tokenization_spaces=True)),
    Case("split_special_tokens", _changed(SETTINGS, split_special_tokens=True),
         warns=("split_special_tokens",)),
    Case("a token that takes spaces", _tokenizer(partial(_add_token, lstrip=True, rstrip=True)),
         warns=("'</think>' is special or how it is matched",)),
    Case("a token that is normalized", _tokenizer(partial(_add_token, normalized=True)),
         warns=("'</think>' is special or how it is matched",)),
    Case("a token that tokenizer_config.json alone knows", _tokenizer(_unlist),
         warns=("'<think>', which tokenizer.json does not add",)),
    Case("a token that tokenizer.json alone knows",
         _changed(SETTINGS, added_tokens_decoder={}, additional_special_tokens=None),
         warns=("which tokenizer_config.json does not list", "it gets 2023")),
    Case("another end of text in special_tokens_map.json",
         _with_file("special_tokens_map.json", {"eos_token": "<|endoftext|>"}),
         warns=("eos_token is '<|im_end|>' in tokenizer_config.json",)),
    Case("another id in added_tokens.json", _with_file("added_tokens.json", {"<think>": 7}),
         warns=("added_tokens.json",)),
    Case("PreTrainedTokenizerFast", _changed(SETTINGS, tokenizer_class="PreTrainedTokenizerFast")),
    Case("Qwen2TokenizerFast", _changed(SETTINGS, tokenizer_class="Qwen2TokenizerFast")),
    Case("TokenizersBackend", _changed(SETTINGS, tokenizer_class="TokenizersBackend")),
    Case("LlamaTokenizerFast", _changed(SETTINGS, tokenizer_class="LlamaTokenizerFast")),
    Case("no tokenizer_class", _changed(SETTINGS, tokenizer_class=None)),
    Case("tokenizer saved by transformers 5", _saved_by_transformers),
    Case("vocab.json and merges.txt", _slow),
    Case("vocab.json and merges.txt beside tokenizer.json", _slow_beside_fast),
    Case("template with special tokens", _template(templates.SPECIALS)),
    Case("template with special tokens as objects", _template(templates.SPECIALS, bos_token={
        "__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False, "normalized": False,
        "rstrip": False, "single_word": False})),
    Case("template with all arguments of tojson", _template(templates.TOJSON)),
    Case("template with generation blocks", _template(templates.GENERATION_BLOCKS)),
    Case("template that refuses a system role", _template(templates.REFUSES_SYSTEM)),
    Case("template with loop controls", _template(templates.LOOPS)),
    Case("template with macros", _template(templates.MACROS)),
    Case("template with white space", _template(templates.WHITE_SPACE)),
    Case("template with optional variables", _template(templates.DEFINED)),
    Case("template with slices", _template(templates.SLICES)),
    Case("template with the date", _template(templates.DATE)),
    Case("named templates", _changed(SETTINGS, chat_template=NAMED)),
    Case("named templates, none the default", _changed(SETTINGS, chat_template=ROLE_BY_ROLE),
         warns=("none is called 'default'",)),
    Case("template in a file", _templates(None, CHATML)),
    Case("two templates that are equal", _templates(CHATML, CHATML)),
    Case("two templates that disagree", _templates(CHATML, LOUD), warns=(TEMPLATE,)),
    Case("template in the old file", _templates(None, None, CHATML),
         warns=("chat_template.json is not used", "no chat template")),
    Case("folder of templates", _template_folder),
    Case("stops at the end of text alone", _stops(2022), warns=UNSTOPPED),
    Case("stops at one number", _stops(2024)),
    Case("no generation_config.json", _stops(False)),
    Case("no generation_config.json, and another end in config.json", _stops(False, 2022),
         warns=UNSTOPPED),
    Case("another end in config.json", _stops([2024, 2022], 2022)),
    Case("no end but the tokenizer's", _stops(False, None),
         warns=("tokenizer_config.json is used",)),
    Case("no end in generation_config.json", _stops(None),
         warns=("config.json is used",)),
    Case("no end of turn anywhere", _stops(False, None, eos_token=None),
         warns=("<|endoftext|> (2022) of tokenizer_config.json is used", UNSTOPPED[1])),
    Case("tokenizer with another end", _stops([2024, 2022], 2024, eos_token=TEXT_ENDS)),
    Case("template that ends turns with another token", _template(templates.OTHER_END),
         warns=("<|box_end|>",)),
    Case("template that ends turns with text", _template(templates.TEXT_END)),
    Case("odd settings of sampling", _changed(
        GENERATION, do_sample=True, temperature=0.0, top_k=-1, top_p=1.5, typical_p=None)),
)  # fmt: skip
