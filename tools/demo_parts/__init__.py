"""The parts of tools/demo: embedded broker, pumps, and the stage that sets the daemon between them."""
