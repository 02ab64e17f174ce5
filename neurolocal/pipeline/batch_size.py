"""A collection that runs out of memory: which batch size would fit.

The batch size is part of a collection's result: other batches make kernels add in another order. So it is never changed
for the user, who is told which size fits. Invariant: nothing is written; the last checkpoint stays as it is.
Cost: nothing before memory runs out; then passes of one and two rows.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from neurolocal.errors import SubjectError, first_line

if TYPE_CHECKING:
    from neurolocal.collect import Progress
    from neurolocal.pipeline.manifest import Collection


@contextmanager
def enough_memory(job: Collection, progress: Progress) -> Generator[None, None, None]:
    """Around a collection: out of memory becomes an error that says which batch size fits.

    Args:
        job: the collection.
        progress: its results, which are still in memory when the other sizes are tried, as they will be then.

    Raises:
        SubjectError: memory ran out.
    """
    from neurolocal.subject.batches import out_of_memory

    try:
        yield
        return
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        failed = first_line(error)
    raise SubjectError(
        f"collecting from {job.subject.name} on {job.subject.device}: out of memory with batches of "
        f"{job.config.batch_size:,} rows ({failed}). {_advice(job, progress)}"
    )


def _advice(job: Collection, progress: Progress) -> str:
    """What would fit, and what becomes of the work so far."""
    from neurolocal.subject.batches import fitting_rows

    size, layers = job.config.batch_size, sorted({layer for _, layer in progress.states})
    fits = fitting_rows(job.subject, layers, row_length=job.config.row_length, below=size)
    if size == 1 or fits == 0:
        return "Not even one row fits: give a smaller --row-length, fewer --layers, or --device auto."
    todo = f"Give --batch-size {size // 2:,}" if fits is None else f"Give --batch-size {fits:,}, which fits by measure"
    if not job.store.exists():
        return f"{todo}."
    return (
        f"{todo}, and another --store, since the batch size is part of the result. The last checkpoint in {job.store} "
        "is kept; the same command resumes it where more memory is free."
    )
