"""Numbers that models are sent as."""

# Greatest sum that integers sent as such numbers hold without rounding. bfloat16 is not among them: its integers
# are exact up to 256 only, at twice the bytes of int8
SUMS = {"float16": 2048, "int8": 127}
COMM_DTYPES = ("float32", *SUMS)
