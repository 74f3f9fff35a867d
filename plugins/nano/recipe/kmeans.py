"""k-means, in blocks that fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_BLOCK = 200_000

# A cluster with fewer of all points than this is begun anew from a random point ...
_RARE = 2e-5
# ... except in the last iterations, in which a new one could no longer settle.
_SETTLING = 5


def kmeans(points: torch.Tensor, clusters: int, iterations: int, generator: torch.Generator) -> torch.Tensor:
    """Centres (clusters, dims) of points (n, dims) by Lloyd's algorithm, begun from points drawn at random."""
    import torch

    centres = points[_pick(len(points), clusters, generator)]
    for iteration in range(iterations):
        sums = torch.zeros_like(centres)
        counts = torch.zeros(clusters, device=points.device)
        for block, nearest in _nearest(points, centres):
            sums.index_add_(0, nearest, block)
            counts.index_add_(0, nearest, torch.ones_like(nearest, dtype=counts.dtype))
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
        rare = counts < _RARE * len(points)
        if iteration < iterations - _SETTLING and rare.any():
            centres[rare] = points[_pick(len(points), int(rare.sum()), generator)]
    return centres


def assign(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(n,) int64: the nearest centre of each point."""
    import torch

    return torch.cat([nearest for _, nearest in _nearest(points, centres)])


def sample(points: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """At most so many of the points, drawn at random without replacement."""
    return points[_pick(len(points), min(most, len(points)), generator)]


def squared_distances(points: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """(n, clusters), |x - c|² as |x|² - 2 x·c + |c|²."""
    return (
        points.square().sum(1, keepdim=True) - 2 * points @ centres.T + centres.square().sum(1, keepdim=True).T
    ).clamp(min=0)


def perplexity(labels: torch.Tensor, clusters: int) -> float:
    """How many clusters are in use: exp of the entropy of their shares."""
    import torch

    shares = torch.bincount(labels, minlength=clusters).double() / len(labels)
    return float(torch.exp(-(shares * shares.clamp(min=1e-12).log()).sum()))


def _nearest(points: torch.Tensor, centres: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for block in points.split(_BLOCK):
        yield block, squared_distances(block, centres).argmin(1)


def _pick(n: int, count: int, generator: torch.Generator) -> torch.Tensor:
    import torch

    return torch.randperm(n, generator=generator, device=generator.device)[:count]
