package main

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// part is a piece of the long tests that runs by itself.
type part struct {
	name string
	what string        // description for the list
	took time.Duration // expected on two cores, with the images built
	args []string      // of the ladder
	env  []string      // added to our own
	// random means that the part finds errors by chance. It is never in a sample, where a failure
	// should come from the change.
	random bool
}

// parts lists everything that make test and make test-image-core leave out. Split a part that takes
// longer than the sample's budget, or it will only ever run at night.
var parts = append(simulations(), []part{
	{name: "image-root-breaks", what: "an update whose root breaks later falls back to the other slot",
		took: 6 * time.Minute, args: imageTest("^TestUpdates$/^(again|root_breaks)$")},
	{name: "image-program-fails", what: "an update whose mail program fails is rolled back",
		took: 9 * time.Minute, args: imageTest("^TestUpdates$/^mail_program_fails$")},
	{name: "image-power-load", what: "ten power cuts under load lose no message",
		took: 11 * time.Minute, args: imageTest("^TestPowerCutUnderLoad$")},
	{name: "image-power-download", what: "power cuts while an update is fetched",
		took: 9 * time.Minute, args: imageTest("^TestPowerCutDuringUpdate$/^download$")},
	{name: "image-power-write", what: "power cuts while an update is written",
		took: 9 * time.Minute, args: imageTest("^TestPowerCutDuringUpdate$/^write$")},
	{name: "image-stick", what: "a bad config is refused and replaced from a USB stick; a new config while the node runs",
		took: 4 * time.Minute, args: imageTest("^TestBadConfigThenAStick$")},
	{name: "image-hung", what: "the watchdog resets a machine whose systemd hangs",
		took: 3 * time.Minute, args: imageTest("^TestHungSystemdIsReset$")},
	{name: "image-memory", what: "strangers hold as much memory of a node with 400 MiB as they can",
		took: 5 * time.Minute, args: imageTest("^TestMemoryAttack$")},
	{name: "image-same-bits", what: "two builds of the image are identical",
		took: 4 * time.Minute, args: imageTest("^TestTheSameBits$")},
	{name: "soak", what: "a hundred kills under load",
		took: 4 * time.Minute, args: again(1, "./tests/soak"), env: []string{"ANYMX_KILLS=100"}},
	{name: "interop", what: "stock servers and clients, three times",
		took: 6 * time.Minute, args: again(3, "./tests/interop")},
	{name: "fuzz-mail", what: "the message format's fuzz targets",
		took: 4 * time.Minute, args: fuzz("./edge/mail", "./edge/maillog"), env: fuzzTime, random: true},
	{name: "fuzz-protocols", what: "the fuzz targets of SMTP, BGP and the shield",
		took: 6 * time.Minute, args: fuzz("./edge/ingress/wire", "./edge/ingress/smtpd", "./edge/delivery/smtpc", "./edge/core", "./bgp", "./xdp"), env: fuzzTime, random: true},
	{name: "fuzz-storage", what: "the fuzz targets of spool, queue, disks and slots",
		took: 7 * time.Minute, args: fuzz("./edge/spool", "./edge/queue", "./edge/appliance/diskimage", "./edge/appliance/slot", "./edge/appliance/bundle", "./edge/appliance/provision", "./tests/vm/lossy"), env: fuzzTime, random: true},
	{name: "fuzz-control", what: "the fuzz targets of configuration and control",
		took: 8 * time.Minute, args: fuzz("./edge/config", "./edge/appliance/console", "./edge/operate/api", "./edge/operate/control", "./edge/operate/words", "./edge/uplink/anycast", "./edge/uplink/network", "./edge/judge/policy", "./edge/uplink/tunnel", "./cmd/anymx", "./tests/tool/bench"), env: fuzzTime, random: true},
}...)

// simulations returns the parts that simulate a node, with 100,000 seeds in all. make test has the first
// 2,000.
func simulations() (all []part) {
	const each = 10_000
	for i := range 10 {
		all = append(all, part{
			name: fmt.Sprintf("simulation-%d", i), what: fmt.Sprintf("the simulated node, seeds from %d on", i*each),
			took: 6 * time.Minute, args: []string{"-timeout", "30m", "-run", "^TestSimulation$", "./edge/queue"},
			env: []string{fmt.Sprintf("ANYMX_SEEDS=%d-%d", i*each, (i+1)*each)}, random: true,
		})
	}
	return all
}

// fuzzTime sets the time for each target.
var fuzzTime = []string{"FUZZTIME=20s"}

// imageTest returns the ladder's arguments for tests of the image.
func imageTest(run string) []string {
	return []string{"-timeout", "40m", "-run", run, "./tests/image"}
}

// again returns the ladder's arguments for a folder whose tests run n times.
func again(n int, room string) []string {
	return []string{"-times", strconv.Itoa(n), "-timeout", "30m", room}
}

// fuzz returns the ladder's arguments for the fuzz targets of folders.
func fuzz(rooms ...string) []string {
	return append([]string{"-only-fuzz"}, rooms...)
}

// sample chooses parts that fit into the budget together. The commit alone decides which, so that a
// run can be repeated. Each part that is not random is chosen within some tens of commits.
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

// lot returns the number that a part draws at a commit; the lowest goes first. Long parts draw lower
// numbers on average, because they fit only while much of the budget is left.
func lot(commit string, p part) float64 {
	sum := sha256.Sum256([]byte(commit + " " + p.name))
	chance := (float64(binary.BigEndian.Uint32(sum[:])) + 0.5) / (1 << 32) // above 0, below 1
	return -math.Log(chance) / p.took.Minutes()
}
