package fragment

import "hash/crc32"

// castagnoli is the polynomial of CRC32C (RFC 3720, appendix B.4), which
// current processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC32C of the parts, one after another.
func Checksum(parts ...[]byte) uint32 {
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p)
	}
	return sum
}

func checksumAdd(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// checksumUint64 is the checksum of n as 8 bytes, little-endian. Of bytes on
// the stack crc32.Update makes garbage; there are too many batches for that.
func checksumUint64(n uint64) uint32 {
	sum := ^uint32(0)
	for range 8 {
		sum = castagnoli[byte(sum)^byte(n)] ^ sum>>8
		n >>= 8
	}
	return ^sum
}
