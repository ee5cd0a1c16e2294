"""The types that are promised are those that are there."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterator, Tuple

import pytest

import aegis_governance as aegis
from aegis_governance import _native

PACKAGE = Path(aegis.__file__).parent
STUB = PACKAGE / "_native.pyi"
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def promised() -> Iterator[Tuple[str, Any]]:
    """Every class and function of the stub, with its members."""
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_"):
            yield node.name, node


def test_the_stub_has_every_name_and_no_other() -> None:
    there = {name for name in dir(_native) if not name.startswith("_")}
    assert {name for name, _ in promised()} == there


@pytest.mark.parametrize("name,node", list(promised()), ids=[name for name, _ in promised()])
def test_the_stub_has_every_member_and_its_parameters(name: str, node: Any) -> None:
    found = getattr(_native, name)
    if isinstance(node, ast.FunctionDef):
        check(found, node)
        return
    members = {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}
    there = {member for member in vars(found) if not member.startswith("_") and not member.isupper()}
    assert {member for member in members if not member.startswith("_")} == there
    for member, declared in members.items():
        if member == "__new__":
            # Python 3.9 shows no signature of a class that was made by its stable ABI.
            if sys.version_info >= (3, 10):
                check(found, declared)
        elif not member.startswith("_") and inspect.isroutine(getattr(found, member)):
            check(getattr(found, member), declared)
    assert found.__doc__, "says what it is"
    for member in there:
        assert getattr(found, member).__doc__, f"{member} says what it does"


def check(found: Any, declared: ast.FunctionDef) -> None:
    def names(arguments: Any) -> Any:
        return [parameter for parameter in arguments if parameter not in ("self", "cls")]

    there = list(inspect.signature(found).parameters)
    arguments = declared.args
    assert names(there) == names([a.arg for a in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]])


def a_program(tmp_path: Path) -> Path:
    """What a program does with the package, with the types that it expects."""
    user = tmp_path / "user.py"
    user.write_text(
        "from aegis_governance import get_kek_provider, create_pii_enricher, PIIDecryptor, TelemetryPipeline\n"
        "from aegis_governance import SearchTokens, inspect\n"
        "from telemetry.encryption import DEKRotator\n"
        "kek = get_kek_provider('in_memory')\n"
        "enricher = create_pii_enricher(public_key=kek.get_public_key(), dek_version='dek-v1-20260101')\n"
        "sealed: dict[str, object] = enricher({'actor_id': 'x'})\n"
        "text: str = PIIDecryptor(kek).decrypt('{}')\n"
        "async def main() -> None:\n"
        "    async with TelemetryPipeline() as pipeline:\n"
        "        pipeline.add_enricher(enricher)\n"
        "        number: int = await pipeline.aemit(sealed)\n"
        "rotator: DEKRotator = DEKRotator(max_age_days=1.5)\n"
        "class Mine(TelemetryPipeline): ...\n"
        "mine: Mine = Mine.from_config('pipeline.toml')\n"
        "pointers: list[str] = [field['pointer'] for field in inspect('{}')['sealed']]\n"
        "token: str = SearchTokens(b'', ['actor_id'], epoch=2).token('actor_id', 1)\n"
    )
    return user


def test_mypy_finds_nothing_to_say(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    user = a_program(tmp_path)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--cache-dir", str(tmp_path / "cache")]
    command += ["--ignore-missing-imports", str(user)]
    root = PACKAGE.parent
    command += [str(root / name) for name in ["aegis_governance", "crypto", "telemetry"]]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_pyright_finds_nothing_to_say(tmp_path: Path) -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not on the path: it is a program for Node.js, which `npm install pyright` fetches")
    project = tomllib_of(PROJECT)["tool"]["pyright"]
    root = PACKAGE.parent
    settings = {
        **project,
        "include": [str(a_program(tmp_path)), *(str(root / name) for name in ["aegis_governance", "crypto", "telemetry"])],
        "strict": [str(root / path.removeprefix("python/")) for path in project["strict"]],
        "extraPaths": [str(root)],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [pyright, "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def tomllib_of(path: Path) -> Any:
    tomllib = pytest.importorskip("tomllib", reason="Python before 3.11 reads no TOML")
    return tomllib.loads(path.read_text())


def test_docstrings_name_errors_that_exist() -> None:
    from aegis_governance import errors

    said = set()
    for _, node in promised():
        found = getattr(_native, node.name)
        for thing in [found, *vars(found).values()] if isinstance(found, type) else [found]:
            said |= set(re.findall(r":raises (\w+):", getattr(thing, "__doc__", None) or ""))
    assert said and all(hasattr(errors, name) or name in ("ValueError", "TypeError") for name in said), said
