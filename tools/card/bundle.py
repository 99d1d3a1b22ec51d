"""A folder for a machine with a card where nothing can be built: programs, libraries, models and this script.

What can be taken to such machines is often little, so it is made small: programs without debugging information, small
models as F16, and in the place of libcurl, which most of the other libraries serve, one that opens no connection.
"""
import os
import re
import shutil
import subprocess

from .checks import family_models
from .plan import ROOT
from .steps import Failed

OWN = ("tools/gpu", "tools/card", "docs/gpu.md", "models/demo.gguf", "experiments/gpu-smoke.yaml")

# What every Linux with a driver has, in a version of its own: parts of the C library, which fit one another alone.
SYSTEM_LIBRARIES = ("linux-vdso", "ld-linux", "libc.so", "libm.so", "libdl.so", "librt.so", "libpthread.so",
                    "libresolv.so", "libgcc_s")
NO_CURL = "libcurl.so.4"


def call(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def needed_by(path):
    """Names of the libraries that it asks for itself."""
    return re.findall(r"NEEDED\s+(\S+)", call("objdump", "-p", path))


def libraries_of(program):
    """Paths of what it needs and what those need, but for the system's and what only libcurl needs."""
    found = {w[0]: w[2] for w in map(str.split, call("ldd", program).splitlines()) if len(w) > 2 and w[1] == "=>"}
    wanted, todo = {}, [program]
    while todo:
        for name in needed_by(todo.pop()):
            if name in wanted or name == NO_CURL or name.startswith(SYSTEM_LIBRARIES):
                continue
            if not os.path.exists(found.get(name, "")):
                raise Failed(f"{program} needs {name}, which is not here")
            wanted[name] = found[name]
            todo.append(found[name])
    return wanted


def write_no_curl(program, folder):
    """libcurl with the names that the program asks for, under the versions that it wants; each of them returns 0."""
    names = re.findall(r" (curl_\w+)(?:@+(\w+))?$", call("nm", "-D", "--undefined-only", program), re.M)
    if not names:
        return
    source, versions = (os.path.join(folder, f"no_curl.{end}") for end in ("c", "map"))
    with open(source, "w") as f:
        f.writelines(f"void *{name}(void) {{ return 0; }}\n" for name, _ in names)
    with open(versions, "w") as f:
        f.write(f"{names[0][1] or 'CURL'} {{ global: curl_*; local: *; }};\n")
    call(os.environ.get("CC", "cc"), "-shared", "-fPIC", "-s", "-Wl,-soname," + NO_CURL,
         "-Wl,--version-script," + versions, "-o", os.path.join(folder, NO_CURL), source)
    os.remove(source)
    os.remove(versions)


def copy(source, to):
    if os.path.isdir(source):
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        return
    os.makedirs(os.path.dirname(to), exist_ok=True)
    shutil.copy(source, to)


def size_of(folder):
    return sum(os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(folder) for name in names)


def fill(folder, args, models):
    for name in OWN:
        copy(os.path.join(ROOT, name), os.path.join(folder, name))
    os.makedirs(os.path.join(folder, "lib"), exist_ok=True)
    for name, program in (("redline", args.redline), ("bcheck", args.bcheck)):
        to = os.path.join(folder, "build-cuda", name)
        copy(program, to)
        call("strip", to)
        for library, path in libraries_of(program).items():
            copy(path, os.path.join(folder, "lib", library))
    write_no_curl(args.redline, os.path.join(folder, "lib"))
    os.makedirs(os.path.join(folder, "archs"), exist_ok=True)
    for model in models:
        call(args.redline, "quantize", model, os.path.join(folder, "archs", os.path.basename(model)), "F16", "-q")


def bundle(args):
    """Nothing of it is linked to where it was made, but the C library has to be as new as here."""
    folder, models = args.bundle, family_models()
    if not models:
        raise Failed("there are no models of families for the bundle: REDLINE_TEST_DATA names no folder with archs/")
    if os.path.isdir(folder) and os.listdir(folder):
        raise Failed(f"{folder} is not empty")
    fill(folder, args, models)
    for name in sorted(os.listdir(folder)):
        print(f"{size_of(os.path.join(folder, name)) / 1e6:7.1f} MB  {name}/")
    total = size_of(folder) / 1e6
    print(f"{total:7.1f} MB  {folder}")
    if args.limit and total > args.limit:
        raise Failed(f"{folder} has {total:.1f} MB, the limit is {args.limit:g} MB")
    return 0
