"""Data in script files: a page loads them with a script element, which also works where a page has no server.

A file `NAME.js` is one call, `neurolocal.take("NAME", DATA)`, where DATA is JSON.
Invariant: whatever the data contain, the file is that one call: JSON is a part of JavaScript, and `<` is escaped, so
the file is harmless even where a server calls it HTML.
"""

from __future__ import annotations

from typing import Any

import orjson


def script_file(name: str, data: Any) -> bytes:
    """The content of `NAME.js`; `name` is of our own making, without the ending."""
    body = orjson.dumps(data).replace(b"<", b"\\u003c")
    return b'neurolocal.take("%s",%s);\n' % (name.encode(), body)
