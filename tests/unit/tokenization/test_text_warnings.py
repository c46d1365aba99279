"""What is said where the files of a tokenizer or its chat templates disagree."""

from __future__ import annotations

from pathlib import Path

import pytest

from qdeploy.errors import CheckpointError
from qdeploy.tokenization.check import text_warnings
from qdeploy.tokenization.text_files import find_text_files
from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.tokenizer_variants import (
    MISREAD,
    SETTINGS,
    VARIANTS,
    Change,
    both,
    copy_text,
    processors,
    settings,
    template,
)


def file(name: str, content: str) -> Change:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, "utf-8")

    return write


SILENT = (
    "as it is", "truncation", "padding", "padding names the token", "no post-processor",
    "a post-processor in a sequence", "class PreTrainedTokenizerFast", "no class", "slow",
    "older files", "slow and older", "slow and fast", "no tokens are listed", "unset tokens",
    "other words in the file, plain class", "clean_up_tokenization_spaces",
)  # fmt: skip
SAID = {
    "Llama 2": "another normalizer, pre_tokenizer, model than LlamaTokenizer builds",
    "Llama 3 called a Llama 2": "byte-level, which a LlamaTokenizer is not",
    "slow and older beside newer": "vocab.json and tokenizer.json disagree about",
    "other words in the file": "another pre_tokenizer than Qwen2Tokenizer builds",
    "no normalizer": "another normalizer than Qwen2Tokenizer builds",
    "a token in the file alone": "tokenizer.json adds '<new>', which tokenizer_config.json does",
    "a token in the settings alone": "settings name '<new>', which tokenizer.json does not add",
    "a token with other flags": "disagree whether '<new>' is special",
    "special tokens by name alone": "name '<a>', '<b>', '<sep>', which tokenizer.json does not",
    "ids with gaps": "gives '</think>' the id 2172 and 24 more other ids: it gets 2047",
    "an empty list of tokens": "adds '</think>', '</tool_call>', '</tool_response>' and 9 more",
    "slow, older and beside a map": "bos_token is None in tokenizer_config.json and '<|im_start|>'",
    "split_special_tokens": "sets split_special_tokens",
}
OTHER = "{{ messages[0].content }}"
JINJA, MORE = "chat_template.jinja", "additional_chat_templates/{}.jinja"
TEMPLATES: dict[str, tuple[Change, str]] = {
    "a file and settings": (file(JINJA, OTHER), "another chat template 'default' than chat_templ"),
    "a folder and settings": (
        both(settings(chat_template=[{"name": "rag", "template": "1"}]), file(JINJA, OTHER),
             file(MORE.format("rag"), "2")),
        "another chat template 'rag' than additional_chat_templates/rag.jinja",
    ),
    "no default": (
        settings(chat_template=[{"name": "rag", "template": OTHER}]),
        "of its chat templates 'rag', none is called 'default', so qdeploy run will refuse prompts",
    ),
    "none": (settings("chat_template"), "no chat template, so qdeploy run will refuse prompts"),
    "a processor's": (
        file("chat_template.json", '{"chat_template": "x"}'), "chat_template.json is not used",
    ),
    "a refusal of any chat": (
        settings(chat_template="{{ raise_exception('no chats') }}"),
        "does not take this chat: no chats, if it is one question",
    ),
    "parts alone": (
        settings(chat_template="{% for m in messages %}{% for part in m.content %}{{ part.text }}"
                               "{% endfor %}<|im_end|>{% endfor %}"),
        "leaves out what a user says",
    ),
    "a fault": (settings(chat_template="{% for %}"), "the chat template cannot be read (Expected"),
    "a break": (settings(chat_template="{% break %}"), "the chat template cannot be read ('break'"),
}  # fmt: skip


def warnings(folder: Path, change: Change, size: int = 2100) -> tuple[str, ...]:
    change(copy_text(folder))
    return text_warnings(find_text_files(folder), size)


@pytest.mark.parametrize("name", SILENT)
def test_files_that_agree_are_not_warned_about(name: str, tmp_path: Path) -> None:
    assert warnings(tmp_path, VARIANTS[name]) == ()


@pytest.mark.parametrize(("name", "says"), SAID.items())
def test_files_that_disagree(name: str, says: str, tmp_path: Path) -> None:
    said = warnings(tmp_path, (VARIANTS | MISREAD)[name])
    assert len([text for text in said if says in text]) == 1, said


@pytest.mark.parametrize(("change", "says"), TEMPLATES.values(), ids=TEMPLATES)
def test_templates_that_disagree(change: Change, says: str, tmp_path: Path) -> None:
    said = warnings(tmp_path, change)
    assert len([text for text in said if says in text]) == 1, said


def test_a_token_without_a_row_matters_only_where_a_prompt_needs_it(tmp_path: Path) -> None:
    change = settings(extra_special_tokens=["<new>", "<x>"])
    said = warnings(tmp_path, change, size=2048)
    assert [text for text in said if "knows '<new>', '<x>', with ids from 2048" in text]
    with pytest.raises(CheckpointError, match="'<x>' has the id 2049"):
        warnings(tmp_path, both(change, settings(chat_template="<x>")), size=2048)
    around = both(change, processors(template("<new>", 2048)))
    with pytest.raises(CheckpointError, match="'<new>' has the id 2048"):
        warnings(tmp_path, around, size=2048)


def test_the_same_template_twice_is_not_warned_about(tmp_path: Path) -> None:
    source = str(find_text_files(copy_text(tmp_path)).json(SETTINGS)["chat_template"])
    assert warnings(tmp_path, file(JINJA, source)) == ()


def test_every_unread_file_is_compared(tmp_path: Path) -> None:
    said = warnings(tmp_path, VARIANTS["slow and older beside newer"])
    for unread in ("vocab.json", "merges.txt", "added_tokens.json"):
        assert len([text for text in said if text.startswith(f"{unread} and token")]) == 1, said
    (tmp_path / "special_tokens_map.json").write_text('{"extra_special_tokens": ["<x>"]}', "utf-8")
    said = text_warnings(find_text_files(tmp_path), 2100)
    assert [text for text in said if "special_tokens_map.json" in text and "'<x>'" in text]


def test_the_file_of_what_is_no_llama_2_is_taken_as_it_is(tmp_path: Path) -> None:
    warnings(tmp_path, MISREAD["Llama 3 called a Llama 2"])
    assert Tokenizer(tmp_path).encode("a b") == [64, 265]
    settings(tokenizer_class="PreTrainedTokenizerFast")(tmp_path)
    assert not [text for text in text_warnings(find_text_files(tmp_path), 2100) if "Llama" in text]


def test_the_fix_of_other_words_works(tmp_path: Path) -> None:
    """The option that the warning names makes the file's own steps count."""
    change = both(
        VARIANTS["other words in the file"], settings(tokenizer_class="PreTrainedTokenizerFast")
    )
    assert warnings(tmp_path, change) == ()
