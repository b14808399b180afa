"""The parts of tools/demo: the embedded broker, the pumps, and the stage that watches the daemon between them."""
