"""Rows of a batch, grouped by device: what every step needs that keeps state per device."""

from dataclasses import dataclass

import numpy as np

from gatewayd.domain.arrays import Bool, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Groups:
    """A batch's rows in order of device, and of arrival within each device.

    Attributes:
        order: Shape ``(n,)``; ``column[order]`` is the grouped column.
        device: Shape ``(n,)``, the grouped device indices.
        is_first: Shape ``(n,)``, where a device's rows begin.
    """

    order: Int64
    device: Int64
    is_first: Bool


def by_device(device: Int64) -> Groups:
    """Group rows by device; stable, so order within a device is order of arrival."""
    order = np.argsort(device, kind="stable")
    grouped = device[order]
    is_first = np.empty(len(device), dtype=np.bool_)
    is_first[:1] = True
    np.not_equal(grouped[1:], grouped[:-1], out=is_first[1:])
    return Groups(order=order, device=grouped, is_first=is_first)


def grown(size: int, needed: int) -> int:
    """Return a capacity of at least ``needed`` that doubles, so that growing costs little per device."""
    while size < needed:
        size = max(16, size * 2)
    return size
