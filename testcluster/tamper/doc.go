// Package tamper is a proxy between a client and an object store that does to
// requests and answers what networks and stores do to them: it loses, delays,
// refuses, holds back, breaks off and spoils, as told, and counts what it did.
//
//	p, err := tamper.Start("127.0.0.1:9000", nil) // the server's address
//	…
//	defer p.Close()
//	lost := p.Add(tamper.Fault{Do: tamper.Drop, Kind: tamper.Create, Count: 1})
//	… // a client of p.Addr() creates an object
//	if lost.Count().Applied != 1 { … } // it is there, and the reply was lost
//
// A [Fault] says which requests it is for, and what is done to them; the first
// that matches is it. A [Line] is how the way to the server is for all requests:
// latency and throughput. The most usual:
//
//	Fault{Do: Refuse, Status: 503, Chance: 0.5}     half of all is throttled
//	Fault{Do: Refuse, Status: 403, Kind: Delete}    access denied on one verb
//	Fault{Do: Hang}                                 a black hole
//	Fault{Do: Cut}                                  a server that is gone
//	Fault{Do: Late, Kind: Create, Count: 1}         lands when it is released
//	Line{Latency: 40 * time.Millisecond, Jitter: 20 * time.Millisecond}
//	Line{BytesPerSecond: 1 << 20}
//
// It speaks plain HTTP/1.1 on loopback, to servers of S3, Azure Blob and Google
// Cloud Storage, and refuses in the words of the one that is asked. A Host that
// the client has signed reaches the server; any other is replaced by the
// server's own. What the server has begun to apply it goes on applying, also if
// the client has given up.
//
// It knows nothing of wpd, and needs no test around it.
package tamper
