#!/usr/bin/env python3
"""Holds stores against docs/lab-record.schema.json, and its verdicts against those of `redline lab check`.

    validate.py SCHEMA STORE...              every line is valid; prints what is not
    validate.py SCHEMA --agree REDLINE LINE  a record that is valid, and every way to break one of its members:
                                             both say the same of each
"""
import copy
import json
import subprocess
import sys
import tempfile

import jsonschema

WRONG = {"object": 7, "array": "x", "string": [], "integer": "x", "number": "x", "boolean": 1}


def validator(path):
    with open(path) as f:
        schema = json.load(f)
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def check_stores(schema, paths):
    bad = n = 0
    for path in paths:
        with open(path) as f:
            for number, line in enumerate(f, 1):
                n += 1
                for error in schema.iter_errors(json.loads(line)):
                    bad += 1
                    print(f"{path}:{number}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}")
    print(f"{n} records, {bad} errors")
    return bad or n == 0


def places(value, path=()):
    """Every member of every object, by path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        if path[:1] == ("missing",) or key == "grid" or key == "requested":
            continue
        if isinstance(value, dict):
            yield path + (key,)
        if not (isinstance(value, list) and key > 0):
            yield from places(inner, path + (key,))


def broken(record, path, how):
    made = copy.deepcopy(record)
    at = made
    for key in path[:-1]:
        at = at[key]
    if how == "gone":
        del at[path[-1]]
    else:
        at[path[-1]] = WRONG["object"] if isinstance(at[path[-1]], dict) else {}
    return made


def check_agreement(schema, redline, line):
    with open(line) as f:
        record = json.loads(f.readline())
    cases = [(path, how) for path in places(record) for how in ("gone", "wrong")]
    cases = [c for c in cases if not (c == (("missing",), "gone"))]  # then all nulls lack a reason, which no schema sees
    made = [broken(record, *case) for case in cases]
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as store:
        store.write("".join(json.dumps(r) + "\n" for r in made))
        store.flush()
        said = subprocess.run([redline, "lab", "check", store.name], capture_output=True, text=True).stdout
        refused = {int(s.split(":")[1]) for s in said.splitlines() if s.startswith(store.name)}
    differing = 0
    for number, (case, r) in enumerate(zip(cases, made), 1):
        by_schema = not schema.is_valid(r)
        if by_schema != (number in refused):
            differing += 1
            print(f"{'.'.join(map(str, case[0]))} {case[1]}: the schema {'refuses' if by_schema else 'accepts'}, "
                  f"lab check {'refuses' if number in refused else 'accepts'}")
    print(f"{len(cases)} broken records, {len(refused)} refused, {differing} differ")
    return differing or len(refused) < len(cases) / 2


def main():
    schema = validator(sys.argv[1])
    if sys.argv[2] == "--agree":
        return check_agreement(schema, sys.argv[3], sys.argv[4])
    return check_stores(schema, sys.argv[2:])


if __name__ == "__main__":
    sys.exit(bool(main()))
