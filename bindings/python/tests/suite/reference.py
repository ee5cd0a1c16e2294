"""Writes `docs/python-api.md` from the docstrings and the types of the package.

    python reference.py > docs/python-api.md        # with the package on PYTHONPATH

`test_reference.py` fails when the file is not what this writes.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import textwrap
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import aegis_governance
from aegis_governance import _native

PACKAGE = Path(aegis_governance.__file__).parent
# In the order of the document: heading, module, and where its names are imported from.
PYTHON_MODULES = [
    ("Enrichers by name", "telemetry/encryption.py", "aegis_governance.telemetry.encryption"),
    ("Log records", "telemetry/log_records.py", "aegis_governance.telemetry.log_records"),
    ("Spark", "spark.py", "aegis_governance.spark"),
    ("Secrets", "_secret.py", "aegis_governance._secret"),
]
HEAD = """\
# Python reference

Every public name of `aegis_governance`, with its types, from the docstrings of the package. How they work together is in
[the guide](guides/python.md). Made by `bindings/python/tests/suite/reference.py`; a test says when it is out of date.

All names are in `aegis_governance` itself, but for those of `aegis_governance.spark`, and of `aegis_governance.telemetry` what
concerns log records. Events are `dict`, `str`, `bytes`, `bytearray` or `memoryview`; keys and boxes are `bytes` or what can be
seen as such; times are RFC 3339 in UTC.
"""


def main() -> str:
    parts = [HEAD]
    for heading, nodes in sections_of_the_stub():
        parts.append(f"## {heading}\n")
        for node in nodes:
            found = getattr(_native, node.name)
            if node.name == "TelemetryPipeline":
                # Python adds the coroutines to it.
                added = tree("telemetry/pipeline.py")[node.name]
                coroutines = [member for member in added.body if isinstance(member, ast.AsyncFunctionDef)]
                node.body.extend(member for member in coroutines if not member.name.startswith("_"))
                found = aegis_governance.TelemetryPipeline
            parts.append(describe(node, found))
    for heading, path, name in PYTHON_MODULES:
        module = importlib.import_module(name)
        parts.append(f"## {heading}\n")
        if name.endswith(("spark", "log_records")):
            parts.append(f"In `{name.removesuffix('.log_records')}`. " + prose(module.__doc__))
        for node in tree(path).values():
            if node.name in module.__all__:
                parts.append(describe(node, getattr(module, node.name)))
    parts.append(exceptions())
    text = "\n".join(parts)
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def tree(path: str) -> Dict[str, Any]:
    kinds = (ast.ClassDef, ast.FunctionDef)
    return {node.name: node for node in ast.parse((PACKAGE / path).read_text()).body if isinstance(node, kinds)}


def sections_of_the_stub() -> Iterator[Tuple[str, List[Any]]]:
    """The public names of the stub, under the comments that part it."""
    text = (PACKAGE / "_native.pyi").read_text()
    headings = [(number, line[2:]) for number, line in enumerate(text.splitlines(), 1) if line.startswith("# ")]
    nodes = [
        node
        for node in ast.parse(text).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and not node.name.startswith("_")
    ]
    for (start, heading), (end, _) in zip(headings, [*headings[1:], (10**9, "")]):
        yield heading, [node for node in nodes if start < node.lineno < end]


def describe(node: Any, found: Any) -> str:
    if not isinstance(node, ast.ClassDef):
        return f"### `{signature(node)}`\n\n{docstring(found.__doc__)}"
    bases = [ast.unparse(base) for base in node.bases if ast.unparse(base) not in ("object", "Protocol")]
    made = next((member for member in node.body if getattr(member, "name", "") in ("__new__", "__init__")), None)
    parts = [f"### `{node.name}`\n"]
    if made is not None and made.args.args[0].arg in ("cls", "self"):
        parts.append(f"```python\n{wrapped(node.name, made)}\n```\n")
    if bases:
        parts.append(f"A `{'`, `'.join(bases)}`.\n")
    parts.append(docstring(found.__doc__))
    seen = set()
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            parts.append(f"- `{node.name}.{member.target.id}`: `{ast.unparse(member.annotation)}`\n")
        if not isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)) or member.name.startswith("_"):
            continue
        if member.name in seen:
            continue  # the other forms of an event
        seen.add(member.name)
        attribute = inspect.getattr_static(found, member.name)
        decorators = {ast.unparse(decorator) for decorator in member.decorator_list}
        text = getattr(getattr(found, member.name), "__doc__", None) or getattr(attribute, "__doc__", None)
        if "property" in decorators:
            text = getattr(attribute, "__doc__", None)
            parts.append(f"#### `{node.name}.{member.name}`: `{ast.unparse(member.returns)}`\n\n{docstring(text)}")
            continue
        word = "await " if isinstance(member, ast.AsyncFunctionDef) else ""
        overloads = "overload" in decorators
        shown = event_signature(member) if overloads else signature(member)
        parts.append(f"#### `{word}{node.name}.{shown}`\n\n{docstring(text)}")
    return "\n".join(parts)


def event_signature(node: Any) -> str:
    """Of what takes an event in any form and gives it back in the same."""
    return f"{node.name}(event: dict | str | bytes) -> …, in the same form"


def signature(node: Any) -> str:
    """In one line, without `self`."""
    arguments = ast.unparse(without_self(node))
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    return plain(f"{node.name}({arguments}){returns}")


def wrapped(name: str, node: Any) -> str:
    """Of what makes an object, a parameter a line if they are many."""
    line = plain(f"{name}({ast.unparse(without_self(node))})")
    if len(line) <= 110:
        return line
    parameters = plain(ast.unparse(without_self(node)))
    lines = re.split(r", (?=\*?[a-z_]*(?:[:,]|$)|\*, )", parameters)
    return f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in lines) + ")"


def without_self(node: Any) -> ast.arguments:
    arguments = node.args
    first = arguments.args[:1]
    if first and first[0].arg in ("self", "cls"):
        arguments = ast.parse(f"def f({ast.unparse(arguments)}): ...").body[0].args  # type: ignore[attr-defined]
        arguments.args = arguments.args[1:]
    return arguments


def plain(text: str) -> str:
    """Types as a reader knows them."""
    for short, long in [
        ("_Bytes", "bytes"),
        ("_Bound", "bytes | Sequence[bytes]"),
        ("_Path", "str | PathLike"),
        ("_Event", "dict | str | bytes"),
        ("_OnError", "Literal['raise', 'return']"),
        ("_EventForm", "Literal['dict', 'str', 'bytes']"),
        ("_Form", "Literal['self-contained', 'compact']"),
        ("_Hash", "Literal['hmac-sha256', 'sha256']"),
        ("_BindBy", "Literal['pointer', 'name']"),
        ("_Purpose", "Literal['field', 'dek-wrap', 'backup']"),
        ("_Keys", "KEKProvider | KEK | Keyring | Mapping[str, bytes]"),
        ("_ArrowSource", "object"),
        ("'DataFrame'", "DataFrame"),
    ]:
        text = re.sub(rf"(?<!\w){short}(?!\w)", long, text)
    return re.sub(r" ?= ?", " = ", text)


def docstring(text: Optional[str]) -> str:
    """The prose, then what the fields say as a list."""
    lines = inspect.cleandoc(text or "").splitlines()
    body: List[str] = []
    fields: List[List[str]] = []
    for line in lines:
        if line.startswith(":"):
            fields.append([line])
        elif fields and line.startswith("    "):
            fields[-1].append(line.strip())
        else:
            body.append(line)
    shown = prose("\n".join(body))
    for field in fields:
        found = re.fullmatch(r":(\w+) ?([^:]*): ?(.*)", " ".join(field), re.S)
        if found is None:
            shown += "\n" + prose(" ".join(field))
            continue
        kind, name, said = found.groups()
        said = inline(said)
        if kind in ("param", "ivar"):
            shown += filled(f"- `{name}`: {said}")
        elif kind == "raises":
            shown += filled(f"- raises `{name}`: {said}")
        else:
            shown += filled(f"- {kind} {said}")
    return shown + "\n"


def filled(line: str) -> str:
    return textwrap.fill(line, 120, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False) + "\n"


def prose(text: Optional[str]) -> str:
    return inline(inspect.cleandoc(text or "")) + "\n\n"


def inline(text: str) -> str:
    """From the marks of docstrings to those of Markdown."""
    text = re.sub(r":\w+:`~?\.?([^`]*)`", r"`\1`", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)


def exceptions() -> str:
    from aegis_governance import errors

    shown = ["## Exceptions\n", "In `aegis_governance.errors`. " + prose(errors.__doc__), docstring(errors.AegisError.__doc__)]

    def below(parent: type, depth: int) -> None:
        children = [getattr(errors, name) for name in errors.__all__]
        for child in sorted((c for c in children if c.__bases__[0] is parent), key=lambda c: str(c.__name__)):
            first, *_ = inspect.cleandoc(child.__doc__ or "").split("\n\n")
            shown.append(f"{'  ' * depth}- `{child.__name__}`: {inline(' '.join(first.split()))}")
            below(child, depth + 1)

    shown.append("- `AegisError`")
    below(errors.AegisError, 1)
    return "\n".join(shown) + "\n"


if __name__ == "__main__":
    print(main(), end="")
