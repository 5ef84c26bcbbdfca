"""`kiwi-fhir config`: the settings in effect, as a config file."""

from __future__ import annotations

import json
import re

from kiwi_fhir.config import GROUPS, Config

#: User and password of a URL, where a password may hold a `/`; digits up to a `/` are a port. `${NAME}` is no secret.
_USER = r"[^/@:?#\[]*"
_CREDENTIALS = re.compile(rf"(?<=://)(?!{_USER}:\$\{{\w+\}}@)(?:{_USER}@|{_USER}:(?!\d+(?:[/?#]|$)).*@)")
_SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|token|secret|key|sig)[^=&]*=)[^&]*", re.IGNORECASE)


def to_toml(config: Config) -> str:
    """The config as a file that `read_config` reads; settings without a value are comments.

    Users, passwords and keys in a URL are shown as `***`: who reads the text back has to fill them in.
    """
    lines: list[str] = []
    for name, group in GROUPS.items():
        lines += ["", f"[{name}]"]
        for one in group.declared():
            value = getattr(getattr(config, name), one.name)
            lines.append(f"# {one.name}: {one.about.shown}" if value is None else f"{one.name} = {_toml(value)}")
    return "\n".join(lines[1:]) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        masked = _SECRET.sub(r"\1***", _CREDENTIALS.sub("***@", value))
        return json.dumps(masked, ensure_ascii=False).replace("\x7f", "\\u007f")
    return json.dumps(value)
