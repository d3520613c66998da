"""Broken CSV files over HTTP: lines read = created + already_exists + duplicate + invalid, always."""

import random
from collections.abc import AsyncIterator

import pytest

from tests.support.broken_csv import BROKEN, HEADER, UNCLOSED, persons
from tests.support.imports import Imports
from tests.support.signups import SignupLedger

READ = {name: file for name, file in BROKEN.items() if not file.refused}
REFUSED = {name: file for name, file in BROKEN.items() if file.refused}


async def _post(imports: Imports, body: bytes, pieces: int, chance: random.Random) -> str:
    """Upload in random pieces; return the import's ID."""
    cuts = sorted(chance.randrange(len(body)) for _ in range(pieces))

    async def content() -> AsyncIterator[bytes]:
        for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True):
            yield body[start:end]

    headers = {"Content-Type": "text/csv"}
    answer = await imports.http.post("/v1/imports", content=content(), headers=headers, params={"mails_per_minute": 0})
    assert answer.status_code == 202, answer.text
    import_id: str = answer.json()["id"]
    return import_id


async def test_every_line_of_a_broken_file_has_one_outcome(imports: Imports) -> None:
    for name, file in READ.items():
        done = await imports.run(file.body, media="text/csv", source=name)
        outcomes = done["outcomes"]
        assert done["rows"] == sum(outcomes.values()) == len(file.good) + len(file.bad), name
        assert outcomes["created"] + outcomes["already_exists"] == len(file.good), name
        invalid = {row["line"]: row["reason"] for row in await imports.rows(done["id"], outcome="invalid")}
        assert list(invalid) == list(file.bad), name
        assert all(reason in invalid[line] for line, reason in file.bad.items()), name


@pytest.mark.parametrize("name", REFUSED)
async def test_a_file_of_which_no_line_can_be_read_is_refused_and_leaves_nothing(
    imports: Imports, ledger: SignupLedger, name: str
) -> None:
    file = REFUSED[name]
    answer = await imports.post(file.body, media="text/csv")
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert file.refused is not None
    assert file.refused in answer.json()["detail"]
    assert await ledger.rows("imports") == []


async def test_one_stray_quote_costs_one_row_of_three_thousand_in_any_pieces(
    imports: Imports, ledger: SignupLedger
) -> None:
    rows = persons(3000).split(b"\n")
    rows[9] = rows[9].replace(b"Person", b'"Person')
    import_id = await _post(imports, HEADER + b"\n".join(rows), 90, random.Random(11))
    await imports.work()
    done = await imports.get(import_id)
    assert (done["state"], done["rows"]) == ("done", 3000)
    assert done["outcomes"] == {"created": 2999, "already_exists": 0, "duplicate": 0, "invalid": 1}
    ((line, reason),) = [(row["line"], row["reason"]) for row in await imports.rows(import_id, outcome="invalid")]
    assert (line, UNCLOSED in reason) == (11, True)
    assert len(await ledger.rows("users")) == 2999


async def test_lines_read_are_the_sum_of_the_outcomes_for_mutated_files_in_random_pieces(imports: Imports) -> None:
    chance = random.Random(10)
    for _ in range(30):
        rows = persons(chance.randrange(1, 40)).decode().splitlines()
        for _ in range(chance.randrange(8)):
            n = chance.randrange(len(rows))
            at = chance.randrange(len(rows[n]) + 1)
            rows[n] = rows[n][:at] + chance.choice(['"', '""', ',"', '",', ",", "\r", "", "é"]) + rows[n][at + 1 :]
        body = HEADER + "\n".join(rows).encode()
        import_id = await _post(imports, body, chance.randrange(20), chance)
        await imports.work()
        done = await imports.get(import_id)
        assert done["state"] == "done"
        assert done["rows"] == sum(done["outcomes"].values()) == len(rows), body
