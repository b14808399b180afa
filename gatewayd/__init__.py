"""gatewayd scores windows of sensor readings on an edge gateway and publishes predictions and alerts."""

__version__ = "0.1.0"
