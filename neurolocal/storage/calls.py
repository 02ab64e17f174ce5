"""One call of a storage, tried again while it fails in passing.

The storage's own library may try again too (s3fs: within some 20 seconds); this waits longer, for a network that is
away. Invariant: what a call raises in the end is a `StorageError` in one line, without credentials.
Cost: nothing where the call succeeds.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from neurolocal.errors import NeurolocalError, StorageError, first_line
from neurolocal.storage.address import Address, scrubbed

log = logging.getLogger(__name__)

TRIES = 12
"""Most times that a call is tried."""

PATIENCE = 300.0
"""Seconds after which it is not tried again."""

FIRST, LONGEST = 0.5, 30.0
"""Seconds between two tries: random below a bound that begins at the first and doubles up to the other."""

NETWORK = frozenset(
    ("aiohttp", "aiobotocore", "azure", "botocore", "google", "httpcore", "httpx", "paramiko", "requests", "urllib3")
)
"""Packages whose exceptions may pass."""

LASTING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
"""What trying again does not mend."""

T = TypeVar("T")


class ShortAnswerError(OSError):
    """Fewer bytes came than were asked for."""


def passes(error: BaseException) -> bool:
    """Whether the same call may succeed later."""
    if isinstance(error, LASTING) or "Credential" in type(error).__name__:
        return False
    return isinstance(error, OSError | EOFError) or type(error).__module__.split(".")[0] in NETWORK


def tried(doing: str, call: Callable[[], T]) -> T:
    """What a call returns, which is tried again while it fails in passing.

    Args:
        doing: how the message begins, with the address.
        call: what to do; it may be done several times.

    Raises:
        StorageError: it fails for good, or for too long.
    """
    from tenacity import Retrying, retry_if_exception, stop_after_attempt, stop_after_delay, wait_random_exponential

    tries = Retrying(
        retry=retry_if_exception(passes),
        wait=wait_random_exponential(multiplier=FIRST, max=LONGEST),
        stop=stop_after_delay(PATIENCE) | stop_after_attempt(TRIES),
        before_sleep=lambda state: _say_once(doing, state),
        reraise=True,
    )
    try:
        return tries(call)
    except NeurolocalError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{doing}: there is nothing at this address. Check it.") from _without_secrets(error)
    except Exception as error:
        said = scrubbed(first_line(error))
        if passes(error):
            n, seconds = tries.statistics["attempt_number"], tries.statistics["delay_since_first_attempt"]
            raise StorageError(
                f"{doing}: tried {n} times in {seconds:.0f} s, the last time: {said}. Check the network and the "
                "storage; what was collected is kept, and the same command resumes."
            ) from _without_secrets(error)
        raise StorageError(
            f"{doing}: {type(error).__name__}: {said}. Check the address, and the credentials in the environment or in "
            "the configuration of the storage's library."
        ) from _without_secrets(error)


def _say_once(doing: str, state: Any) -> None:
    """Tell the user why nothing happens, when the second try has failed."""
    if state.attempt_number == 2 and state.outcome is not None:
        said = scrubbed(first_line(state.outcome.exception()))
        log.warning("%s: %s; trying again for up to %.0f s", doing, said, PATIENCE)


def _without_secrets(error: BaseException) -> BaseException:
    """The error as a cause that a traceback may show."""
    text = scrubbed(str(error))
    return error if text == str(error) else RuntimeError(f"{type(error).__name__}: {text}")


def filesystem(address: Address) -> tuple[Any, str]:
    """fsspec's filesystem of an address, without any cache of listings, and the path in it."""
    first, _, _ = address.path.lstrip("/").partition("/")
    system = _filesystem(address.protocol, first)
    return system, system._strip_protocol(str(address))


@functools.cache
def _filesystem(protocol: str, first: str) -> Any:
    """A filesystem by protocol, and by the first part of the path, which in some protocols is the host."""
    from fsspec.core import url_to_fs

    def make() -> Any:
        return url_to_fs(f"{protocol}://{first}", use_listings_cache=False, skip_instance_cache=True)[0]

    return tried(f"opening the storage {protocol}://{first}", make)
