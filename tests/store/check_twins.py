"""Changes to an open store for the tests of `check`."""

from __future__ import annotations

import json

from neurolocal.store import write


def settings(file, part, **other):
    manifest = json.loads(str(file.attrs["manifest"]))
    target = manifest[part] if part else manifest
    target |= other
    write.put_json(file, "manifest", manifest)
