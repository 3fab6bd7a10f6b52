"""Classical ways from a few sure pixels to masks, each on a view. None is right everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scipy.sparse import coo_matrix, csgraph, diags, find
from scipy.sparse.linalg import spsolve
from skimage.segmentation import watershed

from model.proposals.seeds import Seeds, depths, surroundings
from model.proposals.superpixels import Superpixels
from model.proposals.working import View

TOLERANCES = (4, 6, 8, 11, 14, 18, 23, 29, 36)
"""Colour distances, in Lab units, that the flood fill tries."""

GROWTH_STEPS = 24
GRABCUT_SIDE = 144
GRABCUT_ROUNDS = 2


def pool(view: View, seeds: Seeds, guesses: Iterable[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Names of methods and masks, bool (h, w), each in one piece with the core of `seeds`.

    guesses: bool (h, w) each, where GrabCut, the slowest of the methods, is to start (see first_guesses).
    """
    core = seeds.core
    sp = view.superpixels
    reach = geodesic_distance(sp, core)
    far = background(view, seeds, reach)
    found: list[tuple[str, np.ndarray]] = []
    found += [("flood", mask) for mask in flood(view, core)]
    found += [("geodesic", mask) for mask in grow(sp, core, reach)]
    found += [("merging", mask) for mask in grow(sp, core, minimax_distance(sp, core))]
    found += [("walker", walk(sp, core, far)), ("watershed", flooding(view, core, far))]
    found += [("grabcut", grabcut(view, seeds, guess)) for guess in guesses]
    refined: dict[bytes, np.ndarray] = {}  # methods often agree to the pixel
    for _, mask in found:
        key = np.packbits(mask).tobytes()
        if key not in refined:
            refined[key] = solid(attached(mask & ~seeds.negative, core))
    return [(name, refined[np.packbits(mask).tobytes()]) for name, mask in found]


def background(view: View, seeds: Seeds, reach: np.ndarray) -> np.ndarray:
    """bool (h, w): where the object surely is not; without a box also the half of the rim least like the core."""
    if seeds.box is not None and seeds.negative.any():
        return seeds.negative
    distance = reach[view.superpixels.labels]
    rim = np.zeros(view.shape, bool)
    rim[[0, -1], :] = rim[:, [0, -1]] = True
    far = rim & (distance >= np.median(distance[rim])) & ~seeds.core
    return far | seeds.negative


def attached(mask: np.ndarray, core: np.ndarray) -> np.ndarray:
    """`core` and the 4-connected parts of `mask` that touch it."""
    both = mask | core
    near = surroundings(both, 0)
    labels = cv2.connectedComponents(both[near].view(np.uint8), connectivity=4)[1]
    keep = np.zeros(labels.max() + 1, bool)
    keep[labels[core[near]]] = True
    keep[0] = False
    kept = np.zeros_like(both)
    kept[near] = keep[labels]
    return kept


def solid(mask: np.ndarray) -> np.ndarray:
    """`mask` with its holes filled."""
    near = surroundings(mask, 0)
    filled = np.pad(mask[near].astype(np.uint8), 1)
    cv2.floodFill(filled, None, (0, 0), 2)
    whole = np.zeros_like(mask)
    whole[near] = filled[1:-1, 1:-1] != 2
    return whole


def flood(view: View, core: np.ndarray) -> Iterator[np.ndarray]:
    """Pixels within each of the tolerances of a colour of the core."""
    labels = cv2.connectedComponents(core.astype(np.uint8))[1]
    distance = np.full(view.shape, np.inf, np.float32)
    for i in range(1, labels.max() + 1):
        colour = np.median(view.lab[labels == i], axis=0)
        distance = np.minimum(distance, np.linalg.norm(view.lab - colour, axis=2))
    for tolerance in TOLERANCES:
        yield distance < tolerance


def grow(sp: Superpixels, core: np.ndarray, distance: np.ndarray) -> Iterator[np.ndarray]:
    """Superpixels by rising `distance` (n,), each step larger by the same factor."""
    order = np.argsort(distance, kind="stable")
    covered = np.cumsum(sp.area[order])
    sizes = np.geomspace(max(1, np.count_nonzero(core)), 0.9 * covered[-1], GROWTH_STEPS)
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    for last in np.unique(np.minimum(np.searchsorted(covered, sizes), len(order) - 1)):
        # Superpixels at the same distance come together, so that the order of their labels decides nothing.
        yield (distance <= distance[order[last]])[sp.labels]


def geodesic_distance(sp: Superpixels, core: np.ndarray) -> np.ndarray:
    """float64 (n,): the least sum of changes on a way from `core` to each superpixel."""
    sources = np.unique(sp.labels[core])
    return csgraph.dijkstra(sp.graph(sp.change + 0.1), directed=False, indices=sources, min_only=True)


def minimax_distance(sp: Superpixels, core: np.ndarray) -> np.ndarray:
    """float64 (n,): the least possible largest change on a way from `core` to each superpixel (single linkage)."""
    count = len(sp.area)
    inside = np.unique(sp.labels[core])
    # One more node touches all of the core at next to no cost; the best ways from it are those of the spanning tree.
    rows, columns = np.concatenate([sp.pairs, np.stack([inside, np.full(len(inside), count)], axis=1)]).T
    change = np.concatenate([sp.change + 1e-3, np.full(len(inside), 1e-6)])
    tree = csgraph.minimum_spanning_tree(coo_matrix((change, (rows, columns)), shape=(count + 1, count + 1)))
    order, parent = csgraph.breadth_first_order(tree, count, directed=False)
    cost = {tuple(sorted(pair)): c for *pair, c in zip(*(a.tolist() for a in find(tree)), strict=True)}
    distance = np.zeros(count + 1)
    for node in order[1:].tolist():
        up = int(parent[node])
        distance[node] = max(distance[up], cost[min(node, up), max(node, up)])
    return distance[:count]


def walk(sp: Superpixels, core: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Where a random walker on the superpixels is likelier to meet `core` first than `far` (Grady 2006)."""
    weight = sp.length * np.exp(-sp.change / (2 * np.median(sp.change) + 1e-6)) + 1e-6 if len(sp.change) else sp.length
    graph = sp.graph(weight)
    laplacian = (diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
    known = np.zeros(len(sp.area), bool)
    known[sp.labels[far]] = known[sp.labels[core]] = True
    probability = np.zeros(len(sp.area))
    probability[sp.labels[core]] = 1
    free = ~known
    if free.any():
        flow = -(laplacian[free][:, known] @ probability[known])
        probability[free] = spsolve(laplacian[free][:, free].tocsc(), flow)
    return (probability > 0.5)[sp.labels]


def flooding(view: View, core: np.ndarray, far: np.ndarray) -> np.ndarray:
    """The watershed of the gradient between the markers `core` and `far`."""
    markers = np.where(core, 1, np.where(far, 2, 0)).astype(np.int32)
    return watershed(view.gradient, markers) == 1


def first_guesses(view: View, seeds: Seeds) -> Iterator[np.ndarray]:
    """Where GrabCut may start: the rough mask, or the box and its middle, or discs of several sizes around the core."""
    if seeds.rough is not None:
        yield seeds.rough
    elif seeds.box is not None:
        inside = np.zeros(view.shape, bool)
        inside[seeds.box] = True
        depth = depths(inside)
        yield inside
        yield depth > 0.3 * depth.max()
    else:
        distance = cv2.distanceTransform((~seeds.core).astype(np.uint8), cv2.DIST_L2, 3)
        for share in (24, 12, 6):
            yield distance < view.side / share


def grabcut(view: View, seeds: Seeds, guess: np.ndarray) -> np.ndarray:
    """GrabCut (Rother et al. 2004) from `guess`, at a size of its own since it is the slowest method."""
    h, w = view.shape
    scale = min(1.0, GRABCUT_SIDE / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))

    def shrink(mask: np.ndarray) -> np.ndarray:
        return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5

    trimap = np.where(shrink(guess), cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[shrink(seeds.negative)] = cv2.GC_BGD
    trimap[shrink(seeds.positive)] = cv2.GC_FGD
    on = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    # OpenCV fits five Gaussians to each side, and refuses sides smaller than that.
    if np.count_nonzero(on) < 10 or np.count_nonzero(~on) < 10:
        return guess
    cv2.setRNGSeed(0)
    rgb = cv2.resize(view.rgb, size, interpolation=cv2.INTER_AREA)
    cv2.grabCut(rgb, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), GRABCUT_ROUNDS, cv2.GC_INIT_WITH_MASK)
    on = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return cv2.resize(on.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR) > 0.5
