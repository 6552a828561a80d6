#!/usr/bin/env python3
"""Writes kubernetes.jsonl: the OpenAPI definitions of the stable API, one a line, sorted by name.

    ./generate.py /path/to/kubernetes-v1.35.x > kubernetes.jsonl

The definitions are those of api/openapi-spec/swagger.json; each property's `default` is added from api/openapi-spec/v3,
because OpenAPI v2 as published has none. Packages of alpha and beta versions are left out: nothing serves them.
"""

import glob
import json
import re
import sys

UNSTABLE = re.compile(r"\.v\d+(alpha|beta)\d+\.")


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"].rsplit("/", 1)[1]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def main(root):
    with open(f"{root}/api/openapi-spec/swagger.json") as file:
        definitions = json.load(file)["definitions"]
    defaults = {}
    for path in sorted(glob.glob(f"{root}/api/openapi-spec/v3/*.json")):
        with open(path) as file:
            schemas = json.load(file).get("components", {}).get("schemas", {})
        for name, schema in schemas.items():
            for field, property in schema.get("properties", {}).items():
                if "default" in property:
                    defaults[name, field] = property["default"]

    kept = {name: schema for name, schema in definitions.items() if not UNSTABLE.search(name)}
    missing = {ref for schema in kept.values() for ref in references(schema)} - kept.keys()
    assert not missing, f"stable definitions refer to {missing}"
    for (name, field), value in defaults.items():
        if name in kept:
            kept[name]["properties"][field]["default"] = value
    for name, schema in sorted(kept.items()):
        line = json.dumps({"name": name, **schema}, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        print(line.replace("#/definitions/", "#/"))


main(sys.argv[1])
