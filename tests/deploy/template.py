"""deploy/aws/template.yaml as data, and as much of it as the simulation of AWS can make."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from embedded.settings import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "aws"
FILE = FOLDER / "template.yaml"
_SUBSTITUTED = re.compile(r"\$\{(\w+)((?:\.\w+)*)\}")


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, which become their long forms."""


def _function(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    value: Any
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _function)


def template() -> dict[str, Any]:
    """The template, its functions in their long forms."""
    found: dict[str, Any] = yaml.load(FILE.read_text(encoding="utf-8"), _Loader)
    return found


def nodes(value: Any) -> Iterator[Any]:
    """The value and all that is in it."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from nodes(one)


def statements(resource: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All statements of the policies of a resource."""
    for node in nodes(resource):
        if isinstance(node, dict) and "Effect" in node:
            yield node


def listed(value: Any) -> list[Any]:
    """IAM and CloudFormation take one thing or a list of them."""
    return value if isinstance(value, list) else [value]


def without(whole: dict[str, Any], types: set[str]) -> str:
    """The template as JSON without resources of these types; what names one gets a name made up for it."""
    kept = copy.deepcopy(whole)
    gone = {name for name, resource in kept["Resources"].items() if resource["Type"] in types}
    kept["Resources"] = {name: resource for name, resource in kept["Resources"].items() if name not in gone}
    for resource in kept["Resources"].values():
        if "DependsOn" in resource:
            resource["DependsOn"] = [one for one in listed(resource["DependsOn"]) if one not in gone]
    return json.dumps(_made_up(kept, gone))


def _made_up(value: Any, gone: set[str]) -> Any:
    if isinstance(value, list):
        return [_made_up(one, gone) for one in value]
    if isinstance(value, dict):
        (key,) = value if len(value) == 1 else ("",)
        if key == "Ref" and value[key] in gone:
            return _name(value[key])
        if key == "Fn::GetAtt" and value[key][0] in gone:
            return _name(value[key][0], f".{value[key][1]}")
        return {key: _made_up(one, gone) for key, one in value.items()}
    if isinstance(value, str):
        return _SUBSTITUTED.sub(lambda found: _name(*found.groups()) if found[1] in gone else found[0], value)
    return value


def _name(resource: str, attribute: str = "") -> str:
    if attribute.endswith("Arn"):
        return f"arn:aws:made-up:us-east-1:123456789012:{resource.lower()}"
    return f"{resource.lower()}.made-up.invalid" if attribute else f"made-up-{resource.lower()}"
