"""What users read when files cannot be read or written."""

import errno
import os
import resource
import signal

import pytest

from smpconv_mm.errors import plain_errors


def message_of(function, *args):
    with pytest.raises(SystemExit) as info, plain_errors():
        function(*args)
    return str(info.value).removeprefix('error: ')


@pytest.fixture
def small_files():
    """As after "ulimit -f 1": no file larger than a kilobyte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_gets_too_large(tmp_path, small_files):
    """The system does not tell its name."""

    def write(path):
        with open(path, 'wb', buffering=0) as file:
            while file.write(b'x' * 1000):
                pass

    message = message_of(write, tmp_path / 'scalars.json')
    assert message.startswith(f'{tmp_path}/scalars.json: it would be larger')
    assert 'ulimit -f unlimited' in message


@pytest.mark.parametrize('below', [False, True])
def test_a_work_dir_that_is_a_file(run_tool, tiny_config, tmp_path, below):
    path = tmp_path / 'file'
    path.touch()
    where = path / 'work' if below else path
    done = run_tool('train.py', tiny_config, '--work-dir', where, check=False)
    last = done.stderr.strip().splitlines()[-1]
    expected = 'there is a file where a folder is needed; choose another name'
    assert done.returncode == 1 and last == f'error: {where}: {expected}'


@pytest.mark.parametrize(
    'code, message',
    [
        (errno.EROFS, 'the file system can only be read; choose another'),
        (errno.EACCES, 'permission denied; choose another folder'),
        (errno.EDQUOT, 'your quota of the disk is used up'),
        (errno.EMFILE, 'too many files are open'),
    ],
)
def test_what_the_system_says(code, message):
    def fail():
        raise OSError(code, os.strerror(code), '/data/work')

    assert message_of(fail).startswith(f'/data/work: {message}')


def test_other_errors_of_the_system_keep_their_traceback():
    with pytest.raises(OSError, match='Broken pipe'), plain_errors():
        raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
