"""When a refusal is believed: decisions on what a gateway answered to its recent recipients."""

import pytest

from services.mail.delivery.refusal_guard import (
    MOST_BELIEVED,
    RECIPIENTS_JUDGED,
    RecentRecipient,
    Refuses,
    in_effect,
    is_judged,
    judge,
    not_judged,
    refused_domains,
    refuses_everyone,
)
from services.mail.delivery.smtp_outcomes import Outcome, Step, Verdict, classify

NO_SUCH_USER = classify(Step.RCPT, 550, "5.1.1 no such user")


def refused(count: int, domain: str = "", *, domain_accepted: bool = False) -> list[RecentRecipient]:
    """Refused recipients at `domain`, or each at its own domain."""
    return [RecentRecipient(domain or f"refused-{n}.example", True, domain_accepted) for n in range(count)]


def accepted(count: int, domain: str = "") -> list[RecentRecipient]:
    return [RecentRecipient(domain or f"good-{n}.example", False) for n in range(count)]


def test_a_dead_address_among_good_ones_is_a_dead_address() -> None:
    assert judge([*refused(1), *accepted(19)], "refused-0.example") is Refuses.ONE


def test_a_gateway_without_a_past_is_believed_nine_times() -> None:
    assert [judge(refused(n), "refused-0.example") for n in range(1, 11)] == [*[Refuses.ONE] * 9, Refuses.EVERYONE]


def test_a_gateway_with_a_good_past_is_believed_as_often_as_documented() -> None:
    verdicts = [judge([*refused(n), *accepted(20)], "refused-0.example") for n in range(1, RECIPIENTS_JUDGED + 1)]
    assert verdicts.count(Refuses.ONE) == MOST_BELIEVED
    assert verdicts[MOST_BELIEVED:] == [Refuses.EVERYONE] * (RECIPIENTS_JUDGED - MOST_BELIEVED)


@pytest.mark.parametrize("earlier", range(RECIPIENTS_JUDGED + 1))
def test_no_past_makes_a_gateway_believed_more_often_than_documented(earlier: int) -> None:
    assert judge([*refused(MOST_BELIEVED + 1), *accepted(earlier)], "refused-0.example") is Refuses.EVERYONE


def test_a_gateway_that_accepts_a_few_refuses_everyone_all_the_same() -> None:
    assert refuses_everyone([*refused(9), *accepted(2), *refused(9)])
    assert not refuses_everyone([*refused(9), *accepted(3), *refused(8)])


def test_a_gateway_that_refuses_one_domain_and_accepts_others_refuses_that_domain() -> None:
    recent = [*refused(200, "gone.example"), *accepted(20)]
    assert judge(recent, "gone.example") is Refuses.DOMAIN
    assert judge([*refused(1, "typo.example"), *recent], "typo.example") is Refuses.ONE


def test_a_domain_is_refused_after_six_different_recipients_without_an_acceptance() -> None:
    good = accepted(20)
    assert refused_domains([*refused(5, "gone.example"), *good]) == set()
    assert refused_domains([*refused(6, "gone.example"), *good]) == {"gone.example"}
    busy = [*refused(5, "big.example"), *refused(100, "big.example", domain_accepted=True), *good]
    assert refused_domains(busy) == set()


@pytest.mark.parametrize("domains", range(1, 25))
def test_no_mix_of_domains_makes_a_gateway_believed_more_often_than_documented(domains: int) -> None:
    recent = accepted(20)
    believed = 0
    for n in range(500):
        domain = f"domain-{n % domains}.example"
        recent = [RecentRecipient(domain, True), *recent]
        believed += judge(recent, domain) is Refuses.ONE
    assert believed <= MOST_BELIEVED


def test_a_gateway_that_refuses_everyone_at_the_only_domain_it_serves_refuses_everyone() -> None:
    assert judge(refused(10, "only.example"), "only.example") is Refuses.EVERYONE
    assert judge([*refused(18, "only.example"), *accepted(20, "only.example")], "only.example") is Refuses.EVERYONE


def test_a_believed_refusal_stays_as_it_is() -> None:
    assert in_effect(NO_SUCH_USER, Refuses.ONE) is NO_SUCH_USER
    assert NO_SUCH_USER.suppresses


def test_a_refusal_of_everyone_is_a_fault_of_the_gateway_and_keeps_its_words() -> None:
    fault = in_effect(NO_SUCH_USER, Refuses.EVERYONE)
    assert (fault.outcome, fault.suppresses, fault.blames_gateway) == (Outcome.GATEWAY_FAULT, False, True)
    assert fault.reason == "the gateway refuses everyone (refused with 550 at RCPT)"
    assert (fault.code, fault.enhanced_code, fault.reply) == (550, "5.1.1", "550 5.1.1 no such user")


def test_a_refusal_of_a_whole_domain_is_tried_later() -> None:
    later = in_effect(NO_SUCH_USER, Refuses.DOMAIN)
    assert (later.outcome, later.suppresses) == (Outcome.TRY_LATER, False)
    assert later.reason == "refused with 550 at RCPT, as everyone at this domain"


def test_a_refusal_that_cannot_be_judged_blames_no_gateway_and_suppresses_nothing() -> None:
    back = not_judged(NO_SUCH_USER)
    assert (back.outcome, back.blames_gateway, back.suppresses) == (Outcome.GATEWAY_FAULT, False, False)


@pytest.mark.parametrize(
    ("verdict", "judged"),
    [
        (NO_SUCH_USER, True),
        (classify(Step.RCPT, 554, "5.7.1 relay access denied"), True),
        (classify(Step.BODY, 550, "5.1.1 no such user"), True),
        (classify(Step.BODY, 250, "2.0.0 taken"), True),
        (classify(Step.MAIL, 550, "5.7.1 this sender may not"), False),
        (classify(Step.BODY, 554, "5.7.1 looks like spam"), False),
        (classify(Step.RCPT, 450, "4.2.1 later"), False),
    ],
)
def test_only_acceptances_and_refusals_of_recipients_are_judged(verdict: Verdict, *, judged: bool) -> None:
    assert is_judged(verdict) is judged
