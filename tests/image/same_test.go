package image

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Two builds of one source tree, in two folders that share only the packages, are identical bit for
// bit: the disk and the update bundle.
func TestTheSameBits(t *testing.T) {
	dir := built(t)
	tree := filepath.Join(t.TempDir(), "another", "place")
	must(t, os.MkdirAll(tree, 0o700)) // the modes of folders don't matter either
	out := t.TempDir()
	// The files that git would include, as they are now.
	copied := exec.Command("bash", "-ec", `cd ../..
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$1"
mkdir -p "$1/.image/keys" && cp .image/keys/update* "$1/.image/keys/"
chmod -R go= "$1"`, "copy", tree)
	said, err := copied.CombinedOutput()
	if err != nil {
		t.Fatalf("copying the tree: %v\n%s", err, said)
	}
	epoch, err := exec.Command("git", "-c", "safe.directory=*", "log", "-1", "--format=%ct").Output()
	must(t, err)
	root, err := filepath.Abs("../../.image/root")
	must(t, err)
	if given := os.Getenv("ANYMX_IMAGE_ROOT"); given != "" {
		root = given
	}
	build := exec.Command(filepath.Join(tree, "image/build"), "--version", first, "--plain", "--output", out)
	build.Env = append(os.Environ(), "ANYMX_IMAGE_ROOT="+root, "SOURCE_DATE_EPOCH="+string(epoch[:len(epoch)-1]))
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the second build: %v\n%s", err, said)
	}
	for _, name := range []string{disk("", first), bundle("", first)} {
		if a, b := sum(t, filepath.Join(dir, name)), sum(t, filepath.Join(out, name)); a != b {
			t.Errorf("%s: SHA-256 %s in the first build, %s in the second", name, a, b)
		}
	}
}

func sum(t *testing.T, name string) string {
	t.Helper()
	file, err := os.Open(name)
	must(t, err)
	defer file.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, file)
	must(t, err)
	return hex.EncodeToString(hash.Sum(nil))
}
