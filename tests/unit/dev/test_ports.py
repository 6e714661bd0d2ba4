import os
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from recsys_dev import ports
from recsys_dev.errors import Unmet


def test_free_ports_differ_and_can_be_listened_on():
    found = ports.free_ports(5)
    assert len(set(found)) == 5
    assert all(ports.is_free(port) for port in found)


def test_a_port_that_was_given_is_not_given_to_another_though_nothing_listens_there_yet():
    with ThreadPoolExecutor(4) as pool:
        given = [port for found in pool.map(ports.free_ports, [4] * 100) for port in found]
    assert len(set(given)) == len(given)


def test_a_port_in_use_is_refused_with_its_number_its_holder_and_the_mend():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        with pytest.raises(Unmet) as refused:
            ports.require_free(port, "etcd")
    assert f"port {port} for etcd" in str(refused.value)
    assert f"(pid {os.getpid()})" in str(refused.value)
    assert "choose another port" in str(refused.value)
    ports.require_free(port, "etcd")
