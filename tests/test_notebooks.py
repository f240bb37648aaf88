"""Every notebook runs from top to bottom, in a kernel of its own; the assertions inside it are part of the test."""

import json
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_notebooks_and_each_checks_something():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert any("assert " in cell.source for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"), (
            path.name
        )


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, tmp_path):
    notebook = nbformat.read(path, 4)
    # The kernel must be this interpreter, whatever kernels the machine has.
    kernel = tmp_path / "kernels" / "here"
    kernel.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "here", "language": "python"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path))
        where = {"metadata": {"path": str(FOLDER)}}
        NotebookClient(notebook, timeout=1200, kernel_name="here", resources=where).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert outputs
    assert not [o for o in outputs if o.output_type == "error"]
