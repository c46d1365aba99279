"""The check of a context, in tokens, against the longest that is possible."""

from __future__ import annotations

from qdeploy.errors import PlanError


def check_context(
    context: int | None,
    longest: int,
    *,
    taker: str,
    where: object = None,
    otherwise: str | None = None,
) -> None:
    """Check that *context* is from 1 to *longest*; None is the taker's own.

    Args:
        context: tokens, prompt and answer together.
        longest: most tokens that the taker can have.
        taker: the model or bundle, as the error names it.
        where: the file or directory that the error is about.
        otherwise: what the user can do besides asking for less.

    Raises:
        PlanError: it is not.
    """
    if context is None or 0 < context <= longest:
        return
    less = f"--context {longest}" + (" or less" if context > 0 else ", or leave it out")
    raise PlanError(
        f"a context of {context} tokens; {taker} takes 1 to {longest}",
        where=where,
        fix=f"{less}, or {otherwise}" if otherwise else less,
    )
