"""Where files are kept that are made once and read by every later run."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path


def folder_for(kind: str) -> Path:
    """`kiwi-fhir/KIND` of the user's cache folder (XDG_CACHE_HOME, else ~/.cache), else of a temporary one."""
    for base in _bases():
        folder = base / "kiwi-fhir" / kind
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if _is_ours(folder) and os.access(folder, os.W_OK | os.X_OK):
                return folder
    return _own_folder(kind)


@cache
def _own_folder(kind: str) -> Path:
    """A folder of this process alone, where no other can be had."""
    return Path(tempfile.mkdtemp(prefix=f"kiwi-fhir-{kind}-"))


def _bases() -> list[Path]:
    named = os.environ.get("XDG_CACHE_HOME", "")
    bases = [Path(named)] if Path(named).is_absolute() else []
    if not bases:
        with suppress(RuntimeError):  # no home
            bases = [Path.home() / ".cache"]
    user = getattr(os, "getuid", lambda: "user")()
    return [*bases, Path(tempfile.gettempdir()) / f"kiwi-fhir-{user}"]


def _is_ours(folder: Path) -> bool:
    """Whether nobody else can put files there: what is read from it decides results."""
    about = folder.stat()
    user = getattr(os, "getuid", lambda: about.st_uid)()
    return about.st_uid == user and not about.st_mode & stat.S_IWOTH
