"""Addresses are told from paths, and shown without what opens them."""

from __future__ import annotations

import pytest

from sacdoctor.fleet import Address, is_address


@pytest.mark.parametrize(
    "text", ["s3://bucket/model.zip", "zip://m.zip::https://host/all.zip", "HTTPS://host/x"]
)
def test_an_address_has_a_scheme(text: str) -> None:
    assert is_address(text)


def test_a_scheme_is_the_same_in_capitals() -> None:
    assert Address("HTTPS://host/Run/a.zip").url == "https://host/Run/a.zip"
    assert Address("ZIP://M.zip::S3://Lab/A.zip").url == "zip://M.zip::s3://Lab/A.zip"
    assert Address("https://host/NOTE://x.zip").url == "https://host/NOTE://x.zip"


@pytest.mark.parametrize("text", ["model.zip", "runs/a:b.zip", "C:\\runs\\a.zip", "a::b", "-", ""])
def test_a_path_has_none(text: str) -> None:
    assert not is_address(text)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hunter2@host:8443/a.zip", "https://host:8443/a.zip"),
        ("https://hunter2@host/a@b.zip", "https://host/a@b.zip"),
        ("https://me:hun/ter2@host/a.zip", "https://host/a.zip"),
        ("ssh://me:hunter2@host/a.zip", "ssh://host/a.zip"),
        (
            "https://host/a.zip?X-Amz-Signature=hunter2&versionId=7#hunter2",
            "https://host/a.zip?X-Amz-Signature=…&versionId=7",
        ),
        ("https://host/a.zip?hunter2", "https://host/a.zip?…"),
        ("https://[::1]:80/a.zip", "https://[::1]:80/a.zip"),
        ("zip://m.zip::https://me:hunter2@host/a.zip", "zip://m.zip::https://host/a.zip"),
        ("s3://bucket/run?/*.zip", "s3://bucket/run?/*.zip"),
    ],
)
def test_what_opens_it_is_not_shown(url: str, shown: str) -> None:
    address = Address(url)
    assert str(address) == shown
    assert "hunter2" not in repr(address)
