import pytest
import torch

from unstatic.nn.attention import (
    KeyValue,
    attention,
    explicit_attention,
    fused_attention,
    join,
    merge_heads,
    split,
    split_heads,
)


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_attention(num_queries: int, num_keys: int) -> tuple[torch.Tensor, KeyValue]:
    query = draw(6, num_queries, 16)
    return query, KeyValue(draw(6, num_keys, 16, seed=1), draw(6, num_keys, 16, seed=2))


def by_definition(query: torch.Tensor, memory: KeyValue) -> torch.Tensor:
    """Compute attention one query at a time, in float64."""
    read = torch.empty_like(query, dtype=torch.float64)
    for head in range(query.shape[0]):
        for place, vector in enumerate(query[head].double()):
            weights = (memory.key[head].double() @ vector / query.shape[-1] ** 0.5).exp()
            read[head, place] = (weights / weights.sum()) @ memory.value[head].double()
    return read


@pytest.mark.parametrize("compute", [explicit_attention, fused_attention])
@pytest.mark.parametrize(("num_queries", "num_keys"), [(1, 1), (5, 9), (40, 17)])
def test_both_ways_follow_the_definition(compute: type, num_queries: int, num_keys: int) -> None:
    query, memory = random_attention(num_queries, num_keys)
    assert (compute(query, memory) - by_definition(query, memory)).abs().max() < 1e-6


def test_long_and_short_sequences_agree() -> None:
    query, memory = random_attention(600, 500)  # more scores than the limit: the fused kernel
    whole = attention(query, memory)
    parts = [attention(part, memory) for part in query.split(100, 1)]  # fewer: explicit
    assert (torch.cat(parts, 1) - whole).abs().max() < 1e-6


def test_bfloat16_is_near_float32() -> None:
    query, memory = random_attention(64, 192)
    exact = explicit_attention(query, memory)
    rounded = KeyValue(memory.key.bfloat16(), memory.value.bfloat16())
    for compute in (explicit_attention, fused_attention):
        error = compute(query.bfloat16(), rounded).float() - exact
        assert error.norm() / exact.norm() < 0.01


@pytest.mark.parametrize(
    ("dtype", "gradient", "unit", "explicit"),
    [
        (torch.bfloat16, False, True, False),
        (torch.bfloat16, False, False, True),
        (torch.bfloat16, True, True, True),
        (torch.float32, False, True, True),
    ],
)
def test_products_or_torch_kernel_whichever_was_measured_faster(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, gradient: bool, unit: bool, explicit: bool
) -> None:
    taken: list[str] = []
    monkeypatch.setattr("unstatic.nn.attention.has_matrix_unit", lambda: unit)
    for name in ("explicit_attention", "fused_attention"):
        monkeypatch.setattr(
            f"unstatic.nn.attention.{name}", lambda query, _, name=name: taken.append(name) or query
        )
    query, memory = random_attention(8, 9)
    attention(query.to(dtype).requires_grad_(gradient), memory)
    assert taken == ["explicit_attention" if explicit else "fused_attention"]


def test_both_ways_have_the_same_gradient() -> None:
    query, memory = random_attention(7, 11)
    leaves = [query, memory.key, memory.value]
    gradients = []
    for compute in (explicit_attention, fused_attention):
        for leaf in leaves:
            leaf.requires_grad_().grad = None
        compute(query, memory).square().sum().backward()
        gradients.append([leaf.grad for leaf in leaves])
    for explicit, fused in zip(*gradients, strict=True):
        assert explicit is not None
        assert (explicit - fused).abs().max() < 1e-5


def test_heads_are_split_and_merged_without_mixing() -> None:
    tokens = draw(2, 5, 3, 4)
    apart = split_heads(tokens, torch.float32)
    assert apart.shape == (6, 5, 4)
    assert apart.is_contiguous()
    assert torch.equal(apart[4], tokens[1, :, 1])  # sample 1, head 1
    assert torch.equal(merge_heads(apart, batch=2), tokens.flatten(2))


def test_join_undoes_split() -> None:
    _, memory = random_attention(1, 9)
    parts = split(memory, [2, 3, 4])
    assert [part.key.shape[1] for part in parts] == [2, 3, 4]
    assert torch.equal(join(parts).key, memory.key)
    assert torch.equal(join(parts[1:]).value, memory.value[:, 2:])
