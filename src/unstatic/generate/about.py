"""What made a film, as facts: the ones that `--json` prints, and those that its file keeps."""

import json
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from unstatic import __version__
from unstatic.generate.engines.remote import RemoteModel
from unstatic.generate.request import Plan
from unstatic.models.lora import parse_use
from unstatic.models.manifest import InstalledModel

GIVEN = ("image", "last_image", "footage", "source", "mask")
MAX_DIGESTED_BYTES = 2**30  # more would take seconds


def plan_facts(plan: Plan) -> dict[str, Any]:
    """Return what a plan says, for JSON; images, conditions and warnings are not said."""
    pictures = {"image", "last_image", "footage", "source", "strength", "mask", "skip", "conditions"}
    unsaid = pictures | {"cues", "texts", "cuts", "cut_frames", "warnings", "finish", "late_guidance"}
    unsaid |= {"left_open", *plan.left_open} | (set() if plan.step_cache > 1 else {"step_cache"})
    where_any = ("negative", "guidance_interval", "skip_layer_guidance")
    unsaid |= {name for name in where_any if not getattr(plan, name)}
    facts = {field.name: getattr(plan, field.name) for field in fields(plan) if field.name not in unsaid}
    said = {"text": plan.text}
    cues = [
        {"frame": first - plan.skip, "prompt": asked, "text": text, "cut": number in plan.cuts}
        for number, (asked, (first, text)) in enumerate(zip(plan.cues, plan.texts[1:], strict=True), 1)
    ]
    file = {"native": str(plan.native), "size": str(plan.size), "fps": plan.fps}
    made_by = {"upscaler": plan.finish.upscaler, "interpolator": plan.finish.interpolator}
    return facts | said | ({"cues": cues} if cues else {}) | file | made_by


def about_file(
    plan: Plan, model: InstalledModel | RemoteModel, loras: Sequence[str] = (), quantise: str | None = None
) -> dict[str, str]:
    """Return what a file says of itself, for `media.write`: prompt, text, and as JSON what makes it again.

    Nothing in it depends on the machine or the moment, so that the same film stays the same file, and files
    that were given are not named, but LoRAs are, without their folders.
    """
    facts: dict[str, Any] = {"made_by": f"unstatic {__version__}", "model": model.manifest.name}
    if isinstance(model, InstalledModel) and model.size_bytes() < MAX_DIGESTED_BYTES:
        facts["digest"] = model.digest()
    uses = [parse_use(each) for each in loras]
    more = {
        "loras": [f"{use.part}:{use.path.name}@{use.weight:g}".removeprefix(":") for use in uses],
        "quantise": quantise,
        "given": [name for name in GIVEN if getattr(plan, name) is not None and len(getattr(plan, name))],
        "strength": None if plan.source is None else plan.strength,
    }
    facts |= plan_facts(plan) | {name: fact for name, fact in more.items() if fact not in (None, [])}
    texts = {"title": plan.prompt, "description": plan.text, "comment": json.dumps(facts)}
    return {name: text for name, text in texts.items() if text}
