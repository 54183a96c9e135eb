package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Accel is what executes the guest's instructions.
type Accel string

// KVM uses the processor itself; TCG is QEMU's emulator, ten times slower.
const (
	KVM Accel = "kvm"
	TCG Accel = "tcg"
)

func accelArgument(a Accel) string {
	if a == KVM {
		return "kvm"
	}
	return "tcg,thread=multi"
}

// Accelerated is the result of Accelerator.
type Accelerated struct {
	Accel Accel
	Why   string // why KVM can't be used; "" if it can
}

// Time limit of a probe.
const probeLimit = 8 * time.Second

// patience returns how long the firmware may take until its first output. Emulation is slow and
// shares this machine's processors.
func (a Accel) patience() time.Duration {
	if a == TCG {
		return 10 * probeLimit
	}
	return probeLimit
}

var accelerated struct {
	sync.Mutex
	known  bool
	result Accelerated
}

// Accelerator returns what machines use here, after a real test, once per process: some hosts have
// a /dev/kvm that accepts a guest but can't run it. The test starts the UEFI firmware and waits for
// its first output.
func Accelerator(ctx context.Context) Accelerated {
	accelerated.Lock()
	defer accelerated.Unlock()
	if accelerated.known {
		return accelerated.result
	}
	result := Accelerated{Accel: KVM}
	if err := probe(ctx, KVM); err != nil {
		result = Accelerated{Accel: TCG, Why: err.Error()}
	}
	if ctx.Err() == nil {
		accelerated.known, accelerated.result = true, result
	}
	return result
}

// probe starts the firmware and waits for its first output.
func probe(ctx context.Context, a Accel) error {
	if a == KVM {
		file, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_ = file.Close()
	}
	dir, err := os.MkdirTemp("", "anymx-kvm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(ctx, a.patience())
	defer cancel()
	m, err := Start(ctx, Options{Dir: dir, Accel: a, Memory: 256, CPUs: 1})
	if err != nil {
		return err
	}
	defer m.Kill()
	stopped := make(chan error, 1)
	waiting, end := context.WithCancel(ctx)
	defer end()
	go func() {
		_, err := m.monitor.await(waiting, 0, "STOP")
		stopped <- err
	}()
	for {
		m.Console.mu.Lock()
		begun, news := m.Console.begun || len(m.Console.lines) > 0, m.Console.news
		m.Console.mu.Unlock()
		if begun {
			return nil
		}
		select {
		case <-news:
		case err := <-stopped:
			if err == nil {
				err = errors.New("the processor stops at an instruction of the firmware")
			}
			return fmt.Errorf("%w%s", err, m.complaint())
		case <-m.Done():
			return fmt.Errorf("%w%s", errGone, m.complaint())
		case <-ctx.Done():
			return fmt.Errorf("the firmware says nothing within %s", a.patience())
		}
	}
}
