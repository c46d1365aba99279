"""Text is read and rendered as transformers' AutoTokenizer does: the model's, and its bundle's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.errors import CheckpointError, PromptError
from qdeploy.tokenization.bundle_text import write_text_files
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.chat_templates import CHATS, TEMPLATES, Chat
from tests.support.tokenizer_variants import SETTINGS, VARIANTS, copy_text, update

pytest.importorskip("torch", reason="needs qdeploy[verify]")
transformers = pytest.importorskip("transformers", reason="needs qdeploy[verify]")

TEXTS = (
    "Hello world, it's 12345!", "", "  the  end <|im_end|><new> x<a><b><box><image><sep>",
    "a<new>  b", "<|im_start|>user\n你好 and<|im_end|>\n<think>", "e\u0301 and the 'll",
    "</s>a the  in<s> then", "é 🚀 12 + 30 = 42 . Is n't it ?", "<|begin_of_text|>x<|eot_id|>",
)  # fmt: skip


def reference(folder: Path) -> Any:
    return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)


def bundled(source: Path, folder: Path) -> Path:
    """Write the text of a bundle into *folder*, and return it."""
    folder.mkdir()
    write_text_files(find_text_files(source), folder)
    return folder


@pytest.mark.filterwarnings("ignore:Deprecated in 0.9.0:DeprecationWarning")
@pytest.mark.parametrize("name", VARIANTS)
def test_every_form_of_a_tokenizer(name: str, tmp_path: Path) -> None:
    source = copy_text(tmp_path / "model")
    VARIANTS[name](source)
    bundle = bundled(source, tmp_path / "bundle")
    theirs = reference(source)
    ours = (Tokenizer(source), Tokenizer(bundle), Tokenizer(bundle, prepared=True))
    again = reference(bundle)
    for text in TEXTS:
        plain = theirs(text, add_special_tokens=False)["input_ids"]
        whole = theirs(text)["input_ids"]
        decoded = theirs.decode(plain, skip_special_tokens=True)
        assert again(text)["input_ids"] == whole, text
        for tokenizer in ours:
            assert tokenizer.encode(text) == plain, text
            assert tokenizer.encode(text, special=True) == whole, text
            assert tokenizer.decode(plain) == decoded, text
    for tokenizer in ours:
        assert tokenizer.special_tokens == theirs.special_tokens_map
        assert tokenizer.eos_id == theirs.eos_token_id
    assert again.special_tokens_map == theirs.special_tokens_map


NAMED = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "list"}]
PLACES: dict[str, dict[str, Any]] = {
    "settings": {SETTINGS: "settings"},
    "a list": {SETTINGS: NAMED},
    "an object": {SETTINGS: {"tool_use": "tools", "default": "object"}},
    "a list without a default": {SETTINGS: NAMED[:1]},
    "file": {SETTINGS: None, "chat_template.jinja": "file"},
    "file and settings": {SETTINGS: "settings", "chat_template.jinja": "file"},
    "file and list": {SETTINGS: NAMED, "chat_template.jinja": "file\r\n{{ tools }}\r\n"},
    "file and folder": {"chat_template.jinja": "file", "additional_chat_templates/rag.jinja": "x"},
    "folder and settings": {SETTINGS: "settings", "additional_chat_templates/rag.jinja": "x"},
    "folder alone": {SETTINGS: None, "additional_chat_templates/default.jinja": "folder"},
    "of a processor": {SETTINGS: None, "chat_template.json": '{"chat_template": "processor"}'},
    "none": {SETTINGS: None},
}


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
def test_every_place_of_a_template(places: dict[str, Any], tmp_path: Path) -> None:
    source = copy_text(tmp_path / "model")
    for name, content in places.items():
        if name == SETTINGS:
            update(source, SETTINGS, chat_template=content)
        else:
            (source / name).parent.mkdir(exist_ok=True)
            (source / name).write_text(content, "utf-8", newline="")
    bundle = bundled(source, tmp_path / "bundle")
    chat = CHATS["one turn"]
    wanted = rendered(reference(source), chat)
    assert rendered(reference(bundle), chat) == wanted
    for folder in (source, bundle):
        if wanted is None:
            with pytest.raises(CheckpointError, match="chat template"):
                Tokenizer(folder).render(chat)
        else:
            assert Tokenizer(folder).render(chat) == wanted


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a few named tokens; every test writes its own template."""
    source = copy_text(tmp_path_factory.mktemp("templates"))
    update(source, SETTINGS, bos_token="<|im_start|>", image_token="<|image_pad|>")
    return source


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return reference(folder)


def rendered(tokenizer: Any, chat: Chat, **options: Any) -> str | None:
    """Text by transformers; None where its template fails."""
    try:
        return str(
            tokenizer.apply_chat_template(
                chat, tokenize=False, add_generation_prompt=True, **options
            )
        )
    except Exception:  # a template is code that may raise anything
        return None


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_and_chat(name: str, chat: Chat, folder: Path, theirs: Any) -> None:
    (folder / "chat_template.jinja").write_text(TEMPLATES[name], "utf-8", newline="")
    theirs.chat_template = (folder / "chat_template.jinja").read_text("utf-8")
    ours = Tokenizer(folder)
    for thinking in (None, True, False):
        options = {} if thinking is None else {"enable_thinking": thinking}
        wanted = rendered(theirs, chat, **options)
        if wanted is None:
            with pytest.raises(PromptError, match="the chat template"):
                ours.render(chat, thinking=thinking)
        else:
            text = ours.render(chat, thinking=thinking)
            assert text == wanted
            ids = theirs(wanted, add_special_tokens=False)["input_ids"]
            assert ours.encode(text) == ids
