"""A byte-level BPE tokenizer, read from `tokenizer.json`, with its vocabulary in bytes.

The file spells bytes as characters (a space is "Ġ"), so that its JSON holds text only; here they
are bytes again. This is the kind of tokenizer that Qwen and Llama 3 have. A file with any part that
has no counterpart here is refused, naming that part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from qdeploy.errors import CheckpointError, ExportFailed

NORMALIZERS = ("NFC", "NFD", "NFKC", "NFKD")
PROCESSORS = ("ByteLevel", "TemplateProcessing")
MOST_TOKENS = 2**22
"""Far above any vocabulary. The table of tokens is as long as the highest id."""

MALFORMED = (AttributeError, IndexError, KeyError, TypeError, ValueError)
"""What reading a part of another type raises."""


@dataclass(frozen=True)
class AddedToken:
    """A token that is split off before any other step, e.g. `<|im_start|>`."""

    id: int
    text: str
    special: bool
    strip_left: bool
    strip_right: bool


@dataclass(frozen=True)
class Split:
    """One step that splits text into words. *behavior* is the file's term, e.g. `isolated`."""

    pattern: str
    behavior: str
    invert: bool


@dataclass(frozen=True)
class ByteLevelBPE:
    """The whole tokenizer.

    Attributes:
        tokens: bytes of every token by its id, with added tokens; empty for an unused id.
        merges: pairs of tokens in the order they are merged.
        added: in the order of their ids.
        normalizer: a Unicode normalization form, or None.
        ignore_merges: whether a word that is in the vocabulary is taken without merging.
        prefix, suffix: ids that the post-processor puts before and after a text.
        splits_special: special tokens in a text are plain text, and no tokens.
    """

    tokens: Sequence[bytes]
    merges: Sequence[tuple[bytes, bytes]]
    added: Sequence[AddedToken]
    normalizer: str | None
    splits: Sequence[Split]
    ignore_merges: bool = False
    prefix: Sequence[int] = ()
    suffix: Sequence[int] = ()
    splits_special: bool = False

    @property
    def matched(self) -> list[AddedToken]:
        """The added tokens that are looked for in a text."""
        return [t for t in self.added if not (self.splits_special and t.special)]


def why_not(content: Mapping[str, Any]) -> str | None:
    """Why a `tokenizer.json` is of another kind, or None. A malformed one is `read_bpe`'s to tell.

    *content* is the file's.
    """
    try:
        unknown = _unknown(content)
    except MALFORMED:
        return None
    return unknown and f"the tokenizer has {unknown}, which this exporter cannot convert"


def read_bpe(content: Mapping[str, Any], where: Path) -> ByteLevelBPE:
    """Read the *content* of a `tokenizer.json`; *where* is its file, for messages.

    Raises:
        ExportFailed: another kind of tokenizer, or a part that is not supported; see `why_not`.
        CheckpointError: a part is missing or malformed.
    """
    if reason := why_not(content):
        raise ExportFailed(reason, where=where)
    try:
        return _parse(content)
    except MALFORMED as error:
        raise CheckpointError(
            f"not a tokenizer ({type(error).__name__}: {error})",
            where=where,
            fix="copy tokenizer.json from the original model",
        ) from None


def _parse(content: Mapping[str, Any]) -> ByteLevelBPE:
    model = content["model"]
    added = sorted(map(_added_token, content.get("added_tokens", [])), key=lambda t: t.id)
    normalizer = (content.get("normalizer") or {}).get("type")
    *splits, _ = _steps(content.get("pre_tokenizer"))
    spelt = {text: _bytes(text) for text in model["vocab"]}
    prefix, suffix = _template(content.get("post_processor"))
    return ByteLevelBPE(
        _tokens(model["vocab"], spelt, added),
        [_merge(pair, spelt) for pair in model["merges"]],
        added,
        normalizer,
        [_split(step) for step in splits],
        bool(model.get("ignore_merges")),
        prefix,
        suffix,
    )


def _unknown(content: Mapping[str, Any]) -> str | None:
    """Name the first part that is not supported, or None."""
    model = content["model"]
    if model.get("type") != "BPE":
        return f"a model of type {model.get('type')!r}"
    for option in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                   "byte_fallback"):  # fmt: skip
        if model.get(option):
            return f"the model option {option} = {model[option]!r}"
    if not model["merges"]:
        return "no merges"
    normalizer = content.get("normalizer")
    if normalizer and normalizer["type"] not in NORMALIZERS:
        return f"the normalizer {normalizer['type']!r}"
    *splits, last = _steps(content.get("pre_tokenizer")) or [{}]
    if last.get("type") != "ByteLevel" or last.get("use_regex", True):
        return "a pre-tokenizer that does not end in ByteLevel"
    if other := next((s["type"] for s in splits if s["type"] != "Split"), None):
        return f"the pre-tokenizer {other!r}"
    processors = _processors(content.get("post_processor"))
    if other := next((p["type"] for p in processors if p["type"] not in PROCESSORS), None):
        return f"the post-processor {other!r}"
    templates = [p for p in processors if p["type"] == "TemplateProcessing"]
    texts = [part for t in templates for part in t["single"] if "Sequence" in part]
    if len(templates) > 1 or len(texts) != len(templates):
        return "a post-processor that does not hold the text exactly once"
    added = content.get("added_tokens", [])
    if word := next((t for t in added if t.get("single_word")), None):
        return f"the single-word token {word['content']!r}"
    words = {t["content"] for t in added} & model["vocab"].keys()
    spelt = [word for word in words if not word.isascii()]
    made = {"".join(_pair(m)) for m in model["merges"]} if spelt else ()
    merged = next((word for word in spelt if word in made), None)
    return f"the word {merged!r} of its vocabulary as an added token" if merged else None


def _steps(pre_tokenizer: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if not pre_tokenizer:
        return []
    if pre_tokenizer["type"] == "Sequence":
        return list(pre_tokenizer["pretokenizers"])
    return [pre_tokenizer]


def _processors(processor: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    if not processor:
        return []
    return list(processor["processors"]) if processor["type"] == "Sequence" else [processor]


def _template(processor: Mapping[str, Any] | None) -> tuple[list[int], list[int]]:
    """Ids that are put before and after a text; a `ByteLevel` processor changes offsets only."""
    before: list[int] = []
    after: list[int] = []
    for step in _processors(processor):
        ids = before
        for part in step.get("single", []):
            if "Sequence" in part:
                ids = after
            else:
                ids += step["special_tokens"][part["SpecialToken"]["id"]]["ids"]
    return before, after


def _split(step: Mapping[str, Any]) -> Split:
    pattern = step["pattern"]
    text = pattern.get("Regex") or "".join(_quoted(pattern["String"]))
    return Split(text, step["behavior"].lower(), step["invert"])


def _quoted(text: str) -> Iterator[str]:
    for character in text:
        yield character if character.isalnum() else f"\\{character}"


def quote(text: str) -> str:
    """*text* as a regular expression that matches it and nothing else."""
    return "".join(_quoted(text))


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    return AddedToken(
        entry["id"], entry["content"], entry["special"], entry["lstrip"], entry["rstrip"]
    )


def _tokens(
    vocab: Mapping[str, int], spelt: Mapping[str, bytes], added: Sequence[AddedToken]
) -> list[bytes]:
    ids = [*vocab.values(), *(t.id for t in added)]
    if wrong := next((i for i in ids if not 0 <= i < MOST_TOKENS), None):
        raise ValueError(f"a token has the id {wrong}")
    tokens = [b""] * (max(ids) + 1)
    for text, number in vocab.items():
        tokens[number] = spelt[text]
    for token in added:  # plain text, not bytes spelled as characters
        tokens[token.id] = token.text.encode()
    return tokens


def _merge(pair: str | Sequence[str], spelt: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """The bytes of a pair of tokens, looked up in *spelt*."""
    left, right = _pair(pair)
    return spelt[left], spelt[right]


def _pair(merge: str | Sequence[str]) -> Sequence[str]:
    return merge.split(" ") if isinstance(merge, str) else merge


def _bytes(text: str) -> bytes:
    # translating first and encoding once is ten times faster than byte by byte
    return text.translate(_spelling()).encode("latin-1")


@cache
def _spelling() -> dict[int, int]:
    """The byte that each character stands for: GPT-2's table, `bytes_to_unicode`.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for the characters
    from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [b for b in range(256) if b not in printable]
    return {0x100 + i: byte for i, byte in enumerate(others)}
