"""What the way back needs of layers that do not learn, and no more.

torch keeps a convolution's input although only its weight's gradient would need it, and keeps what a norm puts out and
what an activation makes of it beside what went in. Where weights are frozen, one of these three is enough: the others
are made again on the way back, which is cheap beside the convolution.

Nothing in the networks changes: a `torch.overrides.TorchFunctionMode` sees the calls and takes those that it knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F  # noqa: N812 - the name everyone reads
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode


class FrozenConvolution(Function):
    """A convolution that keeps its weight alone."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, *how: Any) -> Tensor:
        """Return the convolution of `x`; `how` is stride, padding, dilation and groups."""
        ctx.save_for_backward(weight)
        ctx.shape, ctx.how = x.shape, how  # type: ignore[attr-defined]  # where a Function keeps what is no tensor
        return F.conv2d(x, weight, bias, *how)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of `x`."""
        (weight,) = ctx.saved_tensors
        return conv2d_input(ctx.shape, weight, gradient, *ctx.how), *(None,) * 6


class NormThenSilu(Function):
    """SiLU after a group norm, which keep what went into the norm alone."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, y: Tensor, mean: Tensor, rstd: Tensor, norm: _Norm) -> Tensor:
        """Return the SiLU of `y`, which is the norm of `x` with this `mean` and `rstd`."""
        ctx.save_for_backward(x, mean, rstd)
        ctx.norm = norm  # type: ignore[attr-defined]  # as above
        return F.silu(y)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of `x`."""
        x, mean, rstd = ctx.saved_tensors
        y = ctx.norm(x)[0]
        return ctx.norm.backward(torch.ops.aten.silu_backward(gradient, y), x, mean, rstd), None, None, None, None


class GatedGelu(Function):
    """A product with a GELU, which keeps the two that went in alone."""

    @staticmethod
    def forward(ctx: FunctionCtx, value: Tensor, gate: Tensor, product: Tensor) -> Tensor:
        """Return `product`, which is that of `value` with the GELU of `gate`."""
        ctx.save_for_backward(value, gate)
        return product

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of `value` and `gate`."""
        value, gate = ctx.saved_tensors
        return gradient * F.gelu(gate), torch.ops.aten.gelu_backward(gradient * value, gate), None


class FrozenGate(Function):
    """A linear layer and a product of its halves, one through a GELU, which keep what went into the layer alone.

    The layer's output is eight times as wide as its input in a transformer; to make it once more costs a tenth of the
    step's time at most, and it would be a third of what the step keeps.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None, product: Tensor) -> Tensor:
        """Return `product`, which is that of the halves of the layer's output for `x`."""
        ctx.save_for_backward(x, weight, *(() if bias is None else (bias,)))
        return product

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of `x`."""
        x, weight, *bias = ctx.saved_tensors
        value, gate = F.linear(x, weight, *bias).chunk(2, dim=-1)
        halves = [gradient * F.gelu(gate), torch.ops.aten.gelu_backward(gradient * value, gate)]
        return torch.cat(halves, dim=-1) @ weight, None, None, None


class _Norm:
    """A group norm with frozen weights."""

    def __init__(self, groups: int, weight: Tensor, bias: Tensor, eps: float) -> None:
        self.groups, self.weight, self.bias, self.eps = groups, weight, bias, eps

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the norm of `x`, and mean and reciprocal deviation of each group."""
        sizes = (x.shape[0], x.shape[1], x[0, 0].numel())
        y, mean, rstd = torch.native_group_norm(x, self.weight, self.bias, *sizes, self.groups, self.eps)
        return y, mean, rstd

    def backward(self, gradient: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
        """Return the gradient of `x`."""
        sizes = (x.shape[0], x.shape[1], x[0, 0].numel())
        masks = [True, False, False]
        layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        like = gradient.contiguous(memory_format=layout) if x.ndim == 4 else gradient.contiguous()
        found = torch.ops.aten.native_group_norm_backward(like, x, mean, rstd, self.weight, *sizes, self.groups, masks)
        result: Tensor = found[0]
        return result


class Lean(TorchFunctionMode):
    """While it is entered, layers with frozen weights keep less for the way back; the results are the same."""

    def __init__(self) -> None:
        super().__init__()
        self._normed: tuple[Tensor, Tensor, Tensor, Tensor, _Norm] | None = None
        self._gelu: tuple[Tensor, Tensor] | None = None
        self._linear: tuple[Tensor, Sequence[Any]] | None = None
        self._halves: tuple[Tensor, Tensor, Sequence[Any]] | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or what stands in its place here."""
        handler = _HANDLERS.get(func)
        if handler is not None and torch.is_grad_enabled():
            return handler(self, func, args, kwargs or {})
        return func(*args, **(kwargs or {}))

    def convolution(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a convolution."""
        self._normed = None
        x, weight, bias = args[0], args[1], args[2] if len(args) > 2 else None
        frozen = x.requires_grad and not weight.requires_grad and not (bias is not None and bias.requires_grad)
        if more or not frozen or any(isinstance(value, str) for value in args[3:]):
            return func(*args, **more)
        how = (*args[3:], *(1, 0, 1, 1)[len(args[3:]) :])
        return FrozenConvolution.apply(x, weight, bias, *how)  # type: ignore[no-untyped-call]  # torch's own

    def norm(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a group norm, and remember of what it is."""
        x, weight, bias = args[0], more["weight"], more["bias"]  # as `F.group_norm` hands them on
        if not x.requires_grad or weight is None or weight.requires_grad or bias.requires_grad:
            return func(*args, **more)
        norm = _Norm(args[1], weight, bias, more["eps"])
        y, mean, rstd = norm(x)
        self._normed = (y, x, mean, rstd, norm)
        return y

    def silu(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a SiLU, as one with the norm before it."""
        if self._normed is None or args[0] is not self._normed[0]:
            return func(*args, **more)
        y, x, mean, rstd, norm = self._normed
        self._normed = None
        still = (y.detach(), mean.detach(), rstd.detach())
        return NormThenSilu.apply(x, *still, norm)  # type: ignore[no-untyped-call]  # torch's own

    def linear(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a linear layer's output, and remember of what it is where the layer is frozen."""
        out = func(*args, **more)
        frozen = args[0].requires_grad and not any(t is not None and t.requires_grad for t in args[1:])
        self._linear = (out, args) if frozen and not more else None
        return out

    def halves(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return the parts of a tensor, and remember of which layer they are where there are two."""
        parts = func(*args, **more)
        whole = self._linear is not None and args[0] is self._linear[0] and args[1:] == (2,) and more == {"dim": -1}
        self._halves = (*parts, self._linear[1]) if whole and self._linear else None
        self._linear = None
        return parts

    def gelu(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a GELU, and remember of what it is."""
        out = func(*args, **more)
        if out.requires_grad:
            self._gelu = (out, args[0])
        return out

    def product(self, func: Callable[..., Any], args: Sequence[Any], more: dict[str, Any]) -> Any:
        """Return a product, as one with the GELU before it."""
        if self._gelu is None or more or not any(factor is self._gelu[0] for factor in args):
            return func(*args, **more)
        out, gate = self._gelu
        value = args[1] if args[0] is out else args[0]  # torch hands them on in either order
        halves, self._gelu, self._halves = self._halves, None, None
        with torch.no_grad():
            product = value * out
        if halves is not None and halves[0] is value and halves[1] is gate:
            layer = (*halves[2], None)[:3]
            return FrozenGate.apply(*layer, product)  # type: ignore[no-untyped-call]  # torch's own
        return GatedGelu.apply(value, gate, product)  # type: ignore[no-untyped-call]  # torch's own


_HANDLERS: dict[Callable[..., Any], Callable[[Lean, Callable[..., Any], Sequence[Any], dict[str, Any]], Any]] = {
    torch.conv2d: Lean.convolution,
    F.group_norm: Lean.norm,
    F.silu: Lean.silu,
    F.linear: Lean.linear,
    Tensor.chunk: Lean.halves,
    F.gelu: Lean.gelu,
    torch.mul: Lean.product,
    Tensor.mul: Lean.product,  # as which torch hands a product of two tensors on
}
