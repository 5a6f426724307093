"""Pairs of images that are near copies: of one picture, or of one thing in one position.

Three witnesses have to agree, the cheap ones first: difference hashes, features of a backbone, and phase correlation of small grey pictures. A hash and
features alone also call different pictures of alike things equal. Shapes: N images, P pairs, W words of a hash, D features, 64 x 64 grey values.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]
Float64Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

MAX_BITS = 38
"""Of the 256 bits of a difference hash, how many may differ."""
MIN_COSINE = 0.9
"""Of features as they are: whether two images are copies does not depend on the others, so that none is left once those found are left out."""
MIN_CORRELATION = 0.8
"""Peak of the band-limited phase-only correlation, in [0, 1]."""
MAX_PAIRS = 200_000
"""That hashes find and the other witnesses look at; beyond, what is found is told to be incomplete."""

_WORDS = 4
"""Of 64 bits, in a hash."""
_BAND = 14
"""Frequencies that are compared: from minus to plus so many cycles a picture."""
_BLOCK = 256
"""Images whose hashes are held against all others at once: 100 MB at 50,000 images."""


@dataclass(frozen=True, slots=True, eq=False)
class NearCopies:
    """Pairs of places of images, the first before the second, the nearest first."""

    pairs_P2: IntArray
    cosines_P: Float64Array
    is_complete: bool
    """False: hashes found more than `MAX_PAIRS`, and those of the later images were not looked at."""


def near_copies(dhashes: Sequence[str | None], features_ND: FloatArray, grey: Callable[[int], Float64Array]) -> NearCopies:
    """Find them.

    Args:
        dhashes: of N images, as hexadecimal digits; None: the image is too small to be compared.
        features_ND: of the same.
        grey: the small grey picture of an image, asked once for each that two witnesses call a copy.
    """
    known = [place for place, each in enumerate(dhashes) if each is not None]
    pairs_P2, is_complete = _alike_hashes([each for each in dhashes if each is not None])
    pairs_P2 = np.array(known, dtype=np.int64)[pairs_P2]
    cosines_P = _cosines(features_ND, pairs_P2)
    is_near_P = cosines_P >= MIN_COSINE
    pairs_P2, cosines_P = pairs_P2[is_near_P], cosines_P[is_near_P]
    spectra = {place: _phases(grey(place)) for place in np.unique(pairs_P2).tolist()}
    is_copy_P = np.array([_correlation(spectra[i], spectra[j]) >= MIN_CORRELATION for i, j in pairs_P2.tolist()], dtype=np.bool_)
    pairs_P2, cosines_P = pairs_P2[is_copy_P], cosines_P[is_copy_P]
    order_P = np.argsort(-cosines_P, kind="stable")
    return NearCopies(pairs_P2[order_P], cosines_P[order_P], is_complete)


def _alike_hashes(dhashes: Sequence[str]) -> tuple[IntArray, bool]:
    words_NW = np.frombuffer(bytes.fromhex("".join(dhashes)), dtype=np.uint64).reshape(-1, _WORDS)
    found: list[IntArray] = []
    num_found = 0
    for start in range(0, len(words_NW), _BLOCK):
        block_BW = words_NW[start : start + _BLOCK]
        distances_BN = np.zeros((len(block_BW), len(words_NW) - start), dtype=np.uint16)
        for word in range(words_NW.shape[1]):
            distances_BN += np.bitwise_count(block_BW[:, word, None] ^ words_NW[None, start:, word])
        pairs_P2 = np.argwhere(np.triu(distances_BN <= MAX_BITS, 1)) + start
        found.append(pairs_P2[: MAX_PAIRS - num_found])
        num_found += len(pairs_P2)
        if num_found > MAX_PAIRS:
            break
    return np.concatenate(found) if found else np.empty((0, 2), dtype=np.int64), num_found <= MAX_PAIRS


def _cosines(features_ND: FloatArray, pairs_P2: IntArray) -> Float64Array:
    cosines_P = np.empty(len(pairs_P2))
    for start in range(0, len(pairs_P2), 4096):
        a_BD, b_BD = (features_ND[pairs_P2[start : start + 4096, side]].astype(np.float64) for side in (0, 1))
        lengths_B = np.linalg.norm(a_BD, axis=1) * np.linalg.norm(b_BD, axis=1)
        cosines_P[start : start + 4096] = np.einsum("bd,bd->b", a_BD, b_BD) / np.maximum(lengths_B, np.finfo(np.float32).tiny)
    return cosines_P


def _phases(grey_HW: Float64Array) -> npt.NDArray[np.complex128]:
    """Of the low frequencies of a picture, its border faded out."""
    window_H = np.hanning(len(grey_HW) + 2)[1:-1]
    spectrum_HW = np.fft.fft2((grey_HW - grey_HW.mean()) * np.outer(window_H, window_H))
    kept = np.r_[0 : _BAND + 1, -_BAND:0]
    low = spectrum_HW[np.ix_(kept, kept)]
    return np.asarray(low / np.maximum(np.abs(low), 1e-9))


def _correlation(a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> float:
    """1 for the same picture, wherever it is shifted to; about 0.15 for others."""
    return float(np.fft.ifft2(a * b.conj()).real.max())
