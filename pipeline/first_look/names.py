"""What the names of columns and tables say about what they hold."""

import re
from collections.abc import Collection, Iterable
from typing import Final

# fmt: off
USER_WORDS: Final = frozenset({
    "user", "users", "customer", "customers", "cust", "member", "members", "household",
    "households", "visitor", "client", "clients", "account", "reviewer", "buyer", "shopper",
    "player", "listener", "reader", "viewer", "subscriber", "person", "people", "patient",
    "student", "uid", "profile", "profiles", "borrower", "voter", "passenger", "guest", "follower",
})
# fmt: on
"""Words of the name of a user's id or table."""
# fmt: off
ITEM_WORDS: Final = frozenset({
    "item", "items", "product", "products", "movie", "movies", "film", "films", "sku", "article",
    "articles", "book", "books", "track", "tracks", "song", "songs", "artist", "artists",
    "business", "restaurant", "restaurants", "game", "games", "asin", "isbn", "upc", "listing",
    "listings", "post", "posts", "video", "videos", "course", "courses", "recipe", "recipes",
    "beer", "beers", "hotel", "hotels", "offer", "offers", "content", "news", "iid", "pid", "good",
    "goods", "catalogue", "catalog", "stock", "anime", "show", "shows", "venue", "poi", "dish",
})
# fmt: on
"""Words of the name of an item's id or table."""
# fmt: off
LOG_WORDS: Final = frozenset({
    "log", "logs", "interaction", "interactions", "event", "events", "rating", "ratings",
    "transaction", "transactions", "click", "clicks", "order", "orders", "purchase", "purchases",
    "view", "views", "review", "reviews", "history", "play", "plays", "session", "sessions",
    "sales",
})
# fmt: on
"""Words of the name of a log."""
# fmt: off
ID_WORDS: Final = frozenset({
    "id", "ids", "key", "code", "number", "no", "num", "uuid", "guid",
})
# fmt: on
"""Words of the name of an id of any kind."""
# fmt: off
OTHER_ID_WORDS: Final = frozenset({
    "order", "session", "basket", "transaction", "event", "row", "index", "store", "category",
    "brand", "review", "invoice", "line", "department", "aisle", "cart", "campaign", "manufacturer",
    "visit", "page", "request",
})
# fmt: on
"""Words of the name of an id that is neither a user's nor an item's."""
# fmt: off
TIME_WORDS: Final = frozenset({
    "time", "timestamp", "date", "datetime", "at", "ts", "day", "created", "occurred", "when",
    "unixtime", "unix",
})
# fmt: on
"""Words of the name of a time."""
# fmt: off
RATING_WORDS: Final = frozenset({
    "rating", "ratings", "rate", "score", "stars", "star", "grade",
})
# fmt: on
"""Words of the name of a rating."""
# fmt: off
EVENT_WORDS: Final = frozenset({
    "event", "action", "type", "behavior", "behaviour", "interaction", "activity", "verb",
})
# fmt: on
"""Words of the name of an event's type."""
# fmt: off
COUNTER_WORDS: Final = frozenset({
    "count", "counts", "num", "number", "n", "total", "popularity", "popular", "views", "sales",
    "sold", "votes", "plays", "clicks", "purchases", "orders", "rank", "ranking", "reviews",
    "ratings", "likes", "downloads", "hits",
})
# fmt: on
"""Words of the name of a counter, which grows with the interactions."""
# fmt: off
TITLE_WORDS: Final = frozenset({"title", "name", "label", "headline"})
"""Words of the name of what a person knows an item by."""
AVERAGE_WORDS: Final = frozenset({
    "avg", "average", "mean",
})
# fmt: on
"""Words of the name of a mean, such as that of all ratings."""

_GLUED: Final = tuple(
    sorted(USER_WORDS | ITEM_WORDS | frozenset({"rating", "time", "event"}), key=len, reverse=True)
)


def split_name(name: str) -> tuple[str, ...]:
    """Cut a name into its words.

    Args:
        name: Such as `CustomerID`, `product_id` or `userid`.

    Returns:
        The words in lower case: ('customer', 'id'), ('product', 'id'), ('user', 'id').
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    spaced = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", spaced)
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]
    return tuple(part for word in words for part in _unglue(word))


def _unglue(word: str) -> tuple[str, ...]:
    for known in _GLUED:
        if word.startswith(known) and word.removeprefix(known) in ID_WORDS:
            return known, word.removeprefix(known)
    return (word,)


def has_word(name: str, words: Collection[str]) -> bool:
    """Tell whether a name has one of some words.

    Args:
        name: The name.
        words: The words.

    Returns:
        Whether it has.
    """
    return any(word in words for word in split_name(name))


def make_name(name: str, taken: Iterable[str], prefix: str = "") -> str:
    """Make a name that a feature can have.

    Args:
        name: The column's name in the files.
        taken: Names that are given already.
        prefix: What goes before it where it is taken.

    Returns:
        Small letters, digits and underscores, a letter first.
    """
    spaced = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name.strip())
    plain = re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")
    if not re.match(r"[a-z]", plain):
        plain = f"column_{plain}".strip("_")
    taken = set(taken)
    candidates = [plain, f"{prefix}_{plain}", *(f"{plain}_{number}" for number in range(2, len(taken) + 3))]
    return next(candidate for candidate in candidates if candidate not in taken)
