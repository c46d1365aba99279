"""The model card that an export writes: what the hub reads, and what a person reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from qdeploy.bundle import MANIFEST, Bundle, open_bundle
from qdeploy.checkpoint.checkpoint import Checkpoint
from qdeploy.checkpoint.read import read_checkpoint, with_task
from qdeploy.deploy.card import model_card
from qdeploy.deploy.export import export
from qdeploy.errors import CheckFailed
from qdeploy.interface import Progress
from qdeploy.planning.formats import OPENVINO
from qdeploy.planning.plan import Plan, make_plan
from qdeploy.planning.profile import load_profile
from qdeploy.targets import CPU
from tests.support.bundles import scripted_bundle, scripted_plan
from tests.support.checkpoints import write_checkpoint
from tests.support.scripted import ScriptedExporter

TRICK = "a/b`|<img src=x>\n---\n# [c](http://d) $e$ @f"
QUANTIZED = load_profile("cpu-int4-openvino")


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return scripted_bundle(tmp_path / "out", tmp_path / "model")


def front_matter(card: str) -> dict[str, Any]:
    """Return what the hub reads."""
    found: dict[str, Any] = ModelCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    return found


def quantized(folder: Path, name: str) -> Plan:
    checkpoint = read_checkpoint(write_checkpoint(folder), name=name)
    return make_plan(checkpoint, QUANTIZED, CPU, format_row=OPENVINO)


def card_of(plan: Plan, made: Bundle) -> str:
    return model_card(plan, made.manifest)


def test_an_export_writes_one_that_the_hub_reads(made: Bundle) -> None:
    card = ModelCard.load(made.path / "README.md")
    assert card.data.pipeline_tag == "text-generation"
    assert card.data.tags == ["qdeploy", "script", "scripted", "fp16"]
    assert card.data.license is None


def test_equal_exports_have_equal_cards(made: Bundle, tmp_path: Path) -> None:
    twin = scripted_bundle(tmp_path / "twin", tmp_path / "model")
    assert (twin.path / "README.md").read_bytes() == (made.path / "README.md").read_bytes()


def test_it_says_what_is_stored_and_that_nothing_was_run(made: Bundle, tmp_path: Path) -> None:
    card = card_of(quantized(tmp_path / "model-2", "acme/made"), made)
    assert "| linear | int4 asym g128 |" in card
    assert "| norm | fp16 |" in card
    assert "qdeploy run ." in card
    assert "openvino-genai loads the folder as it is" in card
    assert "## Evidence\n\nNone: an export runs nothing" in card
    assert "eval . --reference acme/made`" in card
    assert str(tmp_path) not in card


def test_the_base_model_is_named_where_it_is_one_of_the_hub(made: Bundle, tmp_path: Path) -> None:
    data = front_matter(card_of(quantized(tmp_path / "model-2", "acme/made"), made))
    assert (data["base_model"], data["base_model_relation"]) == ("acme/made", "quantized")
    assert data["tags"] == ["qdeploy", "openvino", "cpu", "int4"]
    data = front_matter(card_of(quantized(tmp_path / "model-3", "my-model"), made))
    assert not {"base_model", "base_model_relation"} & data.keys()


def test_float_weights_are_not_called_quantized(made: Bundle, tmp_path: Path) -> None:
    data = front_matter(card_of(scripted_plan(tmp_path / "model", name="acme/made"), made))
    assert data["base_model"] == "acme/made"
    assert "base_model_relation" not in data


def test_a_model_that_embeds_is_called_so(made: Bundle, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(write_checkpoint(tmp_path / "model-2"), name="m")
    plan = make_plan(with_task(checkpoint, "embed"), QUANTIZED, CPU, format_row=OPENVINO)
    card = card_of(plan, made)
    assert front_matter(card)["pipeline_tag"] == "feature-extraction"
    assert 'qdeploy embed . "Hello"' in card
    assert "key-value" not in card
    assert "openvino-genai" not in card


def test_names_with_markup_stay_text(made: Bundle, tmp_path: Path) -> None:
    card = card_of(quantized(tmp_path / "model-2", TRICK), made)
    body = card.split("---\n", 2)[2]
    assert front_matter(card)["pipeline_tag"] == "text-generation"
    assert not re.search(r"(?<!\\)<img|(?<!\\)\[c|^# \[|^---$|(?<!\\)@f", body, re.MULTILINE)
    assert [line for line in body.splitlines() if line.startswith("# ")] == body.splitlines()[1:2]


def test_warnings_and_what_was_left_out_are_listed(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = {f"layer.{i}.inv_freq": "loaders | skip it" for i in range(25)}
    monkeypatch.setattr(Checkpoint, "warnings", ("two sources <disagree>",))
    monkeypatch.setattr(Checkpoint, "dropped", dropped)
    card = card_of(quantized(tmp_path / "model-2", "m"), made)
    assert r"- two sources \<disagree\>" in card
    assert r"| layer.0.inv\_freq | loaders \| skip it |" in card
    assert "And 5 more" in card


@pytest.mark.parametrize(
    ("text", "license"),
    [
        ("---\nlicense: apache-2.0\n---\n# x", {"license": "apache-2.0"}),
        ("---\r\ntags: [a]\r\nlicense: 'mit' # yes\r\n---\r\n", {"license": "mit"}),
        (
            "---\nlicense: other\nlicense_name: qwen\nlicense_link: https://a.b/LICENSE\n---\n",
            {"license": "other", "license_name": "qwen", "license_link": "https://a.b/LICENSE"},
        ),
        ("---\nlicense: other\nlicense_link: LICENSE\n---\n", {"license": "other"}),
        ("---\nlicense: [mit, gpl]\n---\n", {}),
        ("---\nlicense: a\\nevil: yes\n---\n", {}),
        ("---\nlicense: mit\n", {}),
        ("# no front matter\nlicense: mit\n", {}),
        ("", {}),
    ],
)  # fmt: skip
def test_the_license_is_the_checkpoints(
    text: str, license: dict[str, str], made: Bundle, tmp_path: Path
) -> None:
    plan = quantized(tmp_path / "model-2", "m")
    (tmp_path / "model-2" / "README.md").write_bytes(text.encode())
    data = front_matter(card_of(plan, made))
    assert {k: v for k, v in data.items() if k.startswith("license")} == license


class TestInABundle:
    def test_it_may_be_edited_or_removed(self, made: Bundle) -> None:
        card = made.path / "README.md"
        assert "README.md" not in made.manifest.files
        card.write_text("# Mine", encoding="utf-8")
        assert open_bundle(made.path, full=True).digest == made.digest
        card.unlink()
        assert open_bundle(made.path, full=True).digest == made.digest

    def test_what_the_hub_adds_is_no_tampering(self, made: Bundle) -> None:
        (made.path / ".gitattributes").write_text("*.bin filter=lfs", encoding="utf-8")
        assert open_bundle(made.path, full=True) == made

    @pytest.mark.parametrize("name", ["readme.md", "README.md.py", "docs/README.md", "LICENSE"])
    def test_no_other_file_is_let_through(self, name: str, made: Bundle) -> None:
        (made.path / name).parent.mkdir(exist_ok=True)
        (made.path / name).write_text("x", encoding="utf-8")
        with pytest.raises(CheckFailed, match="is not in the manifest"):
            open_bundle(made.path)

    def test_force_replaces_it_with_the_bundle(self, made: Bundle, tmp_path: Path) -> None:
        (made.path / "README.md").write_text("# Mine", encoding="utf-8")
        plan = scripted_plan(tmp_path / "model")
        again = export(plan, ScriptedExporter(), made.path, Progress(), force=True)
        assert "# Mine" not in (again.path / "README.md").read_text(encoding="utf-8")
        assert (again.path / MANIFEST).is_file()
