"""What a regulariser buys and what it costs: one model for every weight λ, and the front between them."""

from equilog.fronts.front import Front, Point, draw_front

__all__ = ["Front", "Point", "draw_front"]
