"""Scores that hold: a span's probability moved along a line on its log-odds, as training fitted it (Platt 1999)."""

from __future__ import annotations

import math
from typing import Any

#: Slope and intercept on the log-odds of a score.
Line = tuple[float, float]
IDENTITY: Line = (1.0, 0.0)
_LEAST = 1e-4  # a probability's distance from 0 and 1, so that its log-odds are finite
_MOST = 30.0  # log-odds that floats can still tell from certainty


def log_odds(score: float) -> float:
    """The natural logarithm of a probability's odds; the probability is kept 1e-4 from 0 and 1."""
    kept = min(max(score, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))


def calibrated(score: float, line: Line) -> float:
    """How often spans with such a score (0 to 1) are right, as `line` has it."""
    if line == IDENTITY:
        return score
    slope, intercept = line
    odds = slope * log_odds(score) + intercept
    return 1 / (1 + math.exp(-min(max(odds, -_MOST), _MOST)))


def is_line(found: Any) -> bool:
    """Whether it is a slope over 0, so that a higher score stays one, and an intercept."""
    try:
        slope, intercept = found
        return slope > 0 and math.isfinite(slope) and math.isfinite(intercept)
    except (TypeError, ValueError):
        return False


def lines_of(config: dict[str, Any]) -> tuple[Line, Line]:
    """The lines of the mentions' and the modifiers' scores in a tagger's config.json; IDENTITY where it has none.

    Raises ValueError for something else.
    """
    found = config.get("calibration", {})
    lines = [found.get(level, IDENTITY) for level in ("mentions", "modifiers")] if isinstance(found, dict) else [found]
    if not all(map(is_line, lines)):
        raise ValueError("'calibration' is not a slope over 0 and an intercept a level")
    mentions, modifiers = ((float(slope), float(intercept)) for slope, intercept in lines)
    return mentions, modifiers
