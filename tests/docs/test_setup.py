"""A clone that was moved or copied makes its environments anew: their scripts would run the old folder's code."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION = "sed -n '/^forget_moved()/,/^}/p' requirements/setup.sh"


@pytest.mark.parametrize(
    "environment", [".venv", ".venv-sam", ".venv-audit", ".venv-site", ".venv-cdk", ".venv-spark35"]
)
@pytest.mark.parametrize("is_moved", [False, True])
def test_an_environment_of_another_folder_is_made_anew(tmp_path: Path, environment: str, is_moved: bool) -> None:
    (tmp_path / environment).mkdir()
    (tmp_path / environment / ".folder").write_text("/somewhere/else\n" if is_moved else f"{tmp_path}\n")
    function = subprocess.check_output(["bash", "-c", FUNCTION], cwd=ROOT, text=True)
    assert function
    script = f'say() {{ echo "$@"; }}\n{function}\nforget_moved'
    told = subprocess.check_output(["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, text=True)
    assert (tmp_path / environment).exists() is not is_moved
    assert ("/somewhere/else" in told) is is_moved


def test_setup_asks_before_it_makes_anything() -> None:
    script = (ROOT / "requirements" / "setup.sh").read_text()
    steps = script[script.index("started=$SECONDS") :]
    assert steps.index("forget_moved") < steps.index("make_environment .venv")
    assert steps.index("forget_moved") < steps.index("make_spark35")
