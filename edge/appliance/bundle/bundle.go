// Package bundle is the one file that an update comes in:
// anymx_<version>_amd64.update.
//
// What happens to the data, on the way out:
//
//  1. A Manifest names the version and lists the files with sizes and SHA-256
//     sums (manifest.go). Its octets are signed as they are, by `ssh-keygen -Y sign
//     -n anymx-update`, so that the key may live in an agent or a token.
//  2. Write makes a tar of the manifest, its signature, and the files in the
//     order of the manifest (write.go).
//
// And on the way in, in one pass and without a seek:
//
//  1. Open reads the manifest and the signature, each of which has a small limit
//     (tar.go, read.go), and verifies the signature against the keys that the machine
//     trusts (signature.go). Before that has passed not one octet is parsed but the
//     headers of these two.
//  2. The manifest is parsed, strictly: a field that is not known, a file that is
//     not expected, a size out of bounds are errors.
//  3. Next gives one file after the other, which must be the next one that the
//     manifest lists, with its size. The last read of a file is an error unless its
//     sum is right: what was read before must not be used until then.
//  4. Next is io.EOF only when all files came and nothing follows them.
package bundle

import "errors"

// Namespace is what signatures are made for (ssh-keygen -n): one for another
// purpose does not count.
const Namespace = "anymx-update"

// Names of the first two files.
const (
	manifestName  = "manifest.json"
	signatureName = "manifest.json.sig"
)

// Limits of a bundle.
const (
	MaxManifest  = 64 << 10 // octets
	maxSignature = 16 << 10 // octets; a certificate of RSA keys needs 4 KiB
	MaxFile      = 4 << 30  // octets of one file
	maxTrailer   = 64 << 10 // octets of zeros behind the last file
)

// ErrUntrusted is wrapped by errors about the signature: the bundle is not what
// somebody whom the machine trusts has signed.
var ErrUntrusted = errors.New("the update is not trusted")

// ErrDamaged is wrapped by errors about what follows a good signature: the bundle
// was cut off or changed on its way.
var ErrDamaged = errors.New("the update is damaged")
