"""The tokenizer and the detokenizer as graphs, which openvino-genai runs.

The operators are those of openvino-tokenizers' extension, connected as its converter does for a
byte-level BPE (`hf_parser.py`, `tokenizer_pipeline.py` of 2026.4): openvino-genai matches these
forms to make padding and special tokens switchable. A list of strings is three tensors: begin
offsets, end offsets and all bytes. A ragged list of words has two more in front: the begin and the
end of each string's words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from qdeploy.exporters.native.openvino.ir import Graph, Shape, Value
from qdeploy.exporters.native.openvino.operations import DYNAMIC
from qdeploy.exporters.native.tokenizer.bpe import AddedToken, ByteLevelBPE, quote
from qdeploy.exporters.native.tokenizer.runtime_tokens import RuntimeTokens
from qdeploy.exporters.native.weights_file.layout import WeightsLayout

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

EXTENSION = "extension"
UNLIMITED = 2**31 - 1 - 64
"""The limit that means no truncation, as the converter writes it."""
CACHED_WORDS = 20_000
"""Size of the operator's cache of words: a fifth of the vocabulary, but at least this."""

VECTOR: Shape = (DYNAMIC,)
INDEX = ("i32", VECTOR)
STRINGS = [INDEX, INDEX, ("u8", VECTOR)]
RAGGED = [INDEX, INDEX, *STRINGS]
FLAGS = ("boolean", VECTOR)


class _Strings:
    """Shorthands over a graph of string operators."""

    def __init__(self, name: str, layout: WeightsLayout) -> None:
        self.graph = Graph(name, layout)

    def i32(self, values: ArrayLike) -> Value:
        import numpy as np

        return self.graph.constant(np.asarray(values, dtype=np.int32))

    def i64(self, values: ArrayLike) -> Value:
        import numpy as np

        return self.graph.constant(np.asarray(values, dtype=np.int64))

    def text(self, text: str) -> Value:
        import numpy as np

        return self.graph.constant(np.frombuffer(text.encode(), dtype=np.uint8))

    def strings(self, strings: Sequence[bytes]) -> list[Value]:
        import numpy as np

        ends = np.cumsum([len(s) for s in strings], dtype=np.int32)
        begins = np.concatenate([[0], ends[:-1]])
        together = np.frombuffer(b"".join(strings), dtype=np.uint8)
        return [self.i32(begins), self.i32(ends), self.graph.constant(together)]

    def call(
        self,
        kind: str,
        inputs: Sequence[Value],
        outputs: Sequence[tuple[str, Shape]],
        **data: Any,
    ) -> list[Value]:
        """Add an operator of the extension."""
        return self.graph.add_many(kind, inputs, outputs, opset=EXTENSION, **data)

    def convert(self, x: Value, dtype: str, tensor: str = "") -> Value:
        return self.graph.add("Convert", [x], dtype, x.shape, tensor=tensor, destination_type=dtype)


def tokenizer(bpe: ByteLevelBPE, layout: WeightsLayout, *, padding: int, longest: int) -> Graph:
    """Texts, string [B], to `input_ids` and `attention_mask`, int64 [B, L], padded on the left.

    *padding* is the id that shorter texts are padded with; *longest* is the number of tokens that
    texts are truncated to if openvino-genai is asked to truncate.
    """
    build = _Strings("tokenizer", layout)
    graph = build.graph
    texts = graph.add(
        "Parameter", [], "string", VECTOR, name="texts", tensor="texts",
        shape_="?", element_type="string",
    )  # fmt: skip
    words = _split(build, bpe, _one_word_each(build, texts))
    tokens = _merge(build, bpe, words)
    tokens = _truncate(build, tokens, longest - len(bpe.prefix) - len(bpe.suffix))
    begins, ends, ids = _combine(build, bpe, tokens)
    lengths = graph.add("Subtract", [ends, begins], "i32", VECTOR, auto_broadcast="numpy")
    width = graph.add("ReduceMax", [lengths, build.i32(0)], "i32", (), keep_dims=False)
    table = (DYNAMIC, DYNAMIC)
    dense, filled = build.call(
        "RaggedToDense", [begins, ends, ids, width, build.i32(padding)],
        [("i32", table), ("boolean", table)], pad_right=False, m_pad_max_length=False,
    )  # fmt: skip
    mask = build.convert(filled, "i32")
    for value, name in ((dense, "input_ids"), (mask, "attention_mask")):
        graph.add_many("Result", [build.convert(value, "i64", tensor=name)], [], name=name)
    return graph


def detokenizer(bpe: ByteLevelBPE, layout: WeightsLayout) -> Graph:
    """Ids, int64 [B, L], to texts, string [B]; special tokens are skipped."""
    build = _Strings("detokenizer", layout)
    graph = build.graph
    table = (DYNAMIC, DYNAMIC)
    ids = graph.add(
        "Parameter", [], "i64", table, name="ids", tensor="ids", shape_="?,?", element_type="i64"
    )
    skipped = build.i32([t.id for t in bpe.added if t.special])
    *ragged, letters = build.call(
        "VocabDecoder", [build.convert(ids, "i32"), *build.strings(bpe.tokens), skipped],
        RAGGED, skip_tokens="",
    )  # fmt: skip
    begins, ends = build.call("FuzeRagged", ragged, [INDEX, INDEX])
    valid = build.call("UTF8Validate", [begins, ends, letters], STRINGS, replace_mode=True)
    texts = graph.add(
        "StringTensorPack", valid, "string", VECTOR, opset="opset15", tensor="string_output"
    )
    graph.add_many("Result", [texts], [], name="string_output")
    return graph


def _one_word_each(build: _Strings, texts: Value) -> list[Value]:
    """The texts as ragged lists of words, each of one word so far."""
    graph = build.graph
    strings = graph.add_many("StringTensorUnpack", [texts], STRINGS, opset="opset15")
    shape = graph.add("ShapeOf", strings[:1], "i64", (1,), opset="opset3", output_type="i64")
    zero, one = build.i64(0), build.i64(1)
    count = graph.add("Gather", [shape, zero, zero], "i64", (), opset="opset8", batch_dims=0)
    beyond = graph.add("Add", [count, one], "i64", (), auto_broadcast="numpy")
    ranges = [
        graph.add("Range", [*bounds, one], "i32", VECTOR, opset="opset4", output_type="i32")
        for bounds in ((zero, count), (one, beyond))
    ]
    return [*ranges, *strings]


def _split(build: _Strings, bpe: ByteLevelBPE, words: list[Value]) -> list[Value]:
    """Split off added tokens, normalize the rest and split it into words."""
    flags: list[Value] = []
    if bpe.matched:
        pattern = build.text(_added_pattern(bpe.matched))
        *words, flag = build.call("SpecialTokensSplit", [*words, pattern], [*RAGGED, FLAGS])
        flags = [flag]
    if bpe.normalizer:
        ragged, strings = words[:2], words[2:]
        outputs = [*STRINGS, *[FLAGS] * len(flags)]
        changed = build.call(
            "CharsMapNormalization", [*strings, *flags], outputs, add_dummy_prefix=False,
            remove_extra_whitespaces=False, escape_whitespaces=False,
            normalization_form=bpe.normalizer.lower(), case_fold=False, nmt=False,
        )  # fmt: skip
        words, flags = [*ragged, *changed[:3]], changed[3:]
    for split in bpe.splits:
        outputs = [*RAGGED, *[FLAGS] * len(flags)]
        cut = build.call(
            "RegexSplit", [*words, *flags, build.text(split.pattern)], outputs,
            behaviour=split.behavior.removesuffix("d"), invert=split.invert, max_splits=-1,
        )  # fmt: skip
        words, flags = cut[:5], cut[5:]
    return words


def _added_pattern(added: Iterable[AddedToken]) -> str:
    """A regular expression of all added tokens; a token precedes its own prefixes."""
    ordered = sorted(added, key=lambda t: t.text, reverse=True)

    def sides(token: AddedToken) -> tuple[bool, bool]:
        return token.strip_left, token.strip_right

    return "|".join(
        r"(?:\s*)" * left + f"({'|'.join(quote(t.text) for t in tokens)})" + r"(?:\s*)" * right
        for (left, right), tokens in groupby(sorted(ordered, key=sides), key=sides)
    )


def _merge(build: _Strings, bpe: ByteLevelBPE, words: list[Value]) -> list[Value]:
    """The tokens of each text: begins, ends and ids."""
    left, right = zip(*bpe.merges, strict=True)
    inputs = [*words, *build.strings(bpe.tokens), *build.strings(left), *build.strings(right)]
    if whole := _whole_words(bpe):
        inputs += build.strings([text for text, _ in whole])
        inputs.append(build.i32([number for _, number in whole]))
    return build.call(
        "BPETokenizer", inputs, [INDEX] * 3, unk_token="", fuse_unk=False, suffix_indicator="",
        end_suffix="", byte_fallback=False, cache_capacity=max(len(bpe.tokens) // 5, CACHED_WORDS),
    )  # fmt: skip


def _whole_words(bpe: ByteLevelBPE) -> list[tuple[bytes, int]]:
    """Words that are a token without any merging, and the ids of those.

    These are the added tokens; and with `ignore_merges` every token, for which the operator has no
    option of its own.
    """
    if bpe.ignore_merges:
        return [(text, number) for number, text in enumerate(bpe.tokens) if text]
    return [(token.text.encode(), token.id) for token in bpe.matched]


def _combine(build: _Strings, bpe: ByteLevelBPE, tokens: list[Value]) -> list[Value]:
    """Put the post-processor's ids around each text: begins, ends and ids.

    openvino-genai finds these constants, and empties them where special tokens are not wanted.
    """
    segments = [_constant_segment(build, ids) for ids in (bpe.prefix, bpe.suffix)]
    parts = [segments[0], tokens, segments[1]]
    parts = [part for part in parts if part]
    inputs = [value for part in parts for value in part]
    return build.call(
        "CombineSegments", [*inputs, build.i32([0] * len(parts))], [INDEX] * 6
    )[:3]  # fmt: skip


def _constant_segment(build: _Strings, ids: Sequence[int]) -> list[Value]:
    return [build.i32(0), build.i32(len(ids)), build.i32(list(ids))] if ids else []


def _truncate(build: _Strings, tokens: list[Value], longest: int) -> list[Value]:
    """Truncate texts on the left if the variable `truncation` is set at run time."""
    import numpy as np

    graph = build.graph
    never = graph.constant(np.asarray(False))
    variable = {"variable_id": "truncation"}
    wanted = graph.add(
        "ReadValue", [never], "boolean", (), opset="opset6", **variable,
        variable_type="dynamic", variable_shape="...",
    )  # fmt: skip
    graph.add("Assign", [wanted], "boolean", (), opset="opset6", **variable)
    inputs = [wanted, build.i32(longest), build.i32(UNLIMITED)]
    limit = graph.add("Select", inputs, "i32", (), auto_broadcast="numpy")
    inputs = [*tokens, limit, build.text("left"), build.text("longest_first")]
    return build.call("Truncate", inputs, [INDEX] * 3, m_num_inputs=1)


def runtime_info(tokens: RuntimeTokens, chat_template: str | None) -> dict[str, object]:
    """Runtime info that openvino-genai reads."""
    ids = {
        "bos_token_id": tokens.begin,
        "eos_token_id": tokens.ends[0] if tokens.ends else None,
        "pad_token_id": tokens.padding,
    }
    info: dict[str, object] = {"add_attention_mask": True}
    info |= {name: number for name, number in ids.items() if number is not None}
    return info | ({"chat_template": chat_template} if chat_template else {})
