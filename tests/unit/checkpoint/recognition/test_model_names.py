"""What a name means: spellings that people copy from web pages, other tools and other systems."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qdeploy.checkpoint.hub_cache import HUB_ID
from qdeploy.checkpoint.recognition.model_names import Named, locate
from qdeploy.errors import CheckpointError
from tests.support.checkpoints import write_checkpoint

ID = "Qwen/Qwen3-0.6B"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def refusal(name: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        locate(name)
    return caught.value


@pytest.mark.parametrize(
    "name",
    [
        ID, "qwen/qwen3-0.6b", "Qwen3-0.6B", "qwen3-0.6b", "0.6B", f"{ID}/", f" {ID}\n", f"'{ID}'",
        f"\u201c{ID}\u201d", "Qwen\\Qwen3-0.6B", "models--Qwen--Qwen3-0.6B",
        f"https://huggingface.co/{ID}", f"http://huggingface.co/{ID}/", f"huggingface.co/{ID}",
        f"hf.co/{ID}", f"https://hf.co/{ID}", f"https://www.huggingface.co/{ID}?library=vllm#a",
        f"https://hf-mirror.com/{ID}", f"https://huggingface.co/{ID}/tree/main",
        f"https://huggingface.co/{ID}/blob/main/config.json", f"https://huggingface.co/{ID}.git",
        f"https://huggingface.co/{ID}/discussions/3", f"https://huggingface.co/api/models/{ID}",
        f"https://huggingface.co/{ID}/resolve/main/model.safetensors?download=true",
        f"https://user:token@huggingface.co/{ID}", f"git@hf.co:{ID}", f"HTTPS://HuggingFace.co/{ID}",
        f"hf://{ID}", f"hf://models/{ID}", f"hf://{ID}@main",
    ],
)  # fmt: skip
def test_spellings_of_one_model(name: str) -> None:
    assert locate(name) == Named(ID, None)


def test_the_host_of_the_users_own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no model's page" in refusal(f"https://hub.example.org/{ID}").what
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org:8443")
    assert locate(f"https://hub.example.org:8443/{ID}") == Named(ID, None)


def test_a_name_of_two_dashes_is_not_split_at_the_wrong_one() -> None:
    assert locate("models--my-org--a--b").name == "my-org/a--b"


@pytest.mark.parametrize(
    ("name", "says", "fix"),
    [
        ("hf://Qwen/Qwen3-0.6B@refs/pr/1", "revision 'refs/pr/1'", "--revision refs/pr/1"),
        (f"{ID}@v1.0", "revision 'v1.0'", f"hf download {ID} --revision v1.0 --local-dir"),
        (f"https://huggingface.co/{ID}/tree/abc123", "revision 'abc123'", "--revision abc123"),
        (f"https://huggingface.co/{ID}/tree/refs%2Fpr%2F1", "'refs/pr/1'", "refs/pr/1"),
        (f"https://huggingface.co/{ID}/tree/refs/pr/1", "'refs/pr/1'", "refs/pr/1"),
        ("https://huggingface.co/Qwen", "no model's", "ORGANIZATION/NAME"),
        ("https://huggingface.co/", "no model's", "ORGANIZATION/NAME"),
        ("https://huggingface.co/datasets/a/b", "no model's", "ORGANIZATION/NAME"),
        ("https://huggingface.co/collections/Qwen/qwen3-67dd", "no model's", "ORGANIZATION/NAME"),
        ("https://modelscope.cn/models/Qwen/Qwen3-0.6B/files", "ModelScope", f"or give {ID}"),
        ("https://github.com/QwenLM/Qwen3", "no model's page", "hub id"),
        ("s3://bucket/model", "no model's page", "give the folder"),
        ("qwen3:8b", "Ollama", "Qwen/Qwen3-8B"),
        ("qwen3:8b-q4_K_M", "Ollama", "Qwen/Qwen3-8B"),
        ("qwen3:30b-a3b-instruct-2507-q4_K_M", "Ollama", "Qwen/Qwen3-30B-A3B-Instruct-2507"),
        ("qwen3:latest", "Ollama", "e.g. Qwen/Qwen3-0.6B"),
        ("Qwen/Qwen3-0.6B:latest", "a tag", f"hub id {ID}"),
        ("hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "a tag", "hub id Qwen/Qwen3-8B"),
        ("hf.co/me/tuned-GGUF:Q4_K_M", "a tag", "hub id me/tuned"),
        ("ollama.com/library/qwen3:8b", "a tag", "hub id Qwen/Qwen3-8B"),
        ("Qwen3-0.8B", "is called 'Qwen3-0.8B'", "did you mean 'Qwen/Qwen3-0.6B'?"),
        ("$HOME", "is called '$HOME'", "choose one of"),
    ],
)
def test_what_is_refused_with_the_name_to_give(name: str, says: str, fix: str) -> None:
    error = refusal(name)
    assert says in error.what
    assert fix in str(error.fix)


class TestFolders:
    def test_come_first(self) -> None:
        for name in ("0.6B", "models--a--b", "qwen3:8b" if os.name == "posix" else "x"):
            Path(name).mkdir()
            assert locate(name) == Named(name, Path(name))

    def test_in_other_systems_spellings(self, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path / "models" / "mine")
        assert locate(f"{folder}/").name == "mine"
        assert locate(folder.as_uri()).folder == folder
        assert locate("models\\mine").name == "mine"
        assert locate("'./models/mine'").name == "mine"

    def test_in_the_hubs_cache_are_called_by_their_hub_id(self, tmp_path: Path) -> None:
        folder = tmp_path / "hub" / "models--Qwen--Qwen3-0.6B" / "snapshots" / "c1899de2"
        folder.mkdir(parents=True)
        assert locate(str(folder)) == Named(ID, folder)

    def test_that_are_misspelt_are_suggested_by_their_neighbours(self, tmp_path: Path) -> None:
        folder = write_checkpoint(tmp_path / "models" / "qwen-mine")
        for name in ("./models/qwen-mime", f"{tmp_path}/models/qwen-mine-1", ".\\models\\qwenmine"):
            error = refusal(name)
            meant = str(error.fix).removeprefix("did you mean '").removesuffix("'?")
            assert locate(meant).folder == Path(meant)
            assert Path(meant).resolve() == folder

    def test_that_do_not_exist_at_all(self, tmp_path: Path) -> None:
        write_checkpoint(tmp_path / "models" / "qwen-mine")
        error = refusal(f"{tmp_path}/elsewhere/x")
        assert error.fix == f"check the path: {tmp_path} holds models"


PARTS = st.sampled_from(
    ["https://", "hf://", "huggingface.co", "hf.co", "/", "\\", ":", "@", "--", "models--", "refs",
     "Qwen", "Qwen3-0.6B", "8B", "tree", "main", "..", ".", "~", "?", "#", "%2F", " ", "\n", "'",
     "git@", "\x00", "\ud800", "模型"]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(PARTS, max_size=8).map("".join) | st.text(max_size=20))
def test_any_text_is_a_model_or_refused_with_a_fix(name: str) -> None:
    try:
        found = locate(name)
    except CheckpointError as error:
        given = error.fix
    else:
        given = "a model"
        assert found.folder is not None or HUB_ID.fullmatch(found.name)
    assert given
