"""What an event may be called, decided on plain values."""

import re

_TYPE = re.compile(r"[a-z]+(?:_[a-z]+)*\.[a-z]+(?:_[a-z]+)*\Z")


def is_event_type(text: str) -> bool:
    """Whether the text has the shape ``resource.past_tense``."""
    return _TYPE.match(text) is not None
