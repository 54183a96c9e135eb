package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"time"
)

// part is a piece of the long tests that runs by itself.
type part struct {
	name string
	what string        // in a few words, for the list
	took time.Duration // on the two cores of CI, with the images built
	args []string      // of the ladder
	env  []string      // beside our own
	// random says that what the part finds is chance. It never goes into a sample: a change is
	// judged by what it changes.
	random bool
}

// parts are all that make test and the core of the image's tests leave out. A part that
// takes longer than the sample's budget would only ever run at night: split it.
var parts = []part{
	{name: "image-root-breaks", what: "an update whose root breaks later falls back to the other slot",
		took: 6 * time.Minute, args: imageTest("^TestUpdates$/^(again|root_breaks)$")},
	{name: "image-program-fails", what: "an update whose mail program fails is rolled back",
		took: 9 * time.Minute, args: imageTest("^TestUpdates$/^mail_program_fails$")},
	{name: "image-power-load", what: "ten power cuts under load lose no message",
		took: 9 * time.Minute, args: imageTest("^TestPowerCutUnderLoad$")},
	{name: "image-power-update", what: "power cuts at each step of an update",
		took: 7 * time.Minute, args: imageTest("^TestPowerCutDuringUpdate$")},
	{name: "image-stick", what: "a bad config is refused, and mended with a stick; another config while the node runs",
		took: 4 * time.Minute, args: imageTest("^TestBadConfigThenAStick$")},
	{name: "image-hung", what: "the watchdog resets a machine whose systemd hangs",
		took: 3 * time.Minute, args: imageTest("^TestHungSystemdIsReset$")},
	{name: "image-same-bits", what: "two builds of the image are the same, bit for bit",
		took: 4 * time.Minute, args: imageTest("^TestTheSameBits$")},
	{name: "soak", what: "kills under load, three times over",
		took: 2 * time.Minute, args: again(3, "./tests/soak")},
	{name: "interop", what: "the stock servers and clients, three times over",
		took: 6 * time.Minute, args: again(3, "./tests/interop")},
	{name: "fuzz-mail", what: "the message format's fuzz targets",
		took: 4 * time.Minute, args: fuzz("./edge/mail", "./edge/maillog"), env: fuzzTime, random: true},
	{name: "fuzz-protocols", what: "the fuzz targets of SMTP, BGP and the shield",
		took: 6 * time.Minute, args: fuzz("./edge/ingress/wire", "./edge/delivery/smtpc", "./edge/core", "./bgp", "./xdp"), env: fuzzTime, random: true},
	{name: "fuzz-storage", what: "the fuzz targets of spool, queue, disks and slots",
		took: 7 * time.Minute, args: fuzz("./edge/spool", "./edge/queue", "./edge/appliance/diskimage", "./edge/appliance/slot", "./edge/appliance/bundle", "./edge/appliance/provision", "./tests/vm/lossy"), env: fuzzTime, random: true},
	{name: "fuzz-control", what: "the fuzz targets of configuration and control",
		took: 8 * time.Minute, args: fuzz("./edge/config", "./edge/appliance/console", "./edge/operate/control", "./edge/uplink/anycast", "./edge/uplink/network", "./edge/judge/policy", "./edge/uplink/tunnel", "./cmd/anymx", "./tests/tool/bench"), env: fuzzTime, random: true},
}

// fuzzTime is for each target.
var fuzzTime = []string{"FUZZTIME=20s"}

// imageTest are the ladder's arguments for tests of the image.
func imageTest(run string) []string {
	return []string{"-timeout", "40m", "-run", run, "./tests/image"}
}

// again are the ladder's arguments for a room whose tests run n times.
func again(n int, room string) []string {
	return []string{"-times", strconv.Itoa(n), "-timeout", "30m", room}
}

// fuzz are the ladder's arguments for the fuzz targets of rooms.
func fuzz(rooms ...string) []string {
	return append([]string{"-only-fuzz"}, rooms...)
}

// sample picks parts that take budget in all at most. The commit alone decides which, so
// that a run can be repeated, and each part that is not random has its turn within some tens of commits.
func sample(all []part, commit string, budget time.Duration) []part {
	order := slices.Clone(all)
	slices.SortFunc(order, func(a, b part) int {
		return cmp.Or(cmp.Compare(lot(commit, a), lot(commit, b)), cmp.Compare(a.name, b.name))
	})
	var picked []part
	for _, p := range order {
		if !p.random && p.took <= budget {
			picked = append(picked, p)
			budget -= p.took
		}
	}
	return picked
}

// lot is what a part draws at a commit; the lowest goes first. Long parts have better
// chances, for they only fit in while there is much room; short ones fill the rest.
func lot(commit string, p part) float64 {
	sum := sha256.Sum256([]byte(commit + " " + p.name))
	chance := (float64(binary.BigEndian.Uint32(sum[:])) + 0.5) / (1 << 32) // above 0, below 1
	return -math.Log(chance) / p.took.Minutes()
}
