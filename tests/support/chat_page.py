"""What tests of the chat page let a model say, and the script that looks for faults of the page."""

from __future__ import annotations

from tests.support.page_colors import COLORS

MARKDOWN = """\
# A heading
Some **bold**, *slanted*, ~~gone~~ and `code`, and [a link](https://example.org/a?b=1&c=2).

1. one
2. two
   - inner

- [x] done

| name | tok/s |
|---|--:|
| nano | 1234.5 |

> quoted

```python
print("<b>not bold</b>")
```
"""
HOSTILE = """\
<script>window.pwned = 1</script>
<img src=x onerror="window.pwned = 2">

[a](javascript:window.pwned=3) [b](data:text/html,<script>window.pwned=4</script>) \
[c](JaVaScRiPt:window.pwned=5) [d](java\tscript:window.pwned=6) [e](vbscript:x) [f](/v1/models)
![picture](http://127.0.0.1:9/leak.png)

<svg onload="window.pwned = 7"></svg><iframe src="javascript:parent.pwned = 8"></iframe>

<style>* { display: none }</style><base href="http://127.0.0.1:9/">

| a | b |
|---|
| <i onclick="window.pwned = 9"> | `

```<script>window.pwned = 10</script>
**unclosed [link](http://
"""
FAULTS = (
    "(() => {"
    + COLORS
    + """
  const css = e => getComputedStyle(e);
  const ground = e => {
    for (; e; e = e.parentElement) {
      const c = parse(css(e).backgroundColor);
      if (c.length < 4 || c[3] > .99) return c;
    }
  };
  const contrast = e => {
    const text = light(parse(css(e).color)), behind = light(ground(e));
    return (Math.max(text, behind) + .05) / (Math.min(text, behind) + .05);
  };
  const seen = [...document.querySelectorAll("body *")].filter(
    e => e.getClientRects().length && !e.closest(".hidden"));
  const texts = seen.filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
  const name = e => e.outerHTML.slice(0, 100);
  return {
    page: [document.documentElement.scrollWidth, document.documentElement.scrollHeight],
    outside: seen.filter(e => !e.closest(".scroll *, pre *"))
      .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(name),
    faint: texts.filter(e => contrast(e) < 4.5).map(name),
    ground: light(parse(css(document.body).backgroundColor)),
    small: Math.min(...texts.map(e => parseFloat(css(e).fontSize))),
  };
})()"""
)
"""Elements outside of the window, texts without contrast, and the sizes of page and texts."""
