"""An adapter's own tokenizer and chat template come before the model's."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.adapter_text import adapter_text_warnings, with_adapter_text
from qdeploy.tokenization.bundle_text import write_text_files
from qdeploy.tokenization.check import text_warnings
from qdeploy.tokenization.text_files import TextFiles, find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.tokenizer_variants import (
    CONFIG,
    GENERATION,
    SETTINGS,
    TOKENIZER,
    Change,
    add_to_settings,
    both,
    copy_text,
    settings,
    slow,
    smaller,
    update,
)

USER = [{"role": "user", "content": "Hi"}]
OTHER = "{% for m in messages %}[{{ m.content }}]{% endfor %}"


def adapted(folder: Path, change: Change, base: Change = settings()) -> TextFiles:  # noqa: B008
    """The files of a model whose adapter's folder holds the same ones, changed."""
    model, adapter = copy_text(folder / "model"), copy_text(folder / "adapter")
    for name in (CONFIG, GENERATION):
        (adapter / name).unlink()
    base(model)
    change(adapter)
    return with_adapter_text(find_text_files(model), adapter)


def warnings(folder: Path, files: TextFiles) -> list[str]:
    return list(adapter_text_warnings(find_text_files(folder / "model"), files))


def bundle(folder: Path, files: TextFiles) -> Tokenizer:
    (folder / "bundle").mkdir()
    write_text_files(files, folder / "bundle")
    return Tokenizer(folder / "bundle")


def only(*names: str) -> Change:
    """Remove every file but these."""

    def apply(folder: Path) -> None:
        for file in folder.iterdir():
            if file.name not in names:
                file.unlink()

    return apply


def test_the_same_text_is_not_worth_a_word(tmp_path: Path) -> None:
    files = adapted(tmp_path, settings(pad_token="<|im_start|>", model_max_length=7))
    assert files.where(TOKENIZER).parent.name == "adapter"
    assert files.where(GENERATION).parent.name == "model"
    assert warnings(tmp_path, files) == []


def test_the_same_tokenizer_saved_in_another_way_is_the_same(tmp_path: Path) -> None:
    files = adapted(tmp_path, slow)
    assert warnings(tmp_path, files) == []
    assert bundle(tmp_path, files).encode("Hello") == Tokenizer(tmp_path / "model").encode("Hello")


def test_another_template_is_used_and_said(tmp_path: Path) -> None:
    files = adapted(tmp_path, settings(chat_template=OTHER))
    assert bundle(tmp_path, files).render(USER) == "[Hi]"
    assert [w for w in warnings(tmp_path, files) if "the adapter's chat template differs" in w]


def test_a_template_without_a_tokenizer_is_used_with_the_models(tmp_path: Path) -> None:
    def alone(folder: Path) -> None:
        (folder / "chat_template.jinja").write_text(OTHER, "utf-8")
        only("chat_template.jinja")(folder)

    files = adapted(tmp_path, alone)
    assert bundle(tmp_path, files).render(USER) == "[Hi]"
    assert files.where(TOKENIZER).parent.name == "model"


@pytest.mark.parametrize("place", ["settings", "file"])
def test_a_tokenizer_without_a_template_is_prompted_with_the_models(
    place: str, tmp_path: Path
) -> None:
    def with_file(folder: Path) -> None:
        if place == "file":
            (folder / "chat_template.jinja").write_text("from the file", "utf-8")

    files = adapted(tmp_path, settings("chat_template"), with_file)
    made = bundle(tmp_path, files)
    assert made.render(USER) == Tokenizer(tmp_path / "model").render(USER)
    assert made.files.where(SETTINGS).read_bytes() == files.where(SETTINGS).read_bytes()
    assert warnings(tmp_path, files) == []


def test_added_tokens_are_used_and_said(tmp_path: Path) -> None:
    files = adapted(tmp_path, both(smaller, add_to_settings))
    made = bundle(tmp_path, files)
    assert made.encode("<new>") == [2028]
    (said,) = warnings(tmp_path, files)
    assert "the adapter's tokenizer differs from the model's in vocabulary, merges, added" in said


def test_a_token_that_the_model_has_no_row_for_is_refused(tmp_path: Path) -> None:
    template = settings(chat_template="{{ messages[0].content }}<new>")
    files = adapted(tmp_path, both(add_to_settings, template))
    with pytest.raises(CheckpointError, match="'<new>' has the id 2048") as caught:
        text_warnings(files, 2048)
    assert str(tmp_path / "adapter") in str(caught.value.where)


def test_a_base_without_stop_tokens_of_its_own_takes_the_adapters(tmp_path: Path) -> None:
    def nameless(folder: Path) -> None:
        update(folder, CONFIG, "eos_token_id")
        (folder / GENERATION).unlink()

    files = adapted(tmp_path, settings(eos_token="<|endoftext|>"), nameless)
    assert bundle(tmp_path, files).stop_ids == {2022}
