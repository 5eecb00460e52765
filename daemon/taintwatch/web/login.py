"""The form that asks for the token: one page without a script, a picture or a style sheet to fetch."""

from __future__ import annotations

import base64
import hashlib

from starlette.responses import HTMLResponse

__all__ = ["login_page"]

STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;"
    "padding:0 1rem}input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin-top:.5rem}"
)
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Taintwatch: token needed</title><style>{STYLE}</style></head>
<body><main><h1>Taintwatch</h1><p>@@PROBLEM@@</p>
<form method="post" action="/login"><label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button type="submit">Show the page</button></form></main></body></html>
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


def login_page(status: int, problem: str = "A token is needed to see this page.") -> HTMLResponse:
    """Return the form. `problem`: one fixed sentence, not escaped."""
    headers = {"content-security-policy": POLICY, "www-authenticate": 'Bearer realm="taintwatch"'}
    return HTMLResponse(PAGE.replace("@@PROBLEM@@", problem), status, headers)
