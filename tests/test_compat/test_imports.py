import importlib
import importlib.util
import sys

import pytest

from smpconv_mm.compat import after_import


@pytest.fixture
def package(tmp_path, monkeypatch):
    name = 'package_that_is_imported_later'
    (tmp_path / f'{name}.py').write_text('value = 3\n')
    monkeypatch.syspath_prepend(tmp_path)
    yield name
    sys.modules.pop(name, None)


def test_call_follows_the_import(package):
    before, seen = list(sys.meta_path), []
    after_import(package, lambda: seen.append(sys.modules[package].value))
    assert importlib.util.find_spec(package) is not None  # to look is not to import
    assert not seen
    importlib.import_module(package)
    assert seen == [3] and sys.meta_path == before
    after_import(package, lambda: seen.append(4))  # there already
    assert seen == [3, 4] and sys.meta_path == before


def test_package_that_is_not_installed():
    before, seen = list(sys.meta_path), []
    after_import('package_that_nobody_has', lambda: seen.append(1))
    try:
        with pytest.raises(ModuleNotFoundError, match='package_that_nobody_has'):
            importlib.import_module('package_that_nobody_has')
        assert not seen
    finally:
        sys.meta_path[:] = before
