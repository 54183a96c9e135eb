package vm

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Machine is a QEMU with a guest. It is safe for concurrent use.
type Machine struct {
	Console *Console
	// On is when its power was turned on, or when it was resumed.
	On time.Time

	options Options
	cmd     *exec.Cmd
	done    chan struct{} // closed when QEMU has ended
	monitor *monitor
}

// startLimit is how long QEMU may take until its monitor answers, on a busy machine.
const startLimit = 30 * time.Second

// Start turns on a machine. Its files are in o.Dir, including a log to which each machine started
// there appends. The caller must end it with Kill, PowerButton, Quit or Save. It also ends with
// this process.
func Start(ctx context.Context, o Options) (*Machine, error) { return start(ctx, o, "") }

// start starts QEMU; incoming is where it reads a saved state from, or "".
func start(ctx context.Context, o Options, incoming string) (*Machine, error) {
	m := &Machine{options: o, done: make(chan struct{})}
	defer func() {
		if m.cmd == nil && o.NIC.Tap > 0 {
			_ = unix.Close(o.NIC.Tap) // QEMU would have owned it
		}
	}()
	if o.Accel == "" {
		o.Accel = Accelerator(ctx).Accel
	}
	var f firmware
	vars := o.file("vars.fd")
	if o.Direct == nil {
		var err error
		if f, err = findFirmware(); err != nil {
			return nil, err
		}
		if o.Vars == "" {
			o.Vars = f.vars
		}
		if o.Vars != vars {
			if err := os.Remove(vars); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
			if err := copyFile(o.Vars, vars); err != nil {
				return nil, err
			}
		}
	}
	credentials, err := o.writeCredentials()
	if err != nil {
		return nil, err
	}
	args := append(o.hardware(), o.backends(f, vars, credentials)...)
	if incoming != "" {
		args = append(args, "-S", "-incoming", incoming)
	}
	m.options = o
	serial, monitor, err := m.launch(args)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(o.file("console.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		m.end()
		return nil, errors.Join(err, serial.Close(), monitor.Close())
	}
	m.Console = newConsole(serial, log, m.On)
	if m.monitor, err = newMonitor(ctx, monitor, startLimit); err != nil {
		m.end()
		_, _ = serial.Close(), monitor.Close() // QEMU has closed its ends
		<-m.Console.done
		return nil, fmt.Errorf("starting QEMU: %w%s", err, m.complaint())
	}
	return m, nil
}

// launch starts the process and returns our ends of its serial console and monitor.
func (m *Machine) launch(args []string) (serial, monitor net.Conn, err error) {
	o := m.options
	m.cmd = exec.Command(lookUp(o.qemu()), args...)
	if o.NIC.Tap > 0 {
		tap := os.NewFile(uintptr(o.NIC.Tap), "tap")
		defer tap.Close()
		m.cmd.ExtraFiles = []*os.File{tap} // after the other two, below
	}
	serial, far, err := pair("serial console")
	if err != nil {
		return nil, nil, err
	}
	defer far.Close()
	monitor, other, err := pair("monitor")
	if err != nil {
		return nil, nil, errors.Join(err, serial.Close())
	}
	defer other.Close()
	said, err := os.OpenFile(o.file("qemu.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, nil, errors.Join(err, serial.Close(), monitor.Close())
	}
	defer said.Close()
	m.cmd.Stdout, m.cmd.Stderr = said, said
	m.cmd.ExtraFiles = append([]*os.File{far, other}, m.cmd.ExtraFiles...)
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	enter := o.Enter
	if enter == nil {
		enter = func(f func() error) error { return f() }
	}
	started := make(chan error, 2)
	go func() {
		defer close(m.done)
		// The kernel kills QEMU when this thread ends, so the thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := enter(func() error {
			m.On = time.Now()
			if err := m.cmd.Start(); err != nil {
				return err
			}
			started <- nil
			_ = m.cmd.Wait() // the result is in ProcessState
			return nil
		})
		started <- err
	}()
	if err := <-started; err != nil {
		<-m.done
		return nil, nil, errors.Join(fmt.Errorf("starting QEMU: %w", err), serial.Close(), monitor.Close())
	}
	return serial, monitor, nil
}

// pair creates a connection between this process and QEMU.
func pair(name string) (net.Conn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	near, far := os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	defer near.Close() // FileConn has a copy
	conn, err := net.FileConn(near)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%s: %w", name, err), far.Close())
	}
	return conn, far, nil
}

// writeCredentials writes each credential to a file, to keep them out of the process list.
func (o Options) writeCredentials() ([]string, error) {
	var files []string
	for i, name := range sortedKeys(o.Credentials) {
		file := o.file(fmt.Sprintf("credential%d", i))
		if err := os.WriteFile(file, credential(name, o.Credentials[name]), 0o600); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

func (o Options) file(name string) string { return filepath.Join(o.Dir, name) }

// PID returns the process ID of QEMU.
func (m *Machine) PID() int { return m.cmd.Process.Pid }

// Vars returns the file with the machine's UEFI variables, for a start in another directory.
func (m *Machine) Vars() string { return m.options.file("vars.fd") }

// Done returns a channel that is closed when QEMU has ended.
func (m *Machine) Done() <-chan struct{} { return m.done }

// Running reports whether QEMU is still running.
func (m *Machine) Running() bool {
	select {
	case <-m.done:
		return false
	default:
		return true
	}
}

// Kill cuts the power: it ends QEMU with SIGKILL, if it is running. What the guest has written to
// its disk survives in the host's page cache: see package lossy for disks that lose it.
func (m *Machine) Kill() {
	m.end()
	_ = m.monitor.close()      // QEMU has closed its end
	_ = m.Console.conn.Close() // likewise
	<-m.Console.done
}

func (m *Machine) end() {
	_ = m.cmd.Process.Kill()
	<-m.done
}

// PowerButton presses the power button and waits up to limit until the guest has powered off.
func (m *Machine) PowerButton(ctx context.Context, limit time.Duration) error {
	if err := m.monitor.do(ctx, "system_powerdown", nil, nil); err != nil {
		return err
	}
	return m.Ended(ctx, limit)
}

// Ended waits up to limit until the guest has powered off.
func (m *Machine) Ended(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	select {
	case <-m.done:
	case <-ctx.Done():
		return fmt.Errorf("the machine still runs after %s; its console ends:\n%s", limit, m.Console.Tail(100))
	}
	m.Kill() // releases what this process still holds
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("QEMU ended with code %d%s", code, m.complaint())
	}
	return nil
}

// Reset presses the reset button.
func (m *Machine) Reset(ctx context.Context) error {
	return m.monitor.do(ctx, "system_reset", nil, nil)
}

// PlugIn plugs a USB stick into the running machine. name identifies the stick.
func (m *Machine) PlugIn(ctx context.Context, name string, stick Disk) error {
	err := m.monitor.do(ctx, "blockdev-add", map[string]any{
		"driver": stick.format(), "node-name": name, "read-only": stick.ReadOnly,
		"file": map[string]any{"driver": "file", "filename": stick.File},
	}, nil)
	if err != nil {
		return err
	}
	return m.monitor.do(ctx, "device_add", map[string]any{"driver": "usb-storage", "bus": "usb.0", "id": name, "drive": name, "removable": true}, nil)
}

// Quit ends QEMU in order: the guest's writes are flushed.
func (m *Machine) Quit(ctx context.Context) error {
	if err := m.monitor.do(ctx, "quit", nil, nil); err != nil && !errors.Is(err, errGone) {
		return err
	}
	return m.Ended(ctx, 20*time.Second)
}

// Events returns QEMU's events so far: see its documentation of QMP. RESET is a reboot, WATCHDOG is
// from the watchdog.
func (m *Machine) Events() []Event { return m.monitor.happened() }

// Await waits up to limit for a named event after the first seen ones of Events.
func (m *Machine) Await(ctx context.Context, seen int, name string, limit time.Duration) (Event, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e, err := m.monitor.await(ctx, seen, name)
	if err != nil {
		return e, fmt.Errorf("no %s of the machine within %s: %w; its console ends:\n%s", name, limit, err, m.Console.Tail(100))
	}
	return e, nil
}

// complaint returns what QEMU wrote to its standard error, after a colon, or "".
func (m *Machine) complaint() string {
	text, err := os.ReadFile(m.options.file("qemu.log"))
	if err != nil {
		return ": " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if lines = slices.DeleteFunc(lines, func(l string) bool { return l == "" }); len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines[:min(len(lines), 3)], "; ")
}
