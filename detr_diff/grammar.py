"""Values in the grammar of Hydra's overrides."""

import re


def quoted(text: str) -> str:
    """As a value that means nothing but itself."""
    # Hydra takes a backslash for itself unless a quote follows.
    return "'{}'".format(re.sub(r"(\\*)('|$)", lambda o: o[1] * 2 + ("\\'" if o[2] else ""), text))


def literal(override: str) -> str:
    """An override as Hydra takes it: a value with letters that its grammar does not know is quoted.

    What begins as a list, a dict or a quoted text is left for Hydra to judge.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    key, _, value = override.partition("=")
    if not value or value[0] in "[{'\"" or "${" in value:
        return override
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return f"{key}={quoted(value)}"
    return override
