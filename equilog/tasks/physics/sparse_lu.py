"""What a sparse LU factorisation and a solve with it take, counted from the factors."""

from __future__ import annotations

from typing import Any

import numpy as np


def multiplications(factors: Any) -> tuple[float, float]:
    """Return multiply–accumulates of the factorisation and of one solve with its factors.

    Eliminating unknown k updates one entry for every pair of an entry below the diagonal in its column of L and one
    right of it in its row of U: ``Σ_k (|L_k| − 1)(|U_k| − 1)``. A solve takes every entry of both once. (Davis, *Direct
    Methods for Sparse Linear Systems*, SIAM 2006, ch. 6.) Ordering is not counted.

    Args:
        factors: as of :func:`scipy.sparse.linalg.splu`.
    """
    lower, upper = factors.L.tocsc(), factors.U.tocsr()
    below, right = np.diff(lower.indptr) - 1.0, np.diff(upper.indptr) - 1.0
    return float(below @ right), float(lower.nnz + upper.nnz)
