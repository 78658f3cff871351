"""Which cell of a document became which cell of a file; pure.

By id where ids tell, else by content: a file up to nbformat 4.4 has no ids, and tools make new
ones. A cell that finds its counterpart is edited in place; one that does not is deleted, and what
somebody types in it meanwhile goes with it. So a doubtful match is better than none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import isqrt

from .nbcontent import Json
from .textdiff import Change, changes, longest_increasing, words

#: For each new cell the index of the old cell that it was, or None.
Matching = list[int | None]

# How alike two cells must be, of 1, where something speaks against their being one.
_ALIKE = 0.5
# From this many words on it makes no difference how many more of them are equal.
_TELLING_WORDS = 20
# What similarity looks at, and how many pairs of cells it compares at once.
_COMPARED_CHARACTERS = 2_000
_COMPARED_PAIRS = 1_000


def match_cells(old: Sequence[Json], new: Sequence[Json]) -> Matching:
    """Find for each new cell the old one that it was.

    Args:
        old: the cells of the document, in normal form.
        new: the cells of the file, in normal form.

    Returns:
        An old index, or None, for each new cell. No old index comes twice; those of cells that
        were moved break the ascending order.
    """
    matching = _matched_by_id(old, new)
    pairs = [(i, j) for j, i in enumerate(matching) if i is not None]
    # Where ids tell, a new one next to a vanished one means another cell, unless they are alike.
    floor = _ALIKE if pairs else 0.0
    taken = {i for i, _ in pairs}
    in_order = [pairs[k] for k in longest_increasing([i for i, _ in pairs])]
    for (i1, j1), (i2, j2) in pairwise([(-1, -1), *in_order, (len(old), len(new))]):
        free_old = [i for i in range(i1 + 1, i2) if i not in taken]
        free_new = [j for j in range(j1 + 1, j2) if matching[j] is None]
        for i, j in _matched_by_content(old, free_old, new, free_new, floor):
            matching[j] = i
    return matching


def _matched_by_id(old: Sequence[Json], new: Sequence[Json]) -> Matching:
    """Match the ids that occur once on both sides; a doubled id tells nothing."""
    times_old = Counter(cell.get("id") for cell in old)
    times_new = Counter(cell.get("id") for cell in new)
    where = {cell["id"]: i for i, cell in enumerate(old) if "id" in cell and times_old[cell["id"]] == 1}
    return [where.get(cell.get("id", "")) if times_new[cell.get("id")] == 1 else None for cell in new]


def _matched_by_content(
    old: Sequence[Json], of_old: list[int], new: Sequence[Json], of_new: list[int], floor: float
) -> Iterator[tuple[int, int]]:
    """Match equal cells first, and what lies between them by likeness; order is kept."""
    done_old = done_new = 0
    for i1, i2, j1, j2 in _differing([old[i] for i in of_old], [new[j] for j in of_new]):
        yield from zip(of_old[done_old:i1], of_new[done_new:j1], strict=True)
        bags_old = [_bag(old[i]) for i in of_old[i1:i2]]
        bags_new = [_bag(new[j]) for j in of_new[j1:j2]]
        for i, j in _matched_by_similarity(bags_old, bags_new, floor):
            yield of_old[i1 + i], of_new[j1 + j]
        done_old, done_new = i2, j2
    yield from zip(of_old[done_old:], of_new[done_new:], strict=True)


def _differing(old: Sequence[Json], new: Sequence[Json]) -> list[Change]:
    """The ranges within which cells are no longer equal one to one.

    Where it is affordable, one range: a score tells which of two equal cells to hold on to where
    only one can be, the long one or an empty one.
    """
    found = changes(*([(cell["cell_type"], cell["source"]) for cell in cells] for cells in (old, new)))
    if not found:
        return []
    (i1, _, j1, _), (_, i2, _, j2) = found[0], found[-1]
    return [(i1, i2, j1, j2)] if (i2 - i1) * (j2 - j1) <= _COMPARED_PAIRS else found


#: What similarity looks at in a cell: its type, its text, and its words with their number.
_Bag = tuple[str, str, Counter[str]]


def _bag(cell: Json) -> _Bag:
    tokens = words(cell["source"][:_COMPARED_CHARACTERS])
    return cell["cell_type"], cell["source"], Counter(token for token in tokens if not token.isspace())


def _matched_by_similarity(
    old: Sequence[_Bag], new: Sequence[_Bag], floor: float
) -> Iterator[tuple[int, int]]:
    """Match in order for the greatest similarity; long stretches in parts of like proportion."""
    parts = 1 + isqrt(len(old) * len(new) // _COMPARED_PAIRS)
    for part in range(parts):
        i1, i2 = (len(old) * edge // parts for edge in (part, part + 1))
        j1, j2 = (len(new) * edge // parts for edge in (part, part + 1))
        for i, j in _best_in_order(old[i1:i2], new[j1:j2], floor):
            yield i1 + i, j1 + j


def _best_in_order(old: Sequence[_Bag], new: Sequence[_Bag], floor: float) -> list[tuple[int, int]]:
    """The pairs, ascending on both sides, with the greatest total score (as in sequence alignment)."""
    scores = [[_score(a, b, floor) for b in new] for a in old]
    # best[i][j]: the greatest total for the cells from i and from j on.
    best = [[0.0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        for j in reversed(range(len(new))):
            best[i][j] = max(best[i + 1][j], best[i][j + 1], best[i + 1][j + 1] + scores[i][j])
    pairs, i, j = [], 0, 0
    while i < len(old) and j < len(new):
        if scores[i][j] and best[i][j] == best[i + 1][j + 1] + scores[i][j]:
            pairs.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return pairs


def _score(a: _Bag, b: _Bag, floor: float) -> float:
    """What matching two cells is worth; 0 where they are no match."""
    (type_a, text_a, words_a), (type_b, text_b, words_b) = a, b
    total = words_a.total() + words_b.total()
    if type_a == type_b and text_a == text_b:
        # More than any likeness, and the more the less it can be chance.
        return 2.0 + min(total / 2, _TELLING_WORDS)
    similarity = 2 * (words_a & words_b).total() / total if total else _ALIKE
    if similarity < (floor if type_a == type_b else _ALIKE):
        return 0.0
    # The summand: of several ways to match alike cells, the one that matches more of them.
    return (similarity + 0.01) * (1.0 if type_a == type_b else 0.5)
