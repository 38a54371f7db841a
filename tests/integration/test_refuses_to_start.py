"""What cannot work is said in one line before anything runs."""

from __future__ import annotations

import socket

import pytest

from tests.integration.product import Product, call

SECRET = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRST"


def refusal(product: Product) -> str:
    """The one line that a start ends with."""
    done = product.run("-m", "dmr_project.server", timeout=40)
    lines = (done.stdout + done.stderr).strip().splitlines()
    assert done.returncode == 1, (done.returncode, lines)
    assert len(lines) == 1, lines
    assert product.processes() == {}
    return lines[0]


@pytest.mark.any_database
def test_port_in_use(unstarted_product: Product) -> None:
    with socket.create_server(("127.0.0.1", unstarted_product.port)):
        said = refusal(unstarted_product)
    assert str(unstarted_product.port) in said
    assert "DMR_PORT" in said


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DMR_PORT", "http"),
        ("DMR_PORT", "0"),
        ("DMR_PORT", "65536"),
        ("DMR_ENV", "prod"),
        ("DMR_PUBLIC_URL", "dmr.example.ee"),
        ("DMR_PUBLIC_URL", "https://dmr.example.ee:port/"),
        ("DMR_TRUSTED_PROXIES", "10.0.0.0/33"),
        ("DMR_ALLOW_PRIVATE_ENDPOINTS", "perhaps"),
        ("DATABASE_URL", "mysql://root@127.0.0.1/dmr"),
        ("DATABASE_URL", "nonsense"),
        ("DATABASE_URL", "postgres://dmr:secret-word@127.0.0.1:9/dmr"),
        ("REDIS_URL", "nonsense"),
        ("DMR_ADMIN_API_KEY", "short"),
        ("DMR_SECRET_KEY_FILE", "/no/such/file"),
    ],
)
def test_bad_environment_is_one_line_that_names_it(unstarted_product: Product, name: str, value: str) -> None:
    unstarted_product.environment[name] = value
    said = refusal(unstarted_product)
    assert name in said
    assert "secret-word" not in said


@pytest.mark.any_database
def test_data_folder_that_cannot_be(unstarted_product: Product) -> None:
    unstarted_product.data_dir.parent.mkdir(exist_ok=True)
    unstarted_product.data_dir.write_text("a file where the folder should be")
    assert "DMR_DATA_DIR" in refusal(unstarted_product)


@pytest.mark.any_database
def test_production_needs_a_secret_key(unstarted_product: Product) -> None:
    unstarted_product.environment["DMR_ENV"] = "production"
    assert "DMR_SECRET_KEY" in refusal(unstarted_product)


@pytest.mark.any_database
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DMR_SECRET_KEY", SECRET[:49]),
        ("DMR_SECRET_KEY", "0123" * 20),
        ("DMR_ADMIN_PASSWORD", "short-one"),
        ("DMR_ADMIN_PASSWORD", "password1234"),
        ("DMR_ADMIN_PASSWORD", "123456789012345"),
    ],
)
def test_production_refuses_what_can_be_guessed(unstarted_product: Product, name: str, value: str) -> None:
    unstarted_product.environment |= {"DMR_ENV": "production", "DMR_SECRET_KEY": SECRET, name: value}
    said = refusal(unstarted_product)
    assert name in said
    assert value not in said
    done = unstarted_product.run("manage.py", "check", "--deploy")
    assert done.returncode == 1
    assert name in done.stderr


@pytest.mark.any_database
def test_development_takes_a_simple_password(unstarted_product: Product) -> None:
    unstarted_product.environment |= {"DMR_ADMIN_PASSWORD": "simple"}
    assert unstarted_product.run("manage.py", "check").returncode == 0


def test_production_refuses_pending_migrations(unstarted_product: Product) -> None:
    unstarted_product.environment |= {"DMR_ENV": "production", "DMR_SECRET_KEY": SECRET}
    said = refusal(unstarted_product)
    assert "migrate" in said
    migrated = unstarted_product.run("manage.py", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    unstarted_product.start()
    assert call(f"{unstarted_product.url}/livez").status == 200


def test_check_deploy_is_clean_in_production(unstarted_product: Product) -> None:
    unstarted_product.environment |= {
        "DMR_ENV": "production",
        "DMR_SECRET_KEY": SECRET,
        "DMR_PUBLIC_URL": "https://dmr.example.ee",
    }
    done = unstarted_product.run("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stdout + done.stderr


@pytest.mark.any_database
def test_check_deploy_warns_of_development(unstarted_product: Product) -> None:
    done = unstarted_product.run("manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert done.returncode == 1
    assert "dmr.W001" in done.stderr
