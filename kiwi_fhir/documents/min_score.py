"""`--min-score`: a document without what its model was too unsure of.

Nothing that is left may say more than the note: a negation, doubt, condition or relative that is too unsure takes the
mentions that it qualifies along, for "no fever" without its "no" would be a fever.
"""

from __future__ import annotations

from dataclasses import replace

from kiwi_fhir.types import Document, Mention, Modifier, ModifierLabel

#: Modifiers without which a mention would be stated of the patient, as a fact.
WEAKENING: frozenset[ModifierLabel] = frozenset({"negation", "uncertain", "condition", "subject"})


def at_least(document: Document, min_score: float) -> Document:
    """`document` with the mentions and modifiers whose score (0 to 1) is `min_score` or more.

    A mention that is left out takes its modifiers along, but another mention that holds one of them keeps it.
    `Document.left_out` counts the mentions. What has no score stays: what a rule found, and gold.
    The very same document where nothing is left out.
    """
    mentions = tuple(_with_sure(mention, min_score) for mention in document.mentions if _stays(mention, min_score))
    unlinked = tuple(modifier for modifier in document.unlinked if _is_sure(modifier, min_score))
    if (mentions, unlinked) == (document.mentions, document.unlinked):
        return document
    lost = len(document.mentions) - len(mentions)
    return replace(document, mentions=mentions, unlinked=unlinked, left_out=document.left_out + lost)


def _is_sure(found: Mention | Modifier, min_score: float) -> bool:
    return found.rule or found.score is None or found.score >= min_score


def _stays(mention: Mention, min_score: float) -> bool:
    return _is_sure(mention, min_score) and all(
        _is_sure(held, min_score) for held in mention.modifiers if held.label in WEAKENING
    )


def _with_sure(mention: Mention, min_score: float) -> Mention:
    return replace(mention, modifiers=tuple(held for held in mention.modifiers if _is_sure(held, min_score)))
