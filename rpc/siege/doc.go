// Package siege has clients that behave as badly as they can: they open streams
// and say nothing, flood a server with headers and resets, announce entries of
// 100 MB, send what is no message. It is for finding out what that costs those
// who behave.
//
// It attacks nothing but a server on the loopback, with fixed numbers of
// connections and streams, and for at most TimeMax. It speaks HTTP/2 by itself,
// frame by frame, since no library would let it do such things. It reads what
// comes back: a server that does not want any more is believed, and tried again
// only a few times a second.
package siege
