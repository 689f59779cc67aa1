/*
 * One chain epoch, and two processes that both think it is theirs: the second
 * runs on a copy of the first's data directory, or on metadata that were rolled
 * back, and was granted the epoch once more. The epoch is whose nonce stands in
 * the chain's object 0. Creates are late, and their replies get lost.
 */
byte zero; /* whose nonce stands in object 0, 0: it is not there */
bool sent[3], may[3], over[3], wrote[3];

#ifdef GOAL
#define REACHED(g) if :: GOAL == g -> assert(false) :: else fi
#else
#define REACHED(g) skip
#endif

active proctype store() {
	do
	:: atomic { sent[1] && zero == 0 -> zero = 1 }
	:: atomic { sent[2] && zero == 0 -> zero = 2 }
	od
}

proctype process(byte me) {
	sent[me] = true;
	if
	:: atomic { zero == me -> may[me] = true } /* created; or there already, and its own */
#ifdef BUG_REUSE_EPOCH
	:: atomic { zero != 0 -> may[me] = true }
#endif
	:: atomic { zero != 0 && zero != me -> over[me] = true; REACHED(1 && wrote[3 - me]) }
	fi;
	if
	:: atomic { may[me] -> assert(!wrote[3 - me]); wrote[me] = true; REACHED(2 && me == 2) } /* G3 */
	:: over[me]
	fi
}

init {
	atomic { run process(1); run process(2) }
}
