"""The rules of judge.py."""

import unittest

from judge import inclusive, least, verdicts

PROFILE = """\
events: Ir
fl=(1) count.rs
fn=(1) a::counted::hot
10 5
cfn=(2) a::send
calls=1 20
+1 100
fn=(2)
20 40
cfn=(3) b
calls=2 30
* 60
fn=(1)
12 7
totals: 152
"""


class Rules(unittest.TestCase):
    def test_a_function_has_what_it_calls(self):
        self.assertEqual(inclusive(PROFILE), {"a::counted::hot": 112, "a::send": 100})

    def test_three_per_cent_more_fail_and_less_is_only_said(self):
        for now, fails, word in [(103, False, "1.030"), (104, True, "over 1.03"), (97, False, "0.970"), (96, False, "less than")]:
            lines, failed = verdicts({"hot": 100}, {"hot": now})
            self.assertEqual((len(lines), failed), (1, fails))
            self.assertIn(word, lines[0])

    def test_of_several_counts_the_least_is_taken_by_kind(self):
        self.assertEqual(least([{"hot": 3, "garbage": 1}, {"hot": 2, "garbage": 4}]), {"hot": 2, "garbage": 1})

    def test_a_kind_that_one_side_lacks_fails(self):
        for baseline, now in [({"hot": 1}, {}), ({}, {"hot": 1})]:
            self.assertTrue(verdicts(baseline, now)[1])


if __name__ == "__main__":
    unittest.main()
