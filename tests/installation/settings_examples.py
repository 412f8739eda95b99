"""Settings files as users have them: comments, odd formatting, hooks of others, all line ends."""

from __future__ import annotations

THEIR_HOOK = '{"type": "command", "command": "~/bin/notify.sh", "timeout": 5}'

EXAMPLES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "white space": b"\n  \n",
    "comment only": b"// nothing yet\n",
    "empty object": b"{}",
    "empty object on two lines": b"{\n}\n",
    "no newline at the end": b'{"model": "large"}',
    "minified": b'{"model":"large","hooks":{"Stop":[{"hooks":[' + THEIR_HOOK.encode() + b"]}]}}",
    "tabs": b'{\n\t"model": "large",\n\t"permissions": {\n\t\t"allow": ["Bash(ls:*)"]\n\t}\n}\n',
    "windows": b'{\r\n    "model": "large",\r\n    "hooks": {\r\n        "SessionStart": []\r\n    }\r\n}\r\n',
    "byte order mark": b'\xef\xbb\xbf{\n  "model": "large"\n}\n',
    "comments": b"""\
// settings of the team
{
    /* one
       two */
    "model": "large", // do not change

    "hooks": {
        // tells me when it is done
        "Stop": [
            { "matcher": "", "hooks": [ """
    + THEIR_HOOK.encode()
    + b""" ] } // mine
        ],
        "PreToolUse": [
            {
                "matcher": "Bash",
                "hooks": [
                    {"type": "command", "command": "guard 'a b' \\u00e4"}
                ]
            }
        ]
    },
    "env": {"A": "1"}
}
// end
""",
    "trailing commas": b'{\n  "a": [1, 2,],\n  "hooks": {\n    "Stop": [],\n  },\n}\n',
    "odd": b'{ "a"\n:1\n,"b" :\n[ ],"hooks":\n{}}',
    "a status line": b"""\
{
  "statusLine": {"type": "command", "command": "~/bin/line.sh --tag 'a b'", "padding": 0}
}
""",
    "not ASCII": '{\n  "name": "Zoë — ☃ 𝔘",\n  "hooks": {}\n}\n'.encode(),
}

BROKEN: dict[str, bytes] = {
    "cut off": b'{"hooks": {',
    "a list": b"[]",
    "hooks are a list": b'{"hooks": []}',
    "an event is an object": b'{"hooks": {"SessionStart": {}}}',
    "two keys of one name": b'{"hooks": {"Stop": []}, "hooks": {}}',
    "two objects": b"{}{}",
    "not UTF-8": b'{"a": "\xff"}',
    "single quotes": b"{'a': 1}",
    "a conflict": b'<<<<<<< HEAD\n{}\n=======\n{"a": 1}\n>>>>>>> theirs\n',
}
