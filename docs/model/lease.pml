/*
 * Leases, clocks, a change of the leader, and linearizable tails: two members
 * that lead in turn, a node that renews its lease of a chain, and one that has
 * the log behind the seal.
 *
 * Time goes by in ticks, which everybody counts alike but nobody at a given
 * moment; an age is the ticks since something, at most TTL.
 */
#define TTL 3
#define LEADERS 2
#define SLOTS 2 /* renewals under way */
#define ACKS 3

/* The metadata: the chain that is leased, and who leads. */
#define OPEN 1
#define SEALING 2
#define SEALED 3
byte state = OPEN, leads;

/* What each leader knows: ages of the last renewal that it answered, and of
 * its term; and whether it has decided to have the chain sealed. */
byte heard[LEADERS] = TTL, since[LEADERS];
bool ending[LEADERS];

/* Renewals: sent, confirmed (the leader led after it came), answered. */
#define NONE 0
#define SENT 1
#define CONFIRMED 2 /* and 3, by the other */
#define ANSWERED 4
byte renewal[SLOTS], age[SLOTS];
byte held; /* age of the sending of the latest renewal that was answered */

/* Entries: acknowledged by anybody, known to each node. */
byte acked, tail[2];

#ifdef GOAL
#define REACHED(g) if :: GOAL == g -> assert(false) :: else fi
#else
#define REACHED(g) skip
#endif

#define OLDER(x) if :: x < TTL -> x++ :: else fi

active proctype time() {
	do
	:: d_step {
		OLDER(heard[0]); OLDER(heard[1]); OLDER(since[0]); OLDER(since[1]);
		OLDER(age[0]); OLDER(age[1]); OLDER(held) }
	od
}

#define SEND(i) atomic { renewal[i] == NONE -> renewal[i] = SENT; age[i] = 0 }
#define LOSE(i) atomic { renewal[i] != NONE -> renewal[i] = NONE; age[i] = 0 }
#ifdef BUG_COUNT_FROM_ANSWER
#define COUNTS(i) 0
#else
#define COUNTS(i) age[i]
#endif
#define HEAR(i) atomic { renewal[i] == ANSWERED -> \
	if :: COUNTS(i) < held -> held = COUNTS(i) :: else fi; renewal[i] = NONE; age[i] = 0 }

active proctype node() {
	do
	:: SEND(0) :: SEND(1)
	:: LOSE(0) :: LOSE(1)
	:: HEAR(0) :: HEAR(1)
	od
}

/* It confirms after the renewal came, and answers later, when it may have been
 * deposed: then it sees the metadata as they were. */
#ifdef BUG_UNCONFIRMED
#define CONFIRM(me, i) atomic { renewal[i] == SENT && leads >= me -> renewal[i] = CONFIRMED + me }
#else
#define CONFIRM(me, i) atomic { renewal[i] == SENT && leads == me -> renewal[i] = CONFIRMED + me }
#endif
#ifdef BUG_ANSWER_WHILE_ENDING
#define RENEWS(me) (leads > me || state == OPEN)
#else
#define RENEWS(me) (!ending[me] && (leads > me || state == OPEN))
#endif
#define ANSWER(me, i) atomic { renewal[i] == CONFIRMED + me && RENEWS(me) -> \
	renewal[i] = ANSWERED; heard[me] = 0; REACHED(1 && leads > me) }
#ifdef BUG_NEW_LEADER_HASTY
#define SILENT(me) (heard[me] >= TTL)
#else
#define SILENT(me) (heard[me] >= TTL && since[me] >= TTL)
#endif

proctype leader(byte me) {
	do
	:: CONFIRM(me, 0) :: CONFIRM(me, 1)
	:: ANSWER(me, 0) :: ANSWER(me, 1)
	:: atomic { leads == me && state == OPEN && !ending[me] && SILENT(me) -> ending[me] = true }
	:: atomic { leads == me && state == OPEN && ending[me] ->
		assert(held >= TTL); /* never early */
		state = SEALING; REACHED(2 && me == 1) }
	:: atomic { leads < me -> leads = me; since[me] = 0 } /* elected */
	od
}

/* Acknowledgements ask nobody, and go on until the chain is sealed. */
active proctype entries() {
	do
	:: atomic { state == SEALING -> state = SEALED; tail[1] = acked }
	:: atomic { state != SEALED && acked < ACKS -> acked++; tail[0] = acked; REACHED(3 && state == SEALING && held >= TTL) }
	:: atomic { state == SEALED && acked < ACKS -> acked++; tail[1] = acked }
	od
}

/* A linearizable tail from the leased node: all that was acknowledged before
 * it was asked for. G7. */
active proctype reader() {
	byte before;
	do
	:: atomic { before = acked };
#ifndef BUG_TAIL_UNASKED
		if
		:: atomic { state == OPEN -> skip } /* asked after the request came */
		:: atomic { state != OPEN -> before = 0; goto end }
		fi;
#endif
		atomic { assert(tail[0] >= before); REACHED(4 && state == SEALED && acked > tail[0]); before = 0 }
	od;
end:	skip
}

init {
	atomic { run leader(0); run leader(1) }
}
