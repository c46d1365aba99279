"""Addresses of engines: one spelling, no secrets."""

from __future__ import annotations

import pytest

from qdeploy.engines.address import parse_address
from qdeploy.errors import InputError


@pytest.mark.parametrize(
    ("url", "root", "api"),
    [
        ("http://host:8000", "http://host:8000", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000", "http://host:8000/v1"),
        ("http://host/v3", "http://host", "http://host/v3"),
        ("https://host/team/v1", "https://host/team", "https://host/team/v1"),
        (" http://[::1]:80 ", "http://[::1]:80", "http://[::1]:80/v1"),
    ],
)
def test_an_address_is_taken_with_and_without_its_version(url: str, root: str, api: str) -> None:
    address = parse_address(url)
    assert (address.root, address.api) == (root, api)


@pytest.mark.parametrize(
    ("host", "here"),
    [("localhost", True), ("127.0.0.2", True), ("[::1]", True), ("10.0.0.1", False), ("h", False)],
)
def test_loopback_is_told(host: str, here: bool) -> None:
    assert parse_address(f"http://{host}:1").is_loopback is here


@pytest.mark.parametrize(
    "url", ["", "host:8000", "ftp://host", "http://", "http://h:port", "http://[::1"]
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="address"):
        parse_address(url)


@pytest.mark.parametrize(
    "url", ["http://user:hunter2@host/v1", "http://host/v1?key=hunter2", "http://host/#hunter2"]
)
def test_secrets_in_an_address_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="without them") as caught:
        parse_address(url)
    assert "hunter2" not in str(caught.value)
    assert "user" not in str(caught.value)
