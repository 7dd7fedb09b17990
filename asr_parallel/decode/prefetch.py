"""The processor's prefetch instruction for compiled functions: fetch memory before it is needed, and do not wait."""

from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

READ, KEEP, DATA = 0, 3, 1  # operands of LLVM's intrinsic llvm.prefetch: access, locality, cache


@intrinsic
def _prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Return the type of the call prefetch(array, index), and what generates its code."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, values[0])
        at = context.cast(builder, values[1], signature.args[1], types.intp)
        pointer = cgutils.get_item_pointer(context, builder, signature.args[0], made, [at], wraparound=False)
        octets, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        shape = ir.FunctionType(ir.VoidType(), [octets, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", (octets,), shape)
        builder.call(function, [builder.bitcast(pointer, octets), *(number(word) for word in (READ, KEEP, DATA))])
        return context.get_dummy_value()

    return types.void(array, index), generate


prefetch: Callable[[Any, Any], None] = cast(Any, _prefetch)
"""Fetches array[index] into the cache. An index beyond the array does no harm, as nothing is read."""
