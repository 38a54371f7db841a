"""docs/settings.md and docs/metrics.md say all there is, and nothing that is not."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("dmr_project", "participants", "relay", "updates", "staff", "observability")
READERS = {"text", "url", "flag", "number", "choice", "mapping", "networks"}


def table_names(page: str, pattern: str) -> set[str]:
    """The names in the first column of the page's tables."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return set(re.findall(rf"^\| `({pattern})` \|", text, re.MULTILINE))


def sources() -> list[Path]:
    return [path for app in APPS for path in (ROOT / app).rglob("*.py")]


@cache
def names_read() -> set[str]:
    """What is given to a reader of dmr_project.lib.env by its literal name."""
    found = set()
    for path in sources():
        if path.name == "env.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and isinstance(node.func.value, ast.Name)
                and node.func.value.id == "env"
                and node.func.attr in READERS
            ):
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} makes a name up"
                found.add(node.args[0].value)
    return found


def names_read_otherwise() -> set[str]:
    """What is read from os.environ without the readers."""
    pattern = r"os\.(?:environ(?:\.get)?|getenv)[\[(]\"([A-Z_]+)\""
    return {
        name
        for path in sources()
        if path.name != "env.py"
        for name in re.findall(pattern, path.read_text(encoding="utf-8"))
    }


def test_every_setting_is_documented() -> None:
    read, documented = names_read(), table_names("settings.md", "[A-Z_]+")
    assert read, "the walk found nothing"
    assert read - documented == set(), "read, but not in docs/settings.md"


def test_every_documented_setting_is_read() -> None:
    of_the_tests = {"TEST_DATABASE_URL", "TEST_REDIS_URL"}
    elsewhere = names_read_otherwise()
    assert elsewhere == {"PROMETHEUS_MULTIPROC_DIR"}, "read past dmr_project.lib.env"
    assert table_names("settings.md", "[A-Z_]+") - names_read() - of_the_tests - elsewhere == set()


def test_every_setting_can_come_from_a_file(tmp_path: Path) -> None:
    from tests.integration.product import Product

    (tmp_path / "value").write_text("from-a-file-0123456789\n")
    product = Product(tmp_path, {"DMR_ADMIN_API_KEY": "", "DMR_ADMIN_API_KEY_FILE": str(tmp_path / "value")})
    done = product.run("-c", "from dmr_project import settings; print(settings.ADMIN_API_KEY)")
    assert done.stdout == "from-a-file-0123456789\n", done.stderr


def metrics_declared() -> set[str]:
    found: set[str] = set()
    for path in sources():
        if path.name in ("metrics.py", "collectors.py"):
            found.update(re.findall(r"\"(dmr_[a-z_]+)\"", path.read_text(encoding="utf-8")))
    return found


def test_every_metric_is_documented() -> None:
    declared = metrics_declared()
    assert "dmr_messages_accepted_total" in declared
    assert declared - table_names("metrics.md", "dmr_[a-z_]+") == set(), "declared, but not in docs/metrics.md"


def test_every_documented_metric_is_there() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sources())
    gone = {name for name in table_names("metrics.md", "dmr_[a-z_]+") if name not in text}
    assert gone == set()


def test_metrics_are_declared_where_they_belong() -> None:
    """No Counter, Gauge or Histogram is made outside of an app's metrics.py."""
    strays = [
        str(path.relative_to(ROOT))
        for path in sources()
        if path.name != "metrics.py"
        and re.search(r"\b(?:Counter|Gauge|Histogram|Summary)\(\s*\"", path.read_text(encoding="utf-8"))
    ]
    assert strays == []
