"""A PostgreSQL of its own to add to: the system's programs under another prefix, where they look for extensions, and a
provider of security labels as a shared library. Both are gone with their directory."""
import glob
import os
import pathlib
import shutil
import subprocess

PROVIDER = """
struct magic { int length, version, funcmaxargs, indexmaxkeys, namedatalen, float8byval; char abi[32]; };
static const struct magic data = {sizeof(struct magic), VERSION, 100, 32, 64, 1, "PostgreSQL"};
const struct magic* Pg_magic_func(void) { return &data; }
void register_label_provider(const char* name, void (*hook)(const void*, const char*));
static void accept(const void* object, const char* label) { (void)object; (void)label; }
void _PG_init(void) { register_label_provider("NAME", accept); }
"""


def prefixed(directory, extensions):
    """The folder of the programs below `directory`; `extensions`: name -> (control file, script of version 1.0)."""
    system = pathlib.Path(sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1])
    major = system.parent.name
    there = pathlib.Path(directory, "usr/lib/postgresql", major, "bin")
    share = pathlib.Path(directory, "usr/share/postgresql", major)
    (share / "extension").mkdir(parents=True)
    there.mkdir(parents=True)
    for program in system.iterdir():
        # They find their files from where they are, through symbolic links: those that do are copied.
        if program.name in ("postgres", "initdb"):
            shutil.copy(program, there)
        else:
            (there / program.name).symlink_to(program)
    (there.parent / "lib").symlink_to(system.parent / "lib")
    ours = pathlib.Path("/usr/share/postgresql", major)
    for folder in (ours, ours / "extension"):
        for entry in folder.iterdir():
            if entry.name != "extension":
                (share / entry.relative_to(ours)).symlink_to(entry)
    for name, (control, script) in extensions.items():
        (share / "extension" / f"{name}.control").write_text(f"default_version = '1.0'\n{control}")
        (share / "extension" / f"{name}--1.0.sql").write_text(script)
    os.chmod(directory, 0o755)
    return str(there)


def label_provider(directory, name):
    """A library for shared_preload_libraries that accepts every label of provider `name`."""
    system = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
    source, library = (pathlib.Path(directory, f"{name}{end}") for end in (".c", ".so"))
    major = int(pathlib.Path(system).parent.name)
    source.write_text(PROVIDER.replace("VERSION", str(major * 100)).replace("NAME", name))
    compiler = shutil.which("clang-19") or shutil.which("cc")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    os.chmod(directory, 0o755)
    return str(library)
