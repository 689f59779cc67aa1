/*
 * One log and its producer, over chains that are sealed and chains that it is
 * detached from: three writers (the third is the first node under a new boot),
 * attachments, producer tables, retries, and producer epochs that are raised.
 *
 * A chain is what chain.pml shows it to be: its objects land in order as far
 * as anybody counts them; a seal takes what landed and ends that. What can be
 * late is as late as it likes; what a client sent may arrive again for ever.
 * Acknowledgements leave as soon as they may: what is told later is as true.
 */
#define WRITERS 3
#define K 5 /* items of a chain */
#ifndef STAYS
#define STAYS 3 /* attachments */
#endif
#ifndef RAISES
#define RAISES 2
#endif

/* An item of a chain: a batch of payload p with sequence s under producer
 * epoch e, at an LSN; or the note of a raised epoch. */
#define ITEM(p, s, e, lsn) (((lsn) << 4) | ((e) << 2) | (((s) - 1) << 1) | ((p) - 1))
#define NOTE(e) (128 | ((e) << 2))
#define IS_NOTE(x) ((x) & 128)
#define LSN(x) (((x) >> 4) & 7)
#define EPOCH(x) (((x) >> 2) & 3)
#define SEQ(x) ((((x) >> 1) & 1) + 1)
#define PAYLOAD(x) (((x) & 1) + 1)

/* The chains: the first land[c] of taken[c] items are durable. */
typedef chain { byte item[K]; byte taken, land; bool sealing, sealed }
chain c[WRITERS];

/* A producer table, as of a tail. Index 0 is not used. */
typedef table { byte tail, last, epoch, payload[3], lsn[3] }
table t[WRITERS]; /* of each writer that has the log */
table base;       /* what the last stay began with */

/* The writers. */
byte on[WRITERS];     /* the stay, 0: none */
bool shut[WRITERS], proposed[WRITERS];
byte raised[WRITERS]; /* a raise to this epoch waits for item waits[c] */
byte waits[WRITERS], reached[WRITERS];

/* The metadata: the last stay, its chain, where in it it begins and ends. */
byte stay, at, begins, ends;
bool detached;

/* The client: its producer epoch, and the sequence of each payload under it. */
byte epoch = 1, seq[3], raises = RAISES;
short wire; /* all that it ever sent */
bool refused[3];
#define BIT(p, s, e) (1 << (((e) - 1) * 4 + ((s) - 1) * 2 + (p) - 1))

/* What was read, and what was acknowledged. */
byte means[8], where[3], told[3];

#ifdef GOAL
#define REACHED(g) if :: GOAL == g -> assert(false) :: else fi
#else
#define REACHED(g) skip
#endif

inline remember(T, x) {
	if
	:: IS_NOTE(x) -> T.epoch = EPOCH(x)
	:: else ->
		T.last = SEQ(x); T.epoch = EPOCH(x);
		T.payload[SEQ(x)] = PAYLOAD(x); T.lsn[SEQ(x)] = LSN(x);
		T.tail = LSN(x) + 1
	fi
}

inline copy(to, from) {
	to.tail = from.tail; to.last = from.last; to.epoch = from.epoch;
	to.payload[1] = from.payload[1]; to.payload[2] = from.payload[2];
	to.lsn[1] = from.lsn[1]; to.lsn[2] = from.lsn[2]
}

inline clear(to) {
	to.tail = 0; to.last = 0; to.epoch = 0;
	to.payload[1] = 0; to.payload[2] = 0; to.lsn[1] = 0; to.lsn[2] = 0
}

inline take(n, x) {
	c[n].item[c[n].taken] = x; c[n].taken++;
	remember(t[n], x)
}

inline leave(n) {
	do /* what did not land before the seal is nothing any more */
	:: c[n].taken > c[n].land -> c[n].taken--; c[n].item[c[n].taken] = 0
	:: else -> break
	od;
	on[n] = 0; shut[n] = false; proposed[n] = false;
	raised[n] = 0; waits[n] = 0; reached[n] = 0;
#ifndef BUG_STALE_TABLE
	clear(t[n])
#endif
}

/* What is surely the log's writer: asked after the request came. */
#define SURE(n) (on[n] != 0 && on[n] == stay && !detached && !c[n].sealing)
#define TAKES(n) (on[n] != 0 && !shut[n] && c[n].taken < K)

/* A batch that comes next by the table; the only thing that nobody is asked about. */
#define APPEND(p, s, e) atomic { TAKES(me) && (wire & BIT(p, s, e)) && t[me].last + 1 == s && t[me].epoch <= e -> \
	take(me, ITEM(p, s, e, t[me].tail)) }

/* One that is stored by the table is answered once all that is in it is durable. */
#ifdef BUG_RETRY_NOT_DURABLE
#define SETTLED(n) true
#else
#define SETTLED(n) (c[n].land == c[n].taken)
#endif
#define ANSWER(p, s) atomic { on[me] != 0 && s <= t[me].last && t[me].payload[s] == p && told[p] != t[me].lsn[s] && SETTLED(me) -> \
	x = t[me].lsn[s]; acknowledge(p, x); x = 0 }

/* G1, G4: told once and the same, and it is there. */
inline acknowledge(p, l) {
	assert(told[p] == 0 || told[p] == l);
#ifndef BUG_RETRY_NOT_DURABLE /* which is to be caught by what comes of it */
	assert(where[p] == l);
#endif
	told[p] = l
}

/* The next object of a chain lands: readers see it, and its writer hears of it.
 * G2, G7: an LSN means one thing. G4: stored once. G6: not what was refused. */
inline lands(n) {
	x = c[n].item[c[n].land];
	c[n].land++;
	if
	:: IS_NOTE(x)
	:: else ->
		assert(!refused[PAYLOAD(x)]);
		assert(where[PAYLOAD(x)] == 0);
		assert(means[LSN(x)] == 0);
		assert(LSN(x) == 1 || means[LSN(x) - 1] != 0);
		where[PAYLOAD(x)] = LSN(x); means[LSN(x)] = PAYLOAD(x);
		acknowledge(PAYLOAD(x), LSN(x));
		REACHED(1 && n == 1 && LSN(x) == 2 && EPOCH(x) == 1 && told[1]);
		REACHED(2 && EPOCH(x) == 2 && LSN(x) == 2);
		REACHED(3 && told[1] && told[2] && n == 2)
	fi;
	x = 0
}

#define FREE (stay == 0 || detached || c[at].sealed)
#ifdef BUG_ATTACH_EARLY
#undef FREE
#define FREE (stay == 0 || detached || c[at].sealing)
#endif

/* Attach: the log's end, and its producers, are those of its last stay. */
inline attach(n) {
	if
	:: stay == 0 -> base.tail = 1; base.epoch = 1
	:: else ->
		i = begins;
		do
		:: i < (detached -> ends : c[at].land) -> remember(base, c[at].item[i]);
			c[at].item[i] = 0; i++ /* nobody looks at it again */
		:: else -> break
		od;
		i = 0
	fi;
	assert(means[base.tail] == 0 || stay == 0); /* G2 */
	assert(base.tail == 1 || means[base.tail - 1] != 0);
	assert(told[1] < base.tail && told[2] < base.tail); /* G1 */
#ifdef BUG_FORGET_TABLE
	base.last = 0; base.epoch = 1;
#endif
#ifdef BUG_STALE_TABLE
	if :: t[n].tail == 0 -> copy(t[n], base) :: else -> t[n].tail = base.tail fi;
#else
	copy(t[n], base);
#endif
	stay++; on[n] = stay; at = n; begins = c[n].taken; ends = 0; detached = false;
	REACHED(4 && n == 0 && stay == 3);
	REACHED(5 && n == 2 && base.last == 2);
	REACHED(6 && stay == 2 && on[0] == 1 && c[0].taken > c[0].land)
}

/* G1, G3: what was acknowledged on a chain lies before its seal. */
inline counted(n) {
	assert(told[1] == 0 || where[1] == told[1]);
	assert(told[2] == 0 || where[2] == told[2]);
	REACHED(9 && c[n].taken > c[n].land + 1)
}

inline renumber(p, stored) {
	if
	:: seq[p] == 0
	:: seq[p] != 0 && seq[p] <= stored -> assert(where[p] != 0); seq[p] = 0
	:: seq[p] > stored -> assert(where[p] == 0); refused[p] = true; seq[p] = 0; REACHED(10)
	:: seq[p] > stored -> assert(where[p] == 0); i++; seq[p] = i; wire = wire | BIT(p, i, epoch); REACHED(11 && p == 2 && i == 1)
	fi
}

/* The client hears how far its producer got. What is not stored by then never
 * will be under an old number: it is refused for good, or gets a new one. */
inline opened(n) {
	if
	:: raised[n] > epoch ->
		epoch = raised[n];
		i = reached[n];
		renumber(1, reached[n]);
		renumber(2, reached[n]);
		i = 0
	:: else
	fi;
	raised[n] = 0; waits[n] = 0; reached[n] = 0
}

proctype writer(byte me) {
	byte i, x;
	do
	/* The third writer is the first node's next boot, which ends its chain. */
	:: atomic { FREE && stay < STAYS && !c[me].sealing && on[me] == 0 && c[me].taken < K && (me < 2 || c[0].sealing) -> attach(me) }

	:: APPEND(1, 1, 1) :: APPEND(2, 2, 1)
	:: APPEND(1, 1, 2) :: APPEND(2, 1, 2) :: APPEND(2, 2, 2)
	:: APPEND(1, 1, 3) :: APPEND(2, 1, 3) :: APPEND(2, 2, 3)
	:: ANSWER(1, 1) :: ANSWER(2, 1) :: ANSWER(2, 2)
	:: atomic { c[me].land < c[me].taken && !c[me].sealed -> lands(me) }

	/* The producer is opened again: its raised epoch has to be durable before
	 * anybody is told how far it got. */
	:: atomic { TAKES(me) && SURE(me) && raises > 0 && raised[me] == 0 && t[me].epoch < 3 ->
		raises--;
		raised[me] = t[me].epoch + 1; reached[me] = t[me].last;
		take(me, NOTE(raised[me]));
		waits[me] = c[me].taken }
#ifdef BUG_RAISE_NOT_DURABLE
	:: atomic { raised[me] != 0 -> opened(me) }
#else
	:: atomic { raised[me] != 0 && c[me].land >= waits[me] -> opened(me) }
#endif

	/* Hand-over: shut, let it become durable, propose until it is known. */
	:: atomic { SURE(me) && !shut[me] -> shut[me] = true }
	:: atomic { shut[me] && !proposed[me] && c[me].land == c[me].taken -> proposed[me] = true }
	:: atomic { proposed[me] && on[me] == stay && !detached && !c[me].sealing -> /* applied, sooner or later */
		detached = true; ends = c[me].taken }
	:: atomic { proposed[me] && (on[me] != stay || detached) -> leave(me); REACHED(7) }
	:: atomic { shut[me] && c[me].sealing && (!proposed[me] || on[me] == stay && !detached) -> shut[me] = false; proposed[me] = false; REACHED(8) }
#ifdef BUG_GATE_OPENS
	:: atomic { shut[me] && proposed[me] -> shut[me] = false }
#endif

	/* Somebody lets the lease lapse; somebody seals what landed; the writer hears of it. */
	:: atomic { !c[me].sealing -> c[me].sealing = true }
	:: atomic { c[me].sealing && !c[me].sealed -> c[me].sealed = true; counted(me) }
	:: atomic { c[me].sealed && on[me] != 0 -> leave(me) }
	od
}

init {
	atomic {
		seq[1] = 1; seq[2] = 2; wire = BIT(1, 1, 1) | BIT(2, 2, 1);
		run writer(0); run writer(1); run writer(2)
	}
#ifdef BUG_REFUSED_IS_FINAL
	refused[2] = (where[2] == 0)
#endif
}
