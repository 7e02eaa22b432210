"""Laws that hold whatever the figures are, and what was measured elsewhere: python3 -m unittest, here."""

import random
import unittest
from dataclasses import replace

from broker import Brokers, Entry, decide
from day import Device, LENGTH, all_at_once, roll_out, simulate
from figures import ACS_ALONE, BROKER, HOUR, MINUTE, QUOTA, USERS
from quota import Endpoint, Outcome, Window, most_users, poisson, serve, shares, smooth

COUNT = 300
ONE = replace(BROKER, replicas=1)
SHARED = replace(BROKER, shared_cache=True)


def exchanges(settings, **more):
    return sum(simulate(settings, COUNT, **more).exchanges)


class Day(unittest.TestCase):
    def test_is_the_same_with_the_same_seed(self):
        self.assertEqual(simulate(BROKER, 50), simulate(BROKER, 50))
        self.assertNotEqual(simulate(BROKER, 50).calls, simulate(BROKER, 50, seed=2).calls)

    def test_agrees_with_what_the_sdk_was_measured_to_do(self):
        """docs/sdk-refresh.md, 24 hours: 21 exchanges and 41 calls; 41 and 41 where ACS alone decides."""
        always = replace(USERS, stragglers=0, arrival=0, arrival_spread=0, stay=24 * HOUR, stay_spread=0, second_device=0, reloads=0)
        for settings, calls, asked in ((ONE, 41, 21), (replace(ACS_ALONE, replicas=1), 41, 41)):
            # From five in the morning on, 19 hours: the first arrival that there is.
            seen = simulate(settings, 40, users=always)
            self.assertAlmostEqual(sum(seen.calls) / 40 * 24 / 19, calls, delta=3)
            self.assertAlmostEqual(sum(seen.exchanges) / 40 * 24 / 19, asked, delta=3)

    def test_one_replica_gains_nothing_from_a_shared_cache(self):
        self.assertEqual(exchanges(ONE), exchanges(replace(ONE, shared_cache=True)))

    def test_with_a_shared_cache_the_number_of_replicas_hardly_matters(self):
        """What is left of it are tokens that end before the entry, which each replica exchanges for itself."""
        one, ten = exchanges(replace(ONE, shared_cache=True)), exchanges(replace(SHARED, replicas=10))
        self.assertLess(ten, one * 1.25)
        self.assertGreater(exchanges(replace(BROKER, replicas=10)), one * 1.5)

    def test_more_replicas_never_cost_less_without_one(self):
        found = [exchanges(replace(BROKER, replicas=count)) for count in (1, 2, 4, 8)]
        self.assertEqual(found, sorted(found))

    def test_with_one_device_and_a_shared_cache_there_is_one_exchange_for_each_entra_token(self):
        seen = simulate(SHARED, COUNT, users=replace(USERS, second_device=0))
        self.assertEqual(sum(seen.exchanges), seen.tokens)

    def test_a_roll_out_costs_exchanges_only_without_a_shared_cache(self):
        for settings, wanted in ((BROKER, True), (SHARED, False)):
            users = replace(USERS, second_device=0)
            with_it = exchanges(settings, users=users, restarts=roll_out(settings, 11 * HOUR))
            self.assertEqual(with_it > exchanges(settings, users=users), wanted)
            self.assertEqual(len(all_at_once(settings, HOUR)), settings.replicas)

    def test_a_cache_too_small_costs_exchanges_and_a_shared_one_makes_up_for_it(self):
        small = {"scale": ONE.max_entries / 20, "users": replace(USERS, second_device=0)}
        self.assertGreater(exchanges(ONE, **small), exchanges(ONE, users=small["users"]))
        self.assertEqual(exchanges(replace(ONE, shared_cache=True), **small), exchanges(ONE, users=small["users"]))

    def test_numbers_grow_with_the_users(self):
        seen = simulate(BROKER, COUNT)
        self.assertAlmostEqual(seen.a_day("calls", 10 * COUNT), 10 * sum(seen.calls))
        self.assertAlmostEqual(seen.rate("calls", 2 * COUNT), 2 * seen.rate("calls", COUNT))
        self.assertLessEqual(seen.rate("calls", COUNT, 5), seen.rate("calls", COUNT))
        self.assertEqual(len(seen.calls), LENGTH)


class Rule(unittest.TestCase):
    def test_nobody_gets_a_token_that_outlives_their_own(self):
        dice, brokers, now = random.Random(3), Brokers(SHARED), 0.0
        tokens = [Device(user, 0.0) for user in (1, 1, 2)]
        for _ in range(3000):
            now += dice.uniform(0, 4 * MINUTE)
            device = dice.choice(tokens)
            if device.token_end - now < 5 * MINUTE:
                device.token, device.token_end = device.token + 1 + 1000 * tokens.index(device), now + dice.uniform(60, 90) * MINUTE
            end = brokers.ask(device.user, device.token, device.token_end, now)
            self.assertLessEqual(end, device.token_end + BROKER.min_gain)
            self.assertGreaterEqual(end - now, BROKER.expiry_margin)

    def test_is_that_of_the_broker(self):
        entry, hour = Entry(HOUR, 0.0, BROKER.refresh_ahead), 2 * HOUR
        for now, token_end, wanted in (
            (0, HOUR, "serve"), (0, HOUR - 121, "own"), (0, HOUR - 120, "serve"), (HOUR - 29, hour, "expired"),
            (HOUR - 599, hour, "renew first"), (HOUR - 599, HOUR + 119, "serve"), (HOUR - 1199, hour, "serve and renew"), (HOUR - 1200, hour, "serve"),
        ):
            self.assertEqual(decide(entry, token_end, now, BROKER), wanted, (now, token_end))
        self.assertEqual(decide(entry, HOUR, 600, ACS_ALONE), "revalidate")
        self.assertEqual(decide(None, HOUR, 0, BROKER), "expired")


class Budget(unittest.TestCase):
    def test_no_window_holds_more(self):
        dice, window, sent = random.Random(4), Window(50, 30), []
        for _ in range(2000):
            sent.append(min(window.free(), poisson(dice.choice((0.1, 2, 30)), dice)))
            window.send(sent[-1])
            window.tick()
        self.assertLessEqual(max(sum(sent[start : start + 30]) for start in range(len(sent) - 29)), 50)
        self.assertGreater(sum(sent), 2000)

    def test_the_turn_comes_when_it_was_said(self):
        dice = random.Random(5)
        for _ in range(200):
            window = Window(40, 30)
            for _ in range(60):
                window.send(min(window.free(), dice.randrange(4)))
                window.tick()
            ahead = dice.randrange(60)
            told, waited = window.turn(ahead), 0
            while ahead >= window.free() and waited < 30:
                window.tick()
                waited += 1
            self.assertIn(told - waited, (0, 1))

    def test_everybody_is_served_or_waits_still(self):
        outcome, endpoint, came = Outcome(), Endpoint(100, QUOTA, random.Random(6)), 0
        for now in range(3000):
            new = 20 if now < 300 else 0
            came += new
            endpoint.second(now, new, outcome)
        self.assertEqual(outcome.exchanges, came)
        self.assertEqual((endpoint.length, endpoint.returning, endpoint.back), (0, 0, {}))
        self.assertLessEqual(outcome.busiest, 100)
        self.assertGreater(outcome.refused, 0)
        self.assertGreaterEqual(outcome.refusals, outcome.refused)
        # 6000 of them at 100 in 30 seconds.
        self.assertGreaterEqual(outcome.longest, 6000 / (100 / 30) - 300 - 30)

    def test_enough_is_enough(self):
        seen = simulate(SHARED, COUNT)
        served = serve(seen, COUNT, SHARED)
        self.assertEqual((served.refusals, served.longest, served.unserved, served.overrun), (0, 0, 0, False))
        self.assertTrue(serve(seen, 2_000_000, SHARED).overrun)

    def test_the_most_users_are_served_and_more_are_not(self):
        seen = simulate(SHARED, COUNT)
        most = most_users(seen, SHARED)
        self.assertEqual(serve(seen, most * 1000, SHARED).refused, 0)
        self.assertGreater(serve(seen, (most + 1) * 1000, SHARED).refused, 0)
        self.assertLess(most_users(seen, replace(SHARED, shared_cache=False)), most)

    def test_a_moving_mean_loses_nothing(self):
        self.assertEqual(sum(smooth([0, 0, 0, 10, 5, 0, 0, 0])), 15)

    def test_a_shared_budget_is_whole_and_parts_are_not_more_than_it(self):
        self.assertEqual(shares(SHARED), [500])
        self.assertEqual(shares(BROKER), [125] * 3)
        self.assertLessEqual(sum(shares(replace(BROKER, surge=0))), 500)

    def test_draws_have_their_mean(self):
        dice = random.Random(7)
        for mean in (0.3, 5, 200):
            self.assertAlmostEqual(sum(poisson(mean, dice) for _ in range(4000)) / 4000, mean, delta=mean * 0.08 + 0.02)
        self.assertEqual(poisson(0, dice), 0)


if __name__ == "__main__":
    unittest.main()
