"""Users of somebody else become ours: a file comes in, and each line becomes a person with the same mail owed as after
a signup, or an outcome that says why not.

    reader      a body, cut into records while it arrives
    receive     the records are staged; once the whole body is in, the import runs
    row         a staged record becomes somebody, or the reason why not
    decide      what becomes of each: created, already_exists, duplicate or invalid
    work        the worker's loop: a batch of lines, the people, the mails owed and the history in one commit
    interventions  pause, resume, cancel
    forget      lines that wait and name somebody who is being erased
    sweep       what interrupted or canceled imports left behind is cleared away
    ledger        how far an import is, and its report
"""
