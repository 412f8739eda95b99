"""Programs of the protocol's project that npm brings, with a Node that they run on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NODE = "node@22"
FOLDER = Path(__file__).parents[2] / ".conformance"


def bring(package: str, script: str) -> list[str]:
    """The command that runs a script of a package (`name@version`), which is installed into a folder of its own.
    Skips the test where that can't be done."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    name = package.rpartition("@")[0]
    folder = FOLDER / name.rpartition("/")[2]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "package.json").write_text('{"private": true}\n')
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "--fetch-retries=1", "--fetch-timeout=30000"]
    done = subprocess.run([*command, NODE, package], cwd=folder, capture_output=True, text=True, timeout=600)
    modules = folder / "node_modules"
    node, main = modules / ".bin" / "node", modules / name / script
    if done.returncode or not node.exists() or not main.exists():
        pytest.skip(f"npm can't bring {package}: {done.stderr.strip()[-300:]}")
    return [str(node), str(main)]
