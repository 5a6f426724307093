"""Images that belong together, such as those of a patient: which they are, and how they are dealt out whole to splits and folds.

Shapes: N images, G groups, C classes, P parts.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


def number_groups(hashes: Sequence[str], groups: Sequence[str]) -> IntArray:
    """Return the number of each image's group, shape N. Groups that share an equal image are one: it shows the same patient.

    Numbers follow from what the images hold, so that names of groups and of files play no part in what is made of them.

    Args:
        hashes: content of each image.
        groups: name of each image's group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    contents, content_N = np.unique(np.asarray(hashes), return_inverse=True)
    names, name_N = np.unique(np.asarray(groups), return_inverse=True)
    nodes = len(names) + len(contents)
    links = coo_array((np.ones(len(hashes), dtype=np.int8), (name_N, len(names) + content_N)), shape=(nodes, nodes))
    of_content = connected_components(links, directed=False)[1][len(names) :]
    _, first, number = np.unique(of_content, return_index=True, return_inverse=True)
    return np.asarray(first.argsort().argsort()[number][content_N], dtype=np.int64)


def count_labels(labels_N: IntArray, groups_N: IntArray) -> tuple[IntArray, IntArray]:
    """Return images of each group and class, shape G x C, and which group each image is, shape N; groups in the order of their numbers."""
    group_N = np.unique(groups_N, return_inverse=True)[1]
    counts_GC = np.zeros((int(group_N.max()) + 1, int(labels_N.max()) + 1), dtype=np.int64)
    np.add.at(counts_GC, (group_N, labels_N), 1)
    return counts_GC, group_N


def deal_groups(counts_GC: IntArray, shares: Sequence[float], shuffled_G: Sequence[int]) -> IntArray:
    """Return the part that each group goes to, shape G: parts get their shares of every class as nearly as whole groups allow.

    Larger groups go first, those of about one size in the order given. Each goes where its classes have least of what they should have: the
    rule of Webster for seats, class by class. Where as few groups are left of a class as parts lack it, these come first, so that no part is
    without a class that enough groups have.

    Args:
        counts_GC: images of each group and class.
        shares: of each part; they sum to one.
        shuffled_G: all groups in a random order, which decides among those of one size.
    """
    shares_P = np.asarray(shares, dtype=np.float64)
    wanted_PC = shares_P[:, None] * np.maximum(counts_GC.sum(axis=0), 1)
    have_PC, left_C = np.zeros(wanted_PC.shape), (counts_GC > 0).sum(axis=0)
    part_G = np.empty(len(counts_GC), dtype=np.int64)
    sizes_G = counts_GC.sum(axis=1).tolist()
    for group in sorted(shuffled_G, key=lambda group: -sizes_G[group].bit_length()):
        own_C = counts_GC[group]
        lacks_PC = (have_PC == 0) & (own_C > 0)
        num_urgent_P = (lacks_PC & (left_C <= lacks_PC.sum(axis=0))).sum(axis=1)
        filled_P = (own_C * (have_PC + own_C / 2) / wanted_PC).sum(axis=1)
        part = int(np.lexsort((have_PC.sum(axis=1) / shares_P, filled_P, -num_urgent_P))[0])
        part_G[group] = part
        have_PC[part] += own_C
        left_C -= own_C > 0
    return part_G
