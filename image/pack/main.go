// Command pack builds a release's files other than the image itself from the output of mkosi.
// image/build runs it on the build machine; it is not in the image.
//
//	pack bundle  the update bundle, signed (package anymx/edge/appliance/bundle)
//	pack sbom    the bill of materials, in CycloneDX
//	pack sums    SHA-256 sums, as sha256sum writes them
//
// The same input gives the same bytes, if the key's signatures are deterministic, as with Ed25519.
// Times come from SOURCE_DATE_EPOCH.
package main

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"
)

const usage = `Usage: pack bundle --version V --root FILE --verity FILE --uki FILE --key KEY --output FILE
       pack sbom --version V --manifest FILE --programs DIR --output FILE
       pack sums FILE...

KEY is an OpenSSH private key, a public one whose private half is in an agent or
a hardware token, or the word "agent": the first key in it.
`

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "pack: %s\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("nothing is named to be packed\n%s", usage)
	}
	flags := flag.NewFlagSet("pack "+args[0], flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(flags.Output(), usage) }
	version := flags.String("version", "", "")
	output := flags.String("output", "", "")
	var b bundleInput
	var s sbomInput
	switch args[0] {
	case "bundle":
		flags.StringVar(&b.root, "root", "", "")
		flags.StringVar(&b.verity, "verity", "", "")
		flags.StringVar(&b.kernel, "uki", "", "")
		flags.StringVar(&b.key, "key", "", "")
	case "sbom":
		flags.StringVar(&s.manifest, "manifest", "", "")
		flags.StringVar(&s.programs, "programs", "", "")
	case "sums":
	default:
		return fmt.Errorf("%q is nothing that can be packed\n%s", args[0], usage)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "sums" {
		return sums(os.Stdout, flags.Args())
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q is too much\n%s", flags.Arg(0), usage)
	}
	missing := *version == "" || *output == ""
	flags.VisitAll(func(f *flag.Flag) { missing = missing || f.Value.String() == "" })
	if missing {
		return fmt.Errorf("every option is needed\n%s", usage)
	}
	built, err := epoch(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	if args[0] == "sbom" {
		return s.write(*version, built, *output)
	}
	return b.write(*version, built, *output)
}

// epoch parses the time that everything is dated by.
func epoch(text string) (time.Time, error) {
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; it must be seconds since 1970", text)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
