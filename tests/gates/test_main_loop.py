"""Tests of main_loop.py on small texts: `python3 -m unittest discover tests/gates`."""

import unittest

import main_loop as gate


def line(address, text, stall=1):
    control = stall << 41
    return f"        /*{address:04x}*/                   {text} ;  /* 0x{address:016x} */\n" + " " * 60 + f"/* 0x{control:016x} */\n"


KERNEL = (
    '\t.section\t.text.gemm,"ax",@progbits\n'
    + line(0x00, "MOV R1, c[0x0][0x28]")
    + ".L_x_1:\n"  # a loop around the main loop, and a loop without products
    + ".L_x_2:\n"
    + line(0x10, "IADD3 R2, R2, 0x1, RZ")
    + line(0x20, "@P0 BRA `(.L_x_2)")
    + ".L_x_3:\n"
    + line(0x30, "LDSM.16.M88.4 R4, [R2]", 2)
    + line(0x40, "LDGSTS.E.BYPASS.LTC128B.128 [R2], [R4.64], P1", 3)
    + line(0x50, "@!PT LDS RZ, [RZ]")
    + line(0x60, "HMMA.16816.F32 R8, R4, R6, R8", 8)
    + line(0x70, "HMMA.16816.F32 R8, R4, R6, R8", 8)
    + line(0x80, "@P0 BRA `(.L_x_3)", 10)
    + line(0x90, "@P1 BRA `(.L_x_1)")
    + line(0xA0, "EXIT")
    + '\t.section\t.nv.info,"",@progbits\n'
    + line(0xB0, "MOV R1, R1")
)

LOG = """ptxas info    : Compiling entry function 'a' for 'sm_80'
ptxas info    : Function properties for a
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 242 registers, used 1 barriers
ptxas info    : Compiling entry function 'b' for 'sm_80'
ptxas info    : Function properties for b
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 255 registers
"""


class Parsing(unittest.TestCase):
    def test_the_main_loop_is_the_innermost_with_the_products(self):
        code, labels = gate.functions(KERNEL)["gemm"]
        self.assertEqual(len(code), 11, "and nothing of the next section")
        loop = gate.main_loop(code, labels)
        self.assertEqual([hex(one.address) for one in loop], ["0x30", "0x40", "0x50", "0x60", "0x70", "0x80"])

    def test_no_loop_without_products(self):
        code, labels = gate.functions(KERNEL.replace("HMMA.16816.F32", "FFMA"))["gemm"]
        self.assertEqual(gate.main_loop(code, labels), [])

    def test_resources(self):
        self.assertEqual(gate.resources(LOG), {"a": (242, 0, 0), "b": (255, 16, 12)})


class Measuring(unittest.TestCase):
    def test_counts_and_ratios(self):
        loop = gate.main_loop(*gate.functions(KERNEL)["gemm"])
        # Tensor cores: 4 warps * 2 * 2048 multiply-adds / 1024 = 16 clocks; shared memory: 4 * (512 + 512) bytes / 128 = 32.
        self.assertEqual(
            gate.measure(loop, 80),
            {"mma": 2, "ldsm": 1, "copies": 1, "other_per_mma": 2.0, "cycles_per_mma": 16.0, "shared": 2.0, "bound": 0.5},
        )
        self.assertEqual(gate.measure(loop, 89)["bound"], 1.0, "half the tensor cores")


class Comparing(unittest.TestCase):
    OLD = {"k sm_80": {"registers": 100, "other_per_mma": 1.3, "cycles_per_mma": 8.1, "shared": 0.75, "bound": 1.0}}

    def changed(self, **fields):
        return gate.compare(self.OLD, {"k sm_80": self.OLD["k sm_80"] | fields})

    def test_the_same_and_better_pass(self):
        self.assertEqual(self.changed(), [])
        self.assertEqual(self.changed(registers=90, other_per_mma=1.0, shared=0.5), [])

    def test_each_field_that_is_worse_fails(self):
        for field, value in dict(registers=101, other_per_mma=1.4, cycles_per_mma=9.0, shared=0.8, bound=0.9).items():
            self.assertEqual(len(self.changed(**{field: value})), 1, field)
            self.assertEqual(len(self.changed(**{field: float("nan")})), 1, field)
        for field in ("frame", "spills"):
            self.assertEqual(len(self.changed(**{field: 8})), 1, field)

    def test_a_loop_or_a_kernel_that_is_gone_fails(self):
        self.assertEqual(len(gate.compare(self.OLD, {"k sm_80": {"registers": 100}})), 1)
        self.assertEqual(len(gate.compare(self.OLD, {})), 1)
        self.assertEqual(len(gate.compare({}, self.OLD)), 1)


if __name__ == "__main__":
    unittest.main()
