"""A table that a script writes into a README, between two comments: `<!-- NAME -->` and `<!-- end NAME -->`."""

from __future__ import annotations


def filled(readme: str, begin: str, end: str, table: str) -> str:
    """A README with a table between its markers.

    Raises:
        ValueError: the README lacks one of them.
    """
    if begin not in readme or end not in readme:
        raise ValueError(f"the README lacks the markers {begin} and {end}")
    before, _, rest = readme.partition(begin)
    return f"{before}{begin}\n{table}\n{end}{rest.partition(end)[2]}"
