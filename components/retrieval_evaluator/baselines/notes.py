"""What is said beside a baseline's figures."""


def join_notes(*notes: str | None) -> str | None:
    """Put notes one after the other.

    Args:
        *notes: Some of them perhaps None.

    Returns:
        One note; None where there is none.
    """
    return "; ".join(note for note in notes if note is not None) or None
