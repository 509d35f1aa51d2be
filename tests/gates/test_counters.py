"""Tests of counters.py: `python3 -m unittest discover tests/gates`."""

import unittest

import counters as gate


def launch(kernel, wavefronts=4, sectors=10, ideal=10):
    shared = {"wavefronts": wavefronts, "ideal_wavefronts": 4}
    moved = {"sectors": sectors, "ideal_sectors": ideal}
    none = {"wavefronts": 0, "ideal_wavefronts": 0}
    nothing = {"sectors": 0, "ideal_sectors": 0}
    counters = {"shared_load": shared, "shared_store": none, "shared_atomic": none, "global_load": moved, "global_store": nothing}
    return {"kernel": kernel, "counters": counters}


def judged(*launches):
    kernels = {}
    gate.add(kernels, launches)
    return gate.judge(kernels)


class Judging(unittest.TestCase):
    def test_good_launches_pass(self):
        self.assertEqual(judged(launch("k"), launch("k", ideal=20)), [])
        self.assertEqual(judged(launch("k", sectors=0, ideal=0)), [], "nothing moved")

    def test_each_limit(self):
        self.assertEqual(len(judged(launch("k"), launch("k", wavefronts=5))), 1, "one conflict in any launch")
        self.assertEqual(len(judged(launch("k", ideal=8))), 1)
        self.assertEqual(judged(launch("k", ideal=8), launch("k")), [], "nine tenths of all")
        self.assertEqual(len(judged(launch("k", ideal=float("nan")))), 1)

    def test_the_table_names_the_worst(self):
        kernels = {}
        gate.add(kernels, [launch("good"), launch("worst", ideal=9.3), launch("conflict", wavefronts=6)])
        self.assertTrue(gate.table(kernels).endswith("\n| 3 | 2 | 0.93 | `worst` |"))


if __name__ == "__main__":
    unittest.main()
