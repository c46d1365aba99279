"""The page in a real browser: phone and desktop, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.report.data.merged import merge_results
from qdeploy.report.data.model import build_page
from qdeploy.report.html import render_html
from qdeploy.targets import Evidence
from tests.support import browser, shown
from tests.support.browser import Browser
from tests.support.page_colors import COLORS

PHONE, DESK = 390, 1280
MEASURE = (
    "(window, document) => {"
    + COLORS
    + """
  const root = document.documentElement, css = e => window.getComputedStyle(e);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(css(e).backgroundColor);
      if (c.length < 4 || c[3] > .99) return c;
    }
  };
  const contrast = e => {
    const svg = e.closest("svg");
    const text = light(parse(svg ? css(e).fill : css(e).color)), behind = light(ground(svg || e));
    return (Math.max(text, behind) + .05) / (Math.min(text, behind) + .05);
  };
  const texts = [...document.querySelectorAll("h1,h2,h3,p,dt,dd,th,td,small,summary,.badge,text")]
    .filter(e => e.textContent.trim() && e.getClientRects().length);
  const boxes = [...document.querySelectorAll("main *")].map(e => [e, e.getBoundingClientRect()])
    .filter(([e, r]) => r.width && !e.closest(".scroll *"));
  return {
    page: [root.scrollWidth, root.clientWidth],
    outside: boxes.filter(([e, r]) => r.left < -1 || r.right > root.clientWidth + 1)
      .map(([e]) => e.outerHTML.slice(0, 80)),
    scrolled: [...document.querySelectorAll(".scroll")].filter(e => e.scrollWidth > e.clientWidth)
      .every(e => css(e).overflowX === "auto"),
    ground: light(parse(css(document.body).backgroundColor)),
    faint: texts.filter(e => contrast(e) < 4.5).map(e => e.outerHTML.slice(0, 80)),
    small: [...document.querySelectorAll(".plot text")].filter(e => e.getClientRects().length)
      .map(e => parseFloat(css(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b))
      .reduce((a, b) => Math.min(a, b)),
    bars: [...document.querySelectorAll("rect.bar")].map(e => css(e).fill),
    numbers: css(document.body).fontVariantNumeric,
    pwned: typeof window.pwned,
  };
}"""
)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    program = browser.find()
    if program is None:
        pytest.skip("Chromium is not installed")
    return Browser(program, tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page() -> str:
    return render_html(build_page(merge_results(shown.two_machines())))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_looks_right(width: int, dark: bool, page: str, chromium: Browser) -> None:
    view = chromium.view(page, MEASURE, width=width, dark=dark)
    found: dict[str, Any] = view.value
    assert found["page"] == [width, width]
    assert found["outside"] == []
    assert found["scrolled"]
    assert (found["ground"] < 0.02) if dark else (found["ground"] > 0.9)
    assert found["faint"] == []
    assert found["small"] > 9.5
    assert "tabular-nums" in found["numbers"]
    assert (view.requests, view.console) == ([], [])


@pytest.mark.parametrize(
    "words", ["Made-up-9000-" * 25, "昇腾 " + "处理器" * 60, "a b " * 80], ids=len
)
def test_no_name_is_too_long_for_a_phone(words: str, chromium: Browser) -> None:
    of, on = shown.artifact(words, model=words), shown.environment(device=words, driver=words)
    forecast = {"decode_tokens_per_s": 50.0}
    machine = shown.SERVER.model_copy(update={"name": words, "cpu": words})
    found = shown.file(
        shown.bench(of=of, on=on, predicted=forecast, memory_bandwidth_utilization=1.4),
        shown.evaluation(of=of, environment=on, reference={"name": words}, failures=(words,)),
        shown.diagnosis(status="failed", message=words, fix=words),
        machine=machine,
    )
    text = render_html(build_page(merge_results([found])))
    view = chromium.view(text, MEASURE, width=PHONE, dark=False)
    assert view.value["page"] == [PHONE, PHONE]
    assert view.value["outside"] == []


def test_a_simulated_device_is_hatched(chromium: Browser) -> None:
    on = shown.environment(evidence=Evidence.SIMULATED)
    found = shown.file(shown.bench(), shown.bench(on=on))
    text = render_html(build_page(merge_results([found])))
    bars = chromium.view(text, MEASURE, width=DESK, dark=False).value["bars"]
    assert {bar.startswith("url(") for bar in bars} == {True, False}


def test_the_browser_test_sees_what_is_wrong(page: str, chromium: Browser) -> None:
    """A wide box, faint text, a script and a request: each is found."""
    wrong = '<p style="width:2000px;color:#bbb">x</p><script>window.pwned=1</script><img src="a:b">'
    spoilt = page.replace("<main>", f"<main>{wrong}")
    view = chromium.view(spoilt, MEASURE, width=PHONE, dark=False)
    assert view.value["page"][0] > PHONE
    assert len(view.value["outside"]) == len(view.value["faint"]) == 1
    assert view.value["pwned"] == "undefined"  # the page's own content security policy
    assert any("Content Security Policy" in line for line in view.console)


def test_a_screenshot_is_a_picture_of_it(page: str, chromium: Browser, tmp_path: Path) -> None:
    file = tmp_path / "phone.png"
    chromium.picture(page, file, width=PHONE, dark=True, height=900)
    assert file.read_bytes().startswith(b"\x89PNG")
