"""Messages that nobody should send, for formats that must survive them."""

import math

from hypothesis import strategies as st

from gatewayd.formats.sample import Samples

_texts = st.sampled_from(["ON", "OFF", "nan", "1e999", "", "12", "2025-03-30T02:30:00", "9" * 400]) | st.text(
    max_size=20
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts


def json_values(keys: list[str]) -> st.SearchStrategy[object]:
    """JSON documents, and what only looks like JSON, in which a format's own keys occur at any place."""
    names = st.sampled_from(keys) | st.text(max_size=8)
    return st.recursive(
        _scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
        max_leaves=20,
    )


@st.composite
def damaged(draw: st.DrawFn, payloads: list[bytes]) -> bytes:
    """A good payload with one stretch cut out and other bytes in its place."""
    payload = draw(st.sampled_from(payloads))
    start = draw(st.integers(0, len(payload)))
    end = draw(st.integers(start, len(payload)))
    return payload[:start] + draw(st.binary(max_size=8)) + payload[end:]


def topics(examples: list[str]) -> st.SearchStrategy[str]:
    """A format's topics, any other, and its levels in another order."""
    levels = sorted({level for topic in examples for level in topic.split("/")})
    return (
        st.sampled_from(examples)
        | st.lists(st.sampled_from(levels), min_size=1, max_size=6).map("/".join)
        | st.text(max_size=20)
    )


def check(samples: Samples) -> None:
    """Hold what every format promises of its answer."""
    assert all(math.isfinite(sample.value) for sample in samples.samples)
    assert all(sample.taken_at is None or 10**18 <= sample.taken_at < 2**63 for sample in samples.samples)
    assert all(error.isascii() and error == error.lower() and " " not in error for error in samples.errors)
