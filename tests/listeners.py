"""What receives the lines for the user in tests that do not look at them."""


def silent(line: str) -> None:
    """Discards a line."""
