"""What changed between two sequences or two texts, as few and as small edits as is affordable; pure.

A text is compared line by line, then changed lines word by word, then a changed word character
by character. Time stays near linear in the length: difflib is quadratic where lines repeat, which
blank lines and closing brackets always do, and its remedy (autojunk) drops exactly those lines.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import accumulate, pairwise

#: old[i1:i2] became new[j1:j2]; at least one of the two is not empty.
Change = tuple[int, int, int, int]
#: old[start:end] became the text; in code points.
TextEdit = tuple[int, int, str]

# How many single differences the exact search looks ahead, and what all searches of one
# comparison may cost together (steps of the innermost loop, about 4 million a second).
_MAX_DEPTH = 200
_MIN_DEPTH = 4
_EFFORT = 2_000_000
# Applying an edit takes time that grows with the edits before it: more than these are joined.
_MAX_EDITS = 20_000
# Anchors within gaps between anchors within gaps …: deeper than this the exact search goes on.
_MAX_LEVEL = 12
# Two blocks that share less than this part of the shorter one are other texts: to weave one into
# the other word by word would leave a concurrent edit among words that it has nothing to do with.
_RELATED = 0.25
# About how many characters a word or other token has.
_TOKEN_LENGTH = 3
# Scripts written without spaces would be one word per line.
_UNSPACED = "\u0e00-\u0eff\u2e80-\ua4cf\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff"
_TOKEN = re.compile(rf"[^\W{_UNSPACED}]+|[ \t]+|.", re.DOTALL)


def words(text: str) -> list[str]:
    """The text cut into words, runs of blanks, and single other characters; nothing is left out."""
    return _TOKEN.findall(text)


def text_edits(old: str, new: str) -> list[TextEdit]:
    """The edits that turn one text into another.

    Returns:
        Edits in ascending order, none touching another; their indices are code points of `old`.
    """
    start = common_prefix(old, new)
    end = _common_suffix(old, new, start)
    old_lines = old[start : len(old) - end].splitlines(keepends=True)
    new_lines = new[start : len(new) - end].splitlines(keepends=True)
    offsets = list(accumulate(map(len, old_lines), initial=start))
    blocks = [
        ("".join(old_lines[i1:i2]), "".join(new_lines[j1:j2]), offsets[i1])
        for i1, i2, j1, j2 in changes(old_lines, new_lines)
    ]
    depth = _depth(sum(len(before) + len(after) for before, after, _ in blocks) // _TOKEN_LENGTH)
    edits = [edit for block in blocks for edit in _refined(*block, depth)]
    return edits if len(edits) <= _MAX_EDITS else _joined(old, edits)


def common_prefix(old: str, new: str) -> int:
    """How many characters two texts have in common at their start."""
    low, high = 0, min(len(old), len(new))
    while low < high:  # slices compare at the speed of memcmp, characters in a loop do not
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def changes(old: Sequence[Hashable], new: Sequence[Hashable]) -> list[Change]:
    """The ranges in which two sequences differ, ascending, with at least one equal item between two."""
    return _changes(old, new, _depth(len(old) + len(new)))


def longest_increasing(values: Sequence[int]) -> list[int]:
    """Positions of one longest strictly increasing subsequence."""
    tops: list[int] = []  # the smallest value that ends an increasing run, by the run's length
    where: list[int] = []  # its position
    before: list[int] = []  # for each position, the previous one of its run
    for position, value in enumerate(values):
        length = bisect_left(tops, value)
        tops[length : length + 1] = [value]
        where[length : length + 1] = [position]
        before.append(where[length - 1] if length else -1)
    run, position = [], where[-1] if where else -1
    while position >= 0:
        run.append(position)
        position = before[position]
    return run[::-1]


def _depth(size: int) -> int:
    """How deep to search in what has so many items in all."""
    return max(_MIN_DEPTH, min(_MAX_DEPTH, _EFFORT // (size + 1)))


def _changes(old: Sequence[Hashable], new: Sequence[Hashable], depth: int) -> list[Change]:
    numbers: dict[Hashable, int] = {}
    a = [numbers.setdefault(item, len(numbers)) for item in old]
    b = [numbers.setdefault(item, len(numbers)) for item in new]
    found, i, j = [], 0, 0
    for next_i, next_j in [*_equal_pairs(a, b, depth), (len(a), len(b))]:
        if i < next_i or j < next_j:
            found.append((i, next_i, j, next_j))
        i, j = next_i + 1, next_j + 1
    return found


def _common_suffix(old: str, new: str, prefix: int) -> int:
    """How many characters two texts have in common at their end, beyond a common prefix."""
    return common_prefix(old[prefix:][::-1], new[prefix:][::-1])


def _refined(old: str, new: str, offset: int, depth: int) -> Iterator[TextEdit]:
    """The edits of a block of changed lines that starts at `offset`."""
    a, b = words(old), words(new)
    found = _changes(a, b, depth)
    kept = _weight(a) - sum(_weight(a[i1:i2]) for i1, i2, _, _ in found)
    if kept < _RELATED * min(_weight(a), _weight(b)):
        found = [(0, len(a), 0, len(b))]
    offsets = list(accumulate(map(len, a), initial=offset))
    for i1, i2, j1, j2 in found:
        yield _trimmed("".join(a[i1:i2]), "".join(b[j1:j2]), offsets[i1])


def _joined(old: str, edits: list[TextEdit]) -> list[TextEdit]:
    """At most _MAX_EDITS edits to the same effect: those with the least between them become one."""
    between = [later[0] - edit[1] for edit, later in pairwise(edits)]
    widest = sorted(range(len(between)), key=between.__getitem__)[-_MAX_EDITS + 1 :]
    starts = [0, *(k + 1 for k in sorted(widest)), len(edits)]
    joined = []
    for first, stop in pairwise(starts):
        run = edits[first:stop]
        unchanged = [old[edit[1] : later[0]] for edit, later in pairwise(run)]
        texts = zip((new for _, _, new in run), [*unchanged, ""], strict=True)
        text = "".join(new + kept for new, kept in texts)
        joined.append((run[0][0], run[-1][1], text))
    return joined


def _weight(tokens: Sequence[str]) -> int:
    return sum(len(token) for token in tokens if not token.isspace())


def _trimmed(old: str, new: str, offset: int) -> TextEdit:
    start = common_prefix(old, new)
    end = _common_suffix(old, new, start)
    return offset + start, offset + len(old) - end, new[start : len(new) - end]


def _equal_pairs(a: list[int], b: list[int], depth: int) -> list[tuple[int, int]]:
    """Equal items of both that keep their order: a common subsequence, the longest where affordable."""
    pairs: list[tuple[int, int]] = []
    gaps = [(0, len(a), 0, len(b), 0)]
    while gaps:
        i1, i2, j1, j2, level = gaps.pop()
        while i1 < i2 and j1 < j2 and a[i1] == b[j1]:
            pairs.append((i1, j1))
            i1, j1 = i1 + 1, j1 + 1
        while i1 < i2 and j1 < j2 and a[i2 - 1] == b[j2 - 1]:
            i2, j2 = i2 - 1, j2 - 1
            pairs.append((i2, j2))
        if i1 == i2 or j1 == j2:
            continue
        anchors = _anchors(a, i1, i2, b, j1, j2) if level < _MAX_LEVEL else []
        if not anchors:
            pairs += _searched(a, i1, i2, b, j1, j2, depth)
            continue
        pairs += anchors
        for i, j in [*anchors, (i2, j2)]:
            gaps.append((i1, i, j1, j, level + 1))
            i1, j1 = i + 1, j + 1
    return sorted(pairs)


def _anchors(a: list[int], i1: int, i2: int, b: list[int], j1: int, j2: int) -> list[tuple[int, int]]:
    """Items that occur once on each side, in the same order on both (patience diff)."""
    times_a, times_b = Counter(a[i1:i2]), Counter(b[j1:j2])
    where = {b[j]: j for j in range(j1, j2) if times_b[b[j]] == 1}
    pairs = [(i, where[a[i]]) for i in range(i1, i2) if times_a[a[i]] == 1 and a[i] in where]
    return [pairs[k] for k in longest_increasing([j for _, j in pairs])]


def _searched(
    a: list[int], i1: int, i2: int, b: list[int], j1: int, j2: int, depth: int
) -> list[tuple[int, int]]:
    """A common subsequence of two ranges by Myers' search, begun anew each time it has gone `depth` deep."""
    common = set(a[i1:i2]) & set(b[j1:j2])
    of_a = [i for i in range(i1, i2) if a[i] in common]
    of_b = [j for j in range(j1, j2) if b[j] in common]
    a, b = [a[i] for i in of_a], [b[j] for j in of_b]
    pairs: list[tuple[int, int]] = []
    x = y = 0
    while x < len(a) and y < len(b):
        found, x, y = _furthest(a, x, b, y, depth)
        pairs += [(of_a[i], of_b[j]) for i, j in found]
    return pairs


def _furthest(
    a: list[int], x0: int, b: list[int], y0: int, depth: int
) -> tuple[list[tuple[int, int]], int, int]:
    """How far at most `depth` differences lead from (x0, y0) (Myers 1986): the equal pairs, and the end."""
    n, m = len(a), len(b)
    depth = min(depth, n - x0 + m - y0)
    skew = x0 - y0  # diagonals count from the start's
    reach = [x0] * (2 * depth + 2)  # x by diagonal; negative diagonals count from the list's end
    history = []
    for d in range(depth + 1):
        history.append(reach[:])
        for k in range(-d, d + 1, 2):
            x = reach[k + 1] if _is_insertion(reach, k, d) else reach[k - 1] + 1
            y = x - k - skew
            while x < n and y < m and a[x] == b[y]:
                x, y = x + 1, y + 1
            reach[k] = x
            if x >= n and y >= m:
                return _traced(history, k, x, skew), x, y
    inside = [k for k in range(-depth, depth + 1, 2) if reach[k] <= n and reach[k] - k - skew <= m]
    k = max(inside, key=lambda k: 2 * reach[k] - k)
    return _traced(history, k, reach[k], skew), reach[k], reach[k] - k - skew


def _is_insertion(reach: list[int], k: int, d: int) -> bool:
    """Whether the furthest way to diagonal k with d differences ends in an insertion."""
    return k == -d or (k != d and reach[k - 1] < reach[k + 1])


def _traced(history: list[list[int]], k: int, x: int, skew: int) -> list[tuple[int, int]]:
    """The equal pairs on the way to x on diagonal k, walked back from its end."""
    pairs = []
    for d in range(len(history) - 1, -1, -1):
        reach = history[d]
        insertion = _is_insertion(reach, k, d)
        start = reach[k + 1] if insertion else reach[k - 1] + 1
        while x > start:
            x -= 1
            pairs.append((x, x - k - skew))
        k, x = (k + 1, start) if insertion else (k - 1, start - 1)
    return pairs[::-1]
