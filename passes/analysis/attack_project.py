"""Closed forms of one norm: the shortest step into a half-space, and steps inside a ball."""

import numpy as np
from numpy.typing import NDArray

from graphprune.ir import Norm
from graphprune.ir.points import lengths

Floats = NDArray[np.float64]


def nearest(
    norm: Norm, constants: Floats, gradients: Floats, lower: Floats, upper: Floats
) -> Floats:
    """Shortest steps y (N, n), lower <= y <= upper, with constants + gradients . y <= 0.

    Where the bounds do not reach the half-space, the step that comes closest to it. The projection
    of DeepFool (Moosavi-Dezfooli et al. 2016) and FAB (Croce and Hein 2020), with a box.

    Parameters
    ----------
    constants, gradients
        (N,), (N, n) float64.
    lower, upper
        (n,) with lower <= 0 <= upper.
    """
    # Every element moves against its gradient, by at most its cap.
    size = np.abs(gradients)
    caps = np.where(gradients > 0, -lower, upper)
    if norm == "l1":
        moves = np.minimum(_greedy(constants, size, caps), caps)
    else:
        speed = size if norm == "l2" else (size > 0).astype(np.float64)
        moves = _uniform(constants, size, caps, speed)
    return np.where(gradients > 0, -moves, moves)


def _uniform(constants: Floats, size: Floats, caps: Floats, speed: Floats) -> Floats:
    """Moves min(t speed, caps) with the least t that reaches the half-space.

    The margin is convex and falls with t, so Newton's steps from 0 never pass the root.
    """
    t = np.zeros(len(constants))
    for _ in range(30):
        moves = np.minimum(t[:, None] * speed, caps)
        margin = constants - np.einsum("ij,ij->i", size, moves)
        slope = np.einsum("ij,ij->i", size, speed * (t[:, None] * speed < caps))
        going = (margin > 1e-12 * np.abs(constants)) & (slope > 0)
        if not going.any():
            break
        t[going] += margin[going] / slope[going]
    # Elements that nothing stops have no finite cap: only where t has stayed finite.
    return np.minimum(t[:, None] * speed, caps)


def _greedy(constants: Floats, size: Floats, caps: Floats) -> Floats:
    """Elements in the order of their gradients, each to its cap until the half-space is reached."""
    order = np.argsort(-size, axis=1, kind="stable")
    gains = np.take_along_axis(size * np.minimum(caps, 1e30), order, axis=1)
    before = np.cumsum(gains, axis=1) - gains
    wanted = np.clip(np.maximum(constants, 0.0)[:, None] - before, 0.0, gains)
    sorted_size = np.take_along_axis(size, order, axis=1)
    moves = np.divide(wanted, sorted_size, out=np.zeros_like(wanted), where=sorted_size > 0)
    result = np.zeros_like(moves)
    np.put_along_axis(result, order, moves, axis=1)
    return result


def steepest(norm: Norm, gradients: Floats) -> Floats:
    """Steps (N, n) of length one against the gradients; in l1 along the largest 1 % of elements
    (Tramèr and Boneh 2019), since a single one would zigzag."""
    if norm == "linf":
        return -np.sign(gradients)
    if norm == "l2":
        steps = -gradients
    else:
        count = max(1, gradients.shape[1] // 100)
        size = np.abs(gradients)
        least = np.partition(size, -count, axis=1)[:, -count, None]
        steps = -np.sign(gradients) * (size >= least)
    sizes = lengths(steps, norm)[:, None]
    return np.divide(steps, sizes, out=np.zeros_like(steps), where=sizes > 0)


def into_ball(norm: Norm, steps: Floats, radius: float) -> Floats:
    """The nearest steps (N, n) in the Euclidean sense whose length is at most `radius`."""
    if norm == "linf":
        return np.clip(steps, -radius, radius)
    sizes = lengths(steps, norm)[:, None]
    if norm == "l2":
        scale = np.divide(radius, sizes, out=np.ones_like(sizes), where=sizes > radius)
        return steps * scale
    # Soft thresholding, the threshold from the sorted sizes (Duchi et al. 2008).
    size = np.abs(steps)
    ordered = -np.sort(-size, axis=1)
    thresholds = (np.cumsum(ordered, axis=1) - radius) / np.arange(1, size.shape[1] + 1)
    last = np.maximum((ordered > thresholds).sum(axis=1) - 1, 0)
    threshold = np.take_along_axis(thresholds, last[:, None], axis=1)
    shrunk = np.sign(steps) * np.maximum(size - np.maximum(threshold, 0.0), 0.0)
    return np.where(sizes > radius, shrunk, steps)
