"""What a session refuses before its runtime is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qdeploy.backends.openvino.session import OpenVINOSession
from qdeploy.errors import PromptError
from qdeploy.interface import Device, Placement
from tests.support.openvino_settings import CONTEXT, CPU, NPU, resolve


def session(device: Device) -> OpenVINOSession:
    """A session whose runtime is never called."""
    placement = Placement((device.id,), device.evidence, "none was asked")
    nothing: Any = None
    return OpenVINOSession(nothing, object(), placement, resolve(device), Path(), 100, None)


@pytest.mark.parametrize(
    ("device", "tokens", "named"),
    [
        (CPU, 0, "empty"),
        (CPU, CONTEXT, str(CONTEXT)),
        (CPU, CONTEXT + 5, str(CONTEXT)),
        (NPU, 1, "2 or more"),
        (NPU, 1025, "a prompt of 1024"),
        (NPU, 1152, "1152"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(device: Device, tokens: int, named: str) -> None:
    with pytest.raises(PromptError, match=named) as caught:
        session(device).check_prompt([5] * tokens)
    names_the_setting = "raise MAX_PROMPT_LEN" in (caught.value.fix or "")
    assert names_the_setting == (device is NPU and tokens > 1)


@pytest.mark.parametrize(
    ("device", "tokens"), [(CPU, 1), (CPU, CONTEXT - 1), (NPU, 2), (NPU, 1024)]
)
def test_a_prompt_that_fits_is_taken(device: Device, tokens: int) -> None:
    session(device).check_prompt([99] * tokens)


@pytest.mark.parametrize("wrong", [-1, 100, 2**31])
def test_ids_outside_the_vocabulary_are_refused(wrong: int) -> None:
    with pytest.raises(PromptError, match=str(wrong)):
        session(CPU).check_prompt([5, wrong])


@pytest.mark.parametrize(("device", "longest"), [(CPU, CONTEXT), (NPU, 1151)])
def test_the_longest_text_to_score(device: Device, longest: int) -> None:
    assert (resolve(device).limits(100).score or CONTEXT) == longest
    with pytest.raises(PromptError, match=str(longest)):
        session(device).score([5] * (longest + 1))
