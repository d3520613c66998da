"""Imports create users from an uploaded file. Each row becomes a user with the mail owed after a signup, or an outcome
that says why not.

    file_format         the format of a file in words, for errors and `--help`
    file_lines          cuts the body into lines, and refuses files that are not lines of UTF-8
    csv_reader          makes records of CSV lines; a missing quote costs only its own line
    csv_columns         checks the header, and says what the cells of a record mean
    file_reader         cuts the body into records while it arrives
    upload              stages the records; the import runs once the whole body is stored
    row_parser          parses a staged record into a candidate, or a reason why it is unreadable
    classify_rows       decides each row: created, already_exists, duplicate or invalid
    import_loop         the worker's loop: commits users, mails owed and history of one batch together
    operator_actions    pause, resume, cancel
    erase_pending_rows  excludes rows that name a user who is being erased
    exclude_rows        excludes addresses from a paused import
    cleanup             removes the rows of interrupted or canceled imports
    listing             progress
    row_list            row outcomes
"""
