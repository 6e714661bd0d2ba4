"""The API description as one page of HTML that needs nothing from anywhere else."""

import json
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "code,pre{font:13px ui-monospace,monospace;background:#f4f4f4}pre{padding:.7rem;overflow:auto}"
    "h2{margin-top:2.2rem}h2 b{background:#245;color:#fff;padding:.1rem .5rem;margin-right:.5rem;font-size:.8em}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}"
)


def page(description: dict[str, Any]) -> bytes:
    """Render an OpenAPI description: each operation, then each schema."""
    info = description["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"]
    for path, methods in description["paths"].items():
        parts += [_operation(path, method, operation) for method, operation in methods.items() if method != "parameters"]
    parts.append("<h1>Schemas</h1>")
    parts += [_schema(name, schema) for name, schema in sorted(description["components"]["schemas"].items())]
    title = escape(info["title"])
    html = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>{"".join(parts)}</html>'
    return html.encode()


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{escape(status)}</td><td>{escape(answer['description'])}</td><td>{_content(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    body = f"<p>Body: {_content(operation['requestBody'])}</p>" if "requestBody" in operation else ""
    table = f"<table><tr><th>Status</th><th></th><th>Content</th></tr>{rows}</table>"
    return f"<h2><b>{escape(method.upper())}</b>{escape(path)}</h2><p>{escape(operation['summary'])}</p>{body}{table}"


def _content(holder: dict[str, Any]) -> str:
    return ", ".join(f"{escape(kind)} {_type(content.get('schema', {}))}" for kind, content in holder.get("content", {}).items())


def _schema(name: str, schema: dict[str, Any]) -> str:
    about = f"<p>{escape(schema.get('description', ''))}</p>"
    if "properties" not in schema:
        return f'<h2 id="{escape(name)}">{escape(name)}</h2>{about}<pre>{escape(json.dumps(schema.get("enum", schema), indent=1))}</pre>'
    required = set(schema.get("required", []))
    rows = "".join(
        f"<tr><td><code>{escape(field)}</code>{'' if field in required else ' (optional)'}</td><td>{_type(what)}</td>"
        f"<td>{escape(what.get('description', ''))}</td></tr>"
        for field, what in schema["properties"].items()
    )
    return f'<h2 id="{escape(name)}">{escape(name)}</h2>{about}<table><tr><th>Field</th><th>Type</th><th></th></tr>{rows}</table>'


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(choice) for choice in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return escape(str(schema.get("type", " | ".join(map(str, schema.get("enum", [])))))) if schema else ""
