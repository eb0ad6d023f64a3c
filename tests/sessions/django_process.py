"""The application on one side of a test of sessions: a real Django, in its own process (django_side.py)."""
import json
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SECRET_KEY = "not so secret"  # of django_side.py


class Django:
    def __init__(self, engine, database, redis):
        self.process = subprocess.Popen([sys.executable, str(HERE / "django_side.py"), engine, database, redis],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def __getattr__(self, name):
        def call(*arguments):
            print(json.dumps([name, *arguments]), file=self.process.stdin, flush=True)
            return json.loads(self.process.stdout.readline())
        return call
