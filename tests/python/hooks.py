"""Hooks of schemathesis, for what a schema cannot say."""
import schemathesis


@schemathesis.hook
def filter_case(context, case):
    """Drops requests with both preconditions, which are refused with 400 `invalid_header`."""
    names = {name.lower() for name in case.headers or {}}
    return not {"if-match", "if-none-match"} <= names
