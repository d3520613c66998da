"""The problems that only /v1/webhooks answers with."""

from ..contract.problems import Problem


class SubscriberDisabled(Problem):
    """The subscriber is disabled, because it answered 410. Enable it first, and then replay what it missed."""

    status, slug, title = 409, "subscriber-disabled", "The subscriber is disabled"


class TooManyReplays(Problem):
    """As many replays as one subscriber may have are under way. Wait until one of them is done."""

    status, slug, title = 409, "too-many-replays", "Too many replays are under way"


class WebhooksOff(Problem):
    """The service has no key that signs webhooks, so it has no subscribers. The detail names the setting."""

    status, slug, title = 409, "webhooks-off", "Webhooks are turned off"
