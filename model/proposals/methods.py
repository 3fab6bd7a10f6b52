"""Classical ways from a few sure pixels to a mask, each on the working image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from scipy.sparse import csgraph, diags
from scipy.sparse.linalg import spsolve
from skimage.segmentation import watershed

from model.proposals.seeds import Seeds
from model.proposals.working import Superpixels, WorkingImage

GRABCUT_SIDE = 200


def candidates(working: WorkingImage, seeds: Seeds) -> dict[str, np.ndarray]:
    """Name of the method to its mask, bool (h, w)."""
    found: dict[str, np.ndarray] = {}
    sp = working.superpixels
    core = _core(working, seeds)
    far = _background(working, seeds, core)
    found["flood"] = sharpest(working, seeds, flood(working, seeds, core))
    found["geodesic"] = sharpest(working, seeds, geodesic(sp, core))
    found["merging"] = sharpest(working, seeds, merging(working, core))
    found["walker"] = attached(walker(sp, core, far), core)
    found["watershed"] = attached(flooding(working, core, far), core)
    found["grabcut_disc"] = grabcut(working, seeds, discs_around(working, core))
    votes = np.mean([m for m in found.values()], axis=0)
    found["grabcut_vote"] = grabcut(working, seeds, votes)
    return found


def _core(working: WorkingImage, seeds: Seeds) -> np.ndarray:
    """bool (h, w): pixels surely on the object, from the clicks, else from the heart of the rough mask or the box."""
    if seeds.positive.any():
        return seeds.positive
    if seeds.rough is not None:
        inside = seeds.rough & ~seeds.negative
        if inside.any():
            depth = cv2.distanceTransform(np.pad(inside.astype(np.uint8), 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
            return depth >= 0.6 * depth.max()
    x0, y0, x1, y1 = seeds.box or (0, 0, working.width, working.height)
    canvas = np.zeros((working.height, working.width), np.uint8)
    axes = (max(0, (x1 - x0) // 6), max(0, (y1 - y0) // 6))
    cv2.ellipse(canvas, ((x0 + x1 - 1) // 2, (y0 + y1 - 1) // 2), axes, 0, 0, 360, 1, -1)
    return canvas.astype(bool)


def _background(working: WorkingImage, seeds: Seeds, core: np.ndarray) -> np.ndarray:
    """bool (h, w): where the object surely is not; without a box, the part of the picture's rim least like the core."""
    if seeds.box is not None:
        return seeds.negative
    sp = working.superpixels
    distance = geodesic_distance(sp, core)[sp.labels]
    rim = np.zeros(core.shape, bool)
    rim[[0, -1], :] = rim[:, [0, -1]] = True
    far = rim & (distance >= np.median(distance[rim])) & ~core
    return far | seeds.negative


def attached(mask: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The 4-connected parts of `mask` that hold a pixel of `core`, and `core` itself."""
    labels = cv2.connectedComponents((mask | core).astype(np.uint8), connectivity=4)[1]
    keep = np.zeros(labels.max() + 1, bool)
    keep[labels[core]] = True
    keep[0] = False
    return keep[labels]


def sharpest(working: WorkingImage, seeds: Seeds, masks: Iterable[np.ndarray]) -> np.ndarray:
    """The one of several masks whose outline runs along the strongest edges of the picture."""
    best, best_score = None, -1.0
    for mask in masks:
        score = contrast(working, mask, seeds)
        if score > best_score:
            best, best_score = mask, score
    assert best is not None
    return best


def contrast(working: WorkingImage, mask: np.ndarray, seeds: Seeds) -> float:
    """0..1: mean strength of the picture's edges under the outline of `mask`; 0 where it covers what it must not."""
    if (mask & seeds.negative).sum() > 0.05 * mask.sum():
        return 0.0
    m = mask.astype(np.uint8)
    outline = (cv2.dilate(m, np.ones((3, 3), np.uint8)) != m)
    n = np.count_nonzero(outline)
    if n == 0:
        return 0.0
    g = working.gradient[outline]
    typical = np.median(working.gradient) * 2 + 1
    return float((g / (g + typical)).mean()) * (n / (n + 20))


def flood(working: WorkingImage, seeds: Seeds, core: np.ndarray) -> Iterator[np.ndarray]:
    """Masks around `core` by colour distance to it, from a small tolerance to a large one."""
    labels = cv2.connectedComponents(core.astype(np.uint8))[1]
    distance = np.full(core.shape, np.inf, np.float32)
    for i in range(1, labels.max() + 1):
        colour = np.median(working.lab[labels == i], axis=0)
        distance = np.minimum(distance, np.linalg.norm(working.lab - colour, axis=2))
    for tolerance in (4, 6, 8, 11, 14, 18, 23, 29, 36):
        yield solid(attached(distance < tolerance, core))


def solid(mask: np.ndarray) -> np.ndarray:
    """`mask` without hairs and holes."""
    h, w = mask.shape
    m = np.pad(mask.astype(np.uint8), 1)
    cv2.floodFill(m, None, (0, 0), 2)
    return m[1 : h + 1, 1 : w + 1] != 2


def geodesic_distance(sp: Superpixels, core: np.ndarray) -> np.ndarray:
    """float64 (n,): least sum of colour changes on a way from `core` to each superpixel."""
    sources = np.unique(sp.labels[core])
    graph = sp.graph(sp.difference + sp.strength + 0.1)
    return csgraph.dijkstra(graph, directed=False, indices=sources, min_only=True)


def geodesic(sp: Superpixels, core: np.ndarray) -> Iterator[np.ndarray]:
    distance = geodesic_distance(sp, core)
    for limit in np.quantile(distance, np.linspace(0.01, 0.7, 24)):
        yield solid((distance <= limit)[sp.labels] | core)


def merging(working: WorkingImage, core: np.ndarray) -> Iterator[np.ndarray]:
    """The growing regions that hold `core` while ever less similar neighbours are merged (single linkage)."""
    sp = working.superpixels
    tree = csgraph.minimum_spanning_tree(sp.graph(sp.strength + sp.difference + 1e-3)).tocoo()
    order = np.argsort(tree.data, kind="stable")
    heart = np.unique(sp.labels[core])
    for k in np.unique(np.linspace(sp.count * 0.3, len(order), 40).astype(int)):
        kept = order[:k]
        part = csgraph.connected_components(
            diags(np.zeros(sp.count)).tocsr()
            + _coo(tree.row[kept], tree.col[kept], sp.count), directed=False)[1]
        yield solid(np.isin(part, part[heart])[sp.labels])


def _coo(row, col, n):
    from scipy.sparse import coo_matrix
    return coo_matrix((np.ones(len(row)), (row, col)), shape=(n, n)).tocsr()


def walker(sp: Superpixels, core: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Where a random walker on the superpixels meets `core` before `far`."""
    inside = np.unique(sp.labels[core])
    outside = np.setdiff1d(np.unique(sp.labels[far]), inside)
    change = sp.difference + sp.strength
    weight = sp.length * np.exp(-((change / (np.median(change) * 2 + 1e-6)) ** 1)) + 1e-6
    graph = sp.graph(weight)
    laplacian = (diags(np.asarray(graph.sum(axis=1)).ravel()) - graph).tocsr()
    fixed = np.zeros(sp.count, bool)
    fixed[inside] = fixed[outside] = True
    probability = np.zeros(sp.count)
    probability[inside] = 1
    free = ~fixed
    if free.any():
        probability[free] = spsolve(laplacian[free][:, free].tocsc(), -laplacian[free][:, fixed] @ probability[fixed])
    return (probability > 0.5)[sp.labels]


def flooding(working: WorkingImage, core: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Watershed of the gradient from the markers `core` and `far`."""
    markers = np.where(core, 1, np.where(far, 2, 0)).astype(np.int32)
    return watershed(working.gradient, markers) == 1


def discs_around(working: WorkingImage, core: np.ndarray) -> np.ndarray:
    """float (h, w): 1 within a twelfth of the picture's longer side from `core`."""
    distance = cv2.distanceTransform((~core).astype(np.uint8), cv2.DIST_L2, 3)
    return (distance < max(working.height, working.width) / 12).astype(np.float32)


def grabcut(working: WorkingImage, seeds: Seeds, prior: np.ndarray) -> np.ndarray:
    """GrabCut from `prior`, float (h, w) in 0..1: above a half is taken for the object at first."""
    h, w = working.height, working.width
    scale = min(1.0, GRABCUT_SIDE / max(h, w))
    size = (max(1, round(w * scale)), max(1, round(h * scale)))
    rgb = cv2.resize(working.rgb, size, interpolation=cv2.INTER_AREA)
    small = cv2.resize(prior.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    trimap = np.where(small > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    for sure, value in ((seeds.negative, cv2.GC_BGD), (seeds.positive, cv2.GC_FGD)):
        trimap[cv2.resize(sure.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5] = value
    on = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    if np.count_nonzero(on) < 10 or np.count_nonzero(~on) < 10:
        return prior > 0.5
    cv2.setRNGSeed(0)
    cv2.grabCut(rgb, trimap, None, np.zeros((1, 65)), np.zeros((1, 65)), 3, cv2.GC_INIT_WITH_MASK)
    on = ((trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)).astype(np.float32)
    mask = cv2.resize(on, (w, h), interpolation=cv2.INTER_LINEAR) > 0.5
    core = seeds.positive if seeds.positive.any() else prior > 0.5
    return solid(attached(mask, core)) if mask.any() else prior > 0.5
