"""The classes of the maps and of the layout."""

SKY, ROAD, SIDEWALK, LAWN, WATER, FACADE, ROOF, TREE, FURNITURE, CAR = range(10)

CLASS_NAMES = (
    "sky",
    "road",
    "sidewalk",
    "lawn",
    "water",
    "facade",
    "roof",
    "tree",
    "furniture",
    "car",
)
"""Name by class id. A building's instances carry `FACADE` in the layout; its pixels are facade or roof."""

CLASS_COLOURS = (
    (135, 180, 220),
    (90, 90, 95),
    (190, 185, 175),
    (120, 175, 80),
    (60, 120, 180),
    (205, 120, 95),
    (150, 60, 60),
    (40, 110, 50),
    (230, 180, 60),
    (150, 80, 190),
)
"""A display colour (sRGB, 0-255) by class id."""
