from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NO_ROOM = {"utils", "helpers", "common", "core", "manager", "misc"}


def test_the_folder_operator_does_not_shadow_the_standard_library():
    assert (ROOT / "operator").is_dir()
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_every_room_has_a_plain_name():
    modules = [path for member in ("schemas", "operator", "ray_apps", "dev") for path in (ROOT / member / "src").rglob("*.py")]
    assert len(modules) > 100
    assert [str(path) for path in modules if path.stem in NO_ROOM or path.stem.startswith("base_")] == []
