"""How many mails strangers can cause: parts of the statements that owe such mails (ADR 0028). SQL only.

A stranger is a caller without a key. `users` counts the mails that strangers caused to each address since it was last
verified (`stranger_mails`), and those within a day (`window_began_at`, `mails_in_window`). `stranger_mail_budget` says
until when the mails of all of them together have used up what an hour may hold, at the limit of each one's time.
"""

# The longest pause between two such mails to one address.
_DAY_SECONDS = 86_400


def may_cause_mail(pause_seconds: str, per_day: str) -> str:
    """Whether a stranger may cause a mail to the user `u`; `per_day` 0: as many as the pauses allow.

    The pause begins at `pause_seconds` and doubles with each mail. A verified user hears of one such signup a day.
    """
    return f"""(
        u.last_mail_at IS NULL OR (
            u.last_mail_at + make_interval(secs => CASE
                WHEN u.stranger_mails = 0 THEN {pause_seconds}
                WHEN u.status = 'verified' THEN greatest({pause_seconds}, {_DAY_SECONDS})
                ELSE least(
                    greatest({pause_seconds}, {_DAY_SECONDS}),
                    {pause_seconds} * power(2, least(u.stranger_mails, 20) - 1)
                )
            END) <= now()
            AND ({per_day} = 0 OR u.mails_in_window < {per_day} OR u.window_began_at + interval '1 day' <= now())
        )
    )"""


def counting(causes_mail: str) -> str:
    """What an UPDATE of the user `u` sets so that the mail counts, where `causes_mail` holds."""
    return f"""
        stranger_mails = u.stranger_mails + CASE WHEN {causes_mail} THEN 1 ELSE 0 END,
        mails_in_window = CASE
            WHEN NOT ({causes_mail}) THEN u.mails_in_window
            WHEN u.window_began_at + interval '1 day' > now() THEN u.mails_in_window + 1
            ELSE 1
        END,
        window_began_at = CASE
            WHEN NOT ({causes_mail}) OR u.window_began_at + interval '1 day' > now() THEN u.window_began_at
            ELSE now()
        END"""


def budget(mails: str, per_hour: str) -> str:
    """The CTE `budget`: takes as many mails as the query `mails` counts, and says when they may go.

    Without a limit (`per_hour` 0), or without mails, it is empty and locks nothing: mails go now.
    """
    return f"""budget AS (
    UPDATE stranger_mail_budget AS b SET
        spent_until = greatest(b.spent_until, now())
            + make_interval(secs => wanted.mails * 3600.0 / nullif({per_hour}, 0))
    FROM ({mails}) AS wanted (mails) WHERE {per_hour} > 0 AND wanted.mails > 0
    RETURNING greatest(now(), b.spent_until - interval '1 hour') AS due_at
)"""


DUE_AT = "coalesce((SELECT due_at FROM budget), now())"
# What the payload of a mail that has to wait says besides. An outage moves `due_at`, and the mail is late from here on.
WAITS_UNTIL = "coalesce((SELECT jsonb_build_object('waits_until', due_at) FROM budget WHERE due_at > now()), '{}')"
