import os
import socket

import pytest

from recsys_dev import ports
from recsys_dev.errors import Unmet


def test_free_ports_differ_and_can_be_listened_on():
    found = ports.free_ports(5)
    assert len(set(found)) == 5
    assert all(ports.is_free(port) for port in found)


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
