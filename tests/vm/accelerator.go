package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// Accel is who runs the guest's instructions.
type Accel string

// KVM is the processor itself, TCG is QEMU's translator: ten times slower.
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

// Accelerated is what Accelerator has found out.
type Accelerated struct {
	Accel Accel
	Why   string // why it is not KVM; "" if it is
}

// A probe takes at most this long.
const probeLimit = 8 * time.Second

// patience is how long the firmware may take to say something. A processor that
// works is quick; a translated one has to share this machine.
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

// Accelerator says what machines run on here, after a real test, which is made once
// in a process: there are machines with a /dev/kvm that takes a guest and then
// can't run it. The test is the UEFI firmware, up to its first word.
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

// probe starts the firmware and waits for its first word.
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
