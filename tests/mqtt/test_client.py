import inspect

import paho.mqtt.client as paho

from gatewayd.mqtt.client import Client


def test_paho_still_makes_its_socket_where_the_tap_takes_hold():
    """The tap overrides ``_create_socket``, ``drop`` calls ``_sock_close``: both are private to paho."""
    assert list(inspect.signature(paho.Client._create_socket).parameters) == ["self"]
    assert list(inspect.signature(paho.Client._sock_close).parameters) == ["self"]
    assert "self._sock = self._create_socket()" in inspect.getsource(paho.Client.reconnect)
    assert "_create_socket" in vars(Client)


def test_paho_still_connects_where_the_deadline_takes_hold():
    """One deadline for TCP and TLS: the client subclass connects by itself, and tells paho what is left for TLS."""
    assert "sock = self._create_socket_connection()" in inspect.getsource(paho.Client._create_socket)
    assert "sock = self._ssl_wrap_socket(sock)" in inspect.getsource(paho.Client._create_socket)
    assert "ssl_sock.settimeout(self._connect_timeout)" in inspect.getsource(paho.Client._ssl_wrap_socket)
    assert {"_create_socket_connection", "_ssl_wrap_socket"} <= set(vars(Client))


def test_paho_reads_and_writes_only_by_the_calls_that_the_wire_answers():
    """``recv`` and ``send`` with the whole remainder of a packet, from which the wire knows what is half written."""
    assert "self._sock.recv(bufsize)" in inspect.getsource(paho.Client._sock_recv)
    assert "self._sock.send(buf)" in inspect.getsource(paho.Client._sock_send)
    assert "packet['packet'][packet['pos']:]" in inspect.getsource(paho.Client._packet_write)
