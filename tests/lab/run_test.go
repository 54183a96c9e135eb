package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"anymx/tests/kit"
	"anymx/tests/pop"
)

// The next run removes what a killed run left: processes, namespaces, files. Live runs are left
// alone.
func TestLeftoversOfADeadRun(t *testing.T) {
	l := inService(t) // a live run
	cmd := exec.Command(os.Args[0], "-test.run=^TestRunThatIsKilled$", "-test.v")
	cmd.Env = append(os.Environ(), "LAB_TO_KILL="+pop.Build(t))
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var name string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if found, ok := strings.CutPrefix(lines.Text(), "lab "); ok {
			name = found
			break
		}
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed
	if name == "" || !There(name) {
		t.Fatalf("the other run did not come up: %q", name)
	}
	pids, err := pidsIn(t.Context(), SpaceName(name, "r2"))
	if err != nil || len(pids) != 2 {
		t.Fatalf("processes in its r2: %d, %v", pids, err)
	}

	dir, lock, err := claim(t.Context(), "")
	must(t, err)
	defer lock.Close()
	defer os.RemoveAll(dir)
	if There(name) {
		t.Errorf("%s is still there", Dir(name))
	}
	for _, pid := range pids {
		must(t, kit.Poll(t.Context(), 20*time.Second, func(context.Context) error { // until it is reaped
			if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("process %d still runs (%w)", pid, err)
			}
			return nil
		}))
	}
	spaces, err := filepath.Glob(filepath.Join(namespaces, prefix(name)+"*"))
	if err != nil || len(spaces) > 0 {
		t.Errorf("namespaces are left: %q %v", spaces, err)
	}
	if !There(l.Name) || !l.A.Program(Edge).Running() || !l.B.Program(Net).Running() {
		t.Error("the run that lives was touched")
	}
}

// TestRunThatIsKilled is the run that gets killed in the test above.
func TestRunThatIsKilled(t *testing.T) {
	bin := os.Getenv("LAB_TO_KILL")
	if bin == "" {
		return // in the parent process there is nothing to do
	}
	l, err := Up(context.Background(), Options{Bin: bin})
	must(t, err)
	fmt.Printf("lab %s\n", l.Name)
	<-t.Context().Done() // it is killed first
}
