// Package bundle reads and writes the file of an update, anymx_<version>_amd64.update.
//
// What happens to the data, on the way out:
//
//  1. A Manifest names the version and lists the files with sizes and SHA-256
//     sums (manifest.go). Its bytes are signed as they are, by `ssh-keygen -Y sign
//     -n anymx-update`, so that the key may be in an agent or a token.
//  2. Write makes a tar of the manifest, its signature, and the files in the
//     order of the manifest (write.go).
//
// And on the way in, in one pass and without a seek:
//
//  1. Open reads the manifest and the signature, each of which has a small limit
//     (tar.go, read.go), and verifies the signature against the keys that the machine
//     trusts (signature.go). Until that has passed only the headers of these two
//     are parsed.
//  2. The manifest is parsed, strictly: an unknown field, an unexpected file and
//     a size out of bounds are errors.
//  3. Next returns one file after the other, which must be the next one that the
//     manifest lists, with its size. The last read of a file is an error unless its
//     sum is right: what was read before must not be used until then.
//  4. Next is io.EOF only when all files came and nothing follows them.
package bundle

import "errors"

// Namespace is the namespace of the signatures (ssh-keygen -n). A signature for another purpose is
// invalid.
const Namespace = "anymx-update"

// Names of the first two files.
const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.sig"
)

// Limits of a bundle.
const (
	MaxManifest  = 64 << 10 // bytes
	maxSignature = 16 << 10 // bytes; a certificate of RSA keys needs 4 KiB
	MaxFile      = 4 << 30  // bytes of one file
	maxTrailer   = 64 << 10 // bytes of zeros after the last file
)

// ErrUntrusted is wrapped by errors about the signature: no trusted key has signed the bundle.
var ErrUntrusted = errors.New("the update is not trusted")

// ErrDamaged is wrapped by errors about what follows a good signature: the bundle was truncated or
// changed on its way.
var ErrDamaged = errors.New("the update is damaged")
