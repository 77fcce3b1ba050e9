"""What may be shown of a URL."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

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


def escaped(url: str) -> str:
    """`url` with a password that was pasted as it is escaped, where it is plain that it is one: what seems to be the
    port is no number."""
    scheme, mark, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2]
    if not mark or "@" in authority or ":" not in authority or "]" in port or port.isdecimal() or "@" not in rest:
        return url
    login, _, place = rest.rpartition("@")
    user, _, password = login.partition(":")
    return f"{scheme}://{user}:{quote(password, safe='%')}@{place}"


def _value(match: re.Match[str]) -> str:
    name, value = match.groups()
    return f"{name}={HIDDEN}" if value and SECRET.search(unquote(name)) else match.group()
