"""A call that must be made, on real runtimes.

The embedded models are not trained to make any, so the answer is cut after a few tokens. What a
schema does to the tokens is tested beside the log-probabilities.
"""

from __future__ import annotations

from tests.conformance.conftest import Loaded
from tests.support.tools import tool

TOOLS = (tool("pick", fruit={"enum": ["apple", "pear"]}),)


def test_a_required_call_comes_after_the_thinking(loaded: Loaded) -> None:
    generation = loaded.ask(
        "Which?", thinking=True, thinking_budget=3, tools=TOOLS, tool_choice="required",
        max_new_tokens=12,
    )  # fmt: skip
    assert generation.thinking
    assert generation.reasoning_tokens == 3
    if loaded.session.limits.json_schema:
        assert generation.text == ""
        assert generation.finish_reason in ("tool_calls", "length")
