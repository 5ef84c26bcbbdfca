"""Writes docs/api.md from the docstrings of the public names.

python docs/make_api.py
"""

from __future__ import annotations

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

import kiwi_fhir
import kiwi_fhir.beam

HEAD = """# Python API

Made from the docstrings by `python docs/make_api.py`; a test holds both together. The names here are promises, others
are not. `import kiwi_fhir` imports nothing heavy: each name is imported when it is asked for.
"""


def render() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for module in (kiwi_fhir, kiwi_fhir.beam):
        parts.append(f"## {module.__name__}\n\n{_doc(module)}\n")
        parts += [_entry(module, name) for name in module.__all__]
    return "\n".join(parts)


def _entry(module: ModuleType, name: str) -> str:
    found = getattr(module, name)
    lines = [f"### {name}\n", f"```python\n{_signature(name, found)}\n```\n", _doc(found), ""]
    for member, value in sorted(vars(found).items()) if inspect.isclass(found) else ():
        function = value.__func__ if isinstance(value, classmethod) else value
        if isinstance(value, property) and not member.startswith("_") and value.__doc__:
            lines.append(f"- `.{member}`: {_line(value)}")
        elif inspect.isfunction(function) and function.__doc__ and _is_public(member):
            lines.append(f"- `{_signature('' if member == '__call__' else f'.{member}', function)}`: {_line(function)}")
    return "\n".join(lines).rstrip() + "\n"


def _is_public(member: str) -> bool:
    return not member.startswith("_") or member == "__call__"


def _signature(name: str, found: Any) -> str:
    if inspect.isclass(found) and issubclass(found, BaseException):
        return f"class {name}({found.__base__.__name__})"
    signature = inspect.signature(found)
    parameters = [parameter for key, parameter in signature.parameters.items() if key != "self"]
    shown = str(signature.replace(parameters=parameters)).replace("'", "")
    return f"{name}{shown.removesuffix(' -> None') if inspect.isclass(found) else shown}"


def _doc(found: Any) -> str:
    return (inspect.getdoc(found) or "").strip()


def _line(found: Any) -> str:
    """A docstring on one line; its paragraphs follow each other."""
    return " ".join(_doc(found).split())


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(render(), encoding="utf-8")
