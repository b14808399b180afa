"""The parts of tools/fuzz: what is fuzzed, what is asked of an answer, and the loop that atheris drives."""
