"""The shipped profiles are valid, and an error in a profile is never silently ignored."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.errors import ProfileError
from qdeploy.planning.profile import (
    Profile,
    default_profile,
    load_profile,
    parse_profile,
    profile_names,
    profile_source,
)
from qdeploy.quantization.precision import PER_CHANNEL, Precision
from qdeploy.targets import BUILT_IN

GOOD = """\
schema = 1
target = "intel-cpu"
format = "openvino"
why = "A valid profile; each test makes one change."
{top}
[weights]
group_fallback = "smaller"
{weights}
[weights.linear]
dtype = "int4"
group_size = 128
{linear}
[weights.embedding]
dtype = "int8"

[[rules]]
above_parameters = 5e9
why = "Large models differ."
linear = {{ dtype = "int4", symmetric = true {rule_linear} }}
{rules}
[kv_cache]
dtype = "u8"

[runtime]
{runtime}
[runtime.properties]
ANY_NAME = "of the runtime's"
{properties}
"""
PLACES = "top weights linear rules rule_linear runtime properties".split()


def parse(**additions: str) -> Profile:
    text = GOOD.format(**dict.fromkeys(PLACES, "") | additions)
    return parse_profile(text, "mine", where="mine.toml")


def refusal(**additions: str) -> ProfileError:
    with pytest.raises(ProfileError) as caught:
        parse(**additions)
    assert caught.value.where == "mine.toml"
    return caught.value


@pytest.mark.parametrize("name", profile_names())
class TestEveryShippedProfile:
    def test_is_for_a_known_target(self, name: str) -> None:
        assert load_profile(name).target in {t.name for t in BUILT_IN}

    def test_is_named_after_its_target_and_precision(self, name: str) -> None:
        loaded = load_profile(name)
        scheme = f"{loaded.target}-{loaded.weights.linear.dtype}"
        assert name == scheme or name.startswith(f"{scheme}-")

    def test_can_be_copied_to_a_file_and_read_from_there(self, name: str, tmp_path: Path) -> None:
        copy = tmp_path / f"{name}.toml"
        copy.write_text(profile_source(name), encoding="utf-8")
        assert load_profile(str(copy)) == load_profile(name)


@pytest.mark.parametrize("target", sorted({load_profile(n).target for n in profile_names()}))
def test_int4_is_every_targets_default(target: str) -> None:
    names = {n for n in profile_names() if load_profile(n).target == target}
    default = default_profile(target).name
    assert default.startswith(f"{target}-int4") or not any("int4" in name for name in names)
    assert default == f"{target}-int4" or f"{target}-int4" not in names


def test_a_target_without_a_profile_says_how_to_give_one() -> None:
    with pytest.raises(ProfileError, match="no profile ships for target 'abacus'") as caught:
        default_profile("abacus")
    assert caught.value.fix is not None
    assert "--profile" in caught.value.fix


@pytest.mark.parametrize(
    ("place", "line", "key", "nearest"),
    [
        ("top", 'formt = "onnx"', "formt", "format"),
        ("weights", 'group_falback = "error"', "weights.group_falback", "group_fallback"),
        ("linear", "group_sise = 64", "weights.linear.group_sise", "group_size"),
        ("rules", "above_parametres = 1", "rules.0.above_parametres", "above_parameters"),
        ("rule_linear", ", symetric = true", "rules.0.linear.symetric", "symmetric"),
        ("runtime", "propertys = 1", "runtime.propertys", "properties"),
    ],
)
def test_an_unknown_key_is_named_with_its_place_and_the_nearest_known_one(
    place: str, line: str, key: str, nearest: str
) -> None:
    error = refusal(**{place: line})
    assert error.what == f"unknown key {key!r}"
    assert error.fix == f"did you mean {nearest!r}?"


def test_a_misspelt_required_key_is_called_unknown_rather_than_missing() -> None:
    text = GOOD.format(**dict.fromkeys(PLACES, "")).replace("target =", "tarqet =")
    with pytest.raises(ProfileError, match="unknown key 'tarqet'") as caught:
        parse_profile(text, "mine", where="mine.toml")
    assert caught.value.fix == "did you mean 'target'?"


@pytest.mark.parametrize(
    ("removed", "key"),
    [("schema = 1", "schema"), ('[kv_cache]\ndtype = "u8"', "kv_cache"), ("why =", "why")],
)
def test_a_missing_key_is_named(removed: str, key: str) -> None:
    text = GOOD.format(**dict.fromkeys(PLACES, ""))
    line = next(block for block in (removed, f"{removed} ") if block in text)
    without = text.replace(line, "#" if key == "why" else "", 1)
    with pytest.raises(ProfileError, match=f"key '{key}' is missing"):
        parse_profile(without, "mine", where="mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("schema = 1", "schema = 2", "schema: Input should be 1, got 2"),
        ("group_size = 128", "group_size = 100", "group_size 100 is neither -1 nor a power of two"),
        ("group_size = 128", "group_size = 8", "group_size 8 is neither"),
        ("group_size = 128", "group_size = -2", "group_size -2 is neither"),
        ('dtype = "int4"\n', 'dtype = "fp16"\n', "fp16 takes neither symmetric nor group_size"),
        ('dtype = "int4"\n', 'dtype = "int3"\n', "weights.linear.dtype"),
        ('dtype = "u8"', 'dtype = "u4"', "kv_cache.dtype"),
        ("5e9", "0", "rules.0.above_parameters"),
        ("5e9", "inf", "rules.0.above_parameters"),
        ('"of the runtime\'s"', "nan", "runtime.properties.ANY_NAME"),
        ('"of the runtime\'s"', "[1, 2]", "runtime.properties.ANY_NAME"),
        ("A valid", "A \\n valid", "why"),
        ('why = "A valid', 'name = "other"\nwhy = "A valid', "key 'name' is not allowed"),
        ("[kv_cache]", "[kv_cache", "not valid TOML"),
    ],
)
def test_an_invalid_value_is_refused_with_its_key(old: str, new: str, says: str) -> None:
    text = GOOD.format(**dict.fromkeys(PLACES, ""))
    assert old in text
    with pytest.raises(ProfileError) as caught:
        parse_profile(text.replace(old, new, 1), "mine", where="mine.toml")
    assert says in caught.value.what
    assert caught.value.where == "mine.toml"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("intel-cpu-in4", "did you mean 'intel-cpu-int4'?"),
        ("rocm-fp16", "did you mean 'rocm-fp16-onnx'?"),
        ("zzz", "choose one of: ascend-fp16-onnx, "),
        ("../profiles/intel-cpu-int4", "did you mean"),
    ],
)
def test_an_unknown_name_gets_the_nearest_known_name(name: str, says: str) -> None:
    with pytest.raises(ProfileError, match="unknown profile") as caught:
        load_profile(name)
    assert says in str(caught.value)


@pytest.mark.parametrize("content", [None, b"\xff\xfe not text"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ProfileError, match="cannot read the profile") as caught:
        load_profile(str(file))
    assert caught.value.where == str(file)


def test_a_profile_is_named_after_its_file(tmp_path: Path) -> None:
    file = tmp_path / "my.own.toml"
    file.write_text(profile_source("intel-cpu-int4"), encoding="utf-8")
    assert load_profile(str(file)).name == "my.own"


def test_the_last_rule_that_applies_wins() -> None:
    rules = """
[[rules]]
moe = true
above_parameters = 7e9
why = "for large mixtures"
linear = { dtype = "int8" }
"""
    loaded = parse(rules=rules)
    wanted = Precision(dtype="int4", symmetric=True)
    assert loaded.linear_for(5_000_000_000, moe=True) == loaded.weights.linear
    assert loaded.linear_for(5_000_000_001, moe=True) == wanted
    assert loaded.linear_for(7_000_000_001, moe=False) == wanted
    assert loaded.linear_for(7_000_000_001, moe=True) == Precision(dtype="int8")


def test_a_rule_needs_a_condition() -> None:
    with pytest.raises(ProfileError, match="above_parameters or moe"):
        parse(rules='\n[[rules]]\nwhy = "always"\nlinear = { dtype = "int8" }\n')


def test_experts_get_one_scale_a_row_on_the_npu() -> None:
    npu = load_profile("intel-npu-int4")
    assert npu.linear_for(1_000_000, moe=True).group_size == PER_CHANNEL


def test_the_npu_profile_goes_from_groups_to_one_scale_a_row_between_4b_and_8b() -> None:
    npu = load_profile("intel-npu-int4")
    assert npu.linear_for(4_022_468_096, moe=False).group_size == 128
    assert npu.linear_for(8_190_735_360, moe=False).group_size == PER_CHANNEL


@pytest.mark.parametrize(
    ("precision", "short"),
    [
        (Precision(dtype="int4", group_size=128), "int4 asym g128"),
        (Precision(dtype="int4", symmetric=True), "int4 sym channel"),
        (Precision(dtype="nf4"), "nf4 channel"),
        (Precision(dtype="fp8"), "fp8 channel"),
        (Precision(dtype="fp16"), "fp16"),
    ],
)
def test_tables_show_a_precision_in_short(precision: Precision, short: str) -> None:
    assert str(precision) == short


def test_the_default_profile_has_an_installed_format() -> None:
    assert default_profile("cpu", {"openvino"}).name == "cpu-int4-openvino"
    assert default_profile("cpu", {"onnx", "openvino"}).name == "cpu-int4"
    assert default_profile("cpu", {"safetensors"}).name == "cpu-int4-torch"
    for formats in ((), {"onnx-static"}):  # no profile of the target has such a format
        assert default_profile("cpu", formats).name == "cpu-int4"
