"""/v1/models: what is offered here, and what it can make."""

from fastapi import APIRouter

from unstatic.models.manifest import Manifest
from unstatic.server.errors import not_found
from unstatic.server.routes.incoming import ERRORS, Incoming, Known
from unstatic.server.schemas import Model, ModelList

router = APIRouter(prefix="/v1/models", tags=["models"], responses=ERRORS)


@router.get("")
def list_models(incoming: Known) -> ModelList:
    """List the models, the default first."""
    return ModelList(data=[_card(incoming, each) for each in incoming.server.manifests.values()])


@router.get("/{name}")
def get_model(name: str, incoming: Known) -> Model:
    """Look at one model."""
    manifest = incoming.server.manifests.get(name)
    if manifest is None:
        raise not_found("model", name)
    return _card(incoming, manifest)


def _card(incoming: Incoming, manifest: Manifest) -> Model:
    """Return what is said of a model: sizes of files, of which it makes others too."""
    sizes = [f"{each.width * manifest.enlarge}x{each.height * manifest.enlarge}" for each in manifest.sizes]
    longest = min(manifest.max_seconds, incoming.server.settings.max_seconds)
    return Model(id=manifest.name, created=0, sizes=sizes, fps=manifest.fps, max_seconds=longest)
