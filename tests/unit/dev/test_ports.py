import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from recsys_dev import ports
from recsys_dev.errors import Unmet


def test_free_ports_differ_and_can_be_listened_on():
    found = ports.free_ports(5)
    assert len(set(found)) == 5
    assert all(ports.is_free(port) for port in found)


def test_ports_that_were_given_and_are_not_yet_listened_on_are_not_given_again():
    with ThreadPoolExecutor(4) as others:
        given = [port for found in others.map(ports.free_ports, [3] * 100) for port in found]
    assert len(set(given)) == len(given)


@pytest.mark.parametrize("noted", ["", "nonsense", "11999", "12000", "99999999999"])
def test_whatever_is_noted_of_the_next_port_some_are_found(noted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / f"recsys-ports-{os.getuid()}").write_text(noted)
    found = ports.free_ports(3)
    assert len(set(found)) == 3
    assert all(ports.LOWEST <= port < ports.HIGHEST for port in found)
    assert not set(found) & set(ports.free_ports(3)), "the next one's are others"


def test_a_port_in_use_is_refused_with_its_number_its_holder_and_the_mend():
    # Not one that the system picks: it might give it to an outgoing connection as soon as it is free again.
    (port,) = ports.free_ports(1)
    with socket.create_server(("127.0.0.1", port)):
        assert not ports.is_free(port)
        with pytest.raises(Unmet) as refused:
            ports.require_free(port, "etcd")
    assert f"port {port} for etcd" in str(refused.value)
    assert f"(pid {os.getpid()})" in str(refused.value)
    assert "choose another port" in str(refused.value)
    ports.require_free(port, "etcd")
