"""How long the lists are that are judged, where nothing is configured."""

from typing import Final

LARGE_CATALOGUE_CUT_OFFS: Final = (10, 50, 100)
"""The cut-offs of a catalogue that is large enough for them."""
ITEMS_PER_PLACE: Final = 5
"""A list has at most one place for so many items: a longer one finds much by chance."""


def default_cut_offs(catalogue_items: int) -> tuple[int, ...]:
    """Choose cut-offs by the size of the catalogue.

    Args:
        catalogue_items: Number of items.

    Returns:
        10, 50 and 100, less those that are more than a fifth of the catalogue; of a catalogue of less than 50
        items a fifth of it.
    """
    largest = max(1, catalogue_items // ITEMS_PER_PLACE)
    return tuple(k for k in LARGE_CATALOGUE_CUT_OFFS if k <= largest) or (largest,)
