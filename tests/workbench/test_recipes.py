"""The networks have the shapes that a bundle allows, and nothing that cannot be batched."""

import json
import subprocess
import sys

import pytest

from tests.support.recordings import needs_tensorflow

pytestmark = needs_tensorflow

# in a process of its own: TensorFlow and tflite-runtime clash in one
_PROGRAM = """
import json, sys
from gatewayd.workbench.recipes import build
shapes = {}
for recipe in ("autoencoder-linear", "autoencoder-dense", "autoencoder-conv", "classifier-dense"):
    model = build(recipe, length=10, channels=3, classes=4)
    layers = sorted({type(layer).__name__ for layer in model.layers})
    shapes[recipe] = [model.input_shape, model.output_shape, layers]
model = build("autoencoder-picture", length=384, channels=3, classes=0, image=(16, 24))
layers = sorted({type(layer).__name__ for layer in model.layers})
shapes["autoencoder-picture"] = [model.input_shape, model.output_shape, layers]
print(json.dumps(shapes))
"""


@pytest.fixture(scope="module")
def shapes():
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("recipe", "given", "result"),
    [
        ("autoencoder-linear", [None, 30], [None, 30]),
        ("autoencoder-dense", [None, 30], [None, 30]),
        ("autoencoder-conv", [None, 10, 3], [None, 10, 3]),
        ("autoencoder-picture", [None, 16, 24, 3], [None, 16, 24, 3]),
        ("classifier-dense", [None, 30], [None, 4]),
    ],
)
def test_a_recipe_has_the_shapes_of_a_bundle_and_no_recurrent_layer(shapes, recipe, given, result):
    assert shapes[recipe][:2] == [given, result]
    assert set(shapes[recipe][2]) <= {"InputLayer", "Dense", "Conv1D", "Conv2D", "Resizing"}
