"""The reference is what the docstrings say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import aegis_governance as aegis
from aegis_governance import spark, telemetry

import reference

DOCUMENT = Path(__file__).parents[4] / "docs" / "python-api.md"


def test_the_reference_is_what_the_docstrings_say() -> None:
    written = reference.main()
    if os.environ.get("AEGIS_TEST_WRITE") == "1":
        DOCUMENT.write_text(written)
    assert DOCUMENT.read_text() == written, (
        "docs/python-api.md is out of date: AEGIS_TEST_WRITE=1 cargo test -p aegis-python --test python -- reference"
    )


@pytest.mark.parametrize("module", [aegis, telemetry, telemetry.encryption, telemetry.pipeline, spark, aegis.errors])
def test_every_public_name_is_in_the_reference(module: object) -> None:
    text = DOCUMENT.read_text()
    for name in getattr(module, "__all__"):
        if name not in ("errors", "__version__"):
            assert f"`{name}`" in text or f"`{name}(" in text, name
