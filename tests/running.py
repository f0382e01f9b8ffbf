"""Tools, run in this process: to import torch for each of them takes seconds."""

import importlib
import importlib.util
import io
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    **os.environ,
    'VIRTUAL_ENV': sys.prefix,
    'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
    'OMP_NUM_THREADS': '1',
}


def without_mmdet(environment=ENVIRONMENT):
    """An environment in which processes start sooner."""
    folders = (str(ROOT / 'tests/hidden'), environment.get('PYTHONPATH'))
    return {**environment, 'PYTHONPATH': os.pathsep.join(filter(None, folders))}


def run_tool(name, *args, check=True, cwd=None, env=None):
    """Run a tool; returns its ``returncode``, ``stdout`` and ``stderr``.

    A Python file below ``tools/``, or a package that can be run, is called by its
    ``main(argv)`` in this process, a shell script as a process of its own.
    """
    args = [str(arg) for arg in args]
    if name.endswith('.sh'):
        command = ['bash', ROOT / 'tools' / name, *args]
        environment = {**ENVIRONMENT, **(env or {})}
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=cwd, env=environment
        )
    else:
        done = call(load(name).main, args, cwd, env)
    assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr
    return done


@cache
def load(name) -> ModuleType:
    """The module of a tool."""
    if not name.endswith('.py'):
        return importlib.import_module(f'{name}.__main__')
    path = ROOT / 'tools' / name
    spec = importlib.util.spec_from_file_location(f'tools_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Python does for a script
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
    return module


def run_in_processes(tool, *args, number=2):
    """Run a tool in several processes, as torchrun starts them.

    They are forked from one that has imported everything, which saves most of the
    time. Returns ``returncode`` (the first that is not 0) and ``stdout`` (of all).
    """
    args = [*map(str, args), '--launcher', 'pytorch']
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f'{rank}.log') for rank in range(number)]
        port = free_port()
        workers = [
            _FORKS.Process(target=_work, args=(tool, args, rank, number, port, log))
            for rank, log in enumerate(logs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(timeout=120)
            worker.kill()
        codes = [worker.exitcode for worker in workers]
        out = '\n'.join(log.read_text() for log in logs)
    assert not any(codes), f'{codes}\n{out[-3000:]}'
    return SimpleNamespace(returncode=0, stdout=out)


_FORKS = multiprocessing.get_context('forkserver')
_FORKS.set_forkserver_preload(['smpconv_mm.models', 'smpconv_mm.engine.runner'])


def _work(tool, args, rank, number, port, log):
    with open(log, 'w') as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(number),
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=str(port),
        OMP_NUM_THREADS='1',
    )
    import torch

    torch.set_num_threads(1)
    load(tool).main(args)


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def run_as_script(path, *args):
    """Run a Python file as ``python path ...`` does, but in this process."""

    def main(args):
        argv, folders = sys.argv, list(sys.path)
        sys.argv = [str(path), *args]
        sys.path.insert(0, str(Path(path).parent))
        try:
            runpy.run_path(str(path), run_name='__main__')
        finally:
            sys.argv, sys.path[:] = argv, folders

    return call(main, args)


def call(main, args, cwd=None, env=None):
    """Call ``main(args)`` as if in a process of its own, with one thread."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), alone(cwd, env):
        try:
            main(args)
        except SystemExit as end:
            code = end.code
            if isinstance(code, str):
                print(code, file=sys.stderr)
                code = 1
        except Exception:
            traceback.print_exc()
            code = 1
    return SimpleNamespace(
        returncode=code or 0, stdout=out.getvalue(), stderr=err.getvalue()
    )


@contextmanager
def alone(cwd=None, env=None):
    """Keep folder, environment, threads and what MMEngine keeps by name apart.

    The texts of configs are not formatted, only in processes of their own.
    """
    import torch
    from mmengine.config import Config
    from mmengine.logging import MMLogger
    from mmengine.utils import ManagerMixin

    configs = sys.modules[Config.__module__]
    folder, environment, threads = (
        os.getcwd(),
        dict(os.environ),
        torch.get_num_threads(),
    )
    kept = {kind: dict(kind._instance_dict) for kind in _subclasses(ManagerMixin)}
    for kind in kept:
        kind._instance_dict.clear()
    os.chdir(cwd or folder)
    os.environ.update(env or {})
    torch.set_num_threads(1)
    # to format the text of a config takes longer than many a training
    format_code, configs.FormatCode = configs.FormatCode, lambda text, **_: (text, True)
    try:
        yield
    finally:
        configs.FormatCode = format_code
        for logger in MMLogger._instance_dict.values():
            for handler in logger.handlers:
                handler.close()
        for kind in _subclasses(ManagerMixin):
            kind._instance_dict.clear()
            kind._instance_dict.update(kept.get(kind, {}))
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)


def _subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from _subclasses(child)
