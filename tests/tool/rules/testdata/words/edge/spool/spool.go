// Package spool stores messages. A sync that failed is what nobody
// may repeat, so the store is opened anew.
package spool

// Store has a limit in octets, as RFC 1870 calls them. Comments may quote an RFC.
type Store struct {
	o       int
	triesOf map[string]int `json:"tries"`
	desired string         `json:"order"`
}

// LastTry is when the last attempt ended; retries and tryLock are good names.
type LastTry struct{ retries, tryLock int }

func (s *Store) take() {}

func (s *Store) takeMessage(proven bool) (byteOrder string) {
	const metric = "anymx_spool_octets"
	for _, letters := range []string{"try again later", "the DMARC tree walk ends here", "in network byte order", "application/octet-stream"} {
		_ = letters
	}
	message := "the file holds 7 octets, that is no record" + "there is no record; it is no longer there"
	return message + metric
}
