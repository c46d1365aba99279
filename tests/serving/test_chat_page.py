"""The chat page in a real browser, behind a server that says what each test wrote down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qdeploy.bundle import Bundle
from tests.support import browser
from tests.support.chat_page import FAULTS, HOSTILE, MARKDOWN
from tests.support.chat_server import HOLD, ChatServer, ended, said, serving, thought
from tests.support.devtools import Tab, chromium
from tests.support.serving import Script, chat_model, running

PHONE, DESK = 390, 1280
READY = "document.querySelector('#model').textContent"
DONE = "document.querySelector('[aria-busy=false]')"
LAST = "[...document.querySelectorAll('.assistant')].at(-1)"


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def browser_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    program = browser.find()
    if program is None:
        pytest.skip("Chromium is not installed")
    with chromium(program, tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def tab(browser_tab: Tab, server: ChatServer) -> Tab:
    server.plan()
    browser_tab.look(width=DESK)
    browser_tab.open(server.url, READY)
    return browser_tab


def ask(tab: Tab, text: str = "What is 2 + 2?", *, until: str = DONE) -> None:
    tab.do("document.querySelector('#question').focus()")
    tab.type(text)
    tab.press("Enter")
    tab.wait(until)


def text(tab: Tab, selector: str) -> str:
    return str(tab.do(f"{LAST}.querySelector({json.dumps(selector)}).textContent"))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_looks_right(
    width: int, dark: bool, tab: Tab, server: ChatServer, tmp_path: Path
) -> None:
    tab.look(width=width, dark=dark)
    server.plan(thought("Let me see. " * 20), said(MARKDOWN), said("x" * 400), *ended())
    ask(tab, "A question with a very long word: " + "y" * 300)
    tab.do(f"{LAST}.querySelector('details').open = true")
    tab.do("document.querySelector('#open-settings').click()")
    found: dict[str, Any] = tab.do(FAULTS)
    assert found["page"] == [width, 900]
    assert found["outside"] == []
    assert found["faint"] == []
    assert found["small"] > 12
    assert (found["ground"] < 0.02) if dark else (found["ground"] > 0.9)
    assert tab.console == []
    tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")


def test_it_says_where_the_model_runs(tab: Tab) -> None:
    header = tab.do("document.querySelector('header').innerText")
    assert "qwen3-nano" in header
    assert "cpu · onnxruntime · AMD EPYC" in header
    badge = "document.querySelector('#evidence')"
    assert tab.do(f"[{badge}.textContent, {badge}.className]") == ["device", "badge device"]


def test_an_answer_streams_with_its_thinking_folded(tab: Tab, server: ChatServer) -> None:
    server.plan(thought("two and "), thought("two"), HOLD, said("It is "), said("**4**."), *ended())
    ask(tab, until=f"{LAST}?.querySelector('.thinking .prose').textContent === 'two and two'")
    assert text(tab, "summary").startswith("Thinking")
    assert not tab.do(f"{LAST}.querySelector('details').open")
    server.go.set()
    tab.wait(DONE)
    assert text(tab, "summary").startswith("Thought")
    assert (
        tab.do(f"{LAST}.querySelector('.content').innerHTML") == "<p>It is <strong>4</strong>.</p>"
    )
    figures = text(tab, ".figures")
    assert "tok/s" in figures
    assert "first token after" in figures
    assert "12 tokens" in figures
    assert tab.do("document.querySelector('#status').textContent") == "Answer: It is **4**."
    body = server.asked[0]
    assert body["messages"] == [{"role": "user", "content": "What is 2 + 2?"}]
    assert (body["model"], body["stream"]) == ("qwen3-nano", True)
    assert "temperature" not in body


def test_markdown_becomes_elements(tab: Tab, server: ChatServer) -> None:
    server.plan(*(said(part) for part in (MARKDOWN[:70], MARKDOWN[70:])), *ended())
    ask(tab)
    tags = "h3 strong em del code a ol ul table th td blockquote pre".split()
    content = f"{LAST}.querySelector('.content')"
    assert [t for t in tags if not tab.do(f"!!{content}.querySelector('{t}')")] == []
    link = tab.do(f"(a => [a.href, a.rel, a.target])({content}.querySelector('a'))")
    assert link == ["https://example.org/a?b=1&c=2", "noopener noreferrer nofollow", "_blank"]
    assert text(tab, "pre") == 'print("<b>not bold</b>")'
    assert text(tab, ".code p") == "pythonCopy"


def test_no_answer_can_run_or_load_anything(tab: Tab, server: ChatServer) -> None:
    server.plan(thought(HOSTILE), *(said(c) for c in HOSTILE), *ended())
    ask(tab, HOSTILE.replace("\n", " "))
    tab.do(f"{LAST}.querySelectorAll('*').forEach(e => e.tagName !== 'BUTTON' && e.click())")
    assert tab.do("typeof window.pwned") == "undefined"
    found = "script, img, svg, iframe, style, base, [onclick], [onerror], [onload]"
    assert tab.do(f"document.querySelectorAll('#log :is({found})').length") == 0
    schemes = tab.do("[...document.querySelectorAll('#log a')].map(a => a.protocol)")
    assert set(schemes) <= {"http:", "https:"}
    assert "<script>window.pwned = 1</script>" in text(tab, ".content")
    assert [r for r in tab.requests if not r.startswith(server.url)] == []
    assert tab.console == []


def test_an_answer_that_grows_keeps_what_it_has(tab: Tab, server: ChatServer) -> None:
    server.plan(said("first\n\nsec"), HOLD, said("ond\n\nthird"), *ended())
    ask(tab, until=f"{LAST}?.querySelectorAll('.content p').length === 2")
    tab.do(f"window.kept = {LAST}.querySelector('.content p')")
    server.go.set()
    tab.wait(DONE)
    paragraphs = f"[...{LAST}.querySelectorAll('.content p')]"
    assert tab.do(f"{paragraphs}.map(p => p.textContent)") == ["first", "second", "third"]
    assert tab.do(f"{paragraphs}[0] === window.kept")


def test_the_keyboard_is_enough(tab: Tab, server: ChatServer) -> None:
    order = []
    for _ in range(4):
        order.append(tab.do("document.activeElement.id"))
        tab.press("Tab")
    assert order == ["question", "send", "", "new"]  # the empty one is the browser's own
    server.plan(said("one"), HOLD)
    tab.do("document.querySelector('#question').focus()")
    tab.type("line 1")
    tab.press("Enter", shift=True)
    tab.type("line 2")
    assert tab.do("document.querySelector('#question').value") == "line 1\nline 2"
    tab.press("Enter")
    tab.wait(f"{LAST}?.querySelector('.content').textContent === 'one'")
    assert tab.do("document.querySelector('#send').textContent") == "Stop"
    tab.press("Escape")
    tab.wait(DONE)
    assert server.left.wait(10)
    assert "stopped" in text(tab, ".figures")
    assert tab.do("document.querySelector('#send').textContent") == "Send"
    assert server.asked[0]["messages"][0]["content"] == "line 1\nline 2"


def test_an_answer_can_be_made_again_and_a_chat_begun_anew(tab: Tab, server: ChatServer) -> None:
    server.plan(said("first"), *ended())
    ask(tab)
    server.plan(said("second"), *ended())
    tab.do(f"{LAST}.querySelector('.again').click()")
    tab.wait(f"{LAST}.querySelector('.content').textContent === 'second' && {DONE}")
    assert len(server.asked[0]["messages"]) == 1
    ask(tab, "And 3 + 3?", until="document.querySelectorAll('[aria-busy=false]').length === 2")
    roles = [message["role"] for message in server.asked[1]["messages"]]
    assert roles == ["user", "assistant", "user"]
    assert tab.do("document.querySelectorAll('.again').length") == 1
    tab.do("document.querySelector('#new').click()")
    assert tab.do("document.querySelectorAll('.turn').length") == 0
    ask(tab, "Afresh")
    assert [m["content"] for m in server.asked[2]["messages"]] == ["Afresh"]


def test_settings_go_into_the_request_and_stay_in_the_tab(tab: Tab, server: ChatServer) -> None:
    values = {"system": "Be brief.", "thinking": "off", "temperature": "0", "most": "9", "key": "k"}
    for name, value in values.items():
        field = f"document.querySelector('#{name}')"
        tab.do(f"{field}.value = {json.dumps(value)}; {field}.dispatchEvent(new Event('change'))")
    tab.reload(READY)
    server.plan(said("4"), *ended())
    ask(tab)
    body = server.asked[0]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert (body["temperature"], body["max_completion_tokens"]) == (0, 9)
    assert server.keys == ["Bearer k"]
    assert tab.do("[localStorage.length, document.cookie]") == [0, ""]


@pytest.mark.parametrize(
    ("status", "headers", "told", "shown"),
    [
        (400, {}, "the prompt has 9 tokens", "The prompt has 9 tokens."),
        (401, {}, "no key", "API key"),
        (429, {"Retry-After": "7"}, "full", "too many requests waiting. Try again in 7 s."),
        (503, {}, "draining", "Draining. Try again soon."),
        (502, {}, None, "status 502"),
    ],
)
def test_a_refusal_is_said_in_words(
    status: int, headers: dict[str, str], told: str | None, shown: str, tab: Tab, server: ChatServer
) -> None:
    content = b"<html>" if told is None else json.dumps({"error": {"message": told}}).encode()
    server.refusal = (status, headers, content)
    ask(tab)
    assert shown in text(tab, ".error")
    server.plan(said("4"), *ended())
    tab.do(f"{LAST}.querySelector('.again').click()")
    tab.wait(f"{LAST}.querySelector('.content').textContent === '4'")


@pytest.mark.parametrize(
    ("script", "shown", "kept"),
    [
        ([said("half"), {"error": {"message": "the engine died"}}], "The engine died.", "half"),
        ([said("half")], "ended in the middle", "half"),
        ([said("half"), "{broken"], "no JSON", "half"),
    ],
    ids=["error", "cut", "broken"],
)
def test_a_stream_that_fails_keeps_what_came(
    script: list[Any], shown: str, kept: str, tab: Tab, server: ChatServer
) -> None:
    server.plan(*script)
    ask(tab)
    assert shown in text(tab, ".error")
    assert text(tab, ".content") == kept


@pytest.mark.parametrize("events", [[thought("hm")], [said("4")]], ids=["thinking", "answer"])
def test_an_answer_that_was_cut_says_so(events: list[Any], tab: Tab, server: ChatServer) -> None:
    server.plan(*events, *ended("length"))
    ask(tab)
    figures = text(tab, ".figures")
    assert "cut by the limit of tokens" in figures
    assert ("still thinking" in figures) == (events == [thought("hm")])


def test_it_works_with_the_real_server(browser_tab: Tab, bundle: Bundle) -> None:
    answer = "<think>\nTwo and two.\n</think>\n\nIt is **4**."
    with running(chat_model(bundle, Script(answer, concurrency=2)), concurrency=2) as server:
        browser_tab.open(f"{server.url}/", READY)
        ask(browser_tab)
        assert text(browser_tab, ".thinking .prose") == "Two and two."
        assert text(browser_tab, ".content strong") == "4"
        assert "tokens" in text(browser_tab, ".figures")
        assert "script 0" in browser_tab.do("document.querySelector('#device').textContent")
        ask(browser_tab, "Again", until="document.querySelectorAll('[aria-busy=false]').length > 1")
        assert browser_tab.console == []


def test_the_browser_test_sees_what_is_wrong(tab: Tab) -> None:
    tab.look(width=PHONE)
    tab.do(
        "document.querySelector('#log').insertAdjacentHTML('beforeend', "
        '\'<p style="width:2000px;color:#bbb">x</p><script>window.pwned=1</script>'
        '<img src="http://127.0.0.1:9/x.png" onerror="window.pwned=2">\')'
    )
    tab.do(
        "document.querySelector('#log p:last-of-type').style.cssText = 'width:2000px;color:#bbb'"
    )
    found = tab.do(FAULTS)
    assert found["outside"]
    assert found["faint"]
    assert tab.do("typeof window.pwned") == "undefined"  # the content security policy's work
    assert any("Content Security Policy" in line for line in tab.console)
