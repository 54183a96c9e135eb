package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/spf13/cobra"

	"anymx/edge/appliance/diskimage"
	"anymx/edge/appliance/provision"
	"anymx/edge/config"
	"anymx/edge/operate/words"
)

const imageConfigHelp = `Config writes the config of a node into an image, before it is flashed, or onto a
disk that is not in use, in the place of the one that is there. The node takes it
at its next boot, unless a systemd credential or a stick labelled ANYMX gives it
another one.

FOLDER holds anymx.toml, the files that it names below /etc/anymx (tls/cert.pem
for /etc/anymx/tls/cert.pem), secrets that it names as "credential:NAME" in its
folder credentials, and files of systemd-networkd in its folder network. Other
files are not written. With a file in the place of FOLDER, that is anymx.toml, and
all there is.

It is checked as the node would, and nothing is written if there is a problem. A
power cut while it is written leaves the old config or the new one, whole.

Whoever has the image, or the disk, can read the secrets in it. --secrets-elsewhere
lets the tree be without those that systemd hands to the node another way.

Exit codes:
  0    written; or, with --dry-run, no problem found
  1    there is a problem, or it could not be written
  2    wrong usage, or a file can't be read`

// configuring is one run of image config.
type configuring struct {
	*program
	dryRun, remove, elsewhere bool
}

func (p *program) imageConfigCommand() *cobra.Command {
	c := &configuring{program: p}
	cmd := &cobra.Command{
		Use: "config FOLDER|FILE IMAGE", Short: "Write a node's config into an image", Long: imageConfigHelp,
		Example: "  anymx image config ams1/ anymx.raw\n  anymx image config ams1/ --dry-run\n  anymx image config ams1.toml /dev/sdb --secrets-elsewhere\n  anymx image config --remove anymx.raw",
		Args:    someArgs(1, 2),
		RunE: p.local(func(_ *cobra.Command, args []string) error {
			switch {
			case c.remove && len(args) == 1 && !c.dryRun:
				return c.removeFrom(args[0])
			case c.remove:
				return usagef("--remove takes the image alone, and goes with nothing else")
			case len(args) == 1 && c.dryRun:
				return c.write(args[0], "")
			case len(args) == 1:
				return usagef("which image? Write it behind %s, or --dry-run to check alone", args[0])
			}
			return c.write(args[0], args[1])
		}),
	}
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "check, show what would be written, and write nothing")
	cmd.Flags().BoolVar(&c.remove, "remove", false, "take the config out of the image")
	cmd.Flags().BoolVar(&c.elsewhere, "secrets-elsewhere", false, "the node gets credentials that are not in the tree another way")
	return cmd
}

// imageConfigured is the result of image config as JSON.
type imageConfigured struct {
	From     string           `json:"from,omitempty"`
	Image    string           `json:"image,omitempty"`
	OK       bool             `json:"ok"` // no problem
	Problems []config.Problem `json:"problems"`
	Notes    []string         `json:"notes"`
	Files    []imageFile      `json:"files"`    // written, or to be written
	Replaced []imageFile      `json:"replaced"` // existed before
	Written  bool             `json:"written"`
	Free     int64            `json:"free,omitempty"` // bytes left on the ESP
}

// write checks the config bundle at from and writes it into the image at to; "" only checks.
func (c *configuring) write(from, to string) error {
	tree, err := provision.ReadBundle(from)
	if err != nil {
		return &usageError{err}
	}
	checked := provision.Check(tree, provision.CheckOptions{Now: c.now(), Elsewhere: c.elsewhere})
	answer := imageConfigured{
		From: from, Image: to, OK: len(checked.Problems) == 0, Problems: checked.Problems,
		Notes: append([]string{}, checked.Notes...), Files: filesOf(&tree), Replaced: []imageFile{},
	}
	if answer.Problems == nil {
		answer.Problems = []config.Problem{}
	}
	var img *image
	if answer.OK && to != "" {
		if img, err = openImage(to, !c.dryRun); err != nil {
			return err
		}
		defer img.close()
		c.warn(img.warnings)
		if answer.Replaced, err = configOf(img.fat); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	if img != nil && !c.dryRun {
		if err := c.put(img, &tree); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
		answer.Written = true
	}
	if img != nil {
		answer.Free = img.fat.Free()
	}
	err = c.print(answer, func(w io.Writer) error { return c.text(w, &answer) })
	if err == nil && !answer.OK {
		err = &answered{exitNo}
	}
	return err
}

// put writes a config bundle and reads it back.
func (c *configuring) put(img *image, tree *provision.Bundle) error {
	var files []diskimage.File
	for _, name := range tree.Names() {
		files = append(files, diskimage.File{Name: name, Data: tree.Files[name]})
	}
	if err := img.fat.Replace(configFolder, files, c.now()); err != nil {
		return err
	}
	if err := img.read(); err != nil {
		return fmt.Errorf("after it was written: %w", err)
	}
	for _, f := range files {
		data, err := img.fat.ReadFile(path.Join(configFolder, f.Name), int64(len(f.Data)))
		if err != nil || !bytes.Equal(data, f.Data) {
			return errors.Join(fmt.Errorf("%s is not what was written", f.Name), err)
		}
	}
	return nil
}

// text writes the result for people.
func (c *configuring) text(w io.Writer, a *imageConfigured) error {
	for _, problem := range a.Problems {
		if _, err := fmt.Fprintln(w, words.Clean(problem.Error())); err != nil {
			return err
		}
	}
	for _, note := range a.Notes {
		fmt.Fprintf(c.errOut, "anymx: note: %s\n", words.Clean(note))
	}
	if !a.OK {
		fmt.Fprintf(c.errOut, "anymx: %s in %s; nothing was written\n", counted(len(a.Problems), "problem"), a.From)
		return nil
	}
	size, secrets := total(a.Files)
	text := fmt.Sprintf("%s: no problem found\n%s", a.From, filesText(a.Files))
	if a.Image != "" {
		text += fmt.Sprintf("%s: %s %s, %s, in the folder %s of its ESP", a.Image,
			map[bool]string{true: "wrote", false: "would write"}[a.Written], counted(len(a.Files), "file"), sizeText(size), configFolder)
		if n := len(a.Replaced); n > 0 {
			text += fmt.Sprintf(", in the place of %s", counted(n, "file"))
		}
		text += fmt.Sprintf("; %s are free there\n", sizeText(a.Free))
	}
	if _, err := io.WriteString(w, text); err != nil {
		return err
	}
	if secrets > 0 && a.Image != "" {
		c.warn([]string{fmt.Sprintf("whoever has %s, or a disk that it is written to, can read the secrets in it (%s)", a.Image, counted(secrets, "file"))})
	}
	return nil
}

// removeFrom removes the config from an image.
func (c *configuring) removeFrom(at string) error {
	img, err := openImage(at, true)
	if err != nil {
		return err
	}
	defer img.close()
	c.warn(img.warnings)
	was, err := configOf(img.fat)
	if err == nil {
		err = img.fat.Remove(configFolder)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", at, err)
	}
	answer := imageConfigured{Image: at, OK: true, Problems: []config.Problem{}, Notes: []string{}, Files: []imageFile{}, Replaced: was, Free: img.fat.Free()}
	return c.print(answer, func(w io.Writer) error {
		text := fmt.Sprintf("%s: it has no config\n", at)
		if len(was) > 0 {
			text = fmt.Sprintf("%s: the config is removed, %s; what was in it can be found on the disk until it is overwritten\n", at, counted(len(was), "file"))
		}
		_, err := io.WriteString(w, text)
		return err
	})
}

func filesOf(t *provision.Bundle) []imageFile {
	list := []imageFile{}
	for _, name := range t.Names() {
		list = append(list, imageFile{Name: name, Size: int64(len(t.Files[name])), Secret: provision.Secret(name)})
	}
	return list
}

// configOf returns the config files in an image; none if it has no config.
func configOf(f *diskimage.FAT) ([]imageFile, error) {
	list, err := below(f, configFolder, "")
	if errors.Is(err, fs.ErrNotExist) {
		return []imageFile{}, nil
	}
	return list, err
}

func below(f *diskimage.FAT, at, name string) ([]imageFile, error) {
	entries, err := f.ReadDir(path.Join(at, name))
	if err != nil {
		return nil, err
	}
	list := []imageFile{}
	for _, e := range entries {
		own := path.Join(name, e.Name)
		if !e.Folder {
			list = append(list, imageFile{Name: own, Size: e.Size, Secret: provision.Secret(own)})
			continue
		}
		inside, err := below(f, at, own)
		if err != nil {
			return nil, err
		}
		list = append(list, inside...)
	}
	return list, nil
}
