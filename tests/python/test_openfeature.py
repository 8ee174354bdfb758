"""The OpenFeature SDK with its OFREP provider, as an application has them, against a real server."""

import time
import unittest

from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason

from server import Server


def flag(key, kind, variants, default, rules=()):
    return {"key": key, "type": kind, "variants": variants, "default_variant": default, "off_variant": default, "rules": list(rules)}


STAFF = {"cohort": "staff"}
FLAGS = [
    flag("new-player", "boolean", {"on": True, "off": False}, "off", [{**STAFF, "serve": {"variant": "on"}}]),
    flag("greeting", "string", {"plain": "Hello", "warm": "Kia ora"}, "plain", [{**STAFF, "serve": {"variant": "warm"}}]),
    flag("page-size", "integer", {"small": 10, "large": 100}, "small", [{**STAFF, "serve": {"variant": "large"}}]),
    flag("price-factor", "float", {"one": 1, "ten": 10}, "one", [{**STAFF, "serve": {"variant": "ten"}}]),
    flag("limits", "object", {"none": {}, "some": {"videos": 3, "hours": 1.5, "tags": ["a"]}}, "none", [{**STAFF, "serve": {"variant": "some"}}]),
    flag("plan", "string", {"other": "other", "paying": "paying"}, "other",
         [{"clauses": [{"attribute": "account.plan", "operator": "in", "values": ["pro", "team"]}], "serve": {"variant": "paying"}}]),
    flag("half", "boolean", {"on": True, "off": False}, "off",
         [{"serve": {"rollout": {"ranges": [{"variant": "on", "from": 0, "to": 50_000}, {"variant": "off", "from": 50_000, "to": 100_000}]}}}]),
]


class OpenFeatureTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.stop)
        cls.server.request("POST", "/api/v1/cohorts", {"name": "staff"})
        cls.server.request("PUT", "/api/v1/cohorts/staff/ids", "42\nuser-7\n", content_type="text/plain")
        cls.server.create_flags()
        for body in FLAGS:
            cls.server.request("POST", "/api/v1/flags", body)
        _, token = cls.server.request("POST", "/api/v1/tokens", {"name": "an application", "role": "evaluate"})
        cls.client = cls.client_with("right", token["secret"])

    @classmethod
    def client_with(cls, domain, token, header="Authorization", server=None):
        value = f"Bearer {token}" if header == "Authorization" else token
        provider = OFREPProvider((server or cls.server).url, headers_factory=lambda: {header: value})
        api.set_provider(provider, domain)
        return api.get_client(domain)

    def test_all_five_types(self):
        staff, other = EvaluationContext("42"), EvaluationContext("43")
        client = self.client
        for key, ask, wrong, for_staff, for_others in (
            ("new-player", client.get_boolean_details, False, True, False),
            ("greeting", client.get_string_details, "?", "Kia ora", "Hello"),
            ("page-size", client.get_integer_details, -1, 100, 10),
            ("price-factor", client.get_float_details, -1.0, 10.0, 1.0),
            ("limits", client.get_object_details, {"?": 1}, {"videos": 3, "hours": 1.5, "tags": ["a"]}, {}),
        ):
            with self.subTest(key):
                details = ask(key, wrong, staff)
                self.assertEqual((details.value, details.reason, details.error_code), (for_staff, Reason.TARGETING_MATCH, None))
                self.assertIs(type(details.value), type(for_staff))
                details = ask(key, wrong, other)
                self.assertEqual((details.value, details.reason, details.error_code), (for_others, Reason.DEFAULT, None))
                self.assertIs(type(details.value), type(for_others))
                self.assertIn("flagVersion", details.flag_metadata)

    def test_attributes_and_rollouts(self):
        plan = lambda plan: EvaluationContext("1", {"account": {"plan": plan}})
        self.assertEqual(self.client.get_string_value("plan", "?", plan("pro")), "paying")
        self.assertEqual(self.client.get_string_value("plan", "?", plan("free")), "other")
        self.assertEqual(self.client.get_string_value("plan", "?"), "other")
        answers = [self.client.get_boolean_details("half", False, EvaluationContext(f"user-{number}")) for number in range(200)]
        self.assertEqual({details.reason for details in answers}, {Reason.SPLIT})
        self.assertTrue(60 < sum(details.value for details in answers) < 140)

    def test_zero_values_and_a_disabled_flag(self):
        subject, client = EvaluationContext("conformance-user"), self.client
        for key, ask, wrong, value in (
            ("zero-boolean", client.get_boolean_details, True, False),
            ("zero-string", client.get_string_details, "?", ""),
            ("zero-integer", client.get_integer_details, -1, 0),
            ("zero-float", client.get_float_details, -1.0, 0.0),
            ("zero-object", client.get_object_details, {"?": 1}, {}),
            ("integer-large", client.get_integer_details, -1, 9_007_199_254_740_993),
            ("float-whole", client.get_float_details, -1.0, 10.0),
            ("string-digits", client.get_string_details, "?", "10"),
        ):
            with self.subTest(key):
                details = ask(f"conformance-{key}", wrong, subject)
                self.assertEqual((details.value, details.reason, details.error_code), (value, Reason.STATIC, None))
                self.assertIs(type(details.value), type(value))
        details = client.get_boolean_details("conformance-disabled", True, subject)
        self.assertEqual((details.value, details.reason, details.error_code), (False, Reason.DISABLED, None))

    def test_a_rate_limit_pauses_the_provider_and_it_goes_on(self):
        server = Server("--rate-limit-per-second", "5", "--rate-limit-burst", "60")
        self.addCleanup(server.stop)
        server.create_flags()
        client = self.client_with("limited", server.admin_token, server=server)
        ask = lambda: client.get_boolean_details("conformance-boolean", False, EvaluationContext("1"))
        deadline = time.monotonic() + 30
        while (details := ask()).error_code is None:
            self.assertLess(time.monotonic(), deadline, "no limit is met")
        self.assertEqual((details.value, details.reason, details.error_code), (False, Reason.ERROR, ErrorCode.GENERAL))
        while ask().error_code is not None:
            self.assertLess(time.monotonic(), deadline, "it never goes on")
            time.sleep(0.02)

    def test_a_server_that_was_restarted_is_asked_again(self):
        server = Server()
        self.addCleanup(server.stop)
        server.create_flags()
        client = self.client_with("restarted", server.admin_token, server=server)
        ask = lambda: client.get_boolean_details("conformance-boolean", False, EvaluationContext("1"))
        self.assertTrue(ask().value)
        server.end()
        details = ask()
        self.assertEqual((details.value, details.reason, details.error_code), (False, Reason.ERROR, ErrorCode.GENERAL))
        server.start(server.url.removeprefix("http://"))
        self.assertTrue(ask().value)

    def test_errors(self):
        details = self.client.get_boolean_details("no-such-flag", True, EvaluationContext("42"))
        self.assertEqual((details.value, details.reason, details.error_code), (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND))
        details = self.client.get_boolean_details("new-player", True)
        self.assertEqual((details.value, details.error_code), (True, ErrorCode.TARGETING_KEY_MISSING))
        details = self.client.get_boolean_details("greeting", True, EvaluationContext("42"))
        self.assertEqual((details.value, details.error_code), (True, ErrorCode.TYPE_MISMATCH))

    def test_a_wrong_token_gets_the_default_and_an_error(self):
        for header in ("Authorization", "X-API-Key"):
            client = self.client_with(f"wrong {header}", "co_wrong", header)
            details = client.get_string_details("greeting", "default", EvaluationContext("42"))
            self.assertEqual((details.value, details.reason, details.error_code), ("default", Reason.ERROR, ErrorCode.GENERAL))
            self.assertIn("unauthorized", details.error_message)
        client = self.client_with("api key", self.server.admin_token, "X-API-Key")
        self.assertEqual(client.get_string_value("greeting", "?", EvaluationContext("42")), "Kia ora")

    def test_a_cohort_change_is_seen_within_a_second(self):
        newcomer = EvaluationContext("newcomer")
        self.assertFalse(self.client.get_boolean_value("new-player", True, newcomer))
        for body, expected in (("newcomer\n42\nuser-7\n", True), ("42\nuser-7\n", False)):
            self.server.request("PUT", "/api/v1/cohorts/staff/ids", body, content_type="text/plain")
            deadline = time.monotonic() + 1.0
            while self.client.get_boolean_value("new-player", not expected, newcomer) != expected:
                self.assertLess(time.monotonic(), deadline, f"the change to {expected} is not seen after a second")


if __name__ == "__main__":
    unittest.main()
