"""
What an estimate says beside how long a run would take: how short it could be at best (`bounds`), and how short a better
order would make it (`improving`), both of a run as `points`. Pure: no clock, no user's code.
"""

from antichain.estimating.bounds import Bound, Bounds
from antichain.estimating.improving import Improvement, improve
from antichain.estimating.points import Points, points_of

__all__ = ["Bound", "Bounds", "Improvement", "Points", "improve", "points_of"]
