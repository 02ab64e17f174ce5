"""Carry everything that a run needs across the air gap: gathered and listed on one side, checked on the other.

With `storage/`, the only code that may use a network; it refuses when NEUROLOCAL_OFFLINE=1.
"""

from neurolocal.bundle.content import SECTIONS, Content, Section
from neurolocal.bundle.make import Bundle, make_bundle, plan_bundle
from neurolocal.bundle.verify import BundleError, verify

__all__ = ["SECTIONS", "Bundle", "BundleError", "Content", "Section", "make_bundle", "plan_bundle", "verify"]
