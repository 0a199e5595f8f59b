"""Each case runs in an interpreter of its own: what torch declares cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest

from db.settings import CHECKOUT


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_network_is_built_whether_or_not_the_compiled_operators_load() -> None:
    out = run(
        "import torch\n"
        "from training.torchvision_shim import torchvision_models\n"
        "models = torchvision_models()\n"
        "assert models is torchvision_models()\n"
        "network = models.resnet18(weights=None, num_classes=1).eval()\n"
        "print(tuple(network(torch.zeros(2, 3, 64, 64)).shape))\n"
    )
    assert out.strip() == "(2, 1)"


def test_after_a_failed_import_the_operators_have_a_signature_and_no_kernel() -> None:
    # A torch that declares the operators would let the first import pass; deleting the file of the compiled
    # extension is not ours to do, so the missing declaration is simulated by refusing to load the library.
    out = run(
        "import torch\n"
        "def refuse(path): raise OSError('not here')\n"
        "torch.ops.load_library = refuse\n"
        "from training.torchvision_shim import torchvision_models\n"
        "torchvision_models()\n"
        "for name in ('nms', 'qnms'):\n"
        "    operator = getattr(torch.ops.torchvision, name)\n"
        "    try:\n"
        "        operator(torch.zeros(1, 4), torch.zeros(1), 0.5)\n"
        "    except (NotImplementedError, RuntimeError) as exc:\n"
        "        print(name, type(exc).__name__)\n"
    )
    assert out.split() == ["nms", "NotImplementedError", "qnms", "NotImplementedError"]


def test_where_the_operators_are_declared_already_nothing_is_declared() -> None:
    out = run(
        "import torch\n"
        "if 'nms' not in dir(torch.ops.torchvision):\n"
        "    real = torch.library.Library('torchvision', 'DEF')\n"
        "    for name in ('nms', 'qnms'):\n"
        "        real.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "from training import torchvision_shim\n"
        "torchvision_shim.torchvision_models()\n"
        "print(torchvision_shim._declare.cache_info().currsize)\n"
    )
    assert out.strip() == "0"


def test_another_failure_of_the_import_is_not_hidden() -> None:
    code = (
        "import sys, importlib\n"
        "from training import torchvision_shim\n"
        "def broken(name): raise RuntimeError('something else')\n"
        "torchvision_shim.importlib.import_module = broken\n"
        "torchvision_shim.torchvision_models()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "something else" in done.stderr


@pytest.mark.parametrize("imported_before", ["", "import training.commands\n"])
def test_the_command_line_does_not_import_torch(imported_before: str) -> None:
    assert run(imported_before + "import sys, stronglens; print('torch' in sys.modules)").strip() == "False"
