"""Runs a program in a process that is forked from one with TensorFlow and TFX imported.

To the program it is a process of its own: session, environment, working directory, arguments and output. What
is to be run is given as the global `JOB`; fixtures/processes.py says what is in it.
"""

import ctypes
import os
import runpy
import signal
import sys
import tempfile
from multiprocessing import forkserver

PR_SET_PDEATHSIG = 1

job = globals()["JOB"]
# It ends with its parent, and that with pytest, however that ends: as soon as nobody holds this pipe.
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
os.close(forkserver._forkserver._forkserver_alive_fd)
forkserver._forkserver._forkserver_alive_fd = None
os.setsid()
os.chdir(job.cwd)
os.environ.clear()
os.environ.update(job.environment)
tempfile.tempdir = None
for path, descriptor in ((os.devnull, 0), (job.stdout, 1), (job.stderr, 2)):
    mode = os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
    opened = os.open(path, mode, 0o644)
    os.dup2(opened, descriptor)
    os.close(opened)
sys.argv = [job.program, *job.arguments]
if job.program.endswith(".py"):
    runpy.run_path(job.program, run_name="__main__")
else:
    runpy.run_module(job.program, run_name="__main__", alter_sys=True)
