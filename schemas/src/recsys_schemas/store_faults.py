"""What a store says when it fails, made short, and what to do about it: the same words in ingest's log and in the operator's conditions."""

import re

_LONGEST = 300
_ANSI = re.compile(r"\x1b\[[0-9;]*m|↳")
_XML = re.compile(r"<\?xml.*?<Code>(.*?)</Code>(?:<Message>(.*?)</Message>)?.*", re.DOTALL)
_TOOK = re.compile(r" in [\d.]+\s?(?:ns|µs|ms|s)\b")
_MENDS = (
    (re.compile(r"No space left|os error 28\b|Disk quota|os error 122\b"), "free space there"),
    (
        re.compile(r"Read-only file system|os error 30\b|Permission denied|os error 13\b"),
        "make it writable for the user that ingest runs as",
    ),
    (re.compile(r"NoSuchBucket|NO_SUCH_BUCKET|bucket does not exist"), "make the bucket"),
    (
        re.compile(r"ACCESS_DENIED|AccessDenied|InvalidAccessKeyId|SignatureDoesNotMatch|403 Forbidden"),
        "allow this user to put and list objects there, or correct AWS_* on the Ray cluster",
    ),
)


def brief(said: str) -> str:
    """One line without colours, XML and times: the same fault gives the same words, so that a status does not change at each look.

    >>> brief('GET http://s3/b in 1.9ms - 404: <?xml version="1.0"?><Error><Code>NoSuchBucket</Code><Message>No.</Message></Error>')
    'GET http://s3/b - 404: NoSuchBucket: No.'
    """
    plain = _XML.sub(lambda found: f"{found[1]}: {found[2] or ''}", _ANSI.sub("", said))
    words = " ".join(_TOOK.sub("", plain).split())
    # What was wrong stands last, after what was tried.
    return words if len(words) <= _LONGEST else f"… {words[-_LONGEST:]}"


def mend(seen: str, uri: str) -> str:
    """What to do about a fault of the store at a URI."""
    for sign, what in _MENDS:
        if sign.search(seen):
            return what
    return "look at the disk" if uri.startswith("file:") else "check that the store runs and that AWS_* are right"
