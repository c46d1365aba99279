"""`--endpoint URL`: a server that runs already as the device, with and without a bundle."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qdeploy.tokenization.tokenizer import Tokenizer
from tests.support.command import Command, QuickCommand
from tests.support.stub_engine import StubEngine, deltas, like_vllm, models, stub_engine

CHATS = "/v1/chat/completions"
USAGE = {"prompt_tokens": 4, "completion_tokens": 7}


@pytest.fixture
def stub() -> Iterator[StubEngine]:
    with stub_engine() as made:
        made.replies["/v1/models"] = models("nano")
        made.replies[CHATS] = deltas({"reasoning": "Add."}, {"content": "4"}, usage=USAGE)
        yield made


def test_a_prompt_alone_is_answered_by_the_server(stub: StubEngine, quick: QuickCommand) -> None:
    done = quick("run", "--endpoint", stub.url, "2 + 2?", "--temperature", "0", "--stop", "!")
    assert (done.code, done.stdout) == (0, "4\n"), done.stderr
    assert "Add." in done.stderr
    assert "4 prompt + 7 new tokens by the server's count" in done.stderr
    assert "on hardware that it does not name" in done.stderr
    assert "evidence: none" in done.stderr
    (body,) = stub.bodies(CHATS)
    assert body["messages"] == [{"role": "user", "content": "2 + 2?"}]
    assert (body["temperature"], body["stop"]) == (0, ["!"])


def test_a_prompt_comes_from_stdin_and_goes_to_json(stub: StubEngine, quick: QuickCommand) -> None:
    done = quick("run", "--endpoint", stub.url, "--json", stdin="2 + 2?")
    assert done.code == 0, done.stderr
    told = done.json
    assert (told["text"], told["thinking"], told["new_tokens"]) == ("4", "Add.", 7)
    assert (told["target"], told["evidence"]) == ("endpoint", "none")


@pytest.mark.usefixtures("bundle")
def test_with_a_bundle_token_ids_go_there_and_come_back(
    stub: StubEngine, quick: QuickCommand, here: Path
) -> None:
    tokenizer = Tokenizer(here / "bundle")
    like_vllm(stub, [*tokenizer.encode("four"), min(tokenizer.stop_ids)])
    done = quick("run", "bundle", "2 + 2?", "--no-think", "--endpoint", stub.url, "--json")
    assert done.code == 0, done.stderr
    assert (done.json["text"], done.json["backend"]) == ("four", "endpoint")
    prompt = tokenizer.render([{"role": "user", "content": "2 + 2?"}], thinking=False)
    assert stub.bodies("/v1/completions")[-1]["prompt"] == tokenizer.encode(prompt)


@pytest.mark.usefixtures("bundle")
def test_bench_says_what_it_cannot_see(stub: StubEngine, quick: QuickCommand) -> None:
    """What the client's process takes is not the server's, nor are the bundle's weights."""
    like_vllm(stub, [5] * 9)
    short = ("--prompt", "3", "--new", "2", "--runs", "1", "--processes", "1")
    done = quick("bench", "bundle", *short, "--endpoint", stub.url, "--json")
    assert done.code == 0, done.stderr
    (row,) = done.json["results"]
    assert row["environment"]["target"] == "endpoint"
    assert row["artifact"]["precision"] == "as served"
    unseen = ("peak_memory_bytes", "energy_joules", "memory_bandwidth_utilization", "predicted")
    assert [row[name] for name in unseen] == [None] * 4
    assert quick.reports(done) == 1


@pytest.mark.usefixtures("bundle")
def test_a_server_is_measured_under_load(stub: StubEngine, quick: QuickCommand) -> None:
    like_vllm(stub, [5] * 9)
    short = ("--prompt", "3", "--new", "2", "--processes", "1", "--concurrency", "2")
    done = quick("bench", "bundle", *short, "--endpoint", stub.url, "--json")
    assert done.code == 0, done.stderr
    (row,) = done.json["results"]
    assert (row["kind"], row["failures"], len(row["samples"])) == ("load", {}, 8)
    assert row["environment"]["target"] == "endpoint"
    assert row["artifact"]["precision"] == "as served"
    assert row["peak_memory_bytes"] is None
    assert row["serves"] == 2


@pytest.mark.parametrize(
    "command", [["run", "2 + 2?"], ["bench", "bundle"], ["eval", "bundle", "bundle"]]
)
def test_a_server_that_is_not_there_is_an_absent_target(
    command: list[str], bundle: Path, quick: QuickCommand
) -> None:
    with stub_engine() as stub:
        url = stub.url
    quick(*command, "--endpoint", url).fails(3, "no engine answers", "start the server")
    assert bundle.is_dir()


@pytest.mark.parametrize("usage", [USAGE, None])
def test_bench_without_a_bundle_has_the_servers_count_or_none(
    stub: StubEngine, quick: QuickCommand, usage: object
) -> None:
    stub.replies[CHATS] = deltas({"content": "a b"}, {"content": " c"}, usage=usage)
    short = ("--prompt", "3,5", "--new", "8", "--runs", "2")
    done = quick("bench", "--endpoint", stub.url, *short, "--json")
    assert done.code == 0, done.stderr
    assert done.json["evidence"] == "none"
    few, many = done.json["results"]
    assert [row["prompt_words"] for row in (few, many)] == [3, 5]
    assert [run["chunks"] for run in few["runs"]] == [2, 2]
    told = [few["runs"][0][name] for name in ("prompt_tokens", "new_tokens", "tokens_counted_by")]
    assert told == ([4, 7, "the server"] if usage else [None] * 3)
    assert (few["tpot_ms"] is None) is (usage is None)
    prompts = [body["messages"][0]["content"] for body in stub.bodies(CHATS)]
    assert len(set(prompts)) == len(prompts) == 6, "no run finds its prompt in a cache"
    shown = quick("bench", "--endpoint", stub.url, *short)
    assert ("not told" in shown.stdout) is (usage is None)


def test_bench_without_a_bundle_writes_no_results(stub: StubEngine, quick: QuickCommand) -> None:
    quick("bench", "--endpoint", stub.url, "-o", "x.json").fails(2, "--output needs a bundle")
    quick("bench").fails(2, "Missing argument 'BUNDLES...'")


def test_the_key_is_in_no_output(stub: StubEngine, quick: QuickCommand) -> None:
    secret = "-".join(["very", "secret"])
    asked = ("run", "--endpoint", stub.url, "hi", "--json")
    done = quick(*asked, QDEPLOY_ENDPOINT_KEY=secret)
    assert secret not in done.stdout + done.stderr
    assert stub.asked[-1].headers["Authorization"] == f"Bearer {secret}"
    stub.replies[CHATS] = stub.replies["/nowhere"] = models("nano", owner=secret)
    assert secret not in quick(*asked, QDEPLOY_ENDPOINT_KEY=secret).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--endpoint", "http://u:p@h", "hi"], "holds a password"),
        (["--endpoint", "localhost:8000", "hi"], "--endpoint takes an address"),
        (["--endpoint", "http://h", "hi", "--target", "cpu"], "is the target and the device"),
        (["--endpoint", "http://h", "hi", "--device", "1"], "is the target and the device"),
        (["--endpoint", "http://h", "hi", "--context", "9"], "--context needs a bundle"),
        (["--endpoint", "http://h", "hi", "--simulate"], "--simulate needs a bundle"),
        (["--endpoint-model", "x", "bundle", "hi"], "needs an --endpoint"),
        ([], "Missing argument 'MODEL'"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], words: str, quick: QuickCommand
) -> None:
    quick("run", *arguments).fails(2, words)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals on Windows")
def test_a_chat_remembers(stub: StubEngine, qdeploy: Command) -> None:
    from tests.support.terminal import terminal

    with terminal(qdeploy, "run", "--endpoint", stub.url) as chat:
        assert "/exit leaves" in chat.until("> ")
        for question in ("2 + 2?", "Sure?"):
            chat.type(f"{question}\n")
            chat.until("tok/s")
            chat.until("> ")
    asked, told = stub.bodies(CHATS)
    assert [m["content"] for m in told["messages"]] == ["2 + 2?", "4", "Sure?"], json.dumps(asked)


def test_a_plan_writes_the_configuration_of_mindie(quick: QuickCommand, here: Path) -> None:
    asked = ("plan", "Qwen/Qwen3-8B", "--target", "ascend", "--context", "4096")
    done = quick(*asked, "--mindie", "config.json", "--split", "2")
    assert done.code == 0, done.stderr
    backend = json.loads((here / "config.json").read_text())["BackendConfig"]
    assert backend["npuDeviceIds"] == [[0, 1]]
    assert backend["ModelDeployConfig"]["ModelConfig"][0]["modelWeightPath"] == "/models/Qwen3-8B"
    quick(*asked, "--mindie", "config.json").fails(2, "config.json: the file exists")
    quick("plan", "Qwen/Qwen3-8B", "--mindie", "x.json").fails(2, "needs a --target ascend")
