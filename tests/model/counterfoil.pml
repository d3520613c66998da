/* One signup's mail, from its outbox row to its last state, with two signup workers, two mail workers and a gateway.
 *
 * Each inline below is one committed statement of the product (docs/model.md names the file), so each is `atomic`.
 * Between statements any process may be interrupted, be slower than its lease, or die (`crash`). Workers are zombies
 * after their lease: they go on with what they knew. A guard that is taken out with -DNO_... makes a broken twin, whose
 * counterexample tests/model/check.py expects.
 *
 * Bounds: each kind of trouble happens at most N times (-DCRASHES=... and so on); within them the search is exhaustive.
 */
#ifndef CRASHES
#define CRASHES 2 /* kill -9 of a worker between two statements */
#endif
#ifndef SLOW
#define SLOW 1 /* leases that end although their worker lives */
#endif
#ifndef LOST
#define LOST 1 /* answers of the mail API that never arrive */
#endif
#ifndef LATER
#define LATER 1 /* 4yz replies */
#endif
#ifndef FAULTS
#define FAULTS 1 /* faults of the gateway before the body leaves */
#endif
#ifndef BREAKS
#define BREAKS 2 /* lines that break after the body began to leave */
#endif
#ifndef RESOLUTIONS
#define RESOLUTIONS 1 /* an operator's resends */
#endif

#define FREE 0

/* --- the two databases, and the world ------------------------------------------------------------------------- */
mtype = { ABSENT, QUEUED, SENDING, DEFERRED, SENT, UNCERTAIN, FAILED, CANCELED };
mtype = { NONE, CLAIMED, TRANSMITTING, ENDED };

bool row_pending = true;      /* outbox: pending, or settled as delivered */
byte row_lease = FREE;        /* fence token: the worker that holds it. A worker has one row at a time. */
bool row_due = true;          /* due_at <= now() */
byte mails = 0;               /* rows in the ledger for this (client, request ID) */
mtype mail = ABSENT;
byte lease = FREE;            /* queue.lease */
bool overdue = false;         /* queue.due_at <= now() while leased */
mtype phase = NONE;           /* of the latest attempt */
byte copies = 0;              /* mails that the gateway took */
byte allowed = 1;             /* copies that policy and operators allow */
bool said_250 = false;        /* a worker has read a 250 for this mail */
bool unknown_before = false;  /* an earlier attempt ended `unknown` */

byte crashes = 0, slow = 0, lost = 0, later = 0, faults = 0, breaks = 0, resolutions = 0;
bool row_orphan = false;      /* the worker that holds row_lease is dead */
bool orphan = false;          /* the worker that holds lease is dead */

#define SETTLED (mail == SENT || mail == UNCERTAIN || mail == FAILED || mail == CANCELED)

/* --- signup: outbox ------------------------------------------------------------------------------------------- */
inline claim_row() { /* CLAIM_DUE of signup */
    d_step { row_pending && row_due -> row_lease = _pid + 1; row_due = false; row_orphan = false }
}
inline settle_row() { /* SETTLE_DELIVERED of signup */
    d_step {
        if
#ifdef NO_ROW_FENCE
        :: row_pending -> row_pending = false; row_lease = FREE
#else
        :: row_pending && row_lease == _pid + 1 -> row_pending = false; row_lease = FREE
#endif
        :: else
        fi
    }
}
inline retry_row() {
    d_step { if :: row_pending && row_lease == _pid + 1 -> row_lease = FREE; row_due = true :: else fi }
}

/* --- mail: acceptance, once for each request ID ----------------------------------------------------------------- */
inline accept() { /* ACCEPT_NEW of mail */
    d_step {
        if
#ifdef NO_UNIQUE
        :: true -> mails++; mail = QUEUED; lease = FREE; overdue = false; phase = NONE
#else
        :: mails == 0 -> mails++; mail = QUEUED; phase = NONE
        :: else
#endif
        fi
    }
}

/* --- mail: delivery ------------------------------------------------------------------------------------------- */
inline claim_mail() { /* CLAIM_DUE of mail */
    d_step {
        (mail == QUEUED || mail == DEFERRED) && lease == FREE ->
        lease = _pid + 1; mail = SENDING; phase = CLAIMED; overdue = false; orphan = false
    }
}
inline record_transmitting(held) { /* RECORD_TRANSMISSIONS */
    d_step {
        if
#ifdef NO_TRANSMIT_FENCE
        :: true -> phase = TRANSMITTING; held = true
#else
        :: lease == _pid + 1 && mail == SENDING -> phase = TRANSMITTING; held = true
        :: else -> held = false
#endif
        fi
    }
}
#ifdef NO_OUTCOME_FENCE
#define HOLDS true
#else
#define HOLDS (lease == _pid + 1 && mail == SENDING)
#endif
inline outcome_unknown_now() {
    phase = ENDED; unknown_before = true; lease = FREE; overdue = false;
#ifdef RESEND
    mail = QUEUED; allowed++
#else
    mail = UNCERTAIN
#endif
}
inline record_sent() {
    d_step { if :: HOLDS -> mail = SENT; phase = ENDED; lease = FREE; overdue = false :: else fi }
}
inline record_refused() {
    d_step {
        if
        :: HOLDS -> phase = ENDED; lease = FREE; overdue = false;
            if
#ifndef FAIL_IN_DOUBT
            :: unknown_before -> mail = UNCERTAIN
            :: else -> mail = FAILED
#else
            :: mail = FAILED
#endif
            fi
        :: else
        fi
    }
}
inline record_later() {
    d_step { if :: HOLDS -> mail = DEFERRED; phase = ENDED; lease = FREE; overdue = false :: else fi }
}
inline record_fault() { /* the body did not leave: not counted, waits again */
    d_step { if :: HOLDS -> mail = QUEUED; phase = ENDED; lease = FREE; overdue = false :: else fi }
}
inline record_unknown() {
    d_step { if :: HOLDS -> outcome_unknown_now() :: else fi }
}
inline rescue() { /* RESCUE: whoever finds an overdue lease settles it by the phase on record */
    d_step {
        mail == SENDING && lease != FREE && overdue ->
        if
#ifdef RESCUE_FORGETS_TRANSMITTING
        :: true -> mail = QUEUED; lease = FREE; overdue = false; phase = ENDED
#else
        :: phase == TRANSMITTING -> outcome_unknown_now()
        :: else -> mail = QUEUED; lease = FREE; overdue = false; phase = ENDED
#endif
        fi
    }
}

/* A worker dies: it forgets what it knew and starts again. */
#define DIES crashes < CRASHES -> crashes++

active [2] proctype SignupWorker() {
idle:
end_idle:
    do
    :: claim_row();
#ifdef SETTLE_FIRST
       settle_row();
#endif
       if
       :: atomic { DIES; if :: row_lease == _pid + 1 -> row_orphan = true :: else fi }; goto idle
       :: skip
       fi;
       /* POST /v1/mails/batch: the commit, then the answer */
       accept();
       if
       :: atomic { DIES; if :: row_lease == _pid + 1 -> row_orphan = true :: else fi }; goto idle
       :: atomic { lost < LOST -> lost++ }; retry_row()
       :: settle_row()
       fi
    od
}

active [2] proctype MailWorker() {
    bool held;
idle:
    held = false;
end_idle:
    do
    :: claim_mail();
       if
       :: atomic { DIES; if :: lease == _pid + 1 -> orphan = true :: else fi }; goto idle
       :: atomic { faults < FAULTS -> faults++ }; record_fault(); goto idle
       :: skip
       fi;
#ifdef NO_TRANSMITTING
       held = true;
#else
#ifndef COMMIT_AFTER_BODY
       record_transmitting(held);
#else
       held = true;
#endif
#endif
       if
       :: !held -> goto idle /* fenced out: no byte leaves */
       :: held
       fi;
       if /* the body leaves, or not */
       :: atomic { DIES; if :: lease == _pid + 1 -> orphan = true :: else fi }; goto idle
       :: atomic { later < LATER -> later++ }; record_later()
       :: record_refused()
       :: copies++; /* the gateway took it */
#ifdef COMMIT_AFTER_BODY
          if
          :: atomic { DIES; if :: lease == _pid + 1 -> orphan = true :: else fi }; goto idle
          :: record_transmitting(held)
          fi;
#endif
          if
          :: atomic { DIES; if :: lease == _pid + 1 -> orphan = true :: else fi }; goto idle
          :: atomic { breaks < BREAKS -> breaks++ }; /* the line breaks before the reply */
#ifdef SENT_WITHOUT_250
             record_sent()
#else
             record_unknown()
#endif
          :: said_250 = true; record_sent()
          fi
       :: atomic { breaks < BREAKS -> breaks++ };
          /* the line broke within the body: the gateway took nothing, and the worker cannot know */
#ifdef SENT_WITHOUT_250
          record_sent()
#else
          record_unknown()
#endif
       fi
    od
}

active proctype Clock() { /* time passes; leases end, those of the dead in any case */
end_clock:
    do
    :: d_step { row_pending && row_lease != FREE && !row_due && row_orphan -> row_due = true }
    :: d_step { row_pending && row_lease != FREE && !row_due && !row_orphan && slow < SLOW -> slow++; row_due = true }
    :: d_step { mail == SENDING && lease != FREE && !overdue && orphan -> overdue = true }
    :: d_step { mail == SENDING && lease != FREE && !overdue && !orphan && slow < SLOW -> slow++; overdue = true }
    od
}

#ifdef LIVENESS
active proctype Tick() { /* the world goes on when the product is stuck: without it Spin would not see that as a run */
    bool tick;
    do
    :: tick = !tick
    od
}
#endif

#ifndef NO_RESCUE
active proctype Rescue() {
end_rescue:
    do
    :: rescue()
    od
}
#endif

active proctype Operator() {
end_operator:
    do
    :: d_step { mail == UNCERTAIN && resolutions < RESOLUTIONS -> resolutions++;
                mail = QUEUED; allowed++ }
    od
}

/* --- promises ---------------------------------------------------------------------------------------------------- */
#define P1 (row_pending || mails == 1)            /* what is settled was asked for */
#define P4 (mails <= 1 && copies <= allowed)      /* one row, and no copy that policy or an operator did not allow */
#define P5 (mail != SENT || said_250)             /* sent means that a gateway said 250 */
#define P5_FAILED (mail != FAILED || copies == 0) /* failed means that no gateway took it */

ltl p1 { [] P1 }
ltl p4 { [] P4 }
ltl p5 { [] P5 }
ltl p5_failed { [] P5_FAILED }
ltl safety { [] (P1 && P4 && P5 && P5_FAILED) }
ltl p8 { <> [] (!row_pending && SETTLED) } /* nothing is lost: all ends settled */
