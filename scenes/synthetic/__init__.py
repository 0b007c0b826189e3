"""Synthetic cities: endless seeded plans, exact ray casting, layouts and captures."""

from neural.scenes.synthetic.city import City, Hits
from neural.scenes.synthetic.light import Daylight
from neural.scenes.synthetic.streets import Block, CityConfig

__all__ = ["Block", "City", "CityConfig", "Daylight", "Hits"]
