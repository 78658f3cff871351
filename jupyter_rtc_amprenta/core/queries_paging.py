"""Lists in pages: by sort keys, so that a page costs the same wherever it is, and rows that come and go shift none.

A list takes `limit` and `after`, the sort keys of the last row that the caller has seen, and gives one row more
than `limit` where there are more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, tuple_


def page(
    query: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    limit: int,
    after: Sequence[Any] | None,
    *,
    ascending: bool = False,
) -> Select[Any]:
    """One page of a list that is sorted by `keys`, all in one direction; the last key tells rows apart."""
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*after) if ascending else tuple_(*keys) < tuple_(*after))
    return query.order_by(*(key.asc() if ascending else key.desc() for key in keys)).limit(limit + 1)
