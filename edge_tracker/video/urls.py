"""What may be shown of a URL."""

from __future__ import annotations

import re
from urllib.parse import unquote

SECRET = re.compile(r"pass|pwd|pw$|token|key|secret|auth|sig|credential|session|code|\bsid$", re.IGNORECASE)
HIDDEN = "***"


def masked(url: str) -> str:
    """`url` without user name, password, tokens and keys, for messages and logs.

    Passwords are pasted into URLs as they are, with `/`, `?`, `#` and `@` in them. Where it is not plain which part is
    the password, more is hidden rather than less.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # A colon may begin a password that holds the slash which seems to end the host.
    if "@" in authority or (":" in authority and "@" in rest):
        rest = rest[rest.rfind("@") + 1 :]
    return f"{scheme}://" + re.sub(r"([^?&;/#=]+)=([^&;#/?]*)", _value, rest)


def _value(match: re.Match[str]) -> str:
    name, value = match.groups()
    return f"{name}={HIDDEN}" if value and SECRET.search(unquote(name)) else match.group()
