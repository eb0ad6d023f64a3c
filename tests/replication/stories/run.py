"""Every failure story of such tools that we know of, as one passing test named after it (see README.md).

    run.py BANYAN [-k WORDS] [--list]      WORDS: only the files whose name contains one of them
"""
import argparse
import glob
import importlib.util
import os
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from world import World  # noqa: E402


def stories(words):
    names = sorted(os.path.basename(path)[:-3] for path in glob.glob(os.path.join(HERE, "story_*.py")))
    return [name for name in names if not words or any(word in name for word in words)]


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(HERE, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tell(world, name):
    begun = time.monotonic()
    try:
        load(name).run(world)
    except Exception:
        print(f"FAIL {name}", traceback.format_exc(), world.role.log_tail(40), sep="\n", flush=True)
        return False
    print(f"ok   {name} ({time.monotonic() - begun:.1f} s)", flush=True)
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("banyan")
    parser.add_argument("-k", dest="words", action="append", default=[])
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    names = stories(options.words)
    if options.list:
        print(*(f"{name}: {load(name).__doc__.splitlines()[0]}" for name in names), sep="\n")
        return 0
    with World(options.banyan) as world:
        passed = sum(tell(world, name) for name in names)
    print(f"{passed} of {len(names)} stories pass")
    return 0 if passed == len(names) > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
