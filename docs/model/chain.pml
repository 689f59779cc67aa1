/*
 * One chain: its writer, two sealers, a reader, a store that is late and that
 * may lose an object, and the writer that the log goes to behind the seal.
 *
 * One entry to a fragment, so fragment n holds LSN n. A process that dies, or
 * pauses, is one that takes no more steps: every prefix of a run is checked.
 * No clock and no lease is here: whoever wants to write may, at any time.
 */
#ifndef N
#define N 4 /* fragments; at most 5 */
#endif
#define W 2
#define TOP (N + 1) /* where a seal stands at most */
#ifndef LOSSES
#define LOSSES 1
#endif

/* What stands at a place. */
#define HOLE 0
#define FRAG 1
#define SEAL 2
#define GAP 3
byte obj[7];
byte says[7];  /* what the head of fragment n calls durable */
byte holds[7]; /* the bytes that landed; they have to be those that are acknowledged */
bool sent[7], landed[7], lost[7];
byte losses = LOSSES;

/* The writer. */
#define OPEN 0
#define STANDS 1
#define OVER 2
#define ACKED 1
#define MOVED 2
byte next = 1, durable, answered[7], told[7], bytes[7];
bool over, settled;

/* The metadata. */
bool sealing, committed;
byte hint, sealedAt, gaps;

/* The sealers: one that is busy has begun, and neither died nor finished. */
bool busy[2];

/* Readers have seen all up to here; the next writer's first LSN, 0: none. */
byte seen, first2;

#ifdef GOAL
#define REACHED(g) if :: GOAL == g -> assert(false) :: else fi
#else
#define REACHED(g) skip
#endif

/* Why n, if it is missing, was durable once, by an object m behind it. */
#define TELLS(m, n) (m > n && obj[m] != HOLE && (m >= n + W || obj[m] != FRAG || says[m] >= n))
#define TOLD(n) (TELLS(2, n) || TELLS(3, n) || TELLS(4, n) || TELLS(5, n) || TELLS(6, n))

/* G1, G3: what is acknowledged is there, or the store lost it and that is
 * known; it lies before the seal, and before what came after it. */
inline acknowledge(n) {
	assert(landed[n] && holds[n] == bytes[n]);
	assert(obj[n] == FRAG || lost[n]);
	assert(!committed || n < sealedAt);
	assert(first2 == 0 || n < first2);
	assert(told[n] != MOVED);
	told[n] = ACKED
}

/* G6: what is called moved is not in this chain, unless the store lost something. */
inline moved(n) {
	assert(!committed || n >= sealedAt || losses < LOSSES);
	told[n] = MOVED
}

inline advance() {
	do
	:: durable < N && answered[durable + 1] == STANDS ->
		durable++;
		if :: told[durable] == 0 -> acknowledge(durable) :: else fi
	:: else -> break
	od
}

inline leave() {
	i = durable + 1;
	do
	:: i <= N -> if :: told[i] == 0 -> moved(i) :: else fi; i++
	:: else -> break
	od;
	i = 0;
	settled = true
}

#define FLIES(n) (sent[n] && answered[n] == OPEN)

/* A create was answered, also one whose first replies were lost. */
#define CREATED(n) atomic { FLIES(n) && landed[n] -> reply(n) }
inline reply(n) {
#ifdef BUG_EXISTS_IS_SEALED
	if
	:: answered[n] = STANDS
	:: answered[n] = OVER; over = true /* its own object, found by the second attempt */
	fi;
#else
	answered[n] = STANDS;
#endif
#ifdef BUG_ACK_OUT_OF_ORDER
	if :: answered[n] == STANDS && told[n] == 0 -> acknowledge(n) :: else fi;
#endif
	advance();
	REACHED(1 && durable == N)
}

/* A create lost its place, and what took it was read. */
#define BEATEN(n) atomic { FLIES(n) && (obj[n] == SEAL || obj[n] == GAP) -> beaten(n) }
inline beaten(n) {
#ifdef BUG_EXISTS_IS_SUCCESS
	answered[n] = STANDS; advance();
#else
	answered[n] = OVER; over = true;
#endif
	REACHED(2)
}

#ifdef BUG_WINDOW
#define AHEAD (W + 1)
#else
#define AHEAD W
#endif

active proctype writer() {
	byte i;
	do
	:: atomic { !over && next <= N && next <= durable + AHEAD ->
		says[next] = durable; sent[next] = true; bytes[next] = 1;
#ifdef BUG_ACK_EARLY
		acknowledge(next);
#endif
		next++ }
#ifdef BUG_OTHER_BYTES
	:: atomic { FLIES(1) -> bytes[1] = 2 }
#endif
	:: CREATED(1) :: CREATED(2) :: CREATED(3) :: CREATED(4) :: CREATED(5)
	:: BEATEN(1) :: BEATEN(2) :: BEATEN(3) :: BEATEN(4) :: BEATEN(5)
	:: atomic { (over || sealing) && !settled && !(FLIES(1) || FLIES(2) || FLIES(3) || FLIES(4) || FLIES(5)) -> leave(); break }
	:: atomic { committed && !settled -> /* the seal settles what waits */
		over = true;
		i = 1;
		do
		:: i < sealedAt -> if :: FLIES(i) -> REACHED(3); answered[i] = STANDS :: else fi; i++
		:: else -> break
		od;
		advance(); leave(); break }
	od
}

/* A request may land whenever it likes, once it was sent, and again. */
#define LAND(n) atomic { sent[n] && obj[n] == HOLE -> land(n) }
inline land(n) {
	REACHED(4 && committed && n > sealedAt);
	REACHED(5 && lost[n]);
	obj[n] = FRAG; landed[n] = true; holds[n] = 1;
#ifdef BUG_OTHER_BYTES
	if :: bytes[n] == 2 -> holds[n] = 2 :: true fi;
#endif
	read()
}

/* A reader that needs no writer: the fastest there can be, as what it saw is
 * all that the others can have seen. G2, G7. */
#ifdef BUG_READ_BEYOND
#define READABLE(n) (sent[n] || obj[n] == GAP)
#else
#define READABLE(n) (obj[n] == FRAG || obj[n] == GAP)
#endif
inline read() {
	do
	:: seen < N && READABLE(seen + 1) -> seen++
	:: else -> break
	od;
	assert(!committed || seen < sealedAt)
}

/* The store loses what it confirmed: not what nothing speaks of, and not while
 * a sealer reads (see README). */
#ifdef BUG_SKIP_FSYNC
#define LOSABLE(n) true
#else
#define LOSABLE(n) (!busy[0] && !busy[1] && (hint >= n || TOLD(n)))
#endif
#define LOSE(n) atomic { losses > 0 && obj[n] == FRAG && LOSABLE(n) -> losses--; obj[n] = HOLE; lost[n] = true }

active proctype store() {
	do
	:: LAND(1) :: LAND(2) :: LAND(3) :: LAND(4) :: LAND(5)
	:: LOSE(1) :: LOSE(2) :: LOSE(3) :: LOSE(4) :: LOSE(5)
	od
}

/* All that a seal may settle: G1, G3, G7, and G6 (see moved). */
inline check(at) {
	i = 1;
	do
	:: i <= N ->
		assert(told[i] != ACKED || i < at);
		assert(told[i] != ACKED || obj[i] == FRAG || lost[i]);
		assert(told[i] != MOVED || i >= at || losses < LOSSES);
		i++
	:: else -> break
	od;
	i = 0;
	assert(seen < at);
	assert(first2 == 0 || first2 == at)
}

proctype sealer(bit me) {
	byte n = 1, known, found, i;
	bool was;

	atomic { !committed -> busy[me] = true; sealing = true;
		do :: hint < durable -> hint++ :: break od; /* what was heard of */
		known = hint }
	do
	/* It goes on behind what stands, to the seal, or to a hole: there it reads
	 * what is behind, and then tries to win the place. */
	:: atomic {
		do
		:: obj[n] == FRAG -> n++
		:: obj[n] == GAP -> found = found | (1 << n); n++
		:: else -> break
		od;
		if
		:: obj[n] == SEAL -> break
		:: else
		fi;
#ifndef BUG_LOST_IS_HOLE
		was = known >= n || TOLD(n);
#endif
#ifdef BUG_ATTACH_EARLY
		if :: first2 == 0 -> first2 = n :: true fi;
#endif
		}
#ifdef BUG_SKIP_SEAL
		if :: !was -> break :: else fi;
#endif
		atomic { if
		:: me == 0 -> goto dead
		:: obj[n] != HOLE -> REACHED(6 && obj[n] == FRAG); REACHED(7 && obj[n] == SEAL)
		:: obj[n] == HOLE && was ->
			assert(landed[n]); /* a gap takes no place of what never was */
			obj[n] = GAP; read(); REACHED(8)
		:: obj[n] == HOLE && !was -> obj[n] = SEAL
		fi;
		was = false }
	od;
	atomic {
		if
		:: me == 0 -> goto dead
		:: committed -> assert(sealedAt == n && gaps == found); REACHED(9)
		:: !committed -> check(n); committed = true; sealedAt = n; gaps = found; first2 = n
		fi;
		REACHED(10 && n == 1); REACHED(11 && n == TOP);
		REACHED(12 && found != 0 && n > 3);
#ifdef BUG_COLLECT_SEAL
		obj[n] = HOLE
#endif
	}
dead:	busy[me] = false
}

init {
	atomic { run sealer(0); run sealer(1) }
}
