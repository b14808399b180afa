"""Sparkplug B payloads for tests."""

from gatewayd.formats.sparkplug_schema import new_payload

AT_MS = 1_741_944_413_000
INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, FLOAT, DOUBLE, BOOLEAN, STRING = range(1, 13)


def metric(name=None, **fields):
    """Fields as the schema names them; ``value=("int_value", 3)`` or ``unit="bar"`` as short forms."""
    return {"name": name, **fields}


def payload(*metrics, seq=None, timestamp=AT_MS):
    message = new_payload()
    for name, value in (("seq", seq), ("timestamp", timestamp)):
        if value is not None:
            setattr(message, name, value)
    for fields in metrics:
        added = message.metrics.add()
        for name, value in fields.items():
            if name == "unit":
                added.properties.keys.append("engUnit")
                added.properties.values.add().string_value = value
            elif name == "value":
                setattr(added, *value)
            elif value is not None:
                setattr(added, name, value)
    return message.SerializeToString()


def node_birth(bd_seq=None, *metrics, seq=0):
    session = () if bd_seq is None else (metric("bdSeq", datatype=INT64, value=("long_value", bd_seq)),)
    return payload(*session, *metrics, seq=seq)


def double(value, *, name=None, alias=None, datatype=DOUBLE, **fields):
    return metric(name, alias=alias, datatype=datatype, value=("double_value", value), **fields)
