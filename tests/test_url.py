"""What a URL may say."""

import pytest

from ringipc.transports.url import Url, parse


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("shm://camera", Url("shm", name="camera")),
        ("shm://~ann/camera", Url("shm", name="~ann/camera")),
        ("pipe:3", Url("pipe", fd=3)),
        ("fifo:///run/camera", Url("fifo", path="/run/camera")),
        ("unix:///run/camera", Url("unix", path="/run/camera")),
        ("unix://@camera", Url("unix", path="@camera")),
        ("unix:///" + "x" * 106, Url("unix", path="/" + "x" * 106)),
        ("tcp://localhost:0", Url("tcp", host="localhost", port=0)),
        ("tcp://127.0.0.1:65535", Url("tcp", host="127.0.0.1", port=65535)),
        ("tcp://[::1]:80", Url("tcp", host="::1", port=80)),
    ],
)
def test_a_url_has_parts_that_make_it_again(text: str, parts: Url) -> None:
    assert parse(text) == parts
    assert str(parts) == text


def test_a_plain_name_is_the_rings() -> None:
    assert parse("camera") == parse("shm://camera")
    assert parse("a:b").name == "a:b"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no name"),
        ("shm://", "no name"),
        ("a\0b", "NUL"),
        ("http://host:80", r"'http' is not known; there are .*unix:///path.*tcp://host:port"),
        ("://x", "is not known"),
        ("pipe:", "no descriptor"),
        ("pipe:-1", "number"),
        ("pipe:9999999999", "number"),
        ("fifo://run/camera", "absolute"),
        ("unix://run/camera", "absolute"),
        ("unix://", "absolute"),
        ("unix://@", "no name"),
        ("unix:///run/", "directory"),
        ("unix:///" + "x" * 107, "107 bytes"),
        ("unix:///" + "ü" * 54, "107 bytes"),
        ("tcp://host", "no port"),
        ("tcp://host:", "no port"),
        ("tcp://[::1]", "no port"),
        ("tcp://:80", "no host"),
        ("tcp://host:65536", "0 to 65535"),
        ("tcp://host:-1", "0 to 65535"),
        ("tcp://host:٣", "0 to 65535"),
        ("tcp://host:+5", "0 to 65535"),
        ("tcp://::1:80", "brackets"),
        ("tcp://[::1:80", "brackets"),
        ("tcp://[nonsense]:80", "no IPv6"),
        ("tcp://host:80/path", "more than"),
        ("tcp://ann@host:80", "more than"),
    ],
)
def test_a_url_that_is_none_says_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(text)
