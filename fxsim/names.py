"""Short names for narrow places."""


def short_name(name: str, most: int = 28) -> str:
    """A tensor's name as people read it: converters join what they fused with ``;`` and nest scopes with ``/``.

    The first joined part is kept, then as many of its last scopes as fit into ``most`` characters.
    """
    parts = name.split(";", maxsplit=1)[0].split("/")
    short = parts.pop()
    while parts and len(parts[-1]) + 1 + len(short) <= most:
        short = f"{parts.pop()}/{short}"
    return short if len(short) <= most else "…" + short[1 - most :]


def counted(n: int, what: str) -> str:
    """``1 tensor``, ``2,000 tensors``."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"
