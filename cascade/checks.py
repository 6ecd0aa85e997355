"""Hard checks: what rules a draft out before any confidence is looked at.

Each is a pure function of the request and the draft, and says pass, fail or abstain. ``built_in``
runs those that apply; ``CommandCheck`` and ``run_check`` are for the user's own. A detail never
quotes an answer: it goes to the ledger, which may have been told to keep no content. (The stderr of
a user's own command is that user's to keep clean.)
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from cascade.errors import ConfigError
from cascade.labels import label_consistent
from cascade.tables import Label
from cascade.types import CheckResult, Draft, Request, text_of

if TYPE_CHECKING:
    from pathlib import Path

UserCheck = Callable[[Request, Draft], CheckResult | bool | None]
"""What a user may bring as a check of their own."""

CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "model_length"})
FILTERED = frozenset({"content_filter", "refusal", "safety"})
REFUSAL_CHARACTERS = 300
"""A longer answer that opens with a refusal has gone on to say something."""

# Anchored at the first letter and closed at both ends: an answer that quotes a refusal opens with a
# quotation mark, and one that only regrets ("I'm sorry to hear that") names nothing it will not do.
# A list of single words ("sorry", "cannot") was the alternative; support answers are full of them.
_REFUSAL = r"""
    (?: (?: (?:i['\u2019]m|i[ ]am)?[ ]*(?:(?:very|so|really|truly)[ ])?sorry | i[ ]apologi[sz]e
          | my[ ]apologies | unfortunately | as[ ]an[ ]ai[\w ]* ) [\W]{1,3} (?:but[ ])? )?
    i (?: (?:['\u2019]m|[ ]am)[ ](?:unable|not[ ]able|not[ ]allowed)[ ]to
        | [ ](?:can(?:['\u2019]?t|not|[ ]not)|won['\u2019]?t|will[ ]not) ) [ ]
    (?: (?:help|assist)(?:[ ]you)? (?: [ ](?:with|in)[ ](?:that|this|such|these|those|your[ ]request|\w+ing)\b
                                     | \s*[.!] | \s*$ )
      | comply\b
      | (?:answer|fulfill?|discuss)[ ](?:that|this|such|your)\b
      | (?:provide|share|create|generate|write|produce)[ ](?:that|this|such)
            [ ](?:(?:kind|type|sort)[ ]of[ ])?(?:information|content|material|text|instructions?)\b )
    """


def built_in(request: Request, draft: Draft, consistent: Mapping[str, Label] | None = None) -> list[CheckResult]:
    """The results of all built-in checks that apply, in a fixed order; ``label_consistent`` where labels are given.

    ``silent_failure`` comes alone: with no answer at all nothing else has anything to look at. What
    the provider itself marked as a refusal has no structure to be checked, so neither ``schema`` nor
    ``tools`` speaks of it.
    """
    silent = silent_failure(request, draft)
    if silent.outcome == "fail":
        return [silent]
    results = [empty(request, draft), truncated(request, draft), refusal(request, draft)]
    if draft.refusal:
        return results
    if _format(request) is not None and (draft.text or not draft.tool_calls):
        results.append(schema(request, draft))
    if request.params.get("tools") or draft.tool_calls:
        results.append(tools(request, draft))
    if consistent:
        results.append(label_consistent(draft, consistent))
    return results


def silent_failure(request: Request, draft: Draft) -> CheckResult:
    """Fails an answer that is empty *and* cut off: the whole token budget went into reasoning.

    It is billed like any other, and nothing but the finish reason shows that more tokens would help.
    """
    if not (_blank(draft) and _cut_off(draft)):
        return _passed("silent_failure")
    spent = draft.usage.completion_tokens
    return _result("silent_failure", "fail", f"no answer before the limit; {spent} completion tokens billed")


def empty(request: Request, draft: Draft) -> CheckResult:
    """Fails an answer with no visible character, no tool call and no refusal in its own field."""
    return _result("empty", "fail", "no answer") if _blank(draft) else _passed("empty")


def truncated(request: Request, draft: Draft) -> CheckResult:
    """Fails an answer that the token limit cut off."""
    if _cut_off(draft):
        return _result("truncated", "fail", f"finish reason {draft.finish_reason}")
    return _passed("truncated")


def refusal(request: Request, draft: Draft) -> CheckResult:
    """Fails what the provider marked as refused or filtered, else a short answer that only refuses.

    An answer whose very words stand in the instructions or the question was asked for ("if unsure
    say: I can't help with that") and passes.
    """
    if draft.refusal:
        return _result("refusal", "fail", "the provider's refusal field is set")
    if (draft.finish_reason or "").lower() in FILTERED:
        return _result("refusal", "fail", f"finish reason {draft.finish_reason}")
    text = draft.text.strip()
    if len(text) <= REFUSAL_CHARACTERS and _refusal_pattern().match(text) and not _dictated(request, text):
        return _result("refusal", "fail", "the answer is a short refusal")
    return _passed("refusal")


def schema(request: Request, draft: Draft) -> CheckResult:
    """Fails text that is not JSON or does not fit ``response_format``; a code fence is not JSON.

    ``json_object`` asks for any object, ``json_schema`` for what fits ``json_schema.schema``.
    Abstains where no format was asked for or the schema itself cannot be used.
    """
    wanted = _format(request)
    if wanted is None:
        return _result("schema", "abstain", "no JSON was asked for")
    try:
        value = msgspec.json.decode(draft.text)
    except (ValueError, RecursionError):
        fenced = draft.text.lstrip().startswith("```")
        return _result("schema", "fail", "JSON in a code fence" if fenced else "not JSON")
    if wanted["type"] == "json_object":
        fits = isinstance(value, dict)
        return _passed("schema") if fits else _result("schema", "fail", "not a JSON object")
    declared = wanted.get("json_schema")
    if not isinstance(declared, dict) or "schema" not in declared:
        return _result("schema", "abstain", "response_format holds no schema")
    return _fit("schema", "the answer", declared["schema"], value)


def tools(request: Request, draft: Draft) -> CheckResult:
    """Fails a tool call that could not be carried out, or the lack of one that was required.

    Each call must name a tool of the request and carry arguments that are a JSON object and fit the
    tool's ``parameters``. Abstains on kinds of calls other than ``function``.
    """
    offered = request.params.get("tools")
    functions = [_function(tool) for tool in (offered if isinstance(offered, list) else [])]
    known = {str(function["name"]): function.get("parameters", True) for function in functions if function}
    results = [_choice(request.params.get("tool_choice"), draft.tool_calls)]
    results += [_call(f"call {i}", call, known) for i, call in enumerate(draft.tool_calls)]
    for outcome in ("fail", "abstain"):
        for result in results:
            if result.outcome == outcome:
                return result
    return _passed("tools")


def run_check(name: str, check: UserCheck, request: Request, draft: Draft) -> CheckResult:
    """Run a user's check and give its answer the declared name. Never raises.

    True passes, False fails, None abstains. An exception abstains under its type's name alone: its
    message may quote the answer.
    """
    try:
        found = check(request, draft)
    except Exception as problem:
        return _result(name, "abstain", f"raised {type(problem).__name__}")
    if isinstance(found, CheckResult):
        return msgspec.structs.replace(found, name=name)
    if found is None:
        return _result(name, "abstain")
    if isinstance(found, bool):
        return _result(name, "pass" if found else "fail")
    return _result(name, "abstain", f"returned {type(found).__name__}, not CheckResult, bool or None")


class CommandCheck(msgspec.Struct, frozen=True):
    """An external command as a check, such as a test suite: ``run_check`` takes one.

    Runs ``command`` (program and arguments; no shell) for at most ``timeout`` seconds. Exit status 0
    passes, 1 fails, everything else abstains: another status, a signal, the time running out, a
    program that is not there. (An uncaught exception in Python exits with 1, so it fails.) ``detail``
    ends with the last 300 characters of stderr; stdout is thrown away.

    On stdin comes one JSON object::

        {"request": {"id", "messages", "params", "slice", "tenant", "metadata", "stakes"},
         "draft": {"tier", "model", "text", "tool_calls", "finish_reason", "refusal",
                   "usage": {"prompt_tokens", "completion_tokens", "cached_tokens"},
                   "cost", "latency", "fingerprint"}}

    ``CASCADE_ANSWER_FILE`` names a file with the answer's text in UTF-8, gone when the check ends;
    ``{answer_file}`` in a word of the command stands for the same name. Besides it the command sees
    PATH, HOME, LANG and what ``env`` adds: it runs code that a model wrote, so the provider's keys stay
    out of its reach. Raises ``ConfigError`` when built with no command or a timeout that is not a
    positive number.
    """

    command: list[str]
    timeout: float
    name: str = "command"
    cwd: str | None = None
    env: dict[str, str] = {}

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigError(f"check {self.name}: command is empty; name a program and its arguments")
        if not (math.isfinite(self.timeout) and self.timeout > 0):
            raise ConfigError(f"check {self.name}: timeout must be a positive number of seconds")

    def __call__(self, request: Request, draft: Draft) -> CheckResult:
        """Pass, fail or abstain; blocks until the command has ended. Never raises."""
        import tempfile
        from pathlib import Path

        try:
            with tempfile.TemporaryDirectory(prefix="cascade-", ignore_cleanup_errors=True) as folder:
                status, said = self._run(Path(folder), request, draft)
        except (OSError, ValueError) as problem:
            return _result(self.name, "abstain", f"cannot be run: {problem}"[:300])
        if status in (0, 1):
            return _result(self.name, "fail" if status else "pass", said if status else "")
        if status is None:
            how = f"no end within {self.timeout:g} s"
        else:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
        return _result(self.name, "abstain", f"{how}: {said}".rstrip(": "))

    def _run(self, folder: Path, request: Request, draft: Draft) -> tuple[int | None, str]:
        """Exit status (None: out of time) and the end of stderr.

        Files rather than pipes: a grandchild that keeps a pipe open would hold us past the timeout,
        and nothing can block on a pipe that nobody reads.
        """
        import subprocess

        answer, asked, said = folder / "answer", folder / "stdin", folder / "stderr"
        answer.write_bytes(draft.text.encode("utf-8", "replace"))
        asked.write_text(_as_json(request, draft), "ascii")
        env = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
        env |= self.env | {"CASCADE_ANSWER_FILE": str(answer)}
        with asked.open("rb") as stdin, said.open("wb") as stderr:
            process = subprocess.Popen(  # noqa: S603 - the command is the policy's, not the answer's
                [word.replace("{answer_file}", str(answer)) for word in self.command],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=self.cwd,
                env=env,
                start_new_session=True,
            )
            try:
                status: int | None = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                _end(process)
        with said.open("rb") as written:
            written.seek(max(said.stat().st_size - 1200, 0))
            return status, written.read().decode("utf-8", "replace").strip()[-300:]


@lru_cache(maxsize=64)
def _passed(name: str) -> CheckResult:
    """Nearly all results, and all the same: one object each."""
    return CheckResult(name=name, outcome="pass")


def _result(name: str, outcome: Literal["pass", "fail", "abstain"], detail: str = "") -> CheckResult:
    return CheckResult(name=name, outcome=outcome, detail=detail)


def _blank(draft: Draft) -> bool:
    """No tool call, no refusal, and not one visible character (zero-width ones are not)."""
    if draft.tool_calls or draft.refusal:
        return False
    # The first character decides almost always; the generator costs more than all it looks at.
    text = draft.text
    if text[:1].isalnum():
        return False
    return not any(c.isprintable() and not c.isspace() for c in text)


def _cut_off(draft: Draft) -> bool:
    return (draft.finish_reason or "").lower() in CUT_OFF


@lru_cache(maxsize=1)
def _refusal_pattern() -> re.Pattern[str]:
    """Compiled at the first use: at import it would cost more than the rest of this module."""
    return re.compile(_REFUSAL, re.IGNORECASE | re.VERBOSE)


def _dictated(request: Request, text: str) -> bool:
    said = text.casefold().rstrip(".!")
    return any(said in text_of(m).casefold() for m in request.messages if m.get("role") != "assistant")


def _format(request: Request) -> dict[str, Any] | None:
    """The request's ``response_format`` where it asks for JSON."""
    wanted = request.params.get("response_format")
    asks = isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")
    return wanted if asks else None


def _choice(choice: Any, calls: list[dict[str, Any]]) -> CheckResult:
    """Does the draft call as ``tool_choice`` demands: none, at least one, or one by name?"""
    named = _function(choice).get("name")
    if (choice in ("required", "any") or named is not None) and not calls:
        return _result("tools", "fail", "a tool call was required and there is none")
    if choice == "none" and calls:
        return _result("tools", "fail", "a tool was called where none was allowed")
    if named is not None and any(_function(call).get("name") != named for call in calls):
        return _result("tools", "fail", f"another tool than {named} was called")
    return _passed("tools")


def _function(thing: Any) -> dict[str, Any]:
    """The ``function`` part of a tool, a call or a choice; empty where it names none."""
    function = thing.get("function") if isinstance(thing, dict) else None
    return function if isinstance(function, dict) and function.get("name") else {}


def _call(which: str, call: dict[str, Any], known: dict[Any, Any]) -> CheckResult:
    function = _function(call)
    if not function:
        kind = call.get("type", "function")
        return _result("tools", "fail" if kind == "function" else "abstain", f"{which} names no function")
    name, arguments = str(function["name"]), function.get("arguments")
    if name not in known:
        return _result("tools", "fail", f"{which} names an unknown tool")
    try:
        value = msgspec.json.decode(arguments) if isinstance(arguments, str) else arguments
    except (ValueError, RecursionError):
        return _result("tools", "fail", f"{which}: the arguments of {name} are not JSON")
    if not isinstance(value, dict):
        return _result("tools", "fail", f"{which}: the arguments of {name} are not an object")
    return _fit("tools", f"{which} to {name}", known[name], value)


def _fit(check: str, what: str, wanted: Any, value: Any) -> CheckResult:
    """Does ``value`` fit the JSON Schema? Names the schema's place that it breaks, not the value."""
    try:
        # Encoded once more each time (some microseconds) so that the cache's key is the content:
        # an identity would go stale when the caller edits the schema in place.
        validator = _validator(msgspec.json.encode(wanted, order="deterministic"))
        error = next(validator.iter_errors(value), None)
    except Exception as problem:  # a bad pattern, an unresolvable $ref, endless recursion, not a schema
        return _result(check, "abstain", f"the schema for {what} cannot be used: {type(problem).__name__}")
    if error is None:
        return _passed(check)
    place = "/".join(map(str, error.absolute_schema_path))
    return _result(check, "fail", f"{what} does not fit the schema at {place}")


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    """A validator for the schema's draft (2020-12 unless it says otherwise).

    With an empty registry, since jsonschema's default one fetches a remote ``$ref`` over the network.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    wanted = msgspec.json.decode(schema)
    kind = validator_for(wanted, default=Draft202012Validator)
    kind.check_schema(wanted)
    registry: Registry[Any] = Registry()
    return kind(wanted, registry=registry)


def _as_json(request: Request, draft: Draft) -> str:
    """What a command reads, in ASCII: the fields that ``CommandCheck`` lists and no others."""
    import json

    left_out = ("raw", "logprobs", "top_logprobs", "measured")
    seen = {key: value for key, value in msgspec.structs.asdict(draft).items() if key not in left_out}
    return json.dumps({"request": request, "draft": seen}, default=_plain)


def _plain(value: Any) -> Any:
    return msgspec.structs.asdict(value) if isinstance(value, msgspec.Struct) else str(value)


def _end(process: Any) -> None:
    """Kill a command that still runs, with all that it started in its session."""
    import signal

    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
