"""What the parameters of signup's calls are, with examples."""

from shared.http.document.story import EMAIL, IMPORT, ROW, RUN, USER
from shared.http.document.teaching import About

PARAMETERS = {
    "user_id": About("The ID of the user", USER),
    "import_id": About("The ID of the import", IMPORT),
    "row_id": About("The ID of the outbox row, for mails also the request ID", ROW),
    "run_id": About("The ID of the run", RUN),
    "token": About("The last part of the link in the mail", "AZ8DOppndVqzTTtagKYeyXqPp0Zb4k1v"),
    "email": About("Matches every spelling of the address; repeated: any of them", [EMAIL]),
    "status": About("Users in this state; repeated: in any of them. Default: all except erased users", ["pending"]),
    "list_users.source": About("Users from this source: `web`, a client, or that of an import; repeated: any", ["web"]),
    "created_after": About("Users created at this time or later (RFC 3339)", "2026-06-26T00:00:00Z"),
    "created_before": About("Users created before this time (RFC 3339)", "2026-06-27T00:00:00Z"),
    "unreachable": About("Pending users whose latest verification mail did not arrive, or all others", True),
    "start_import.source": About("Where these users come from. Default: the client", "acme-crm"),
    "mails_per_minute": About("How many mails of this import may leave in a minute; 0: unpaced", 600),
    "dry_run": About("Report each row's outcome and create no user", True),
    "Idempotency-Key": About("A name for this request, 1 to 255 printable ASCII characters", "signup-2026-06-26-ada"),
    "list_import_rows.outcome": About("Rows with this outcome; repeated: any of them", ["invalid"]),
    "from": About("First day, UTC. Default: 30 days up to `to`", "2026-06-01"),
    "to": About("Last day, UTC. Default: today", "2026-06-30"),
    "list_outbox.state": About("Rows in this state; repeated: in any of them", ["dead"]),
    "list_outbox.effect": About("Rows of this effect; repeated: of any of them", ["mail"]),
    "list_outbox.user_id": About("Rows owed to this user; repeated: to any of them", [USER]),
    "list_findings.kind": About("Findings of this kind; repeated: of any of them", ["lost_records"]),
    "list_findings.run_id": About("Findings of this run; repeated: of any of them", [RUN]),
}
