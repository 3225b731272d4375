"""The answers to what the node asks: who may connect, subscribe and publish, and what an `rpc` returns. No HTTP is in here.

Each answer is an object with one of `result`, `error` and `disconnect`. An `error` goes to the client that gave the command. An empty
`result` allows what was asked.
"""

import time

from sessions import user_of

# Users who may enter the staff room. A real backend asks its database.
STAFF = {"Mina"}
TEXT_MAX = 500
# The channel that everybody is subscribed to when they connect: who is online.
PEOPLE = "people:all"


def error(code, message):
    """For codes of your own take 400 to 1999."""
    return {"error": {"code": code, "message": message}}


class Answers:
    """What this backend decides."""

    def __init__(self, people, session_secret, session_seconds):
        self._people = people
        self._session_secret = session_secret
        self._session_seconds = session_seconds

    def connect(self, _question, headers):
        """The cookie of the page comes with it, since the settings list it in `http_headers`."""
        user = user_of(headers.get("cookie", ""), self._session_secret)
        if user is None:
            # From 4500 to 4999 clients do not come back by themselves.
            return {"disconnect": {"code": 4501, "reason": "sign in first"}}
        return {
            "result": {
                "user": user,
                "info": {"name": user},
                "expire_at": self._expire_at(),
                "subs": {PEOPLE: {"data": {"online": self._people.online()}}},
            }
        }

    def refresh(self, question, _headers):
        """The time of a connection is over: does it go on? A real backend looks up whether the user is still signed in."""
        if question["user"] == "":
            return {"result": {"expired": True}}
        return {"result": {"expire_at": self._expire_at()}}

    def subscribe(self, question, _headers):
        if question["channel"] == "room:staff":
            if question["user"] not in STAFF:
                return error(403, "the staff room is for staff")
            return {"result": {"expire_at": self._expire_at()}}
        return {"result": {}}

    def sub_refresh(self, question, _headers):
        if question["user"] not in STAFF:
            return {"result": {"expired": True}}
        return {"result": {"expire_at": self._expire_at()}}

    def publish(self, question, _headers):
        """What the client sent is replaced: so a text always says who wrote it."""
        data = question.get("data")
        text = data.get("text") if isinstance(data, dict) else None
        if not isinstance(text, str) or not 0 < len(text.strip()) <= TEXT_MAX:
            return error(400, f"a text has 1 to {TEXT_MAX} characters")
        return {"result": {"data": {"from": question["user"], "text": text.strip()}}}

    def rpc(self, question, _headers):
        if question.get("method") != "ask":
            return error(404, "there is no such method")
        data = question.get("data")
        asked = str(data.get("question", "")).lower() if isinstance(data, dict) else ""
        if "who" in asked:
            return {"result": {"data": {"answer": f"Here are {', '.join(self._people.online())}."}}}
        if "time" in asked:
            return {"result": {"data": {"answer": time.strftime("It is %H:%M.")}}}
        return error(422, "ask who is here, or what time it is")

    def _expire_at(self):
        return int(time.time()) + self._session_seconds
