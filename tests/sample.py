"""Which of many cases `make test` takes: some of each kind, always the same; torture takes all."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import pytest


def some_of_each(cases: Iterable[tuple], kind: Callable[[tuple], Hashable], most: int) -> list[Any]:
    """All cases as parameters; all but the first `most` of each kind are marked as torture."""
    seen: Counter[Hashable] = Counter()
    made = []
    for case in cases:
        seen[kind(case)] += 1
        made.append(pytest.param(*case, marks=() if seen[kind(case)] <= most else
                                 pytest.mark.torture))
    return made
