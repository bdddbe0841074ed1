"""Velocities of the lid-driven cavity at Re = 100, as published.

Ghia, Ghia & Shin, "High-Re solutions for incompressible flow using the Navier–Stokes equations and a multigrid method",
*J. Comput. Phys.* 48 (1982) 387–411, tables I and II: 17 points of a 129 × 129 grid on each line through the centre.
"""

from __future__ import annotations

import numpy as np

REYNOLDS = 100.0
U_AT_X_HALF = np.array(
    [
        (0, 0),
        (0.0547, -0.03717),
        (0.0625, -0.04192),
        (0.0703, -0.04775),
        (0.1016, -0.06434),
        (0.1719, -0.1015),
        (0.2813, -0.15662),
        (0.4531, -0.2109),
        (0.5, -0.20581),
        (0.6172, -0.13641),
        (0.7344, 0.00332),
        (0.8516, 0.23151),
        (0.9531, 0.68717),
        (0.9609, 0.73722),
        (0.9688, 0.78871),
        (0.9766, 0.84123),
        (1, 1),
    ]
)
"""y in sides of the square and u in lid speeds, on the vertical line x = ½, shape ``(17, 2)``"""
V_AT_Y_HALF = np.array(
    [
        (0, 0),
        (0.0625, 0.09233),
        (0.0703, 0.10091),
        (0.0781, 0.1089),
        (0.0938, 0.12317),
        (0.1563, 0.16077),
        (0.2266, 0.17507),
        (0.2344, 0.17527),
        (0.5, 0.05454),
        (0.8047, -0.24533),
        (0.8594, -0.22445),
        (0.9063, -0.16914),
        (0.9453, -0.10313),
        (0.9531, -0.08864),
        (0.9609, -0.07391),
        (0.9688, -0.05906),
        (1, 0),
    ]
)
"""x and v likewise, on the horizontal line y = ½"""
