"""All models of tests/data/families."""
import cases_experts
import cases_gated
import cases_plain

CASES = cases_gated.CASES + cases_experts.CASES + cases_plain.CASES
