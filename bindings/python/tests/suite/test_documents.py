"""The Python blocks of `docs/guides/python.md`, run as they stand; only directories are others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict

import pytest

import aegis_governance as aegis

DOCUMENT = Path(__file__).parents[4] / "docs" / "guides" / "python.md"


def blocks() -> Dict[str, str]:
    """Each block under the heading before it."""
    found: Dict[str, str] = {}
    for section in DOCUMENT.read_text().split("\n## ")[1:]:
        title = section.splitlines()[0]
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", section, re.S)):
            found[f"{title} {number}" if number else title] = block
    return found


def test_the_blocks_run_in_order(environment: Any, tmp_path: Path) -> None:
    risk, security = (aegis.BIP322Provider().generate_keypair() for _ in range(2))
    sent = []
    names: Dict[str, Any] = {
        "serve": lambda: None,
        "send_somewhere": sent.append,
        "alices_private_key": risk[0],
        "alices_key": risk[1],
        "bobs_key": security[1],
        "DEK": "dek-v1-20260101",
    }
    run = []
    for title, block in blocks().items():
        if title == "Data frames":
            continue  # wants pyarrow; `test_arrow.py` does the same with another library
        if title == "Approvals":
            make, check = block.split("checks =", 1)
            exec(compile(make, title, "exec"), names)
            names["bobs_signature"] = names["request"].sign("bob", "security_lead", security[0])
            block = "checks =" + check
        for directory in ["/var/lib/service", "/var/log/service", "/var/spool/service"]:
            (tmp_path / directory.strip("/")).mkdir(parents=True, exist_ok=True)
        exec(compile(block.replace("/var/", f"{tmp_path}/var/"), title, "exec"), names)
        run.append(title)
    assert run == ["Seal, and open", "Seal, and open 1", "Pipelines", "Approvals"]
    assert sent and sent[0]["host"] == "web-1"


@pytest.mark.parametrize("name", ["AegisHandler", "seal_event_dict", "OTelLogProcessor"])
def test_what_the_tables_name_is_there(name: str) -> None:
    assert name in DOCUMENT.read_text() and hasattr(aegis.telemetry, name)


def test_the_package_is_the_same_from_both_directories() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python before 3.11 reads no TOML")
    here = DOCUMENT.parents[2]
    root, binding = (
        tomllib.loads((here / directory / "pyproject.toml").read_text()) for directory in [".", "bindings/python"]
    )
    for project, prefix in [(root, "bindings/python/"), (binding, "")]:
        assert project["project"].pop("readme") == f"{prefix}README.md"
        maturin = project["tool"]["maturin"]
        assert maturin.pop("manifest-path") == f"{prefix}Cargo.toml"
        assert maturin.pop("python-source") == f"{prefix}python"
    assert root["project"] == binding["project"] and root["build-system"] == binding["build-system"]
    assert root["tool"]["maturin"] == binding["tool"]["maturin"]
    assert set(root["project"]["optional-dependencies"]) == {"kms", "hsm"}
