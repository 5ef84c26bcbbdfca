"""What a LLaMA is asked: templates from a folder, one for mentions and one for the modifiers of each mention type.

A folder holds `templates.toml` and the files that it names. Files are used to the letter, so that published weights
get the prompts that they were tuned on.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kiwi_fhir.errors import ModelError
from kiwi_fhir.extract.generative.marking import Tags
from kiwi_fhir.types import ALLOWED_PAIRS, MENTION_LABELS, MODIFIER_LABELS, MentionLabel

#: The templates of this version of the program.
TEMPLATES = Path(__file__).parents[1] / "templates" / "v1"
FILE = "templates.toml"


@dataclass(frozen=True, slots=True)
class Template:
    """The text of a prompt and the classes (names in tags) that its answer may hold."""

    text: str
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Templates:
    """All prompts of one version; `names` maps classes to our labels where they differ.

    `window` is how many characters of whole sentences a prompt for mentions holds at most; with `chat` a prompt is a
    user's message for the model's chat template.
    """

    version: str
    chat: bool
    window: int
    tags: Tags
    mentions: Template
    modifiers: Mapping[MentionLabel, Template]
    names: Mapping[str, str]

    @property
    def digest(self) -> str:
        """A hash of all that decides what is asked."""
        own = repr((self.version, self.chat, self.window, self.tags, self.mentions, self.modifiers, self.names))
        return hashlib.sha256(own.encode()).hexdigest()

    def ask_mentions(self, text: str) -> str:
        """The prompt for the mentions in `text`."""
        return self.mentions.text.replace("{text}", text)

    def ask_modifiers(self, label: MentionLabel, text: str, start: int, end: int) -> str:
        """The prompt for the modifiers of the mention `[start, end)` of `text`."""
        tag = self.tags.opening(self.class_of(label))
        marked = text[:start] + tag + text[start:end] + self.tags.close + text[end:]
        return self.modifiers[label].text.replace("{text}", text).replace("{marked}", marked)

    def beginnings(self, tokenizer: Any) -> list[list[int]]:
        """Token ids of what all prompts of each template begin with (their last ones may differ)."""
        texts = [template.text for template in (self.mentions, *self.modifiers.values())]
        return [encode_prompt(tokenizer, text.partition("{")[0], chat=self.chat) for text in texts]

    def class_of(self, label: str) -> str:
        """The name of our label in tags."""
        return next((name for name, known in self.names.items() if known == label), label)

    def label_of(self, name: str) -> str:
        """Our label of a name in tags."""
        return self.names.get(name, name)


def load_templates(folder: Path | None = None) -> Templates:
    """The templates of `folder`, or the program's own. Raises ModelError naming the file and what is wrong."""
    folder = folder or TEMPLATES
    path = folder / FILE
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"The folder of templates '{folder}' has no {FILE}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is no TOML in UTF-8: {error}.") from error
    names = found.get("names", {})
    _check(path, "names", isinstance(names, dict) and all(isinstance(name, str) for name in names.values()))
    tags = Tags(_get(path, found, "open", str), _get(path, found, "close", str))
    _check(path, "open", "{label}" in tags.open)
    _check(path, "close", bool(tags.close) and tags.close != tags.open)
    modifiers = _get(path, found, "modifiers", dict)
    _check(path, "modifiers", set(modifiers) == set(MENTION_LABELS))
    window = _get(path, found, "window", int)
    _check(path, "window", window > 0)
    return Templates(
        version=_get(path, found, "version", str),
        chat=_get(path, found, "chat", bool),
        window=window,
        tags=tags,
        mentions=_template(path, "mentions", _get(path, found, "mentions", dict), names, MENTION_LABELS, "{text}"),
        modifiers={
            label: _template(path, f"modifiers.{label}", modifiers[label], names, MODIFIER_LABELS, "{marked}")
            for label in MENTION_LABELS
        },
        names=names,
    )


def _template(
    path: Path, key: str, table: Mapping[str, Any], names: Mapping[str, str], known: tuple[str, ...], slot: str
) -> Template:
    classes = _get(path, table, "labels", list)
    labels = [names.get(name, name) if isinstance(name, str) else None for name in classes]
    _check(path, f"{key}.labels", bool(labels) and len(set(labels)) == len(labels) and set(labels) <= set(known))
    if known is MODIFIER_LABELS:
        allowed = ALLOWED_PAIRS[key.removeprefix("modifiers.")]  # type: ignore[index]
        _check(path, f"{key}.labels", set(labels) <= allowed)
    file = path.parent / _get(path, table, "file", str)
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} names {file.name}, which can't be read as UTF-8.") from error
    if text.count(slot) != 1:
        raise ModelError(f"{file} has to hold {slot} once.")
    return Template(text, tuple(classes))


def _get(path: Path, table: Mapping[str, Any], key: str, kind: type) -> Any:
    value = table.get(key)
    _check(path, key, isinstance(value, kind) and not (kind is int and isinstance(value, bool)))
    return value


def _check(path: Path, key: str, right: bool) -> None:
    if not right:
        raise ModelError(f"{path} has no usable '{key}'.")


def encode_prompt(tokenizer: Any, prompt: str, *, chat: bool, answer: str = "") -> list[int]:
    """Token ids of a prompt and what is there of its answer, with the model's own special tokens before it.

    With `chat` the prompt becomes a user's message in the tokenizer's chat template.
    """
    if not chat:
        return list(tokenizer(prompt + answer)["input_ids"])
    message = [{"role": "user", "content": prompt}]
    text = tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text + answer, add_special_tokens=False)["input_ids"])


def common_prefix(tokens: Sequence[int], others: Iterable[Sequence[int]]) -> int:
    """How many tokens `tokens` begins with that one of `others` begins with too, at most."""
    best = 0
    for other in others:
        pairs = enumerate(zip(tokens, other, strict=False))
        best = max(best, next((index for index, (one, two) in pairs if one != two), min(len(tokens), len(other))))
    return best
